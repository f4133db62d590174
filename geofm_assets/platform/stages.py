"""A task's stages in order: what each is made for, and which of it is out of date.

The command line, the status page and the sensors all ask here, so they agree.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, TypeVar

import dagster as dg

from geofm_assets.core.stage import MissingUpstreamError, Stage, is_current
from geofm_assets.core.store import Store
from geofm_assets.evaluation.comparison_stage import ComparisonStage
from geofm_assets.evaluation.stages import BaselinesStage, ScoresStage, ScoreTableStage
from geofm_assets.imagery.resources import ImagerySource
from geofm_assets.imagery.stages import ChipsStage, DatasetStage, RastersStage
from geofm_assets.labels.calfire.fire_years import YEARS_PARTITIONS
from geofm_assets.labels.calfire.stages import FirePointsStage, PerimetersStage
from geofm_assets.labels.source import LabelSource
from geofm_assets.labels.stages import CollectionFileStage, ReferencePointsStage
from geofm_assets.sampling.stages import CandidatesStage, FilteredPointsStage, PlanStage
from geofm_assets.sampling.task import cells_partitions, planned_cells
from geofm_assets.training.stages import (
    CheckpointStage,
    ManifestStage,
    PredictionsStage,
    TrainingTask,
    experiments_partitions,
)
from geofm_assets.windows.mask_stage import MasksStage
from geofm_assets.windows.stages import WindowGroupStage

Axis = Literal["fire_years", "collections", "cells", "experiments", "none"]
Answer = TypeVar("Answer")
_AT_ONCE = 16


@dataclass(frozen=True)
class StageView:
    """One stage as seen from outside.

    Attributes:
        key: its asset.
        axis: what it is partitioned by.
        partition_set: name of the dynamic partition set, empty if it has none.
        current: whether a partition ("" if it has none) was made from today's inputs.
    """

    key: dg.AssetKey
    axis: Axis
    partition_set: str
    current: Callable[[Store, str], bool]

    @property
    def name(self) -> str:
        """Asset key as people write it."""
        return self.key.to_user_string()

    def is_current(self, store: Store, partition: str = "") -> bool:
        """Whether a partition was made from today's inputs; False if an input is missing."""
        try:
            return self.current(store, partition)
        except (MissingUpstreamError, FileNotFoundError):
            return False

    def stale(self, store: Store, partitions: list[str]) -> list[str]:
        """Partitions that are missing or were made from other inputs."""
        current = ask_each(store, partitions, lambda p: self.is_current(store, p))
        return [p for p, is_so in zip(partitions, current, strict=True) if not is_so]


def ask_each(store: Store, partitions: Sequence[str], ask: Callable[[str], Answer]) -> list[Answer]:
    """Answers for some partitions, in order; of a bucket, which answers slowly, many at once."""
    if store.is_local:
        return [ask(partition) for partition in partitions]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(ask, partitions))


def task_stages(task: TrainingTask, source: ImagerySource) -> list[StageView]:
    """Every stage of a task below the listing of collections, in the order of the data."""
    sampling = task.imagery.sampling
    labels = sampling.source
    cells_set = cells_partitions(task.name)
    experiments_set = experiments_partitions(task.name)
    dataset = DatasetStage(task.imagery)
    chips = ChipsStage(task.imagery)
    checkpoint = CheckpointStage(task)

    def own(name: str) -> dg.AssetKey:
        return dg.AssetKey(sampling.asset_path(name))

    table = _is_table_current
    windows = WindowGroupStage(sampling, task.imagery.windows)
    masks = (
        []
        if task.masks is None
        else [
            StageView(
                own("masks"),
                "cells",
                cells_set,
                table(MasksStage(sampling, task.imagery.windows, task.masks)),
            )
        ]
    )
    candidates = table(CandidatesStage(sampling))
    return [
        *_label_stages(labels),
        StageView(own("candidates"), "collections", labels.partitions, candidates),
        StageView(own("sampling_plan"), "none", "", table(PlanStage(sampling))),
        StageView(
            own("dataset_config"), "none", "", lambda store, _: dataset.is_current(store, source)
        ),
        StageView(own("filtered_points"), "cells", cells_set, table(FilteredPointsStage(sampling))),
        StageView(own("window_group"), "cells", cells_set, table(windows)),
        *masks,
        StageView(own("rasters"), "cells", cells_set, table(RastersStage(task.imagery))),
        StageView(own("chips"), "cells", cells_set, chips.is_current),
        StageView(own("split_manifest"), "none", "", table(ManifestStage(task))),
        StageView(own("checkpoint"), "experiments", experiments_set, checkpoint.is_current),
        StageView(
            own("predictions"), "experiments", experiments_set, table(PredictionsStage(task))
        ),
        StageView(own("eval_scores"), "experiments", experiments_set, table(ScoresStage(task))),
        StageView(own("baseline_scores"), "none", "", table(BaselinesStage(task))),
        StageView(own("score_table"), "none", "", table(ScoreTableStage(task))),
        StageView(own("comparison"), "none", "", table(ComparisonStage(task))),
    ]


def _is_table_current(stage: Stage) -> Callable[[Store, str], bool]:
    return lambda store, partition: is_current(store, stage, partition)


def _label_stages(labels: LabelSource) -> list[StageView]:
    """The stages between the listing of a label source and its points."""

    def view(name: str, current: Callable[[Store, str], bool]) -> StageView:
        key = dg.AssetKey(labels.asset_path(name))
        return StageView(key, "collections", labels.partitions, current)

    if labels.config is not None and labels.config.calfire is not None:
        return [
            StageView(
                dg.AssetKey(labels.asset_path("perimeters")),
                "fire_years",
                YEARS_PARTITIONS,
                _is_table_current(PerimetersStage(labels)),
            ),
            view("reference_points", _is_table_current(FirePointsStage(labels))),
        ]
    return [
        view("reference_collection", CollectionFileStage(labels).is_current),
        view("reference_points", _is_table_current(ReferencePointsStage(labels))),
    ]


def wanted_partitions(view: StageView, task: TrainingTask, store: Store) -> list[str]:
    """Partitions that should exist today: fire years, accepted collections, planned cells; sorted.

    Experiments are a choice, not a duty, so none are wanted by themselves.
    """
    if view.axis == "fire_years":
        return PerimetersStage(task.imagery.sampling.source).wanted(store)
    if view.axis == "collections":
        thresholds = task.imagery.sampling.labels.min_confidence
        table = task.imagery.sampling.source.accepted(store, thresholds)
        return sorted(table["collection_id"].to_pylist())
    if view.axis == "cells":
        return planned_cells(store, task.name)
    return [""] if view.axis == "none" else []
