"""Evaluation datasets as a Dagster asset."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import dagster as dg

from geofm_assets.core.assets import check_specs, emit_partitions
from geofm_assets.core.events import record
from geofm_assets.core.outcome import Outcome
from geofm_assets.core.progress import notify
from geofm_assets.core.resources import StoreResource
from geofm_assets.evaluation.ingest.options import IngestOptions
from geofm_assets.evaluation.ingest.stages import EvaluationDatasetStage, Ingest, ingest_now
from geofm_assets.evaluation.sweeps.partitions import DATASETS

DATASET_KEY = dg.AssetKey(["evaluation", "dataset"])
EVAL_DATASETS = dg.DynamicPartitionsDefinition(name=DATASETS)


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
        label_nodata: value of a label of pixels that is no label.
        label_outside: class of pixels outside all polygons.
        groups: rslearn groups to keep.
        tags: `key=value` or `key` of window options a window must have.
        split_property: window option that says a window's split.
        split_rule: kept, spatial_blocks or random.
        block_m: side of a spatial block in metres.
        seed: of splits and subsets.
        subsets: percentages of train to offer.
        max_samples: at most so many windows.
        sentinel1_unit: decibels or linear.
        target_unit: of a regression's target.
        licence: of the data.
        citation: of the data.
        simulated: whether the data was simulated.
        overwrite: replace what is registered under this name.
        no_register: keep it out of the registry.
        remember: what is not said here is what the last ingest, or evaluation.yaml, said.
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
    label_outside: str | None = None
    groups: list[str] | None = None
    tags: list[str] | None = None
    split_property: str | None = None
    split_rule: str | None = None
    block_m: float | None = None
    seed: int | None = None
    subsets: list[int] | None = None
    max_samples: int | None = None
    sentinel1_unit: str | None = None
    target_unit: str | None = None
    licence: str | None = None
    citation: str | None = None
    simulated: bool | None = None
    overwrite: bool | None = None
    no_register: bool = False
    remember: bool = True

    @classmethod
    def of(cls, options: IngestOptions) -> "IngestConfig":
        """The config that says what these options say, and nothing else."""
        said = options.model_dump(
            mode="json",
            exclude={"name", "register", "tags"},
            exclude_unset=True,
            exclude_none=True,
        )
        if options.tags is not None:
            said["tags"] = [k if v is None else f"{k}={v}" for k, v in options.tags.items()]
        return cls(**said, no_register=not options.register, remember=False)

    def said(self) -> dict[str, Any]:
        """The fields of IngestOptions that were set."""
        given = self.model_dump(exclude={"no_register", "remember"})
        said = {name: value for name, value in given.items() if value is not None}
        return {**said, "register": False} if self.no_register else said


def build_dataset_assets(ingest: Ingest = ingest_now) -> list[dg.AssetsDefinition]:
    """The asset of evaluation datasets; a partition is a dataset's name in the registry.

    Args:
        ingest: does the work.
    """
    stage = EvaluationDatasetStage(os.environ, ingest)

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
        yield from emit_partitions(
            context,
            lambda name: stage.make(opened, name, said, notify, config.remember),
            code_version=stage.code_version,
        )

    return [dataset]


def register_dataset(instance: dg.DagsterInstance, name: str) -> bool:
    """Make a dataset a partition; whether it was none before."""
    if name in instance.get_dynamic_partitions(DATASETS):
        return False
    instance.add_dynamic_partitions(DATASETS, [name])
    return True


def record_dataset(
    instance: dg.DagsterInstance,
    log: Callable[[dg.AssetMaterialization | dg.AssetCheckEvaluation], None],
    name: str,
    outcome: Outcome,
    **metadata: Any,
) -> None:
    """Record a dataset that was made outside a step of its asset.

    Args:
        instance: that `log` writes to.
        log: writes an event.
        name: of the dataset, which is its partition.
        outcome: what making it came to.
        metadata: that people should see besides.
    """
    shown = replace(outcome, metadata={**outcome.metadata, **metadata})
    record(instance, log, DATASET_KEY, name, shown, EvaluationDatasetStage.code_version)
