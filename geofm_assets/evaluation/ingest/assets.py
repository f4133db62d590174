"""Evaluation datasets as a Dagster asset."""

import os
from collections.abc import Iterator
from typing import Any

import dagster as dg

from geofm_assets.core.assets import check_specs, emit_partitions
from geofm_assets.core.progress import notify
from geofm_assets.core.resources import StoreResource
from geofm_assets.evaluation.ingest.stages import EvaluationDatasetStage

DATASET_KEY = dg.AssetKey(["evaluation", "dataset"])
EVAL_DATASETS = dg.DynamicPartitionsDefinition(name="eval_datasets")


class IngestConfig(dg.Config):
    """Options of an ingest, as `geofm evals ingest` has them; what is left out is inferred.

    A dataset that was ingested before, or lies where GEOFM_EVAL_DATASETS points, needs none.

    Attributes:
        source: an rslearn dataset, a folder or URL.
        display_name: for people.
        task_type: classification, multilabel, segmentation, window_regression or
            per_pixel_regression.
        modalities: those to keep.
        temporal_range: first and last time, ISO, of images to keep.
        property_name: of a vector label layer, the property that is the label.
        classes: names in order of class id.
        label_layer: the layer that holds the labels.
        label_nodata: value of a raster label that is no label.
        groups: rslearn groups to keep.
        tags: `key=value` or `key` of window options a window must have.
        split_property: window option that says a window's split.
        split_rule: kept, spatial_blocks or random.
        block_m: side of a spatial block in metres.
        seed: of splits and subsets.
        max_samples: at most so many windows.
        sentinel1_unit: decibels or linear.
        target_unit: of a regression's target.
        licence: of the data.
        citation: of the data.
        simulated: whether the data was simulated.
        overwrite: replace what is registered under this name.
    """

    source: str | None = None
    display_name: str | None = None
    task_type: str | None = None
    modalities: list[str] | None = None
    temporal_range: list[str] | None = None
    property_name: str | None = None
    classes: list[str] | None = None
    label_layer: str | None = None
    label_nodata: float | None = None
    groups: list[str] | None = None
    tags: list[str] | None = None
    split_property: str | None = None
    split_rule: str | None = None
    block_m: float | None = None
    seed: int | None = None
    max_samples: int | None = None
    sentinel1_unit: str | None = None
    target_unit: str | None = None
    licence: str | None = None
    citation: str | None = None
    simulated: bool | None = None
    overwrite: bool | None = None

    def said(self) -> dict[str, Any]:
        """The fields that were set."""
        return {name: value for name, value in self.model_dump().items() if value is not None}


def build_dataset_assets() -> list[dg.AssetsDefinition]:
    """The asset of evaluation datasets; a partition is a dataset's name in the registry."""
    stage = EvaluationDatasetStage(os.environ)

    @dg.asset(
        key=DATASET_KEY,
        partitions_def=EVAL_DATASETS,
        backfill_policy=dg.BackfillPolicy.multi_run(1),
        group_name="evaluation",
        kinds={"parquet", "rslearn"},
        code_version=stage.code_version,
        output_required=False,
        check_specs=check_specs(
            DATASET_KEY, "schema", "valid_source", partitions_def=EVAL_DATASETS
        ),
        description="An rslearn dataset validated, copied, split, packed and registered, with the "
        "statistics of its bands and contact sheets of its classes.",
    )
    def dataset(
        context: dg.AssetExecutionContext, config: IngestConfig, store: StoreResource
    ) -> Iterator[Any]:
        opened, said = store.open(), config.said()

        def report(done: int, total: int, note: str) -> None:
            notify(done, total, note)

        yield from emit_partitions(
            context,
            lambda name: stage.make(opened, name, said, report),
            code_version=stage.code_version,
        )

    return [dataset]
