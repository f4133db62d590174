"""The Dagster component that reads a task file and builds the task's assets."""

from collections.abc import Mapping
from functools import cache
from typing import Self

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)
from pydantic import BaseModel

from geofm_assets.core.settings import load_settings
from geofm_assets.evaluation.assets import build_evaluation_assets
from geofm_assets.imagery.assets import build_imagery_assets
from geofm_assets.imagery.stages import ImageryTask
from geofm_assets.labels.assets import build_csv_assets
from geofm_assets.labels.source import label_source
from geofm_assets.prediction.assets import build_prediction_assets
from geofm_assets.sampling.assets import build_sampling_assets
from geofm_assets.sampling.task import SamplingTask
from geofm_assets.tasks.config import TaskConfig, TaskFile, load_task_file, window_extent_m
from geofm_assets.training.assets import build_training_assets
from geofm_assets.training.stages import TrainingTask
from geofm_assets.windows.assets import build_mask_assets, build_window_assets


def training_task(config: TaskConfig) -> TrainingTask:
    """A task's settings in the form its stages take them."""
    sampling = SamplingTask(
        name=config.name,
        source=label_source(config.name, config.labels),
        labels=config.labels,
        sampling=config.sampling,
        split=config.split,
        window_extent_m=window_extent_m(config.windows),
    )
    imagery = ImageryTask(sampling, config.windows, config.imagery)
    return TrainingTask(imagery, config.training, config.experiments, config.weights, config.masks)


def task_assets(config: TaskConfig) -> list[dg.AssetsDefinition]:
    """Every asset of a task; label assets that tasks share are not among them."""
    task = training_task(config)
    own_labels = build_csv_assets(task.imagery.sampling.source) if _is_csv(config) else []
    return [
        *own_labels,
        *build_sampling_assets(task.imagery.sampling),
        *build_window_assets(task.imagery.sampling, config.windows),
        *_masks(task),
        *build_imagery_assets(task.imagery),
        *build_training_assets(task),
        *build_evaluation_assets(task),
        *build_prediction_assets(task),
    ]


def _is_csv(config: TaskConfig) -> bool:
    return config.labels.source == "csv"


def _masks(task: TrainingTask) -> list[dg.AssetsDefinition]:
    if task.masks is None:
        return []
    return build_mask_assets(task.imagery.sampling, task.imagery.windows, task.masks)


@cache
def task_jobs(
    name: str, label_prefix: tuple[str, ...], fires: bool = False, masks: bool = False
) -> Mapping[str, UnresolvedAssetJobDefinition]:
    """The jobs of a task by what they make; the same objects for the same arguments.

    Dagster refuses two jobs of one name, and sensors refer to these, hence the cache.

    Args:
        name: the task.
        label_prefix: asset key prefix of its label assets.
        fires: whether these are fire perimeters.
        masks: whether it has masks.
    """

    def job(suffix: str, description: str, *keys: dg.AssetKey) -> UnresolvedAssetJobDefinition:
        selection = dg.AssetSelection.assets(*keys)
        return dg.define_asset_job(f"{name}_{suffix}", selection, description=description)

    def own(*names: str) -> list[dg.AssetKey]:
        return [dg.AssetKey([name, n]) for n in names]

    def labels(*names: str) -> list[dg.AssetKey]:
        return [dg.AssetKey([*label_prefix, n]) for n in names]

    jobs = {}
    if fires:
        jobs["fire_years"] = job(
            "fire_years", "Clean the perimeters of fire years.", *labels("perimeters")
        )
    files = (
        labels("reference_points") if fires else labels("reference_collection", "reference_points")
    )
    return jobs | {
        "collections": job(
            "collections",
            "Fetch collections, read their points, find what could be in the sample.",
            *files,
            *own("candidates"),
        ),
        "plan": job(
            "plan",
            "Draw and split the sample; set up the imagery.",
            *own("sampling_plan", "dataset_config"),
        ),
        "cells": job(
            "cells",
            "Points, windows, rasters and chips of H3 cells: launch a backfill here.",
            *own(
                "filtered_points", "window_group", *(["masks"] if masks else []), "rasters", "chips"
            ),
        ),
        "manifest": job(
            "manifest",
            "Gather the cells and score the baselines.",
            *own("split_manifest", "baseline_scores"),
        ),
        "training": job(
            "training",
            "Checkpoint, predictions and scores of experiments.",
            *own("checkpoint", "predictions", "eval_scores"),
        ),
    }


def jobs_of(task: TrainingTask) -> Mapping[str, UnresolvedAssetJobDefinition]:
    """The jobs of a task by what they make."""
    source = task.imagery.sampling.source
    fires = source.config is not None and source.config.calfire is not None
    return task_jobs(task.name, source.prefix, fires, task.masks is not None)


def task_definitions(task: TaskFile) -> dg.Definitions:
    """Assets, checks and jobs of one task."""
    jobs = jobs_of(training_task(task.config))
    return dg.Definitions(assets=task_assets(task.config), jobs=list(jobs.values()))


class FineTuneTask(dg.Component):
    """A fine-tuning task: from label collections to eval scores, as assets.

    Its attributes are `TaskConfig`. What `geofm run --set` put into the store is applied on top.
    """

    def __init__(self, task: TaskFile) -> None:
        self.task = task

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """Attributes of the task file."""
        return TaskConfig

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        """Read the file with the overrides the store remembers."""
        path = context.path / "defs.yaml"
        return cls(load_task_file(path, load_settings().task_overrides(context.path.name)))

    def build_defs(self, context: dg.ComponentLoadContext | None = None) -> dg.Definitions:
        """The task's definitions."""
        return task_definitions(self.task)
