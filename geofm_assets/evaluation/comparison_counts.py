"""What an experiment got right, window by window, as counts that can be drawn again.

A window of a classification head counts once; of a segmentation head each labelled pixel of the
window does. Both are (3, K): of class k right, wrongly said to be k, wrongly said not to be.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from geofm_assets.core.errors import ExperimentError
from geofm_assets.evaluation.bootstrap import Counts, Values, ratio

_DRAWN_AT_ONCE = 32  # resamples; bounds the memory of their weights


def window_counts(rows: pa.Table, classes: int) -> Counts:
    """(windows, 3, K) of PREDICTION rows: each window counts once."""
    truth, said = (_ids(rows, name, classes) for name in ("class_id", "predicted_id"))
    return _of_answers(np.eye(classes, dtype=np.int64)[truth], said)


def pixel_counts(rows: pa.Table, classes: int) -> Counts:
    """(windows, 3, K) of SEGMENTATION rows.

    Raises:
        ExperimentError: they count another number of classes.
    """
    lists = [rows[name].to_pylist() for name in ("tp", "fp", "fn")]
    widths = {len(counts) for column in lists for counts in column}
    if widths - {classes}:
        raise ExperimentError(
            f"The rows count {sorted(widths)} classes, there are {classes}",
            where="segmentation",
            fix="Predict again with the task's label rule",
        )
    return np.array(lists, dtype=np.int64).reshape(3, rows.num_rows, classes).swapaxes(0, 1)


def painted_counts(rows: pa.Table, pixels: Counts) -> Counts:
    """(windows, 3, K) of PREDICTION rows if each window's class is said of all its pixels.

    That is what a map made with a classification head shows.

    Args:
        rows: PREDICTION rows.
        pixels: (windows, 3, K) of any segmentation of the same windows, for their true classes.
    """
    truth = pixels[:, 0] + pixels[:, 2]
    return _of_answers(truth, _ids(rows, "predicted_id", truth.shape[1]))


def _of_answers(truth: Counts, said: NDArray[np.int64]) -> Counts:
    """Counts of (windows, K) true units where one class is said of all of a window."""
    answer = np.eye(truth.shape[1], dtype=np.int64)[said]
    hits = truth * answer
    false = answer * (truth.sum(axis=1, keepdims=True) - truth)
    return np.stack([hits, false, truth - hits], axis=1)


def _ids(rows: pa.Table, column: str, classes: int) -> NDArray[np.int64]:
    ids: NDArray[np.int64] = rows[column].to_numpy().astype(np.int64)
    if len(ids) and (ids.min() < 0 or ids.max() >= classes):
        raise ExperimentError(
            f"Class ids go from {ids.min()} to {ids.max()}, there are {classes} classes",
            where=column,
            fix="Predict again with the task's label rule",
        )
    return ids


def metric_of(
    counts: Counts, metric: str, slugs: Sequence[str], averaged: NDArray[np.bool_]
) -> Values:
    """A metric of (..., 3, K) counts, by its name in SCORE; what rests on nothing is 0.

    Args:
        counts: right, wrongly said, wrongly not said.
        metric: `accuracy`, `macro_f1`, `mean_iou`, or one of a class such as `f1_burnt`.
        slugs: class names as metrics spell them.
        averaged: (K,) classes that means are over.

    Raises:
        ExperimentError: no such metric.
    """
    hits, false, missed = (counts[..., i, :].astype(np.float64) for i in range(3))
    if metric == "accuracy":
        return ratio(hits.sum(axis=-1), (hits + missed).sum(axis=-1))
    of_class = {
        "precision": (hits, hits + false),
        "recall": (hits, hits + missed),
        "f1": (2 * hits, 2 * hits + false + missed),
        "iou": (hits, hits + false + missed),
    }
    kind, _, slug = metric.partition("_")
    if kind in ("macro", "mean") and slug in of_class:
        return np.asarray(ratio(*of_class[slug])[..., averaged].mean(axis=-1))
    if kind in of_class and slug in slugs:
        return np.asarray(ratio(*of_class[kind])[..., list(slugs).index(slug)])
    known = ["accuracy", "macro_f1", "mean_iou", *(f"{k}_{s}" for k in of_class for s in slugs)]
    raise ExperimentError(
        "There is no such metric", where=metric, fix=f"Choose one of {', '.join(known)}"
    )


def blocks_of(samples: Sequence[str], groups: Mapping[str, str] | None) -> NDArray[np.int64]:
    """(windows,) number of the block each window is drawn with: its group's, else its own.

    Args:
        samples: sample_id of each window.
        groups: group of each sample; None lets windows be drawn.

    Raises:
        ExperimentError: a sample has no group.
    """
    if groups is None:
        return np.arange(len(samples))
    require_groups(samples, groups)
    names = np.array([groups[name] for name in samples], dtype=str)
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def require_groups(samples: Sequence[str], groups: Mapping[str, str]) -> None:
    """Raise ExperimentError unless every sample, one a window, has a group."""
    lost = [name for name in samples if name not in groups]
    if lost:
        raise ExperimentError(
            f"{len(lost)} windows are of samples that are not in the table of samples",
            where=lost[0],
            fix="Make the samples, the sampling plan and the split manifest again",
        )


def fewest_blocks(counts: Counts, blocks: NDArray[np.int64]) -> int:
    """How many blocks hold the class that the fewest hold, of the classes that occur.

    Args:
        counts: (windows, 3, K).
        blocks: (windows,) block of each window.
    """
    truth = (counts[:, 0] + counts[:, 2]) > 0
    held = [len(np.unique(blocks[truth[:, k]])) for k in range(truth.shape[1])]
    return min((n for n in held if n), default=0)


def resampled(
    counts: Sequence[Counts], blocks: NDArray[np.int64], resamples: int, seed: int
) -> list[Counts]:
    """(resamples, 3, K) of each experiment, every one with the same blocks drawn.

    Args:
        counts: (windows, 3, K) an experiment, the same windows in the same order.
        blocks: (windows,) block of each window, numbered from 0.
        resamples: how many times as many blocks as there are are drawn, with replacement.
        seed: of the draw.
    """
    number = int(blocks.max(initial=-1)) + 1
    width = counts[0][0].size
    summed = np.zeros((number, len(counts) * width))
    for i, part in enumerate(counts):
        np.add.at(summed[:, i * width : (i + 1) * width], blocks, part.reshape(-1, width))
    rng = np.random.default_rng(seed)
    drawn = []
    for first in range(0, resamples, _DRAWN_AT_ONCE):
        size = min(_DRAWN_AT_ONCE, resamples - first)
        picked = rng.integers(0, number, (size, number))
        weights = np.stack([np.bincount(row, minlength=number) for row in picked])
        drawn.append(weights.astype(np.float64) @ summed)  # whole numbers, so exact in any order
    whole = np.concatenate(drawn).astype(np.int64).reshape(resamples, len(counts), 3, -1)
    return [whole[:, i] for i in range(len(counts))]
