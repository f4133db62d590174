"""Window groups and masks per H3 cell as Dagster assets."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from geofm_assets.core.assets import PartitionConfig, check_specs, emit_partitions
from geofm_assets.core.resources import StoreResource
from geofm_assets.sampling.assets import cells_definition
from geofm_assets.sampling.task import SamplingTask
from geofm_assets.windows.config import MasksConfig, WindowsConfig
from geofm_assets.windows.mask_stage import MasksStage
from geofm_assets.windows.stages import WindowGroupStage


def build_window_assets(task: SamplingTask, windows: WindowsConfig) -> list[dg.AssetsDefinition]:
    """The window assets of a task."""
    stage = WindowGroupStage(task, windows)
    cells = cells_definition(task)
    key = dg.AssetKey(task.asset_path("window_group"))

    @dg.asset(
        key=key,
        deps=[
            dg.AssetKey(task.asset_path("filtered_points")),
            dg.AssetKey(task.asset_path("dataset_config")),
        ],
        partitions_def=cells,
        backfill_policy=dg.BackfillPolicy.multi_run(64),
        group_name=task.name,
        kinds={"rslearn"},
        code_version=stage.code_version,
        output_required=False,
        check_specs=check_specs(key, "schema", partitions_def=cells),
        description="rslearn windows around the cell's points, with their label layer. The "
        "rslearn group is the cell.",
    )
    def window_group(
        context: dg.AssetExecutionContext, config: PartitionConfig, store: StoreResource
    ) -> Iterator[Any]:
        make = stage.maker(store.open(), sorted(context.partition_keys), config.force)
        yield from emit_partitions(
            context,
            make,
            code_version=stage.code_version,
        )

    return [window_group]


def build_mask_assets(
    task: SamplingTask, windows: WindowsConfig, masks: MasksConfig
) -> list[dg.AssetsDefinition]:
    """The mask assets of a task whose labels are fire perimeters."""
    stage = MasksStage(task, windows, masks)
    cells = cells_definition(task)
    key = dg.AssetKey(task.asset_path("masks"))
    every_year = dg.AssetDep(
        dg.AssetKey(task.source.asset_path("perimeters")),
        partition_mapping=dg.AllPartitionMapping(),
    )

    @dg.asset(
        key=key,
        deps=[dg.AssetKey(task.asset_path("window_group")), every_year],
        partitions_def=cells,
        backfill_policy=dg.BackfillPolicy.multi_run(64),
        group_name=task.name,
        kinds={"parquet"},
        code_version=stage.code_version,
        output_required=False,
        check_specs=check_specs(key, "schema", "centres_agree", partitions_def=cells),
        description="The class of every pixel of the cell's windows: 1 burnt, 0 unburnt, 255 where "
        "the perimeters do not say.",
    )
    def mask_group(
        context: dg.AssetExecutionContext, config: PartitionConfig, store: StoreResource
    ) -> Iterator[Any]:
        opened = store.open()
        yield from emit_partitions(
            context,
            lambda cell: stage.make(opened, cell, config.force),
            code_version=stage.code_version,
        )

    return [mask_group]
