"""Candidates per collection, the sampling plan, and filtered points per H3 cell, as assets."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from geofm_assets.core.assets import PartitionConfig, check_specs, emit, emit_partitions
from geofm_assets.core.outcome import Outcome
from geofm_assets.core.resources import StoreResource
from geofm_assets.labels.assets import collections_definition
from geofm_assets.sampling.stages import CandidatesStage, FilteredPointsStage, PlanStage
from geofm_assets.sampling.task import SamplingTask, cells_partitions, planned_cells


def cells_definition(task: SamplingTask) -> dg.DynamicPartitionsDefinition:
    """The partition set of a task's H3 cells."""
    return dg.DynamicPartitionsDefinition(name=cells_partitions(task.name))


def build_sampling_assets(task: SamplingTask) -> list[dg.AssetsDefinition]:
    """The sampling assets of a task."""
    candidates_stage, plan_stage, points_stage = (
        CandidatesStage(task),
        PlanStage(task),
        FilteredPointsStage(task),
    )
    candidates_key, plan_key, points_key = (
        dg.AssetKey(task.asset_path(name))
        for name in ("candidates", "sampling_plan", "filtered_points")
    )
    cells, collections = cells_definition(task), collections_definition(task.source)

    @dg.asset(
        key=candidates_key,
        deps=[dg.AssetKey(task.source.asset_path("reference_points"))],
        partitions_def=collections,
        backfill_policy=dg.BackfillPolicy.multi_run(32),
        group_name=task.name,
        kinds={"parquet"},
        code_version=candidates_stage.code_version,
        output_required=False,
        check_specs=check_specs(candidates_key, "schema", partitions_def=collections),
        description="Rows of one collection that could be in the sample: label rule applied, at "
        "most per_cell of each H3 cell by keyed hash. Small, and mergeable with the others.",
    )
    def candidates(
        context: dg.AssetExecutionContext, config: PartitionConfig, store: StoreResource
    ) -> Iterator[Any]:
        opened = store.open()
        yield from emit_partitions(
            context,
            lambda c: candidates_stage.make(opened, c, config.force),
            code_version=candidates_stage.code_version,
        )

    @dg.asset(
        key=plan_key,
        deps=[candidates_key],
        group_name=task.name,
        kinds={"parquet"},
        code_version=plan_stage.code_version,
        check_specs=check_specs(plan_key, "schema", "split_distance"),
        description="The sample of all accepted collections, its train/val/test split by whole "
        "H3 cells or blocks, and a digest per cell that says which cells really changed.",
    )
    def sampling_plan(
        context: dg.AssetExecutionContext, store: StoreResource
    ) -> Iterator[dg.MaterializeResult[Any]]:
        opened = store.open()

        def work() -> Outcome:
            outcome = plan_stage.make(opened)
            known = set(context.instance.get_dynamic_partitions(cells_partitions(task.name)))
            new = [c for c in planned_cells(opened, task.name) if c not in known]
            context.instance.add_dynamic_partitions(cells_partitions(task.name), new)
            return outcome

        yield from emit(context, work)

    @dg.asset(
        key=points_key,
        deps=[plan_key],
        partitions_def=cells,
        backfill_policy=dg.BackfillPolicy.multi_run(128),
        group_name=task.name,
        kinds={"parquet"},
        code_version=points_stage.code_version,
        output_required=False,
        check_specs=check_specs(
            points_key,
            "schema",
            "inside_cell",
            "at_most_per_cell",
            partitions_def=cells,
        ),
        description="The sampled points of one H3 cell, with class and split.",
    )
    def filtered_points(
        context: dg.AssetExecutionContext, config: PartitionConfig, store: StoreResource
    ) -> Iterator[Any]:
        opened = store.open()
        yield from emit_partitions(
            context,
            lambda cell: points_stage.make(opened, cell, config.force),
            code_version=points_stage.code_version,
        )

    return [candidates, sampling_plan, filtered_points]
