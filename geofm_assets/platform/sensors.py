"""Sensors and schedules: new collections are seen, and exactly what is out of date is asked for.

Two sensors do it. One polls the RDM and refreshes the listing when a collection is new, changed
or gone. The other compares the store with what it should hold and requests runs for the first
stage that lags; it is level-triggered, so a lost tick costs nothing. A run that failed is not
asked for again until something changes: launch it from the UI, or run `geofm run`. Training is
never started by a sensor.
"""

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)

from geofm_assets.core.hashing import json_digest
from geofm_assets.core.resources import StoreResource
from geofm_assets.core.stage import MissingUpstreamError
from geofm_assets.core.store import Store
from geofm_assets.imagery.resources import ImagerySource
from geofm_assets.labels.calfire.side_tables import years_key
from geofm_assets.labels.config import MinConfidence
from geofm_assets.labels.resources import RdmClient
from geofm_assets.labels.source import WORLDCEREAL
from geofm_assets.labels.worldcereal.collections import accepted, changes, collections_table, cursor
from geofm_assets.platform.stages import StageView, ask_each, task_stages, wanted_partitions
from geofm_assets.tasks.component import jobs_of
from geofm_assets.training.assets import experiments_definition
from geofm_assets.training.stages import TrainingTask

LISTING_JOB = "worldcereal_listing"
MAX_REQUESTS = 100
_AXES = ("fire_years", "collections", "plan", "cells", "manifest")  # in the order of the data
_POLL_SECONDS = 3600
_RECONCILE_SECONDS = 60


def listing_job() -> UnresolvedAssetJobDefinition:
    """Refresh the listing of WorldCereal collections."""
    return dg.define_asset_job(
        LISTING_JOB,
        selection=dg.AssetSelection.assets(dg.AssetKey(WORLDCEREAL.asset_path("collections"))),
        description="Ask the RDM what it lists today. New collections become partitions.",
    )


def weekly_refresh() -> dg.ScheduleDefinition:
    """Mondays at 04:00 UTC; off until someone turns it on."""
    return dg.ScheduleDefinition(
        name="worldcereal_weekly_refresh",
        job_name=LISTING_JOB,
        cron_schedule="0 4 * * 1",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Weekly refresh of the listing. Turn on a task's reconcile sensor as well to "
        "have changed collections and cells made again.",
    )


def collections_sensor(thresholds: Sequence[MinConfidence]) -> dg.SensorDefinition:
    """Sees new, changed and vanished collections."""
    limits = tuple(thresholds)

    @dg.sensor(
        name="worldcereal_collections",
        job_name=LISTING_JOB,
        minimum_interval_seconds=_POLL_SECONDS,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Polls the RDM. The cursor holds each collection's time, feature count and "
        "confidences; any difference refreshes the listing and adds partitions.",
    )
    def worldcereal_collections(
        context: dg.SensorEvaluationContext, rdm: RdmClient, store: StoreResource
    ) -> dg.SensorResult | dg.SkipReason:
        table = collections_table(rdm.open().list_collections())
        seen = cursor(table)
        found = changes(_last_seen(context.cursor, store.open()), seen)
        if not (found.new or found.changed or found.vanished):
            return dg.SkipReason(f"{table.num_rows} collections, none new, changed or gone")
        context.log.info(f"new {found.new}, changed {found.changed}, vanished {found.vanished}")
        wanted = {i for t in limits for i in accepted(table, t)["collection_id"].to_pylist()}
        known = set(context.instance.get_dynamic_partitions(WORLDCEREAL.partitions))
        add = dg.DynamicPartitionsDefinition(name=WORLDCEREAL.partitions).build_add_request(
            sorted(wanted - known)
        )
        tags = {"geofm/new": str(len(found.new)), "geofm/vanished": str(len(found.vanished))}
        return dg.SensorResult(
            run_requests=[dg.RunRequest(run_key=json_digest(seen), tags=tags)],
            dynamic_partitions_requests=[add],
            cursor=json.dumps(seen, sort_keys=True),
        )

    return worldcereal_collections


def _last_seen(value: str | None, store: Store) -> dict[str, Any]:
    """The cursor, or before the first tick what the store's listing says."""
    if value:
        seen: dict[str, Any] = json.loads(value)
        return seen
    if store.exists(WORLDCEREAL.collections_key):
        return cursor(store.read_table(WORLDCEREAL.collections_key))
    return {}


def requests_for(
    stages: Sequence[StageView], task: TrainingTask, store: Store
) -> tuple[str, list[dg.RunRequest]]:
    """Runs for the first stage of a task that lags behind its inputs.

    Collections and cells get one run a partition with every lagging stage in it; a run key names
    the partition and its inputs, so that nothing is asked for twice.

    Returns:
        What lags, in words, and the runs to request (at most `MAX_REQUESTS`).
    """
    for axis in _AXES:
        views = [v for v in stages if _axis(v) == axis]
        if not views:
            continue
        if axis in ("plan", "manifest"):
            lagging = (
                _from_first_lagging(views, store, "")
                if axis == "manifest"
                else [v for v in views if not v.is_current(store)]
            )
            if lagging:
                key = json_digest([v.name for v in lagging] + [_state(store, task)])
                request = _request(task, axis, lagging, None, f"{axis}:{key}")
                return f"{len(lagging)} of {axis}", [request]
            continue
        partitions = wanted_partitions(views[0], task, store)
        found = ask_each(store, partitions, partial(_from_first_lagging, views, store))
        stale = {p: lagging for p, lagging in zip(partitions, found, strict=True) if lagging}
        if stale:
            state = _state(store, task)
            requests = [
                _request(task, axis, v, p, f"{p}:{state}") for p, v in sorted(stale.items())
            ]
            return f"{len(stale)} of {len(partitions)} {axis}", requests[:MAX_REQUESTS]
    return "nothing", []


def _from_first_lagging(
    views: Sequence[StageView], store: Store, partition: str
) -> list[StageView]:
    """The first stage that lags and all after it, which will once it has been made again."""
    for index, view in enumerate(views):
        if not view.is_current(store, partition):
            return list(views[index:])
    return []


def _axis(view: StageView) -> str:
    last = view.key.path[-1]
    if last in ("sampling_plan", "dataset_config"):
        return "plan"
    if last in ("split_manifest", "baseline_scores"):
        return "manifest"
    return view.axis if view.axis in ("fire_years", "collections", "cells") else "training"


def _state(store: Store, task: TrainingTask) -> str:
    """Digest of the tables and settings whose change makes partitions lag."""
    sampling = task.imagery.sampling
    keys = [
        sampling.source.collections_key,
        # of fires, years that nothing is drawn from matter too and are no collections
        years_key(sampling.source.root),
        f"tasks/{task.name}/cells.parquet",
        f"tasks/{task.name}/split_manifest.parquet",
    ]
    found = [store.provenance(key) for key in keys]
    imagery = f"tasks/{task.name}/imagery.json"
    record = store.read_json(imagery)["content"] if store.exists(imagery) else None
    sections = (
        sampling.labels, sampling.sampling, sampling.split, task.imagery.windows,
        task.imagery.imagery, task.masks,
    )  # fmt: skip
    settings = [None if s is None else s.model_dump_json() for s in sections]
    return json_digest([[f.content if f else None for f in found], record, settings])


def _request(
    task: TrainingTask, axis: str, views: Sequence[StageView], partition: str | None, run_key: str
) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=run_key,
        job_name=f"{task.name}_{axis}",
        partition_key=partition,
        asset_selection=[v.key for v in views],
    )


def reconcile_sensor(task: TrainingTask) -> dg.SensorDefinition:
    """Keeps a task's data, up to the split manifest, in step with its collections."""
    jobs = jobs_of(task)

    @dg.sensor(
        name=f"{task.name}_reconcile",
        jobs=[jobs[axis] for axis in _AXES if axis in jobs],
        minimum_interval_seconds=_RECONCILE_SECONDS,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Requests runs for exactly the collections and cells whose inputs changed, "
        "one stage after the other, up to the split manifest.",
    )
    def reconcile(
        context: dg.SensorEvaluationContext, store: StoreResource, imagery: ImagerySource
    ) -> dg.SensorResult | dg.SkipReason:
        try:
            lagging, requests = requests_for(task_stages(task, imagery), task, store.open())
        except MissingUpstreamError as error:
            return dg.SkipReason(str(error))
        if not requests:
            return dg.SkipReason("Everything up to the split manifest is current")
        context.log.info(f"{lagging} out of date, {len(requests)} runs requested")
        return dg.SensorResult(run_requests=requests)

    return reconcile


def experiments_sensor(task: TrainingTask, names: Sequence[str]) -> dg.SensorDefinition:
    """Makes the experiments of the task file partitions."""
    wanted = tuple(names)
    definition = experiments_definition(task)

    @dg.sensor(
        name=f"{task.name}_experiments",
        minimum_interval_seconds=_RECONCILE_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Adds the task file's experiment grid as partitions; starts no run.",
    )
    def experiments(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        known = set(context.instance.get_dynamic_partitions(definition.name or ""))
        new = [name for name in wanted if name not in known]
        if not new:
            return dg.SkipReason("Every experiment of the task file is a partition")
        return dg.SensorResult(dynamic_partitions_requests=[definition.build_add_request(new)])

    return experiments
