"""Metrics of how scores order samples: areas under curves, for any weights of the samples."""

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def ranking_values(scores: Values, truth: NDArray[np.bool_], weights: Values) -> dict[str, Values]:
    """`auroc`, `prauc` (mean average precision of the classes) and `micro_map`, each (W,).

    Means are over the classes that have a sample that is theirs and one that is not; average
    precision is the step-wise area, ties counted together, as scikit-learn takes it. NaN where no
    class has both.

    Args:
        scores: (N, K), larger for more likely.
        truth: (N, K) whether a sample is of a class.
        weights: (W, N) how often each sample counts; a row of ones for the samples as they are.
    """
    areas = [_areas(scores[:, k], truth[:, k], weights) for k in range(scores.shape[1])]
    roc, precision = (np.stack(part, axis=-1) for part in zip(*areas, strict=True))
    repeated = np.repeat(weights, scores.shape[1], axis=1)
    _, micro = _areas(scores.reshape(-1), truth.reshape(-1), repeated)
    return {"auroc": _mean(roc), "prauc": _mean(precision), "micro_map": micro}


def _areas(scores: Values, truth: NDArray[np.bool_], weights: Values) -> tuple[Values, Values]:
    """(W,) area under the receiver operating curve, and average precision, of one class."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    drawn = weights[:, order]
    yes = np.add.reduceat(drawn * truth[order], starts, axis=1)
    no = np.add.reduceat(drawn * ~truth[order], starts, axis=1)
    above_yes, above_no = yes.cumsum(axis=1), no.cumsum(axis=1)
    all_yes, all_no = above_yes[:, -1], above_no[:, -1]
    known = (all_yes > 0) & (all_no > 0)
    below_no = all_no[:, None] - above_no
    with np.errstate(invalid="ignore", divide="ignore"):
        roc = (yes * (below_no + no / 2)).sum(axis=1) / (all_yes * all_no)
        above = above_yes + above_no
        share = np.divide(above_yes, above, out=np.zeros_like(above), where=above > 0)
        precision = (yes * share).sum(axis=1) / all_yes
    return np.where(known, roc, np.nan), np.where(known, precision, np.nan)


def _mean(of_classes: Values) -> Values:
    """Mean over the last axis of what is not NaN; NaN where nothing is left."""
    known = ~np.isnan(of_classes)
    count = known.sum(axis=-1)
    total = np.where(known, of_classes, 0.0).sum(axis=-1)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
