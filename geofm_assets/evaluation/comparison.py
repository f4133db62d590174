"""Set-ups side by side: every experiment's score, and what each axis of the grid is worth.

Two experiments are compared on an axis only if they are equal in every other axis and were trained
alike, and always over the same windows: what is drawn in the bootstrap is drawn for both, so that
windows which are hard for both do not hide the difference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from geofm_assets.core.errors import ExperimentError
from geofm_assets.evaluation.bootstrap import LEAST_BLOCKS, Counts, Values, interval
from geofm_assets.evaluation.comparison_counts import (
    blocks_of,
    fewest_blocks,
    metric_of,
    painted_counts,
    pixel_counts,
    resampled,
    window_counts,
)
from geofm_assets.evaluation.comparison_schema import DIFFERENCE
from geofm_assets.evaluation.scores import class_slugs
from geofm_assets.training.experiments import AXES, Experiment

METRIC, SPLIT = "macro_f1", "test"
HEADS = {"classification": "window", "segmentation": "pixel"}
"""What a head's metrics count."""


@dataclass(frozen=True)
class Setup:
    """An experiment with what it said of every window of a split.

    Attributes:
        experiment: the values of its axes.
        rows: PREDICTION or SEGMENTATION rows of the split, sorted by `window_name`.
        trained: digest of how it was trained, apart from its axes.
    """

    experiment: Experiment
    rows: pa.Table
    trained: str

    @property
    def level(self) -> str:
        """What its metrics count: `window` or `pixel`."""
        return HEADS[self.experiment.head]


@dataclass(frozen=True)
class _Measured:
    """A metric of one experiment, and of the same experiment in every resample.

    Attributes:
        value: of all windows.
        drawn: (resamples,).
        fewest: blocks that hold the class which the fewest do.
    """

    value: float
    drawn: Values
    fewest: int


def differences(
    setups: Sequence[Setup],
    classes: tuple[str, ...],
    *,
    metric: str = METRIC,
    split: str = SPLIT,
    groups: Mapping[str, str] | None = None,
    order: Mapping[str, Sequence[Any]] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> pa.Table:
    """What each axis is worth: paired differences between its values.

    Heads count different things, so between them the class of a window is said of all its pixels,
    as a map made with it does, and both are scored over labelled pixels.

    Args:
        setups: experiments of the same windows.
        classes: names in the order of `class_id`.
        metric: as SCORE names it; every experiment must have it.
        split: the rows' split.
        groups: group of each sample, by sample_id; what belongs together is drawn together.
        order: values of axes in the order they are shown in; others follow, sorted.
        resamples: bootstrap resamples.
        seed: of the bootstrap.

    Returns:
        DIFFERENCE table in the order of the axes; at least one row an axis.

    Raises:
        ExperimentError: no such metric, other windows, or a sample without a group.
        ConfigError: two class names are spelt alike.
    """
    told = {"split": split, "metric": metric}
    if not setups:
        text = f"Nothing to compare: no experiment of today's data has {metric} on {split}"
        return pa.Table.from_pylist([_nothing(a, text, told) for a in AXES], schema=DIFFERENCE)
    _require_same_windows(setups)
    blocks = blocks_of(setups[0].rows["sample_id"].to_pylist(), groups)
    number = int(blocks.max(initial=-1)) + 1
    told["drawn"] = "window" if groups is None else "group"
    measured = _measure(setups, classes, metric, blocks, resamples, seed)
    rows: list[dict[str, Any]] = []
    for axis in AXES:
        found = list(_of_axis(setups, axis, measured, {**told, "blocks": number}, order or {}))
        rows += found or [_nothing(axis, _why_nothing(setups, axis), told)]
    return pa.Table.from_pylist(rows, schema=DIFFERENCE)


def _measure(
    setups: Sequence[Setup],
    classes: tuple[str, ...],
    metric: str,
    blocks: NDArray[np.int64],
    resamples: int,
    seed: int,
) -> dict[tuple[str, str], _Measured]:
    """The metric of each experiment and level; of a class a window also of painted pixels."""
    counts: dict[tuple[str, str], Counts] = {}
    for setup in setups:
        count = window_counts if setup.level == "window" else pixel_counts
        counts[setup.experiment.name, setup.level] = count(setup.rows, len(classes))
    by_name = {s.experiment.name: s for s in setups}
    for setup in setups:
        rival = setup.experiment.model_copy(update={"head": "segmentation"}).name
        if setup.level == "window" and rival in by_name:
            counts[setup.experiment.name, "pixel"] = painted_counts(
                setup.rows, counts[rival, "pixel"]
            )
    slugs = class_slugs(classes)
    found = {}
    drawn = resampled(list(counts.values()), blocks, resamples, seed)
    for (key, part), again in zip(counts.items(), drawn, strict=True):
        total = part.sum(axis=0)
        averaged = total.sum(axis=0) > 0
        value = float(metric_of(total, metric, slugs, averaged))
        fewest = fewest_blocks(part, blocks)
        found[key] = _Measured(value, metric_of(again, metric, slugs, averaged), fewest)
    return found


def _of_axis(
    setups: Sequence[Setup],
    axis: str,
    measured: Mapping[tuple[str, str], _Measured],
    told: Mapping[str, Any],
    order: Mapping[str, Sequence[Any]],
) -> list[dict[str, Any]]:
    """A row of every two values of an axis, and of every level, that any pair has."""
    families: dict[tuple[Any, ...], dict[Any, Setup]] = {}
    for setup in setups:
        others = tuple(getattr(setup.experiment, a) for a in AXES if a != axis)
        families.setdefault(others, {})[getattr(setup.experiment, axis)] = setup
    rows = []
    for a, b in combinations(_values(setups, axis, order), 2):
        pairs: dict[str, list[tuple[Setup, Setup]]] = {}
        for _, family in sorted(families.items()):
            if a in family and b in family:
                level = "pixel" if axis == "head" else family[a].level
                pairs.setdefault(level, []).append((family[a], family[b]))
        for level, of_level in sorted(pairs.items()):
            place = {"axis": axis, "value_a": str(a), "value_b": str(b), "level": level, **told}
            rows.append(_difference(of_level, level, measured, place))
    return rows


def _difference(
    pairs: Sequence[tuple[Setup, Setup]],
    level: str,
    measured: Mapping[tuple[str, str], _Measured],
    place: Mapping[str, Any],
) -> dict[str, Any]:
    """A DIFFERENCE row of the pairs of two values."""
    alike = [(a, b) for a, b in pairs if a.trained == b.trained]
    row = {
        **_blank(),
        **place,
        "pairs": len(alike),
        "unlike": len(pairs) - len(alike),
        "experiments_a": [a.experiment.name for a, _ in alike],
        "experiments_b": [b.experiment.name for _, b in alike],
        "simulated": any(bool(pc.any(s.rows["simulated"]).as_py()) for p in pairs for s in p),
    }
    if alike:
        sides = [[measured[pair[i].experiment.name, level] for pair in alike] for i in (0, 1)]
        means = [float(np.mean([m.value for m in side])) for side in sides]
        drawn = [np.mean([m.drawn for m in side], axis=0) for side in sides]
        row |= {"mean_a": means[0], "mean_b": means[1], "difference": means[1] - means[0]}
        # a class that windows share with their whole group says no more than its groups do
        fewest = min(m.fewest for side in sides for m in side)
        held = fewest if place["drawn"] == "group" else place["blocks"]
        row["blocks_held"] = held
        if held >= LEAST_BLOCKS:
            low, high = interval(drawn[1] - drawn[0])
            row |= {"low": float(low), "high": float(high)}
    else:
        row |= {"drawn": None, "blocks": None}
    return {**row, "statement": _statement(row)}


def _statement(row: Mapping[str, Any]) -> str:
    """A difference in a sentence."""
    what = f"{row['axis']} {row['value_b']} instead of {row['value_a']}"
    left_out = ""
    if row["unlike"]:
        left_out = f"; {_counted(row['unlike'], 'pair')} left out, as they were trained otherwise"
    if not row["pairs"]:
        return f"{what}: nothing to compare{left_out}"
    over = f"{row['level']}s"
    if row["axis"] == "head":
        over += " (a window's class said of all its pixels)"
    if row["axis"] == "window_size" and row["level"] == "pixel":
        over += " (each over those of its own crop)"
    number = f"{row['metric']} of {over} {row['difference']:+.3f}"
    count = f"{_counted(row['pairs'], 'pair')}, {_counted(row['blocks'], row['drawn'])} drawn"
    if row["low"] is None:
        if row["blocks_held"] < row["blocks"]:
            count += f", {row['blocks_held']} of them with each class"
        few = f"too few {row['drawn']}s for an interval, which takes {LEAST_BLOCKS}"
        return f"{what}: {number}, {count}: {few}{left_out}"
    excludes = row["low"] > 0 or row["high"] < 0
    verdict = "the interval excludes 0" if excludes else "the interval includes 0"
    spread = f"({row['low']:+.3f} to {row['high']:+.3f})"
    return f"{what}: {number} {spread}, {count}: {verdict}{left_out}"


def _why_nothing(setups: Sequence[Setup], axis: str) -> str:
    values = {getattr(s.experiment, axis) for s in setups}
    if len(values) == 1:
        return f"Nothing to compare: every experiment compared has {axis} {values.pop()}"
    return f"Nothing to compare: no two experiments differ in {axis} and in nothing else"


def _nothing(axis: str, why: str, told: Mapping[str, Any]) -> dict[str, Any]:
    return {**_blank(), **told, "axis": axis, "drawn": None, "statement": why}


def _blank() -> dict[str, Any]:
    """A row without a difference."""
    nothing: dict[str, Any] = dict.fromkeys(DIFFERENCE.names)
    empty: dict[str, Any] = {"experiments_a": [], "experiments_b": [], "simulated": False}
    return nothing | empty | {"pairs": 0, "unlike": 0}


def _values(setups: Sequence[Setup], axis: str, order: Mapping[str, Sequence[Any]]) -> list[Any]:
    """Values of an axis: numbers ascending, names in the order given, then others."""
    values = sorted({getattr(s.experiment, axis) for s in setups})
    if values and isinstance(values[0], int):
        return values
    first = list(order.get(axis, ()))
    return sorted(values, key=lambda v: first.index(v) if v in first else len(first))


def _require_same_windows(setups: Sequence[Setup]) -> None:
    first = setups[0]
    for setup in setups[1:]:
        if not setup.rows["window_name"].equals(first.rows["window_name"]):
            raise ExperimentError(
                f"{setup.experiment.name} predicts other windows than {first.experiment.name}",
                where="predictions",
                fix="Materialize predictions of both again",
            )


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
