"""Dividing a sample into train, val and test by place.

A unit (an H3 cell) goes to one split whole, by a keyed hash of its own id: other units have no
say, so under one (resolution, salt) new data never moves a unit. Where samples belong together a
unit is all the cells their groups join (see `split_group`). The salt is the first of 64
under which every split gets every class and about its share; where no salt does, cells of a
finer resolution are tried, and the report says so.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import h3
import numpy as np
import pyarrow as pa

from geofm_assets.core.errors import SplitError
from geofm_assets.core.hashing import keyed_hashes
from geofm_assets.sampling.bottom_k import value_ranks
from geofm_assets.sampling.config import Fractions, SplitConfig
from geofm_assets.sampling.leakage import BUFFER, SPLITS, hold_out_near
from geofm_assets.sampling.places import h3_cells
from geofm_assets.sampling.split_group import group_units
from geofm_assets.sampling.split_refusal import NearestMiss, refusal, units_name

SALTS = 64
RELAXED = (0.10, 0.15)


@dataclass(frozen=True)
class SplitResult:
    """A split of N points.

    Attributes:
        split: (N,) of train, val, test, buffer.
        unit: (N,) what the point was assigned with: an H3 cell, the first of the cells that groups
            join, or a window name.
        report: the choice made, as JSON-encodable values.
    """

    split: np.ndarray
    unit: np.ndarray
    report: dict[str, Any]


@dataclass(frozen=True)
class _Trial:
    """One (resolution, salt) that gives every split every class before points are held out."""

    resolution: int
    salt: int
    deviation: float


class _Units:
    """The points' units at one resolution."""

    def __init__(
        self,
        points: pa.Table,
        resolution: int,
        base: int,
        classes: int,
        groups: np.ndarray | None,
    ) -> None:
        same = resolution == base
        cells = points["h3_cell"].combine_chunks() if same else h3_cells(points, resolution)
        if groups is not None:
            cells = group_units(cells, groups)
        self.of_point = np.array(cells.to_pylist(), dtype=object)
        self.number = value_ranks(pa.chunked_array([cells]))
        self.names = sorted(set(self.of_point))
        flat = self.number * classes + points["class_id"].to_numpy()
        counts = np.bincount(flat, minlength=len(self.names) * classes)
        self.class_counts = counts.reshape(len(self.names), classes)

    def splits(self, fractions: Fractions, seed: int, salt: int) -> np.ndarray:
        """(units,) 0 train, 1 val, 2 test."""
        return assign_units(self.names, fractions, seed, salt)


def assign_units(names: list[str], fractions: Fractions, seed: int, salt: int) -> np.ndarray:
    """Split number (0 train, 1 val, 2 test) of each unit, by its own hash alone.

    Args:
        names: units.
        fractions: wanted shares; the hash, as a number in [0, 1), falls into one of them.
        seed: key of the hash.
        salt: what is varied until the split serves.
    """
    place = keyed_hashes([f"{salt}:{name}" for name in names], seed).astype(np.float64) / 2.0**64
    limits = [fractions.train, fractions.train + fractions.val]
    return np.searchsorted(limits, place, side="right")


def split_by_cell(
    points: pa.Table,
    config: SplitConfig,
    classes: tuple[str, ...],
    distance_m: float,
    prefer: tuple[int, int] | None = None,
    groups: np.ndarray | None = None,
) -> SplitResult:
    """Split by whole H3 cells, holding out points nearer than `distance_m` to another split.

    Args:
        points: CANDIDATE rows.
        config: fractions, tolerance, seed, least units and finest resolution.
        classes: class names by id.
        distance_m: metres promised between points of different splits.
        prefer: (resolution, salt) to keep if it still serves, so that points stay where an
            earlier plan put them. None makes the split a function of the data alone.
        groups: (N,) the group of each point; points of one group share a split, like those of a
            cell. None if points have no groups.

    Raises:
        SplitError: no choice gives every split every class and about its share.
    """
    present = present_classes(points, classes)
    base = h3.get_resolution(points["h3_cell"][0].as_py())
    best = NearestMiss()
    sizes: dict[int, int] = {}
    units: dict[int, _Units] = {}
    trials: dict[int, list[_Trial]] = {}
    steps = [config.tolerance, *(t for t in RELAXED if t > config.tolerance)]
    held: dict[tuple[int, int], tuple[np.ndarray, float] | None] = {}

    def trials_at(resolution: int) -> list[_Trial]:
        if resolution not in trials:
            units[resolution] = _Units(points, resolution, base, len(classes), groups)
            sizes[resolution] = len(units[resolution].names)
            enough = sizes[resolution] >= config.min_units
            found = _trials(units[resolution], resolution, config, classes, present, best)
            trials[resolution] = list(found) if enough else []
        return trials[resolution]

    def accept(trial: _Trial, tolerance: float) -> np.ndarray | None:
        if trial.deviation > tolerance:
            return None
        where = (trial.resolution, trial.salt)
        if where not in held:
            numbers = units[trial.resolution].splits(config.fractions, config.seed, trial.salt)
            split = np.array(SPLITS, dtype=object)[numbers[units[trial.resolution].number]]
            split = hold_out_near(
                points["lon"].to_numpy(), points["lat"].to_numpy(), split, distance_m
            )
            counts = split_class_counts(points, split, len(classes))
            missing, deviation = _judge(counts, config.fractions, classes, present)
            best.offer(missing, deviation, *where)
            held[where] = None if missing else (split, deviation)
        outcome = held[where]
        return outcome[0] if outcome is not None and outcome[1] <= tolerance else None

    def result(trial: _Trial, tolerance: float, split: np.ndarray) -> SplitResult:
        chosen = units[trial.resolution]
        report = _report(trial, tolerance, config, sizes, base, chosen, split)
        if groups is not None:
            largest = np.bincount(chosen.number).max() / points.num_rows
            report |= {
                "groups": len(set(groups.tolist())),
                "largest_unit": round(float(largest), 6),
            }
        return SplitResult(split, chosen.of_point, report)

    resolutions = range(base, max(base, config.max_resolution) + 1)
    if prefer is not None and prefer[0] in resolutions:
        for trial in (t for t in trials_at(prefer[0]) if t.salt == prefer[1]):
            for tolerance in steps:
                if (split := accept(trial, tolerance)) is not None:
                    return result(trial, tolerance, split)
    for tolerance in steps:
        for resolution in resolutions:
            for trial in trials_at(resolution):
                if (split := accept(trial, tolerance)) is not None:
                    return result(trial, tolerance, split)
    raise refusal(points.num_rows, config, sizes, best, distance_m, steps[-1], SALTS)


def present_classes(points: pa.Table, classes: tuple[str, ...]) -> np.ndarray:
    """Ids of the classes that occur.

    Raises:
        SplitError: there is no point, or only one class.
    """
    if points.num_rows == 0:
        raise SplitError(
            "There is no point to split",
            where="sample",
            fix="Look into the quarantine for why every row was set aside",
        )
    present = np.unique(points["class_id"].to_numpy())
    if len(present) == 1:
        raise SplitError(
            f"All {points.num_rows} points are of class {classes[present[0]]!r}; a classifier "
            f"needs at least two of {', '.join(classes)}",
            where="sample",
            fix="Add labels of another class, or check the label rule",
        )
    return present


def split_class_counts(points: pa.Table, split: np.ndarray, classes: int) -> np.ndarray:
    """(3, classes) points of each class in train, val, test."""
    class_ids = points["class_id"].to_numpy()
    return np.stack([np.bincount(class_ids[split == s], minlength=classes) for s in SPLITS])


def _trials(
    units: _Units,
    resolution: int,
    config: SplitConfig,
    classes: tuple[str, ...],
    present: np.ndarray,
    best: NearestMiss,
) -> Iterator[_Trial]:
    for salt in range(SALTS):
        numbers = units.splits(config.fractions, config.seed, salt)
        counts = np.stack([units.class_counts[numbers == s].sum(axis=0) for s in range(3)])
        missing, deviation = _judge(counts, config.fractions, classes, present)
        if missing:
            best.offer(missing, deviation, resolution, salt)
        else:
            yield _Trial(resolution, salt, deviation)


def _judge(
    counts: np.ndarray, fractions: Fractions, classes: tuple[str, ...], present: np.ndarray
) -> tuple[list[tuple[str, str]], float]:
    """(class, split) pairs without a point, and the largest deviation from the fractions."""
    missing = [(classes[c], SPLITS[s]) for s in range(3) for c in present if counts[s, c] == 0]
    shares = counts.sum(axis=1) / max(1, counts.sum())
    wanted = np.array([fractions.train, fractions.val, fractions.test])
    return missing, float(np.abs(shares - wanted).max())


def _report(
    trial: _Trial,
    tolerance: float,
    config: SplitConfig,
    sizes: dict[int, int],
    base: int,
    units: _Units,
    split: np.ndarray,
) -> dict[str, Any]:
    numbers = units.splits(config.fractions, config.seed, trial.salt)
    notes = []
    if trial.resolution > base:
        few = sizes[base] < config.min_units
        why = (
            f"fewer than split.min_units={config.min_units}"
            if few
            else "and no assignment of them gave every split every class and its share"
        )
        area = h3.average_hexagon_area(trial.resolution, "km^2")
        notes.append(
            f"The sample lies in {sizes[base]} {units_name(config)} of resolution {base}, {why}; "
            f"so {sizes[trial.resolution]} finer blocks of resolution {trial.resolution} (about "
            f"{area:.3g} km2 each) were split instead. Splits are nearer to each other than they "
            "would be by whole sampling cells, so scores may look better than on new regions."
        )
    if tolerance > config.tolerance:
        notes.append(
            f"No assignment came within split.tolerance={config.tolerance:g} of the fractions; "
            f"{tolerance:g} was accepted."
        )
    if held := int((split == BUFFER).sum()):
        notes.append(
            f"{held} of {len(split)} points are held out as buffer, because they lie too near to "
            "a point of another split."
        )
    return {
        "resolution": trial.resolution,
        "salt": trial.salt,
        "units": len(units.names),
        "units_per_split": {s: int((numbers == i).sum()) for i, s in enumerate(SPLITS)},
        "tolerance": tolerance,
        "note": " ".join(notes),
    }
