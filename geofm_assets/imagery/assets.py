"""Dataset configuration, rasters and chips as Dagster assets."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from geofm_assets.core.assets import PartitionConfig, check_specs, emit, emit_partitions
from geofm_assets.core.compute import IMAGERY_POOL
from geofm_assets.core.resources import StoreResource
from geofm_assets.imagery.resources import ImagerySource
from geofm_assets.imagery.stages import ChipsStage, DatasetStage, ImageryTask, RastersStage
from geofm_assets.sampling.assets import cells_definition


def build_imagery_assets(task: ImageryTask) -> list[dg.AssetsDefinition]:
    """The imagery assets of a task."""
    cells = cells_definition(task.sampling)
    dataset, rasters_stage, chips_stage = DatasetStage(task), RastersStage(task), ChipsStage(task)

    def key(name: str) -> dg.AssetKey:
        return dg.AssetKey([task.name, name])

    dataset_asset, rasters_key, chips_key = key("dataset_config"), key("rasters"), key("chips")

    @dg.asset(
        key=dataset_asset,
        group_name=task.name,
        kinds={"rslearn"},
        code_version=dataset.code_version,
        check_specs=check_specs(dataset_asset, "band_contract"),
        description="The rslearn dataset's layers, and whether the imagery source keeps the "
        "band contract: order, dtype, scale, nodata, physical range.",
    )
    def dataset_config(
        context: dg.AssetExecutionContext, store: StoreResource, imagery: ImagerySource
    ) -> Iterator[dg.MaterializeResult[Any]]:
        opened = store.open()
        yield from emit(context, lambda: dataset.make(opened, imagery))

    @dg.asset(
        key=rasters_key,
        deps=[key("window_group"), dataset_asset],
        partitions_def=cells,
        backfill_policy=dg.BackfillPolicy.multi_run(32),
        group_name=task.name,
        kinds={"rslearn", "geotiff"},
        code_version=rasters_stage.code_version,
        output_required=False,
        pool=IMAGERY_POOL,
        check_specs=check_specs(rasters_key, "schema", "band_contract", partitions_def=cells),
        description="Monthly Sentinel-2 and Sentinel-1 mosaics of the cell's windows, oldest "
        "month first, by rslearn's prepare, ingest and materialize.",
    )
    def rasters(
        context: dg.AssetExecutionContext,
        config: PartitionConfig,
        store: StoreResource,
        imagery: ImagerySource,
    ) -> Iterator[Any]:
        opened = store.open()
        yield from emit_partitions(
            context,
            lambda cell: rasters_stage.make(opened, cell, config.force),
            code_version=rasters_stage.code_version,
            alone=True,  # rslearn's scratch dataset of a cell lies in one place
        )

    @dg.asset(
        key=chips_key,
        deps=[rasters_key],
        partitions_def=cells,
        backfill_policy=dg.BackfillPolicy.multi_run(16),
        group_name=task.name,
        kinds={"numpy"},
        code_version=chips_stage.code_version,
        output_required=False,
        check_specs=check_specs(chips_key, "files_verified", partitions_def=cells),
        description="The cell's rasters packed for training: a few memory-mappable arrays with "
        "real timestamps and missing-month masks (docs/chips.md).",
    )
    def chips(
        context: dg.AssetExecutionContext, config: PartitionConfig, store: StoreResource
    ) -> Iterator[Any]:
        opened = store.open()
        yield from emit_partitions(
            context,
            lambda cell: chips_stage.make(opened, cell, config.force),
            code_version=chips_stage.code_version,
        )

    return [dataset_config, rasters, chips]
