"""Embeddings, probe scores and the leaderboard as Dagster assets: a grid of models and datasets."""

from collections.abc import Iterator
from typing import Any, cast

import dagster as dg
from pydantic import ValidationError

from geofm_assets.core.assets import check_specs, emit, emit_partitions
from geofm_assets.core.errors import ConfigError
from geofm_assets.core.outcome import Outcome
from geofm_assets.core.progress import notify
from geofm_assets.core.resources import StoreResource, gpu_step
from geofm_assets.core.store import Store
from geofm_assets.evaluation.ingest.assets import DATASET_KEY, EVAL_DATASETS
from geofm_assets.evaluation.registry.registry import Registry
from geofm_assets.evaluation.sweeps.partitions import DATASETS, MODELS, Cell
from geofm_assets.evaluation.sweeps.run import OpenModel, named, open_model, open_samples
from geofm_assets.evaluation.sweeps.settings import EVERYTHING, SweepSettings
from geofm_assets.evaluation.sweeps.stages import (
    EmbeddingsStage,
    LeaderboardStage,
    ProbeScoresStage,
)
from geofm_assets.models.hub import ModelHub
from geofm_assets.models.resources import ModelHubResource

GROUP = "evaluation"
models_definition = dg.DynamicPartitionsDefinition(name=MODELS)
grid_definition = dg.MultiPartitionsDefinition(
    {"dataset": EVAL_DATASETS, "model": models_definition}
)


class SweepConfig(dg.Config):
    """Settings of a sweep that can be changed at launch.

    Attributes:
        force: make the partition again even if its inputs have not changed.
        sweep: `full`, `lr-only` or `defaults`.
        patch_size: pixels of a token's side; 0 for the model's own.
        subset: percentage of the train samples probes learn from.
        int8: probe embeddings kept as int8.
        seed: of probes and bootstrap.
    """

    force: bool = False
    sweep: str = "full"
    patch_size: int = 0
    subset: float = EVERYTHING
    int8: bool = False
    seed: int = 0

    def settings(self) -> SweepSettings:
        """As the stages take them.

        Raises:
            ConfigError: a value is out of range; names the field.
        """
        given = {
            "sweep": self.sweep,
            "patch_size": self.patch_size or None,
            "subset": self.subset,
            "precision": "int8" if self.int8 else "float",
            "seed": self.seed,
        }
        try:
            return SweepSettings.model_validate(given)
        except ValidationError as error:
            first = error.errors()[0]
            raise ConfigError(
                f"{first['loc'][0]}: {first['msg']}",
                where="the launch's config",
                fix="Correct it and launch again",
            ) from error

    @classmethod
    def of(cls, settings: SweepSettings, force: bool) -> "SweepConfig":
        """The config that asks for these settings.

        Raises:
            ConfigError: a setting that no launch can change has another value than its own.
        """
        config = cls(
            force=force,
            sweep=settings.sweep,
            patch_size=settings.patch_size or 0,
            subset=settings.subset,
            int8=settings.precision == "int8",
            seed=settings.seed,
        )
        if config.settings() != settings:
            raise ConfigError(
                "epochs, batch_size, eval_every and resamples can be changed in Python only",
                where="the sweep's settings",
                fix="Leave them out, or call run_sweep",
            )
        return config


def build_sweep_assets(opening: OpenModel = open_model) -> list[dg.AssetsDefinition]:
    """The assets of the grid.

    Args:
        opening: of models; whoever materializes many cells in one process gives a `LastModel`.
    """
    embeddings_stage, scores_stage = EmbeddingsStage(), ProbeScoresStage()
    leaderboard_stage = LeaderboardStage()
    embeddings_key, scores_key = (
        dg.AssetKey([GROUP, "embeddings"]),
        dg.AssetKey([GROUP, "probe_scores"]),
    )
    leaderboard_key = dg.AssetKey([GROUP, "leaderboard"])
    grid = cast("dg.PartitionsDefinition[str]", grid_definition)
    of_dataset = dg.AssetDep(
        DATASET_KEY,
        partition_mapping=dg.MultiToSingleDimensionPartitionMapping("dataset"),
    )

    @dg.asset(
        key=embeddings_key,
        deps=[of_dataset],
        partitions_def=grid,
        backfill_policy=dg.BackfillPolicy.multi_run(1),
        group_name=GROUP,
        kinds={"pytorch"},
        code_version=embeddings_stage.code_version,
        output_required=False,
        **gpu_step(),
        check_specs=check_specs(embeddings_key, "encodings_once", "weights", partitions_def=grid),
        description="Every sample of a dataset through a frozen model, once for each "
        "normalisation; mean and max pooling from the same pass. To add a model, add a partition "
        "such as presto@path:/weights or olmoearth_v1_2_nano.",
    )
    def embeddings(
        context: dg.AssetExecutionContext,
        config: SweepConfig,
        store: StoreResource,
        hub: ModelHubResource,
    ) -> Iterator[Any]:
        opened, settings = store.open(), config.settings()
        yield from emit_partitions(
            context,
            lambda key: _encode(opened, opening, hub.open(), key, settings, config.force),
            code_version=embeddings_stage.code_version,
        )

    @dg.asset(
        key=scores_key,
        deps=[embeddings_key],
        partitions_def=grid,
        backfill_policy=dg.BackfillPolicy.multi_run(1),
        group_name=GROUP,
        kinds={"pytorch", "parquet"},
        code_version=scores_stage.code_version,
        output_required=False,
        check_specs=[
            *check_specs(scores_key, "schema", partitions_def=grid),
            *check_specs(scores_key, "seen_in_training", partitions_def=grid, blocking=False),
        ],
        description="kNN and linear probes on cached embeddings: every learning rate, "
        "normalisation and pooling in one batch, the best by validation, test once.",
    )
    def probe_scores(
        context: dg.AssetExecutionContext,
        config: SweepConfig,
        store: StoreResource,
        hub: ModelHubResource,
    ) -> Iterator[Any]:
        opened, settings = store.open(), config.settings()
        yield from emit_partitions(
            context,
            lambda key: _probe(opened, opening, hub.open(), key, settings, config.force),
            code_version=scores_stage.code_version,
        )

    @dg.asset(
        key=leaderboard_key,
        deps=[scores_key],
        group_name=GROUP,
        kinds={"html", "parquet"},
        code_version=leaderboard_stage.code_version,
        check_specs=check_specs(leaderboard_key, "schema"),
        description="Models by tasks with intervals, the settings validation chose, and what "
        "produced each number: one HTML file that needs no network.",
    )
    def leaderboard(
        context: dg.AssetExecutionContext, store: StoreResource
    ) -> Iterator[dg.MaterializeResult[Any]]:
        opened = store.open()
        yield from emit(context, lambda: leaderboard_stage.make(opened))

    return [embeddings, probe_scores, leaderboard]


def register_models(instance: dg.DagsterInstance, names: list[str]) -> None:
    """Make models partitions of the grid; those there already stay."""
    known = set(instance.get_dynamic_partitions(MODELS))
    instance.add_dynamic_partitions(MODELS, [name for name in names if name not in known])


def register_datasets(instance: dg.DagsterInstance, store: Store) -> None:
    """Make every registered dataset a partition of the grid."""
    known = set(instance.get_dynamic_partitions(DATASETS))
    names = Registry(store).names()
    instance.add_dynamic_partitions(DATASETS, [name for name in names if name not in known])


def _encode(
    store: Store,
    opening: OpenModel,
    hub: ModelHub,
    partition: str,
    settings: SweepSettings,
    force: bool,
) -> Outcome:
    cell = Cell.parse(partition)
    entry = Registry(store).get(cell.dataset)
    model = opening(store, cell.model, hub)
    samples = open_samples(store, entry)
    return EmbeddingsStage(settings).make(store, model, samples, entry, force, named(notify, cell))


def _probe(
    store: Store,
    opening: OpenModel,
    hub: ModelHub,
    partition: str,
    settings: SweepSettings,
    force: bool,
) -> Outcome:
    cell = Cell.parse(partition)
    entry = Registry(store).get(cell.dataset)
    info = opening(store, cell.model, hub).info
    samples = open_samples(store, entry)
    return ProbeScoresStage(settings).make(store, info, samples, entry, force, named(notify, cell))
