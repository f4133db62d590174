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
from geofm_assets.labels.stages import label_source
from geofm_assets.sampling.assets import build_sampling_assets
from geofm_assets.sampling.stages import SamplingTask
from geofm_assets.tasks.config import TaskConfig, TaskFile, load_task_file
from geofm_assets.training.assets import build_training_assets
from geofm_assets.training.stages import TrainingTask
from geofm_assets.windows.assets import build_window_assets


def training_task(config: TaskConfig) -> TrainingTask:
    """A task's settings in the form its stages take them."""
    # +1 pixel: a point lies anywhere in its pixel, and the window's corner is truncated
    extent = (config.windows.size + 1) * config.windows.resolution
    sampling = SamplingTask(
        name=config.name,
        source=label_source(config.name, config.labels),
        labels=config.labels,
        sampling=config.sampling,
        split=config.split,
        window_extent_m=extent,
    )
    imagery = ImageryTask(sampling, config.windows, config.imagery)
    return TrainingTask(imagery, config.training, config.experiments, config.weights)


def task_assets(config: TaskConfig) -> list[dg.AssetsDefinition]:
    """Every asset of a task; the shared WorldCereal label assets are not among them."""
    task = training_task(config)
    own_labels = build_csv_assets(task.imagery.sampling.source) if _is_csv(config) else []
    return [
        *own_labels,
        *build_sampling_assets(task.imagery.sampling),
        *build_window_assets(task.imagery.sampling, config.windows),
        *build_imagery_assets(task.imagery),
        *build_training_assets(task),
        *build_evaluation_assets(task),
    ]


def _is_csv(config: TaskConfig) -> bool:
    return config.labels.source == "csv"


@cache
def task_jobs(
    name: str, label_prefix: tuple[str, ...]
) -> Mapping[str, UnresolvedAssetJobDefinition]:
    """The jobs of a task by what they make; the same objects for the same arguments.

    Dagster refuses two jobs of one name, and sensors refer to these, hence the cache.

    Args:
        name: the task.
        label_prefix: asset key prefix of its label assets.
    """

    def job(suffix: str, description: str, *keys: dg.AssetKey) -> UnresolvedAssetJobDefinition:
        selection = dg.AssetSelection.assets(*keys)
        return dg.define_asset_job(f"{name}_{suffix}", selection, description=description)

    def own(*names: str) -> list[dg.AssetKey]:
        return [dg.AssetKey([name, n]) for n in names]

    files = [dg.AssetKey([*label_prefix, n]) for n in ("reference_collection", "reference_points")]
    return {
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
            *own("filtered_points", "window_group", "rasters", "chips"),
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


def task_definitions(task: TaskFile) -> dg.Definitions:
    """Assets, checks and jobs of one task."""
    prefix = label_source(task.config.name, task.config.labels).prefix
    jobs = task_jobs(task.config.name, prefix)
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
