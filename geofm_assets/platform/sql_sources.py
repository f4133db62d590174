"""The tables of the store that SQL models can read, by name.

Every source has a column `task`: the task whose folder the file lies in, null for what tasks
share. `quarantine` also has `stage`: `reading` (refused when a label file was read) or `sampling`
(left out by a task).
"""

from dataclasses import dataclass

import pyarrow as pa
from upath import UPath

from geofm_assets.core.store import Store
from geofm_assets.evaluation.schema import SCORE, SEGMENTATION_PART
from geofm_assets.imagery.schema import RASTER
from geofm_assets.labels.schema import COLLECTION, QUARANTINED_ROW, REFERENCE_POINT
from geofm_assets.sampling.schema import CELL, SAMPLED_POINT
from geofm_assets.training.schema import MANIFEST, PREDICTION, SEGMENTATION
from geofm_assets.windows.schema import WINDOW


@dataclass(frozen=True)
class SourceFile:
    """One Parquet file of a source.

    Attributes:
        path: where it lies.
        task: task whose folder it lies in; None for what tasks share.
        stage: for `quarantine`, the stage that wrote it.
    """

    path: UPath
    task: str | None
    stage: str | None = None


@dataclass(frozen=True)
class _Place:
    """Where a source's files lie: below one folder, or below each task's."""

    folder: str
    suffix: str
    shared: bool = False
    stage: str | None = None


@dataclass(frozen=True)
class Source:
    """A table assembled from files of the store.

    Attributes:
        schema: columns of the files.
        places: where they lie.
        staged: whether the table has a column `stage`.
        grown: whether files of earlier versions lack columns, which are then null.
    """

    schema: pa.Schema
    places: tuple[_Place, ...]
    staged: bool = False
    grown: bool = False

    @property
    def columns(self) -> pa.Schema:
        """Columns of the table SQL sees: those of the files, then `task` (and `stage`)."""
        added = ["task", "stage"] if self.staged else ["task"]
        return pa.schema([*self.schema, *(pa.field(name, pa.string()) for name in added)])


SOURCES: dict[str, Source] = {
    "collections": Source(
        COLLECTION,
        (
            _Place("reference/collections.parquet", "", shared=True),
            _Place("reference/collections.parquet", ""),
        ),
    ),
    "reference_points": Source(
        REFERENCE_POINT,
        (
            _Place("reference/points", ".parquet", shared=True),
            _Place("reference/points", ".parquet"),
        ),
    ),
    "quarantine": Source(
        QUARANTINED_ROW,
        (
            _Place("reference/quarantine", ".parquet", shared=True, stage="reading"),
            _Place("reference/quarantine", ".parquet", stage="reading"),
            _Place("quarantine", ".parquet", stage="sampling"),
            _Place("quarantine.parquet", "", stage="sampling"),
        ),
        staged=True,
    ),
    "sampled_points": Source(SAMPLED_POINT, (_Place("sample.parquet", ""),)),
    "cells": Source(CELL, (_Place("cells.parquet", ""),)),
    "windows": Source(WINDOW, (_Place("windows", "/windows.parquet"),)),
    "rasters": Source(RASTER, (_Place("rasters", "/rasters.parquet"),)),
    "split_manifest": Source(MANIFEST, (_Place("split_manifest.parquet", ""),)),
    "predictions": Source(PREDICTION, (_Place("experiments", "/predictions.parquet"),)),
    "segmentation": Source(SEGMENTATION, (_Place("experiments", "/segmentation.parquet"),)),
    "scores_by_part": Source(
        SEGMENTATION_PART, (_Place("experiments", "/metrics_by_part.parquet"),), grown=True
    ),
    "scores": Source(SCORE, (_Place("experiments", "/metrics.parquet"),), grown=True),
}


def source_files(store: Store) -> dict[str, list[SourceFile]]:
    """Files of every source that exist in a store today, in the order of their keys."""
    tasks = store.folders("tasks")
    found: dict[str, list[SourceFile]] = {}
    for name, source in SOURCES.items():
        files = found.setdefault(name, [])
        for place in source.places:
            for task in [None] if place.shared else tasks:
                key = place.folder if task is None else f"tasks/{task}/{place.folder}"
                if place.suffix:
                    keys = store.list_keys(key, place.suffix)
                else:
                    keys = [key] if store.exists(key) else []
                files += [SourceFile(store.path(k), task, place.stage) for k in keys]
    return found
