"""Baselines, scores, the score table and the task's evaluation dataset as Dagster assets."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from geofm_assets.core.assets import PartitionConfig, check_specs, emit, emit_partitions
from geofm_assets.core.outcome import Outcome
from geofm_assets.core.progress import notify
from geofm_assets.core.resources import StoreResource
from geofm_assets.evaluation.comparison_stage import ComparisonStage
from geofm_assets.evaluation.ingest.assets import record_dataset, register_dataset
from geofm_assets.evaluation.ingest.task import TaskDatasetStage
from geofm_assets.evaluation.stages import BaselinesStage, ScoresStage, ScoreTableStage
from geofm_assets.training.assets import experiments_definition
from geofm_assets.training.stages import TrainingTask


def build_evaluation_assets(task: TrainingTask) -> list[dg.AssetsDefinition]:
    """The evaluation assets of a task."""
    scores_stage, baselines_stage, table_stage, comparison_stage, dataset_stage = (
        ScoresStage(task),
        BaselinesStage(task),
        ScoreTableStage(task),
        ComparisonStage(task),
        TaskDatasetStage(task),
    )

    def key(name: str) -> dg.AssetKey:
        return dg.AssetKey([task.name, name])

    experiments = experiments_definition(task)
    scores_key, baselines_key, table_key, comparison_key, dataset_key = (
        key("eval_scores"),
        key("baseline_scores"),
        key("score_table"),
        key("comparison"),
        key("evaluation_dataset"),
    )

    @dg.asset(
        key=scores_key,
        deps=[key("predictions")],
        partitions_def=experiments,
        backfill_policy=dg.BackfillPolicy.multi_run(64),
        group_name=task.name,
        kinds={"parquet"},
        code_version=scores_stage.code_version,
        output_required=False,
        check_specs=check_specs(scores_key, "schema", partitions_def=experiments),
        description="Accuracy, macro-F1 and per-class precision, recall and F1 of an experiment, "
        "per split, each with a bootstrap interval. Of a segmentation head they are over pixels, "
        "with IoU, and by fire size and year where labels are perimeters.",
    )
    def eval_scores(
        context: dg.AssetExecutionContext, config: PartitionConfig, store: StoreResource
    ) -> Iterator[Any]:
        opened = store.open()
        yield from emit_partitions(
            context,
            lambda e: scores_stage.make(opened, e, config.force),
            code_version=scores_stage.code_version,
        )

    @dg.asset(
        key=baselines_key,
        deps=[key("split_manifest")],
        group_name=task.name,
        kinds={"scikitlearn"},
        code_version=baselines_stage.code_version,
        check_specs=check_specs(baselines_key, "schema"),
        description="Majority class and per-pixel rules on the same split, for each head of the "
        "task: what an encoder has to beat.",
    )
    def baseline_scores(
        context: dg.AssetExecutionContext, store: StoreResource
    ) -> Iterator[dg.MaterializeResult[Any]]:
        opened = store.open()
        yield from emit(context, lambda: baselines_stage.make(opened))

    @dg.asset(
        key=table_key,
        deps=[scores_key, baselines_key],
        group_name=task.name,
        kinds={"parquet"},
        code_version=table_stage.code_version,
        check_specs=check_specs(table_key, "schema"),
        description="Every experiment beside the baselines.",
    )
    def score_table(
        context: dg.AssetExecutionContext, store: StoreResource
    ) -> Iterator[dg.MaterializeResult[Any]]:
        opened = store.open()
        yield from emit(context, lambda: table_stage.make(opened))

    @dg.asset(
        key=comparison_key,
        deps=[scores_key, table_key],
        group_name=task.name,
        kinds={"parquet"},
        code_version=comparison_stage.code_version,
        check_specs=check_specs(comparison_key, "schema"),
        description="Set-ups compared: every experiment with its axes, score and training, and "
        "for each axis the paired difference between its values, with intervals and a picture.",
    )
    def comparison(
        context: dg.AssetExecutionContext, store: StoreResource
    ) -> Iterator[dg.MaterializeResult[Any]]:
        opened = store.open()
        yield from emit(context, lambda: comparison_stage.make(opened))

    @dg.asset(
        key=dataset_key,
        deps=[key("split_manifest")],
        group_name=task.name,
        kinds={"parquet", "rslearn"},
        code_version=dataset_stage.code_version,
        check_specs=check_specs(dataset_key, "schema", "valid_source"),
        description="The task's windows and splits, registered as an evaluation dataset under the "
        "task's name: any model can be swept on it, fine-tuned checkpoints too.",
    )
    def evaluation_dataset(
        context: dg.AssetExecutionContext, store: StoreResource
    ) -> Iterator[dg.MaterializeResult[Any]]:
        opened, made = store.open(), list[Outcome]()

        def work() -> Outcome:
            made.append(dataset_stage.make(opened, notify))
            return made[0]

        yield from emit(context, work)
        # The grid hangs on evaluation/dataset, whose other partitions have nothing to do with
        # this task: so the link to what made this one is in its record, not between the assets.
        register_dataset(context.instance, task.name)
        made_by = dg.MetadataValue.asset(dataset_key)
        record_dataset(context.instance, context.log_event, task.name, made[0], made_by=made_by)

    return [eval_scores, baseline_scores, score_table, comparison, evaluation_dataset]
