"""Maps as Dagster assets, a partition for each request."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from geofm_assets.core.assets import PartitionConfig, check_specs, emit_partitions
from geofm_assets.core.progress import notify
from geofm_assets.core.resources import StoreResource, gpu_step
from geofm_assets.imagery.resources import ImagerySource
from geofm_assets.prediction.quality import CHECKS
from geofm_assets.prediction.stages import MapStage, requests_partitions
from geofm_assets.prediction.truth_stage import MapScoresStage, has_truth
from geofm_assets.training.stages import TrainingTask


def map_key(task: str) -> dg.AssetKey:
    """Key of a task's maps."""
    return dg.AssetKey([task, "map"])


def scores_key(task: str) -> dg.AssetKey:
    """Key of the scores of a task's maps."""
    return dg.AssetKey([task, "map_scores"])


def build_prediction_assets(task: TrainingTask) -> list[dg.AssetsDefinition]:
    """The maps of a task."""
    stage, key = MapStage(task), map_key(task.name)
    requests = dg.DynamicPartitionsDefinition(name=requests_partitions(task.name))
    # a map uses one experiment's checkpoint, which its request names
    of_any = dg.AssetDep(
        dg.AssetKey([task.name, "checkpoint"]), partition_mapping=dg.AllPartitionMapping()
    )

    @dg.asset(
        key=key,
        deps=[of_any],
        partitions_def=requests,
        backfill_policy=dg.BackfillPolicy.multi_run(1),
        group_name=task.name,
        kinds={"pytorch", "geotiff"},
        code_version=stage.code_version,
        output_required=False,
        **gpu_step(),
        check_specs=[
            *check_specs(key, "schema", "every_tile", partitions_def=requests),
            *check_specs(key, *CHECKS, partitions_def=requests, blocking=False),
        ],
        description="The area of a request, mapped tile by tile in each UTM zone. `geofm predict` "
        "adds a partition for each request; a run that died goes on with its next tile.",
    )
    def area_map(
        context: dg.AssetExecutionContext,
        config: PartitionConfig,
        store: StoreResource,
        imagery: ImagerySource,
    ) -> Iterator[Any]:
        opened = store.open()

        def report(done: int, total: int, note: str) -> None:
            context.log.info(f"tile {done}/{total} {note}")
            notify(done, total, note)

        yield from emit_partitions(
            context,
            lambda map_id: stage.make(opened, imagery, map_id, config.force, report),
            code_version=stage.code_version,
            alone=True,  # its mosaics and polygons are put together in files of fixed names
        )

    return [area_map, *([_map_scores(task)] if has_truth(task) else [])]


def _map_scores(task: TrainingTask) -> dg.AssetsDefinition:
    """Scores of a task's maps against known fires."""
    stage, key = MapScoresStage(task), scores_key(task.name)
    requests = dg.DynamicPartitionsDefinition(name=requests_partitions(task.name))
    every_year = dg.AssetDep(
        dg.AssetKey(task.imagery.sampling.source.asset_path("perimeters")),
        partition_mapping=dg.AllPartitionMapping(),
    )

    @dg.asset(
        key=key,
        deps=[map_key(task.name), every_year],
        partitions_def=requests,
        backfill_policy=dg.BackfillPolicy.multi_run(64),
        group_name=task.name,
        kinds={"parquet"},
        code_version=stage.code_version,
        output_required=False,
        check_specs=[
            *check_specs(key, "schema", partitions_def=requests),
            *check_specs(key, "polarity", partitions_def=requests, blocking=False),
        ],
        description="Each fire of a request beside its map: IoU, commission, omission and hectares "
        "where the map has data, with an interval over fires; fires of other times are left out "
        "with a reason.",
    )
    def map_scores(
        context: dg.AssetExecutionContext, config: PartitionConfig, store: StoreResource
    ) -> Iterator[Any]:
        opened = store.open()
        yield from emit_partitions(
            context,
            lambda map_id: stage.make(opened, map_id, config.force),
            code_version=stage.code_version,
        )

    return map_scores
