"""Scores of one class by parts of a split: by fire size, by fire year, by kind of sample."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from geofm_assets.evaluation.bootstrap import interval
from geofm_assets.evaluation.comparison_counts import require_groups
from geofm_assets.evaluation.schema import SEGMENTATION_PART
from geofm_assets.evaluation.scores import SPLITS, class_slugs
from geofm_assets.evaluation.segmentation_counts import (
    Part,
    Pixels,
    metrics_of,
    said_of,
)

# Fire size classes of the National Wildfire Coordinating Group: least acres of each.
_SIZE_ACRES = (("A", 0.0), ("B", 0.25), ("C", 10), ("D", 100), ("E", 300), ("F", 1000), ("G", 5000))
_HECTARES_AN_ACRE = 0.40468564224
_LEAST_SHARE = 0.01
"""Of the pixels: what a class with fewer is scored by is a few pixels on the edge of windows."""
OF_PARTS = ("accuracy", "iou", "f1", "precision", "recall", "false_alarm_rate")


def scores_by_part(
    rows: pa.Table,
    classes: tuple[str, ...],
    positive: int,
    samples: pa.Table,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> pa.Table:
    """Scores of one class by fire size, by fire year and by kind of sample.

    A metric that means nothing in a part (F1 where nothing has burnt) is null, with the reason,
    rather than 0; how often the class is said there all the same is its false-alarm rate. A part
    with only one group has no interval.

    Args:
        rows: SEGMENTATION rows of one model.
        classes: names in the order of `class_id`.
        positive: id of the class scored.
        samples: SAMPLE columns sample_id, group_id, kind, fire_year and area_ha of the rows.
        resamples: bootstrap resamples.
        seed: of the bootstrap.

    Returns:
        SEGMENTATION_PART table, sorted.

    Raises:
        ExperimentError: rows of several models, other classes, or a sample that is not there.
    """
    slug, said = class_slugs(classes)[positive], said_of(rows)
    known = {row["sample_id"]: row for row in samples.to_pylist()}
    groups = {name: row["group_id"] for name, row in known.items()}
    names = rows["sample_id"].to_pylist()
    require_groups(names, groups)
    of_row = [known[name] for name in names]
    found: list[dict[str, object]] = []
    for dimension, labels in _dimensions(of_row).items():
        splits = np.array(rows["split"].to_pylist(), dtype=object)
        for split in SPLITS:
            for label in sorted({x for x in labels[splits == split] if x is not None}):
                chosen = (labels == label) & (splits == split)
                part = Part.of(rows.filter(pa.array(chosen)), len(classes), groups)
                found += [
                    {**said, "split": split, "dimension": dimension, "part": label, **metric}
                    for metric in _of_part(part, positive, slug, resamples, seed)
                ]
    return pa.Table.from_pylist(found, schema=SEGMENTATION_PART).sort_by(
        [(c, "ascending") for c in ("split", "dimension", "part", "metric")]
    )


def size_class(area_ha: float) -> str:
    """The fire size class of an area in hectares, with its limits: `D (40 to 121 ha)`."""
    least = [acres * _HECTARES_AN_ACRE for _, acres in _SIZE_ACRES]
    at = max(i for i, hectares in enumerate(least) if area_ha >= hectares)
    name = _SIZE_ACRES[at][0]
    if at == len(least) - 1:
        return f"{name} ({least[at]:.0f} ha or more)"
    return f"{name} ({least[at]:.3g} to {least[at + 1]:.3g} ha)"


def _of_part(part: Part, k: int, slug: str, resamples: int, seed: int) -> list[dict[str, object]]:
    """What is known of class k in a part, by metric; nothing if no pixel is labelled."""
    total = part.pixels.sum(axis=0)
    if not part.labelled().any():
        return []
    averaged = np.ones(total.shape[-1], dtype=bool)
    value = metrics_of(total, averaged)
    one = part.group_count < 2
    spread = None if one else metrics_of(part.resampled(resamples, seed), averaged)
    found: list[dict[str, object]] = []
    for name in OF_PARTS:
        whole = name == "accuracy"
        windows, _ = part.counted(part.labelled() if whole else part.rests(name, k))
        reason = None if whole else _meaningless(name, total, k, slug)
        pick = (lambda v: v) if whole else (lambda v: v[..., k])
        low = high = None
        if spread is not None and reason is None:
            low, high = map(float, interval(pick(spread[name])))
        found.append(
            {
                "metric": name if whole else f"{name}_{slug}",
                "value": None if reason else float(pick(value[name])),
                "reason": reason,
                "low": low,
                "high": high,
                "windows": windows,
                "groups": part.group_count,
                "pixels": int(total[0].sum() + total[2].sum()),
            }
        )
    return found


def _meaningless(metric: str, total: Pixels, k: int, slug: str) -> str | None:
    """Why a metric of class k means nothing for (3, K) pixels; None if it means something."""
    hits, false, missed = total[:, k].tolist()
    pixels, true = int(total[0].sum() + total[2].sum()), hits + missed
    if metric == "false_alarm_rate":
        return None if true < pixels else f"every labelled pixel is {slug}"
    if true == 0:
        return f"no labelled pixel is {slug}"
    if true < _LEAST_SHARE * pixels:
        return f"only {true:,} of {pixels:,} labelled pixels are {slug}"
    return f"no pixel is said to be {slug}" if metric == "precision" and hits + false == 0 else None


def _dimensions(samples: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[np.object_]]:
    """Which part each row belongs to, by dimension; None for none."""

    def column(values: list[str | None]) -> NDArray[np.object_]:
        return np.array([*values, None], dtype=object)[:-1]

    sizes = [None if s["area_ha"] is None else size_class(s["area_ha"]) for s in samples]
    return {
        "fire_size": column(sizes),
        "fire_year": column([str(s["fire_year"]) for s in samples]),
        "kind": column([s["kind"] for s in samples]),
    }
