"""Scores of a segmentation head, from its counted pixels and nothing else.

Pixels of a fire resemble each other, and so do its windows: what is drawn in the bootstrap is
never a pixel but a window, or better a whole group (a fire, its ring and its complex).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from geofm_assets.core.errors import ExperimentError
from geofm_assets.evaluation.bootstrap import Values, interval
from geofm_assets.evaluation.schema import SCORE, SEGMENTATION_PART
from geofm_assets.evaluation.scores import SPLITS, class_slugs, only_value

Pixels = NDArray[np.int64]
"""(..., 3, K): pixels of class k that are right, wrongly said to be k, wrongly said not to be."""

# Fire size classes of the National Wildfire Coordinating Group: least acres of each.
_SIZE_ACRES = (("A", 0.0), ("B", 0.25), ("C", 10), ("D", 100), ("E", 300), ("F", 1000), ("G", 5000))
_HECTARES_AN_ACRE = 0.40468564224
OF_PARTS = ("accuracy", "iou", "f1", "precision", "recall")


def segmentation_scores(
    rows: pa.Table,
    classes: tuple[str, ...],
    *,
    groups: Mapping[str, str] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> pa.Table:
    """Pixel accuracy, macro-F1, mean IoU and per-class IoU, F1, precision and recall by split.

    Means are over the classes that occur in the split as truth or prediction. Intervals are the
    2.5th and 97.5th percentile of a seeded bootstrap over groups, or over windows where there are
    no groups or the split has only one.

    Args:
        rows: SEGMENTATION rows of one model; other splits than train, val and test are left out.
        classes: names in the order of `class_id`.
        groups: group of each sample, by sample_id; what belongs together is drawn together.
        resamples: bootstrap resamples.
        seed: of the bootstrap.

    Returns:
        SCORE table, splits in order train, val, test; a split without a labelled pixel has none.
        `n` is how many windows have pixels the metric rests on.

    Raises:
        ExperimentError: rows of several models, other classes, or a sample without a group.
        ConfigError: two class names are spelt alike.
    """
    slugs, said = class_slugs(classes), _said(rows)
    found: list[dict[str, object]] = []
    for split in SPLITS:
        part = _Part.of(rows.filter(pc.equal(rows["split"], split)), len(classes), groups)
        if not part.pixels.any():
            continue
        drawn = part.resampled(resamples, seed)
        total = part.pixels.sum(axis=0)
        averaged = total.sum(axis=0) > 0
        value, spread = _metrics(total, averaged), _metrics(drawn, averaged)
        for name in ("accuracy", "macro_f1", "mean_iou"):
            low, high = interval(spread[name])
            found.append(_row(said, split, name, value[name], low, high, part.labelled_windows()))
        for name in ("precision", "recall", "f1", "iou"):
            low, high = interval(spread[name])
            for k, slug in enumerate(slugs):
                count = part.windows_with(name, k)
                found.append(
                    _row(said, split, f"{name}_{slug}", value[name][k], low[k], high[k], count)
                )
    return pa.Table.from_pylist(found, schema=SCORE)


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

    A metric that rests on no pixel of a part (recall where nothing has burnt) is left out rather
    than called 0. A part with only one group has no interval.

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
    slug, said = class_slugs(classes)[positive], _said(rows)
    known = {row["sample_id"]: row for row in samples.to_pylist()}
    groups = {name: row["group_id"] for name, row in known.items()}
    _require_known(rows, groups)
    of_row = [known[name] for name in rows["sample_id"].to_pylist()]
    found: list[dict[str, object]] = []
    for dimension, labels in _dimensions(of_row).items():
        splits = np.array(rows["split"].to_pylist(), dtype=object)
        for split in SPLITS:
            for label in sorted({x for x in labels[splits == split] if x is not None}):
                chosen = (labels == label) & (splits == split)
                part = _Part.of(rows.filter(pa.array(chosen)), len(classes), groups)
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


@dataclass(frozen=True)
class _Part:
    """Windows scored together.

    Attributes:
        pixels: (windows, 3, K).
        groups: (windows,) number of each window's group; its own where there are no groups.
    """

    pixels: Pixels
    groups: NDArray[np.int64]

    @classmethod
    def of(cls, rows: pa.Table, classes: int, groups: Mapping[str, str] | None) -> "_Part":
        lists = [rows[name].to_pylist() for name in ("tp", "fp", "fn")]
        widths = {len(counts) for column in lists for counts in column}
        if widths - {classes}:
            raise ExperimentError(
                f"The rows count {sorted(widths)} classes, there are {classes}",
                where="segmentation",
                fix="Predict again with the task's label rule",
            )
        pixels = np.array(lists, dtype=np.int64).reshape(3, rows.num_rows, classes).swapaxes(0, 1)
        if groups is None:
            return cls(pixels, np.arange(rows.num_rows))
        _require_known(rows, groups)
        names = [groups[name] for name in rows["sample_id"].to_pylist()]
        return cls(pixels, np.unique(np.array(names, dtype=str), return_inverse=True)[1])

    @property
    def group_count(self) -> int:
        """How many groups there are."""
        return int(self.groups.max(initial=-1)) + 1

    def resampled(self, resamples: int, seed: int) -> Pixels:
        """(resamples, 3, K) pixels of as many groups (windows, if there is one) as there are."""
        if self.group_count > 1:
            blocks = np.zeros((self.group_count, *self.pixels.shape[1:]), dtype=np.int64)
            np.add.at(blocks, self.groups, self.pixels)
        else:
            blocks = self.pixels
        count = len(blocks)
        weights = np.random.default_rng(seed).multinomial(
            count, np.full(count, 1 / count), size=resamples
        )
        return np.tensordot(weights, blocks, axes=1).astype(np.int64)

    def labelled_windows(self) -> int:
        """Windows with a labelled pixel."""
        return int((self.pixels[:, 0] + self.pixels[:, 2]).any(axis=1).sum())

    def windows_with(self, metric: str, k: int) -> int:
        """Windows with a pixel that a metric of class k rests on."""
        hits, false, missed = self.pixels[:, 0, k], self.pixels[:, 1, k], self.pixels[:, 2, k]
        rests = {"precision": hits + false, "recall": hits + missed}
        return int((rests.get(metric, hits + false + missed) > 0).sum())


def _metrics(pixels: Pixels, averaged: NDArray[np.bool_]) -> dict[str, Values]:
    """Metrics of (..., 3, K) pixels; what rests on none is 0."""
    hits, false, missed = (pixels[..., i, :].astype(np.float64) for i in range(3))
    f1 = _ratio(2 * hits, 2 * hits + false + missed)
    iou = _ratio(hits, hits + false + missed)
    return {
        "accuracy": _ratio(hits.sum(axis=-1), (hits + missed).sum(axis=-1)),
        "macro_f1": f1[..., averaged].mean(axis=-1),
        "mean_iou": iou[..., averaged].mean(axis=-1),
        "precision": _ratio(hits, hits + false),
        "recall": _ratio(hits, hits + missed),
        "f1": f1,
        "iou": iou,
    }


def _ratio(above: Values, below: Values) -> Values:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _of_part(part: _Part, k: int, slug: str, resamples: int, seed: int) -> list[dict[str, object]]:
    """What is known of class k in a part, by metric."""
    total = part.pixels.sum(axis=0)
    averaged = np.ones(total.shape[-1], dtype=bool)
    value = _metrics(total, averaged)
    alone = part.group_count < 2
    spread = None if alone else _metrics(part.resampled(resamples, seed), averaged)
    found: list[dict[str, object]] = []
    for name in OF_PARTS:
        whole = name == "accuracy"
        windows = part.labelled_windows() if whole else part.windows_with(name, k)
        if not windows:
            continue
        pick = (lambda v: v) if whole else (lambda v: v[..., k])
        low, high = (None, None) if spread is None else interval(pick(spread[name]))
        found.append(
            {
                "metric": name if whole else f"{name}_{slug}",
                "value": float(pick(value[name])),
                "low": None if low is None else float(low),
                "high": None if high is None else float(high),
                "windows": windows,
                "groups": part.group_count,
                "pixels": int(total[0].sum() + total[2].sum()),
            }
        )
    return found


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


def _said(rows: pa.Table) -> dict[str, object]:
    """What all rows say of their model."""
    said: dict[str, object] = {
        c: only_value(rows, c) for c in ("experiment", "model_id", "label_rule")
    }
    return {**said, "simulated": bool(pc.any(rows["simulated"]).as_py())}


def _row(
    said: Mapping[str, object],
    split: str,
    metric: str,
    value: Values,
    low: Values,
    high: Values,
    n: int,
) -> dict[str, object]:
    numbers = {"value": float(value), "low": float(low), "high": float(high), "n": n}
    return {**said, "split": split, "metric": metric, **numbers}


def _require_known(rows: pa.Table, groups: Mapping[str, str]) -> None:
    lost = [name for name in rows["sample_id"].to_pylist() if name not in groups]
    if lost:
        raise ExperimentError(
            f"{len(lost)} windows are of samples that are not in the table of samples",
            where=lost[0],
            fix="Make the samples, the sampling plan and the split manifest again",
        )
