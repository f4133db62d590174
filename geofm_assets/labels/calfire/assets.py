"""Fire perimeters and their reference points as Dagster assets."""

import json
from collections.abc import Iterator
from typing import Any

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)

from geofm_assets.core.assets import PartitionConfig, check_specs, emit, emit_partitions
from geofm_assets.core.hashing import json_digest
from geofm_assets.core.outcome import Outcome
from geofm_assets.core.resources import StoreResource
from geofm_assets.labels.calfire.changes import changes, cursor
from geofm_assets.labels.calfire.fire_years import YEARS_PARTITIONS, FireYearsStage, settings
from geofm_assets.labels.calfire.stages import FirePointsStage, PerimetersStage
from geofm_assets.labels.source import LabelSource

LISTING_JOB = "calfire_listing"
_POLL_SECONDS = 3600
_BACKFILL = dg.BackfillPolicy.multi_run(16)


def build_calfire_assets(source: LabelSource) -> list[dg.AssetsDefinition]:
    """Listing, perimeters and reference points of a task's fire perimeters."""
    return [_collections(source), _perimeters(source), _reference_points(source)]


def listing_job(source: LabelSource) -> UnresolvedAssetJobDefinition:
    """Read the sources of perimeters again."""
    return dg.define_asset_job(
        LISTING_JOB,
        selection=dg.AssetSelection.assets(dg.AssetKey(source.asset_path("collections"))),
        description="Read the fire perimeters as they are today. New fire years become partitions.",
    )


def perimeters_sensor(source: LabelSource) -> dg.SensorDefinition:
    """Sees a new release of the file, or an edit of the feature layer."""

    @dg.sensor(
        name="calfire_perimeters",
        job_name=LISTING_JOB,
        minimum_interval_seconds=_POLL_SECONDS,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Polls the sources of perimeters. The cursor holds a file's sha256, a feature "
        "layer's last edit, count and latest year; any difference has them read again.",
    )
    def calfire_perimeters(
        context: dg.SensorEvaluationContext, store: StoreResource
    ) -> dg.SensorResult | dg.SkipReason:
        from geofm_assets.labels.calfire.read import open_sources

        seen = cursor(open_sources(settings(source)))
        opened, known = store.open(), FireYearsStage(source).state_key
        if context.cursor:
            before = json.loads(context.cursor)
        else:  # before the first tick, what the store was made from
            before = opened.read_json(known) if opened.exists(known) else {}
        found = changes(before, seen)
        if not found:
            return dg.SkipReason("The perimeters have not changed")
        context.log.info("; ".join(found))
        return dg.SensorResult(
            run_requests=[dg.RunRequest(run_key=json_digest(seen))],
            cursor=json.dumps(seen, sort_keys=True),
        )

    return calfire_perimeters


def _collections(source: LabelSource) -> dg.AssetsDefinition:
    key = dg.AssetKey(source.asset_path("collections"))
    stage = FireYearsStage(source)

    @dg.asset(
        key=key,
        group_name="labels",
        kinds={"parquet"},
        code_version=stage.code_version,
        check_specs=check_specs(key, "schema"),
        description="Fire perimeters as their file or feature layer holds them today, and the "
        "fire years among them; a year that points are drawn from is a collection.",
    )
    def collections(
        context: dg.AssetExecutionContext, store: StoreResource
    ) -> Iterator[dg.MaterializeResult[Any]]:
        opened = store.open()

        def work() -> Outcome:
            outcome = stage.make(opened)
            ids = opened.read_table(source.collections_key)["collection_id"].to_pylist()
            years = PerimetersStage(source).wanted(opened)
            context.instance.add_dynamic_partitions(source.partitions, ids)
            context.instance.add_dynamic_partitions(YEARS_PARTITIONS, years)
            return outcome

        yield from emit(context, work)

    return collections


def _perimeters(source: LabelSource) -> dg.AssetsDefinition:
    key = dg.AssetKey(source.asset_path("perimeters"))
    stage = PerimetersStage(source)
    years = dg.DynamicPartitionsDefinition(name=YEARS_PARTITIONS)

    @dg.asset(
        key=key,
        deps=[dg.AssetKey(source.asset_path("collections"))],
        partitions_def=years,
        backfill_policy=_BACKFILL,
        group_name="labels",
        kinds={"parquet"},
        code_version=stage.code_version,
        output_required=False,
        check_specs=[
            *check_specs(key, "schema", partitions_def=years),
            *check_specs(key, "some_rows_usable", partitions_def=years, blocking=False),
        ],
        description="Perimeters of a fire year as valid polygons with their dates, complex and "
        "equal-area hectares. Bad rows go to quarantine with a reason.",
    )
    def perimeters(
        context: dg.AssetExecutionContext, config: PartitionConfig, store: StoreResource
    ) -> Iterator[Any]:
        opened = store.open()
        yield from emit_partitions(
            context,
            lambda year: stage.make(opened, year, config.force),
            code_version=stage.code_version,
        )

    return perimeters


def _reference_points(source: LabelSource) -> dg.AssetsDefinition:
    key = dg.AssetKey(source.asset_path("reference_points"))
    stage = FirePointsStage(source)
    collections = dg.DynamicPartitionsDefinition(name=source.partitions)
    # a point is drawn with regard to the fires of every year
    perimeters = dg.AssetDep(
        dg.AssetKey(source.asset_path("perimeters")), partition_mapping=dg.AllPartitionMapping()
    )

    @dg.asset(
        key=key,
        deps=[perimeters],
        partitions_def=collections,
        backfill_policy=_BACKFILL,
        group_name="labels",
        kinds={"parquet"},
        code_version=stage.code_version,
        output_required=False,
        check_specs=[
            *check_specs(
                key,
                "schema",
                "unique_sample_id",
                "one_sample_per_point",
                partitions_def=collections,
            ),
            *check_specs(key, "some_rows_usable", partitions_def=collections, blocking=False),
        ],
        description="Points inside the fires of a year, in a ring around them and far from any, "
        "each with its kind, fire and group beside it.",
    )
    def reference_points(
        context: dg.AssetExecutionContext, config: PartitionConfig, store: StoreResource
    ) -> Iterator[Any]:
        opened = store.open()
        yield from emit_partitions(
            context,
            lambda collection: stage.make(opened, collection, config.force),
            code_version=stage.code_version,
        )

    return reference_points
