"""Scores of predictions with intervals from a bootstrap over samples."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geofm_assets.evaluation.bootstrap import resample_windows
from geofm_assets.evaluation.probes.data import labelled
from geofm_assets.evaluation.probes.metrics import (
    RANKING,
    Tally,
    Values,
    require_metric,
    tallied_values,
    tally,
)
from geofm_assets.evaluation.probes.one_thread import one_thread
from geofm_assets.evaluation.probes.ranking import ranking_values
from geofm_assets.evaluation.registry.entry import TaskType

RESAMPLES = 1000
LEVEL = 0.95
_DRAWN_AT_ONCE = 1 << 22  # sample draws held in memory


@dataclass(frozen=True)
class Predictions:
    """What a probe says of N samples.

    Attributes:
        labels: in the shape of the task's labels: class ids, 0 or 1, or numbers.
        scores: (N, K), larger for more likely, where a window has classes; None otherwise.
    """

    labels: NDArray[Any]
    scores: NDArray[Any] | None = None


@dataclass(frozen=True)
class Score:
    """One metric.

    Attributes:
        metric: its name.
        value: on the samples as they are.
        low: 2.5th percentile of the bootstrap; None where no interval was taken.
        high: 97.5th percentile.
        n: samples it rests on: those with a label.
    """

    metric: str
    value: float
    low: float | None
    high: float | None
    n: int


def score_predictions(
    truth: NDArray[Any],
    predictions: Predictions,
    *,
    task_type: TaskType,
    classes: Sequence[str],
    metric: str,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Score]:
    """Every metric of the task that has a meaning here, the task's own first.

    Samples are drawn with replacement, all metrics on the same draws. Metrics of an order of
    scores get an interval only where they are the task's own, as each of theirs costs as much as
    all others together.

    Args:
        truth: labels of N samples as in `ProbeData.labels`.
        predictions: of the same samples.
        task_type: what is predicted.
        classes: names by class id.
        metric: the task's own.
        resamples: of the bootstrap; 0 for no intervals.
        seed: of the bootstrap.

    Raises:
        ConfigError: the task type has no such metric.
    """
    require_metric(metric, task_type, classes)
    counted = tally(task_type, len(classes), truth, predictions.labels)
    if counted.samples == 0:
        return []
    values = tallied_values(task_type, classes, counted.total)
    spread: dict[str, Values] = {}
    if resamples:
        drawn = _drawn_totals(counted, len(classes), resamples, seed)
        spread = tallied_values(task_type, classes, drawn)
    if predictions.scores is not None and task_type in ("classification", "multilabel"):
        usable = labelled(truth, task_type)
        scores = predictions.scores[usable].astype(np.float64)
        yes = memberships(truth[usable], task_type, len(classes))
        ranked = ranking_values(scores, yes, np.ones((1, len(yes))))
        values = {**values, **{name: found[0] for name, found in ranked.items()}}
        if metric in RANKING and resamples:
            parts = [
                ranking_values(scores, yes, w)[metric] for w in _draws(len(yes), resamples, seed)
            ]
            spread[metric] = np.concatenate(parts)
    names = [metric, *(name for name in values if name != metric)]
    found = [_score(name, values[name], spread.get(name), counted.samples) for name in names]
    return [score for score in found if not np.isnan(score.value)]


def main_value(
    task_type: TaskType,
    classes: Sequence[str],
    metric: str,
    total: Values,
    ranked: tuple[Values, NDArray[np.bool_]] | None = None,
) -> float:
    """One metric of a tally's total; of scores (N, K) and truth (N, K) for a ranking metric."""
    if metric in RANKING:
        assert ranked is not None, metric
        return float(ranking_values(*ranked, np.ones((1, len(ranked[0]))))[metric][0])
    return float(tallied_values(task_type, classes, total)[metric])


def memberships(truth: NDArray[Any], task_type: TaskType, classes: int) -> NDArray[np.bool_]:
    """(N, K) whether a sample is of a class."""
    if task_type == "multilabel":
        return truth.astype(bool)
    return truth[:, None] == np.arange(classes)


def _score(name: str, value: Any, spread: Values | None, samples: int) -> Score:
    known = spread[~np.isnan(spread)] if spread is not None else np.empty(0)
    if not len(known):
        return Score(name, float(value), None, None, samples)
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(known, [tail, 100 - tail])
    return Score(name, float(value), float(low), float(high), samples)


def _drawn_totals(counted: Tally, classes: int, resamples: int, seed: int) -> Values:
    """(resamples, S) sums of as many samples drawn with replacement."""
    if counted.rows is None:
        matrix = counted.total.reshape(classes, classes).astype(np.int64)
        return resample_windows(matrix, resamples, seed).reshape(resamples, -1).astype(float)
    rows = torch.from_numpy(counted.rows)
    with one_thread():
        draws = _draws(len(rows), resamples, seed)
        return torch.cat([torch.from_numpy(weights) @ rows for weights in draws]).numpy()


def _draws(samples: int, resamples: int, seed: int) -> Iterator[Values]:
    """How often each of N samples was drawn, (W, N) at a time."""
    rng = np.random.default_rng(seed)
    at_once = max(1, _DRAWN_AT_ONCE // samples)
    for start in range(0, resamples, at_once):
        count = min(at_once, resamples - start)
        chosen = rng.integers(0, samples, size=(count, samples))
        chosen += np.arange(count)[:, None] * samples
        flat = np.bincount(chosen.reshape(-1), minlength=count * samples)
        yield flat.reshape(count, samples).astype(np.float64)
