"""Metrics of confusion matrices, one or thousands at once, and their bootstrap.

Every metric here is a function of the confusion matrix. Drawing n windows with replacement is
drawing the matrix's cells from a multinomial distribution, so a thousand resamples are one call.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST_BLOCKS = 5
"""Fewer drawn blocks say nothing of a difference: n blocks that happen to lean one way give an
interval without 0, and by chance alone 2^(1-n) do (12 % of 4, 6 % of 5) where 5 % should."""

Counts = NDArray[np.int64]
Values = NDArray[np.float64]


def confusion(truth: NDArray[Any], predicted: NDArray[Any], classes: int) -> Counts:
    """(classes, classes) counts; rows are truth, columns prediction."""
    matrix = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(matrix, (truth.astype(np.int64), predicted.astype(np.int64)), 1)
    return matrix


def metric_values(matrices: Counts, averaged: NDArray[np.bool_]) -> dict[str, Values]:
    """Metrics of (..., K, K) confusion matrices.

    Args:
        matrices: counts, rows truth.
        averaged: (K,) which classes macro-F1 averages over.

    Returns:
        `accuracy` and `macro_f1` as (...), `precision`, `recall` and `f1` as (..., K). What has
        no denominator is 0 (scikit-learn's `zero_division=0`).
    """
    hits = np.diagonal(matrices, axis1=-2, axis2=-1).astype(np.float64)
    of_class = matrices.sum(axis=-1).astype(np.float64)
    as_class = matrices.sum(axis=-2).astype(np.float64)
    f1 = ratio(2 * hits, of_class + as_class)
    return {
        "accuracy": ratio(hits.sum(axis=-1), of_class.sum(axis=-1)),
        "macro_f1": f1[..., averaged].mean(axis=-1),
        "precision": ratio(hits, as_class),
        "recall": ratio(hits, of_class),
        "f1": f1,
    }


def resample_windows(matrix: Counts, resamples: int, seed: int) -> Counts:
    """(resamples, K, K) confusion matrices of as many windows, drawn with replacement."""
    total = int(matrix.sum())
    shares = matrix.reshape(-1) / total
    drawn = np.random.default_rng(seed).multinomial(total, shares, size=resamples)
    return drawn.reshape(resamples, *matrix.shape).astype(np.int64)


def resample_blocks(matrices: Counts, resamples: int, seed: int) -> Counts:
    """(resamples, K, K) confusion matrices of as many blocks, drawn with replacement.

    Windows near each other resemble each other; drawing whole blocks gives the wider intervals
    that follow from it.

    Args:
        matrices: (blocks, K, K), one a block, in a fixed order.
        resamples: how many.
        seed: of the draw.
    """
    blocks = len(matrices)
    weights = np.random.default_rng(seed).multinomial(
        blocks, np.full(blocks, 1 / blocks), size=resamples
    )
    return np.tensordot(weights, matrices, axes=1).astype(np.int64)


def interval(values: Values, level: float = 0.95) -> tuple[Values, Values]:
    """Percentile interval over the first axis."""
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(values, [tail, 100 - tail], axis=0)
    return np.asarray(low), np.asarray(high)


def ratio(above: Values, below: Values) -> Values:
    """Quotient, 0 where the denominator is 0."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
