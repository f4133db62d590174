"""Runs a task's stages in order through a real Dagster instance, doing only what is out of date."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)

from geofm_assets.core.errors import GeofmError
from geofm_assets.core.progress import listening
from geofm_assets.core.settings import Settings
from geofm_assets.core.store import Store
from geofm_assets.imagery.resources import ImagerySource
from geofm_assets.platform.definitions import build_definitions, load_tasks
from geofm_assets.platform.failures import why
from geofm_assets.platform.instance import DRIVER_TAG, driver_tag, open_instance
from geofm_assets.platform.pieces import stretches
from geofm_assets.platform.report import Reporter
from geofm_assets.platform.stages import StageView, task_stages, wanted_partitions
from geofm_assets.platform.workers import QUIET, Workers, open_workers
from geofm_assets.tasks.component import training_task
from geofm_assets.training.experiments import Experiment
from geofm_assets.training.stages import experiments_partitions


class StageFailedError(GeofmError):
    """A stage could not make everything it was asked for; what it made is kept."""


@dataclass
class StageResult:
    """What one stage came to in one drive.

    Attributes:
        name: asset key.
        made: partitions made ("" for an unpartitioned asset).
        current: how many were left alone.
        seconds: wall time.
    """

    name: str
    made: list[str] = field(default_factory=list)
    current: int = 0
    seconds: float = 0.0


class Driver:
    """Materializes a task from its label collections to its scores.

    Args:
        settings: of the deployment; remembered in the store by the caller.
        task: name of the task.
        reporter: told of stages and progress.

    Raises:
        ConfigError: the task does not exist or its file is wrong.
    """

    def __init__(self, settings: Settings, task: str, reporter: Reporter) -> None:
        tasks = load_tasks(settings)
        if task not in tasks:
            raise GeofmError(
                "There is no such task", where=task, fix=f"Choose one of {', '.join(sorted(tasks))}"
            )
        self.file = tasks[task]
        self.task = training_task(self.file.config)
        self.store = Store(settings.store)
        self.instance = open_instance(self.store, settings)
        self.reporter = reporter
        self._job = build_definitions(settings).resolve_implicit_global_asset_job_def()
        self._settings = settings
        self._workers: Workers | None = None
        source = ImagerySource(scenes=settings.scenes, stac_url=settings.stac_url)
        self.stages = task_stages(self.task, source)

    def register_experiments(self, names: Sequence[str]) -> None:
        """Make experiments partitions, in the order given; known ones are left as they are."""
        partition_set = experiments_partitions(self.task.name)
        known = set(self.instance.get_dynamic_partitions(partition_set))
        new = [Experiment.parse(n).name for n in names]
        new = [n for n in dict.fromkeys(new) if n not in known]
        self.instance.add_dynamic_partitions(partition_set, new)

    def run(
        self, experiments: Sequence[str], *, force: bool = False, workers: int | None = None
    ) -> list[StageResult]:
        """Bring every stage up to date and run the experiments.

        Args:
            experiments: names.
            force: run them again even if they are current.
            workers: runs to launch at once, where the settings' executor says; None to do
                everything in this process.

        Raises:
            ConfigError: no runs can be launched.
            ExperimentError: an experiment cannot be.
            StageFailedError: names the stage and each partition that failed, and why.
        """
        for name in experiments:
            self.task.feasible(name)
        with ExitStack() as stack:
            if workers is not None:
                opened = open_workers(self.instance, self._job, self._settings, workers)
                self._workers = stack.enter_context(opened)
                stack.callback(setattr, self, "_workers", None)
            return self._run(experiments, force)

    def _run(self, experiments: Sequence[str], force: bool) -> list[StageResult]:
        grid = self.file.grid()
        self.register_experiments([e.name for e in grid.feasible] + list(experiments))
        listing = dg.AssetKey(self.task.imagery.sampling.source.asset_path("collections"))
        sql = sorted(
            key.to_user_string()
            for key in self._job.asset_layer.executable_asset_keys
            if key.path[0] == "sql"
        )
        total = len(self.stages) + 1 + (1 if sql else 0)
        results = [self._materialize(listing, "", [""], 0, (1, total))]
        for number, view in enumerate(self.stages, start=2):
            if self._workers is not None:
                self._workers.settle([view.key], self.reporter.say)
            wanted = (
                [Experiment.parse(e).name for e in experiments]
                if view.axis == "experiments"
                else wanted_partitions(view, self.task, self.store)
            )
            again = force and view.axis == "experiments"
            todo = self._todo(view, wanted, again)
            done, place = len(wanted) - len(todo), (number, total)
            results.append(
                self._materialize(view.key, view.partition_set, todo, done, place, again)
            )
        if sql:
            keys = [dg.AssetKey.from_user_string(name) for name in sql]
            results.append(self._models(keys, (total, total)))
        return results

    def _todo(self, view: StageView, wanted: list[str], force: bool) -> list[str]:
        if force:
            return wanted
        if view.axis == "none":
            event = self.instance.get_latest_materialization_event(view.key)
            recorded = {""} if event else set()
        else:
            recorded = set(self.instance.get_materialized_partitions(view.key))
        stale = set(view.stale(self.store, wanted))
        return [p for p in wanted if p in stale or p not in recorded]

    def _materialize(
        self,
        key: dg.AssetKey,
        partition_set: str,
        todo: list[str],
        current: int,
        place: tuple[int, int],
        force: bool = False,
    ) -> StageResult:
        result = StageResult(key.to_user_string(), todo, current)
        began = time.monotonic()
        self.reporter.stage_started(place, result.name, len(todo), current, bool(partition_set))
        self._make([key], partition_set, todo, force)
        result.seconds = time.monotonic() - began
        self.reporter.stage_ended(place, result.name, result.seconds)
        return result

    def _models(self, keys: list[dg.AssetKey], place: tuple[int, int]) -> StageResult:
        result = StageResult("sql models", [k.path[-1] for k in keys])
        began = time.monotonic()
        self.reporter.stage_started(place, result.name, len(keys), 0, False)
        self._make(keys, "", [""])
        result.seconds = time.monotonic() - began
        self.reporter.stage_ended(place, result.name, result.seconds)
        return result

    def _make(
        self, keys: list[dg.AssetKey], partition_set: str, todo: list[str], force: bool = False
    ) -> None:
        forced = {"config": {"force": True}}
        ops = {key.to_python_identifier(): forced for key in keys} if force else {}
        order = self.instance.get_dynamic_partitions(partition_set) if partition_set else None
        if self._workers is not None:
            failures = self._workers.make(
                keys, order, todo, self.reporter.progress, ops, self.reporter.say
            )
            if failures:
                raise _failed(keys, "; ".join(dict.fromkeys(failures)))
        elif order is not None:
            for stretch in stretches(order, todo):
                self._execute(keys, stretch[0], stretch[-1], ops)
        elif todo:
            self._execute(keys, None, None, ops)

    def _execute(
        self, keys: list[dg.AssetKey], first: str | None, last: str | None, ops: dict[str, Any]
    ) -> None:
        tags = {DRIVER_TAG: driver_tag()}
        arguments: dict[str, Any] = {}
        if first is not None and first == last:
            arguments["partition_key"] = first
        elif first is not None and last is not None:
            tags[ASSET_PARTITION_RANGE_START_TAG] = first
            tags[ASSET_PARTITION_RANGE_END_TAG] = last
        with listening(self.reporter.progress, self.reporter.say):
            result = self._job.execute_in_process(
                instance=self.instance,
                asset_selection=keys,
                run_config={**QUIET, "ops": ops},
                tags=tags,
                raise_on_error=False,
                **arguments,
            )
        if not result.success:
            reasons = why(result.all_events)
            raise _failed(keys, reasons or "The run failed before its first step")


def _failed(keys: Sequence[dg.AssetKey], reasons: str) -> StageFailedError:
    return StageFailedError(
        reasons,
        where=", ".join(key.to_user_string() for key in keys),
        fix="What was made is kept. Fix what is named above and run the same command again",
    )
