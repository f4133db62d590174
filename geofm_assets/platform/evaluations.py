"""Drives evaluation datasets and sweeps through the Dagster instance of a store.

The command line's part of what a backfill does in the UI: the same assets, partitions, checks and
records, and errors as the plain functions raise them.
"""

from collections.abc import Sequence
from typing import cast

import dagster as dg

from geofm_assets.core.errors import GeofmError
from geofm_assets.core.progress import Report, silent
from geofm_assets.core.settings import Settings
from geofm_assets.core.stage import is_current
from geofm_assets.core.store import Store
from geofm_assets.evaluation.backbones.base import ModelInfo
from geofm_assets.evaluation.ingest.assets import (
    DATASET_KEY,
    IngestConfig,
    build_dataset_assets,
    record_dataset,
    register_dataset,
)
from geofm_assets.evaluation.ingest.options import IngestOptions
from geofm_assets.evaluation.ingest.report import IngestResult
from geofm_assets.evaluation.ingest.stages import EvaluationDatasetStage, ingest_now
from geofm_assets.evaluation.registry.entry import DatasetEntry
from geofm_assets.evaluation.registry.registry import Registry
from geofm_assets.evaluation.sweeps.assets import (
    GROUP,
    SweepConfig,
    build_sweep_assets,
    grid_definition,
    register_models,
)
from geofm_assets.evaluation.sweeps.leaderboard import PAGE_KEY
from geofm_assets.evaluation.sweeps.partitions import DATASETS, Cell
from geofm_assets.evaluation.sweeps.plan import require_possible
from geofm_assets.evaluation.sweeps.run import (
    LastModel,
    OpenModel,
    SweepResult,
    SweptCell,
    open_model,
    scores_of,
)
from geofm_assets.evaluation.sweeps.settings import SweepSettings
from geofm_assets.evaluation.sweeps.stages import (
    EmbeddingsStage,
    LeaderboardStage,
    ProbeScoresStage,
)
from geofm_assets.models.hub import ModelHub
from geofm_assets.platform.instance import open_instance
from geofm_assets.platform.materialize import materialize
from geofm_assets.platform.records import Records
from geofm_assets.platform.resources import build_resources
from geofm_assets.platform.task_datasets import TaskDatasets

EMBEDDINGS = dg.AssetKey([GROUP, "embeddings"])
SCORES = dg.AssetKey([GROUP, "probe_scores"])
LEADERBOARD = dg.AssetKey([GROUP, "leaderboard"])


class Evaluations:
    """Materializes evaluation assets in the instance of a store.

    Args:
        settings: of the deployment.
        report: told of steps done.
        opening: of models.

    Raises:
        ConfigError: the store cannot hold the instance.
    """

    def __init__(
        self, settings: Settings, report: Report = silent, opening: OpenModel = open_model
    ) -> None:
        self.store = Store(settings.store)
        self.instance = open_instance(self.store)
        self._report = report
        self._models = LastModel(opening)
        self._hub = ModelHub(settings.hub_url)
        self._ingested: list[IngestResult] = []
        assets = [*build_dataset_assets(self._ingest), *build_sweep_assets(self._models)]
        definitions = dg.Definitions(
            assets=assets,
            resources=build_resources(settings),
            executor=dg.in_process_executor,
        )
        self._job = definitions.resolve_implicit_global_asset_job_def()
        self._records = Records(self.instance)
        self._tasks = TaskDatasets(settings, self.store, self.instance, report)

    def ingest(self, options: IngestOptions) -> IngestResult:
        """Materialize evaluation/dataset for a name.

        A name that could not be ingested does not stay a partition.

        Raises:
            DatasetError, RegistryError: as `ingest_dataset` does.
        """
        config, new = IngestConfig.of(options), register_dataset(self.instance, options.name)
        self._ingested.clear()
        try:
            self._execute([DATASET_KEY], config, options.name)
        finally:
            if new and not self._ingested:
                self.instance.delete_dynamic_partition(DATASETS, options.name)
        return self._ingested[-1]

    def ingest_task(self, task: str) -> IngestResult:
        """Materialize `<task>/evaluation_dataset`: the task's windows under its name.

        Raises:
            RegistryError: a dataset that is not the task's has its name.
            GeofmError: there is no such task, or something is wrong with its windows.
        """
        return self._tasks.ingest(task)

    def sweep(
        self,
        models: Sequence[str],
        tasks: Sequence[str],
        settings: SweepSettings,
        *,
        force: bool = False,
    ) -> SweepResult:
        """`attempt`, if all of it can be done.

        Raises:
            ConfigError, RegistryError, ModelInputError, WeightsError: as `attempt`.
            SweepError: some failed, the others are done. What fails of a single model on a single
                dataset is raised as it is.
        """
        result = self.attempt(models, tasks, settings, force=force)
        result.require_all_done(len(models) * len(tasks))
        return result

    def attempt(
        self,
        models: Sequence[str],
        tasks: Sequence[str],
        settings: SweepSettings,
        *,
        force: bool = False,
    ) -> SweepResult:
        """Materialize the cells of models and datasets, then the leaderboard.

        What was made of today's inputs and is recorded is left alone. A cell that fails does not
        stop the others; the result names it. A task that is named and is no dataset yet, or has
        changed since, is made one.

        Args:
            models: names, as `build_model` takes them.
            tasks: names of registered datasets.
            settings: of the sweep.
            force: encode and probe also what is current.

        Raises:
            ConfigError, RegistryError, ModelInputError, WeightsError: as `require_possible` does;
                nothing was started.
        """
        waiting = [name for name in dict.fromkeys(tasks) if self._tasks.is_due(name)]
        ready = [name for name in tasks if name not in waiting]
        require_possible(self.store, models, ready, settings)
        for name in waiting:
            self._tasks.ingest(name)
        require_possible(self.store, models, waiting, settings)
        self._models.forget()
        config = SweepConfig.of(settings, force)
        registry = Registry(self.store)
        entries = [registry.get(name) for name in tasks]
        register_models(self.instance, list(models))
        for entry in entries:
            register_dataset(self.instance, entry.name)
            self._record(entry)
        cells = [Cell(model, entry.name).partition for model in models for entry in entries]
        grid = cast("dg.PartitionsDefinition[str]", grid_definition)
        failed = {p for key in (EMBEDDINGS, SCORES) for p in self._records.failed(key, grid, cells)}
        done: list[SweptCell] = []
        failures: dict[str, GeofmError] = {}
        for name in models:
            for entry in entries:
                cell = Cell(name, entry.name)
                again = force or cell.partition in failed
                try:
                    done.append(self._cell(cell, entry, settings, config, again))
                except GeofmError as error:
                    unopened = self._models.failed(name)
                    failures[name if unopened else f"{name} on {entry.name}"] = error
        if done:
            self._leaderboard()
        page = f"{self.store.url}/{PAGE_KEY}" if done else ""
        return SweepResult(tuple(done), page, failures)

    def _ingest(self, store: Store, options: IngestOptions, report: Report) -> IngestResult:
        """What the asset calls; keeps the result, which is more than its record holds."""
        result = ingest_now(store, options, report)
        self._ingested.append(result)
        return result

    def _record(self, entry: DatasetEntry) -> None:
        """Record a dataset that was ingested without Dagster, so that cells have an upstream."""
        found = self._records.latest(DATASET_KEY, entry.name)
        if found is not None and found.content == entry.content:
            return
        kept = EvaluationDatasetStage({}).kept(self.store, entry)
        if kept is not None:
            report = self.instance.report_runless_asset_event
            record_dataset(self.instance, report, entry.name, kept)

    def _cell(
        self,
        cell: Cell,
        entry: DatasetEntry,
        settings: SweepSettings,
        config: SweepConfig,
        again: bool,
    ) -> SweptCell:
        """Materialize a cell, or leave it if it is current and `again` is not said."""
        stage = ProbeScoresStage(settings)
        try:
            info = self._models(self.store, cell.model, self._hub).info
            current = not again and self._is_current(cell, entry, info, settings)
        except GeofmError:
            # raised again inside the run, so that the grid shows the failure too
            self._execute([EMBEDDINGS, SCORES], config, cell.partition)
            raise
        if current:
            return SweptCell(cell, scores_of(self.store, stage, info, entry), 0, True)
        result = self._execute([EMBEDDINGS, SCORES], config, cell.partition)
        (made,) = result.asset_materializations_for_node(EMBEDDINGS.to_python_identifier())
        encoded = int(str(made.metadata["samples_encoded_now"].value))
        return SweptCell(cell, scores_of(self.store, stage, info, entry), encoded, False)

    def _is_current(
        self, cell: Cell, entry: DatasetEntry, info: ModelInfo, settings: SweepSettings
    ) -> bool:
        """Whether a cell is in the store and recorded, both of today's inputs."""
        embeddings, scores = EmbeddingsStage(settings), ProbeScoresStage(settings)
        dataset = self._records.latest(DATASET_KEY, entry.name)
        upstream = {DATASET_KEY: dataset.content} if dataset else {}
        return (
            embeddings.exists(self.store, info, entry)
            and scores_of(self.store, scores, info, entry).num_rows > 0
            and self._records.is_of(
                EMBEDDINGS, cell.partition, embeddings.inputs(info, entry), upstream
            )
            and self._records.is_of(SCORES, cell.partition, scores.inputs(info, entry))
        )

    def _leaderboard(self) -> None:
        stage = LeaderboardStage()
        there = self.store.exists(PAGE_KEY) and is_current(self.store, stage)
        if not (there and self._records.is_of(LEADERBOARD, None, stage.inputs(self.store))):
            self._execute([LEADERBOARD], None, None)

    def _execute(
        self, keys: list[dg.AssetKey], config: dg.Config | None, partition: str | None
    ) -> dg.ExecuteInProcessResult:
        return materialize(self._job, self.instance, keys, config, partition, report=self._report)
