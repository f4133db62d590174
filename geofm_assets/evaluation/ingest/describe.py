"""The registry's entry of packed samples."""

from collections.abc import Mapping

import numpy as np
from upath import UPath

from geofm_assets.core.errors import DatasetError
from geofm_assets.evaluation.ingest.options import IngestOptions
from geofm_assets.evaluation.registry.entry import (
    DEFAULT_METRIC,
    DatasetEntry,
    ModalityEntry,
    SplitEntry,
    Target,
)
from geofm_assets.evaluation.samples.packed import PackedSamples


def describe(
    options: IngestOptions,
    source: UPath,
    samples: PackedSamples,
    modalities: Mapping[str, ModalityEntry],
    split: SplitEntry,
) -> DatasetEntry:
    """The registry's entry of packed samples."""
    subsets = {str(p): len(samples.rows("train", p)) for p in options.subsets}
    return DatasetEntry(
        name=options.name,
        display_name=options.display_name or options.name,
        source=str(source),
        content=samples.content,
        licence=options.licence,
        citation=options.citation,
        task_type=samples.task_type,
        classes=samples.classes,
        target=_target(samples, options.target_unit),
        modalities=dict(modalities),
        window_size=samples.layout.window_size,
        split=split.model_copy(update={"subsets": subsets}),
        metric=DEFAULT_METRIC[samples.task_type],
        simulated=samples.layout.simulated,
    )


def _target(samples: PackedSamples, unit: str) -> Target | None:
    """Mean and standard deviation of a regression's target over train.

    Raises:
        DatasetError: every target is the same, or there is none.
    """
    if samples.task_type not in ("window_regression", "per_pixel_regression"):
        return None
    count, total, squares = 0, 0.0, 0.0
    rows = samples.rows("train").tolist()
    for row in rows:
        values = np.asarray(samples.labels([row]), np.float64)
        values = values[np.isfinite(values)]
        count, total = count + values.size, total + float(values.sum())
    mean = total / count if count else 0.0
    for row in rows:
        values = np.asarray(samples.labels([row]), np.float64)
        squares += float(np.square(values[np.isfinite(values)] - mean).sum())
    std = float(np.sqrt(squares / count)) if count else 0.0
    if std <= 0:
        raise DatasetError(
            "Every target of the train split is the same" if count else "Train has no targets",
            where=f"dataset {samples.name}",
            fix="There is nothing to learn: look at --property-name or --label-layer",
        )
    return Target(mean=mean, std=std, unit=unit)
