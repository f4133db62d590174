"""Metrics of the five task types, as functions of what can be added up over samples.

A sample contributes a row of numbers (a confusion matrix, hits and misses of a class, sums of
errors); every metric is a function of the rows' sum. So a bootstrap that draws samples is a
product of how often each was drawn with the rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geofm_assets.core.errors import ConfigError
from geofm_assets.evaluation.bootstrap import confusion
from geofm_assets.evaluation.probes.data import labelled
from geofm_assets.evaluation.registry.entry import LOWER_IS_BETTER, TaskType
from geofm_assets.evaluation.samples.types import IGNORE
from geofm_assets.evaluation.scores import class_slug

Values = NDArray[np.float64]
RANKING = ("auroc", "prauc", "micro_map")
"""Metrics of an order of scores, see `ranking`; not sums over samples."""
_OVERALL: dict[TaskType, tuple[str, ...]] = {
    "classification": ("accuracy", "macro_f1"),
    "multilabel": ("micro_f1", "macro_f1"),
    "segmentation": ("miou", "overall_acc", "macro_acc", "macro_f1"),
    "window_regression": ("rmse", "mae", "r2"),
    "per_pixel_regression": ("rmse", "mae", "r2"),
}
_PER_CLASS: dict[TaskType, tuple[str, ...]] = {
    "classification": ("f1",),
    "multilabel": ("f1",),
    "segmentation": ("f1", "iou"),
}
_RANKED: frozenset[TaskType] = frozenset({"classification", "multilabel"})


@dataclass(frozen=True)
class Tally:
    """What the metrics of a set of samples are computed from.

    Attributes:
        total: (S,) the rows' sum.
        rows: (N, S), one a sample that has a label; None for classification, where the total
            (a confusion matrix with a sample in one cell each) says as much.
        samples: N.
    """

    total: Values
    rows: Values | None
    samples: int


def higher_is_better(metric: str) -> bool:
    """Direction of a metric."""
    return metric not in LOWER_IS_BETTER


def additive_metrics(task_type: TaskType, classes: Sequence[str]) -> tuple[str, ...]:
    """Metrics that follow from a tally, those of single classes last (`f1_<class>`).

    Raises:
        ConfigError: two class names are spelt alike, or one has no letter or digit.
    """
    slugs = [class_slug(name) for name in classes]
    if len(set(slugs)) < len(slugs) or not all(slugs):
        raise ConfigError(
            "Two classes have the same metric name, or one has none",
            where=f"classes {', '.join(classes)}",
            fix="Use letters and digits that tell them apart (--classes)",
        )
    of_classes = [f"{name}_{slug}" for name in _PER_CLASS.get(task_type, ()) for slug in slugs]
    return (*_OVERALL[task_type], *of_classes)


def require_metric(metric: str, task_type: TaskType, classes: Sequence[str]) -> None:
    """Refuse a metric that the task type does not have.

    Raises:
        ConfigError: it does not, or classes cannot be told apart.
    """
    known = additive_metrics(task_type, classes) + (RANKING if task_type in _RANKED else ())
    if metric not in known:
        raise ConfigError(
            f"{task_type} has no metric {metric!r}",
            where="metric",
            fix=f"Use one of {', '.join(known)}",
        )


def tally(
    task_type: TaskType,
    classes: int,
    truth: NDArray[Any],
    predicted: NDArray[Any],
    middle: float | None = None,
) -> Tally:
    """Add up predictions; samples and pixels without a label do not count.

    Args:
        task_type: what is predicted.
        classes: how many there are; 0 for regressions.
        truth: labels as in `ProbeData.labels`, with N samples.
        predicted: class ids, 0 or 1, or numbers in the shape of `truth`.
        middle: what targets are taken from before they are squared, or squares of large ones
            would swallow their spread; their mean by default. Totals that are added have to have
            the same.
    """
    usable = labelled(truth, task_type)
    truth, predicted = truth[usable], predicted[usable]
    if task_type == "classification":
        matrix = confusion(truth, predicted, classes)
        return Tally(matrix.reshape(-1).astype(np.float64), None, len(truth))
    if task_type == "multilabel":
        rows = _label_rows(truth, predicted)
    elif task_type == "segmentation":
        rows = _matrix_rows(truth, predicted, classes)
    else:
        rows = _error_rows(truth, predicted, middle)
    return Tally(rows.sum(axis=0), rows, len(rows))


def tallied_values(
    task_type: TaskType, classes: Sequence[str], totals: Values
) -> dict[str, Values]:
    """The additive metrics of (..., S) totals, each (...); NaN where a metric has no meaning.

    Averages are over classes that occur as truth or prediction (F1, intersection over union) or
    as truth (accuracy of classes), in each total by itself. F1 and IoU of a class that does not
    occur, and R2 of a constant target, have no meaning.
    """
    names = additive_metrics(task_type, classes)
    if task_type in ("window_regression", "per_pixel_regression"):
        found = _regression(totals)
    elif task_type == "multilabel":
        hits, false, missed = np.moveaxis(totals.reshape(*totals.shape[:-1], -1, 3), -1, 0)
        f1 = _ratio(2 * hits, 2 * hits + false + missed)
        sums = [part.sum(axis=-1) for part in (hits, false, missed)]
        micro = _ratio(2 * sums[0], 2 * sums[0] + sums[1] + sums[2])
        found = {"micro_f1": micro, "macro_f1": _mean(f1), "f1": f1}
    else:
        count = len(classes)
        found = _of_matrices(totals.reshape(*totals.shape[:-1], count, count))
    for name in _PER_CLASS.get(task_type, ()):
        for k, slug in enumerate(map(class_slug, classes)):
            found[f"{name}_{slug}"] = found[name][..., k]
    return {name: found[name] for name in names}


def _of_matrices(matrices: Values) -> dict[str, Values]:
    """Metrics of (..., K, K) confusion matrices, rows truth."""
    hits = np.diagonal(matrices, axis1=-2, axis2=-1)
    of_class, as_class = matrices.sum(axis=-1), matrices.sum(axis=-2)
    f1 = _ratio(2 * hits, of_class + as_class)
    iou = _ratio(hits, of_class + as_class - hits)
    accuracy = _ratio(hits.sum(axis=-1), of_class.sum(axis=-1))
    return {
        "accuracy": accuracy,
        "overall_acc": accuracy,
        "macro_acc": _mean(_ratio(hits, of_class)),
        "macro_f1": _mean(f1),
        "miou": _mean(iou),
        "f1": f1,
        "iou": iou,
    }


def _regression(totals: Values) -> dict[str, Values]:
    count, absolute, squared, shifted, shifted_squared = np.moveaxis(totals, -1, 0)
    spread = shifted_squared - _ratio(shifted**2, count)
    # what rounding leaves of a constant target is not spread
    spread = np.where(spread > 1e-12 * shifted_squared, spread, 0.0)
    return {
        "rmse": np.sqrt(_ratio(squared, count)),
        "mae": _ratio(absolute, count),
        "r2": 1 - _ratio(squared, spread),
    }


def _label_rows(truth: NDArray[Any], predicted: NDArray[Any]) -> Values:
    """(N, K * 3): hit, false alarm, miss of each class."""
    yes, said = truth.astype(bool), predicted.astype(bool)
    parts = np.stack([yes & said, ~yes & said, yes & ~said], axis=-1)
    return parts.reshape(len(truth), -1).astype(np.float64)


def _matrix_rows(truth: NDArray[Any], predicted: NDArray[Any], classes: int) -> Values:
    """(N, K * K): a confusion matrix of its labelled pixels for each sample."""
    cells = classes * classes
    rows = np.zeros((len(truth), cells), dtype=np.float64)
    for row, (true, said) in enumerate(zip(truth, predicted, strict=True)):
        valid = true != IGNORE
        pairs = true[valid].astype(np.int64) * classes + said[valid].astype(np.int64)
        rows[row] = np.bincount(pairs, minlength=cells)
    return rows


def _error_rows(truth: NDArray[Any], predicted: NDArray[Any], middle: float | None) -> Values:
    """(N, 5): numbers, sums of absolute and squared errors, sums of the target and its square."""
    count = len(truth)
    true = truth.reshape(count, -1).astype(np.float64)
    valid = ~np.isnan(true)
    if middle is None:
        middle = float(true[valid].mean()) if valid.any() else 0.0
    off = np.where(valid, predicted.reshape(count, -1).astype(np.float64) - true, 0.0)
    from_middle = np.where(valid, true - middle, 0.0)
    columns = (valid, np.abs(off), off**2, from_middle, from_middle**2)
    return np.stack([column.sum(axis=1).astype(np.float64) for column in columns], axis=1)


def _mean(of_classes: Values) -> Values:
    """Mean over the last axis of what has meaning."""
    known = ~np.isnan(of_classes)
    return _ratio(np.where(known, of_classes, 0.0).sum(axis=-1), known.sum(axis=-1))


def _ratio(above: Any, below: Any) -> Values:
    """Quotient, NaN where the denominator is 0."""
    above, below = np.broadcast_arrays(np.asarray(above, float), np.asarray(below, float))
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below != 0)
