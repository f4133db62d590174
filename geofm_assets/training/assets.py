"""Split manifest, checkpoints and predictions as Dagster assets."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from geofm_assets.core.assets import PartitionConfig, check_specs, emit, emit_partitions
from geofm_assets.core.progress import notify
from geofm_assets.core.resources import StoreResource, gpu_step
from geofm_assets.models.resources import ModelHubResource
from geofm_assets.training.stages import (
    CheckpointStage,
    ManifestStage,
    PredictionsStage,
    TrainingTask,
    experiments_partitions,
)


def experiments_definition(task: TrainingTask) -> dg.DynamicPartitionsDefinition:
    """Experiments; a name added in the UI is read as a grid point."""
    return dg.DynamicPartitionsDefinition(name=experiments_partitions(task.name))


def build_training_assets(task: TrainingTask) -> list[dg.AssetsDefinition]:
    """The training assets of a task."""
    manifest_stage, checkpoint_stage = ManifestStage(task), CheckpointStage(task)
    predictions_stage = PredictionsStage(task)
    experiments = experiments_definition(task)

    def key(name: str) -> dg.AssetKey:
        return dg.AssetKey([task.name, name])

    manifest_key, checkpoint_key = key("split_manifest"), key("checkpoint")
    predictions_key = key("predictions")

    @dg.asset(
        key=manifest_key,
        deps=[
            key("chips"),
            key("sampling_plan"),
            *([key("masks")] if task.segments else []),
        ],
        group_name=task.name,
        kinds={"parquet"},
        code_version=manifest_stage.code_version,
        check_specs=[
            *check_specs(manifest_key, "schema", "model_input", "leakage", "class_coverage"),
            *check_specs(manifest_key, "imagery_coverage", blocking=False),
        ],
        description="Every window with its split and its place in the chips. Training depends "
        "on this table, not on the cells.",
    )
    def split_manifest(
        context: dg.AssetExecutionContext, store: StoreResource
    ) -> Iterator[dg.MaterializeResult[Any]]:
        opened = store.open()
        yield from emit(context, lambda: manifest_stage.make(opened))

    @dg.asset(
        key=checkpoint_key,
        deps=[manifest_key],
        partitions_def=experiments,
        backfill_policy=dg.BackfillPolicy.multi_run(1),
        group_name=task.name,
        kinds={"lightning", "pytorch"},
        code_version=checkpoint_stage.code_version,
        output_required=False,
        **gpu_step(task.training.devices_of_step),
        check_specs=check_specs(checkpoint_key, "weights", partitions_def=experiments),
        description="A fine-tuned model per experiment, with proof of the weights it started "
        "from. To add an experiment, add a partition such as "
        "olmoearth_v1_2_nano-s2-ps4-ws8-t12.",
    )
    def checkpoint(
        context: dg.AssetExecutionContext,
        config: PartitionConfig,
        store: StoreResource,
        hub: ModelHubResource,
    ) -> Iterator[Any]:
        opened = store.open()

        def report(done: int, total: int, note: str) -> None:
            context.log.info(f"epoch {done}/{total} {note}")
            notify(done, total, f"epoch {done} {note}")

        yield from emit_partitions(
            context,
            lambda e: checkpoint_stage.make(opened, hub.open(), e, config.force, report),
            code_version=checkpoint_stage.code_version,
        )

    @dg.asset(
        key=predictions_key,
        deps=[checkpoint_key, manifest_key],
        partitions_def=experiments,
        backfill_policy=dg.BackfillPolicy.multi_run(1),
        group_name=task.name,
        kinds={"pytorch", "parquet"},
        code_version=predictions_stage.code_version,
        output_required=False,
        **gpu_step(),
        check_specs=check_specs(
            predictions_key, "schema", "every_window", partitions_def=experiments
        ),
        description="One row a window with its truth, probabilities, split, collection and cell "
        "(of a segmentation head, with its pixels counted by class): every metric is a query over "
        "these rows.",
    )
    def predictions(
        context: dg.AssetExecutionContext, config: PartitionConfig, store: StoreResource
    ) -> Iterator[Any]:
        opened = store.open()
        yield from emit_partitions(
            context,
            lambda e: predictions_stage.make(opened, e, config.force),
            code_version=predictions_stage.code_version,
        )

    return [split_manifest, checkpoint, predictions]
