"""Train, val and test: kept, by blocks of the Earth, or at random; and nested subsets of train.

A keyed hash of a block's or sample's name decides, whatever the order of the samples.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import shapely

from geofm_assets.core.errors import DatasetError
from geofm_assets.core.hashing import keyed_hash
from geofm_assets.evaluation.registry.entry import SPLITS, SplitRule
from geofm_assets.evaluation.samples.draw import hash_order

SHARES = {"train": 0.7, "val": 0.15, "test": 0.15}
_HALVES = {"val": 0.5, "test": 0.5}
_FEWEST, _ATTEMPTS, _BLOCK_STEPS = 5, 64, 20_000  # fewer than 5 have no val or test of SHARES
_MISSING_TRAIN, _MISSING_OTHER = 10_000.0, 100.0
ALIASES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class Place:
    """A sample as the splitter sees it.

    Attributes:
        sample_id: unique.
        box: its footprint in metres of an equal-area projection: west, south, east, north.
        given: the split its source says, if any.
        classes: what it shows, for balance; empty where that says nothing.
    """

    sample_id: str
    box: tuple[float, float, float, float]
    given: str | None = None
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Split:
    """A division of samples.

    Attributes:
        rule: how it came about.
        by_id: split of every sample.
        block_m: side of a block; None unless blocks were used.
        notes: why it is this one, and what a person should know of it.
    """

    rule: SplitRule
    by_id: Mapping[str, str]
    block_m: float | None = None
    notes: tuple[str, ...] = ()

    def counts(self) -> dict[str, int]:
        """Samples by split."""
        found = Counter(self.by_id.values())
        return {name: found[name] for name in SPLITS}


def split_samples(
    places: Sequence[Place], rule: SplitRule | None, seed: int, block_m: float
) -> Split:
    """Divide samples.

    Without a rule, a split that is complete in the source is kept; where val or test is missing,
    the other is halved by blocks; anything else is divided 70/15/15 by blocks.

    Args:
        places: any order.
        rule: to force one.
        seed: of blocks and random splits.
        block_m: side of a block in metres.

    Raises:
        DatasetError: the rule cannot be obeyed.
    """
    given = Counter(place.given for place in places)
    named = {name for name in given if name is not None}
    if rule == "random":
        return Split("random", _random(places, seed), None, ("--split-rule",))
    if rule == "spatial_blocks":
        return _by_blocks(places, SHARES, {}, seed, block_m, "--split-rule")
    if rule == "kept" or named == set(SPLITS):
        _require_complete(places, given)
        by_id = {p.sample_id: str(p.given) for p in places}
        return Split("kept", by_id, None, ("the source has all three",))
    if "train" in named and len(named) == 2 and not given[None]:
        fixed = {p.sample_id: "train" for p in places if p.given == "train"}
        rest = [p for p in places if p.given != "train"]
        (halved,) = named - {"train"}
        note = f"the source has no {'test' if halved == 'val' else 'val'}: its {halved} was halved"
        return _by_blocks(rest, _HALVES, fixed, seed, block_m, note)
    held = " and ".join(sorted(named)) or "none"
    return _by_blocks(places, SHARES, {}, seed, block_m, f"of its own the source has {held}")


def class_gaps(places: Sequence[Place], by_id: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Splits that lack a class, by class."""
    seen: dict[str, set[str]] = defaultdict(set)
    for place in places:
        for name in place.classes:
            seen[name].add(by_id[place.sample_id])
    gaps = {name: tuple(s for s in SPLITS if s not in splits) for name, splits in seen.items()}
    return {name: missing for name, missing in sorted(gaps.items()) if missing}


def overlapping(places: Sequence[Place]) -> list[tuple[int, int]]:
    """Pairs of samples, by position, whose footprints share an area; each once, sorted."""
    boxes = shapely.box(*np.array([p.box for p in places], float).reshape(-1, 4).T)
    left, right = shapely.STRtree(boxes).query(boxes, predicate="intersects")
    once = left < right
    left, right = left[once], right[once]
    smaller = np.minimum(shapely.area(boxes[left]), shapely.area(boxes[right]))
    shared = shapely.area(shapely.intersection(boxes[left], boxes[right]))
    real = shared > 1e-6 * smaller  # neighbours touch, rounding makes slivers
    return sorted(zip(left[real].tolist(), right[real].tolist(), strict=True))


def subset_ranks(sample_ids: Sequence[str], strata: Sequence[str], seed: int) -> dict[str, float]:
    """Rank of every train sample in [0, 1): a subset of p % keeps ranks below p / 100.

    In every class the k-th of n samples by keyed hash has rank k / n: each keeps at least one.

    Args:
        sample_ids: of the train split.
        strata: class of each, or anything else to be kept in proportion.
        seed: of the hash.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for sample_id, stratum in zip(sample_ids, strata, strict=True):
        groups[stratum].append(sample_id)
    ranks = {}
    for members in groups.values():
        for place, sample_id in enumerate(hash_order(members, seed)):
            ranks[sample_id] = place / len(members)
    return ranks


def _require_complete(places: Sequence[Place], given: Mapping[str | None, int]) -> None:
    fix = "Say --split-rule spatial_blocks, or --split-property for the option that names the split"
    if missing := [name for name in SPLITS if not given.get(name)]:
        raise DatasetError(f"The source has no {' and no '.join(missing)} split", fix=fix)
    if given.get(None):
        first = min(p.sample_id for p in places if p.given is None)
        count = f"{given[None]} windows are" if given[None] > 1 else "1 window is"
        raise DatasetError(
            f"{count} in no split of the source",
            where=f"window {first}",
            fix=f"Leave them out with --groups or --tags. {fix}",
        )


def _random(places: Sequence[Place], seed: int) -> dict[str, str]:
    """Per class, shares of the keyed-hash order; mixtures too rare to be divided go together."""
    counts = Counter(place.classes for place in places)
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for p in places:
        rare = len(p.classes) > 1 and counts[p.classes] < _FEWEST
        groups[() if rare else p.classes].append(p.sample_id)
    by_id = {}
    edge = SHARES["train"] + SHARES["val"]
    for members in groups.values():
        for number, key in enumerate(hash_order(members, seed)):
            share = (number + 0.5) / len(members)
            by_id[key] = "train" if share < SHARES["train"] else "val" if share < edge else "test"
    return by_id


@dataclass(frozen=True)
class _Group:
    """Blocks that must stay together, with the samples in them."""

    key: str
    members: tuple[int, ...]
    classes: Mapping[str, int]


def _by_blocks(
    places: Sequence[Place],
    shares: Mapping[str, float],
    fixed: Mapping[str, str],
    seed: int,
    block_m: float,
    why: str,
) -> Split:
    """Whole blocks to splits: of some keyed orders, the one with the best balance of classes."""
    groups = _groups(places, block_m)
    if len(groups) < len(shares):
        count = f"{len(groups)} separate blocks" if len(groups) > 1 else "1 separate block"
        raise DatasetError(
            f"The windows lie in {count} of {block_m:g} m, too few for {' and '.join(shares)}",
            where="--block-m",
            fix="Give a smaller --block-m, or say --split-rule random and accept the leakage",
        )
    total = Counter(name for place in places for name in place.classes)
    attempts = max(1, min(_ATTEMPTS, _BLOCK_STEPS // len(groups)))
    best, chosen = np.inf, {}
    for attempt in range(attempts):
        tried = _fill(groups, shares, len(places), seed, attempt)
        score = _badness(groups, tried, shares, total, len(places))
        if score < best:
            best, chosen = score, tried
    by_id = dict(fixed)
    for group in groups:
        by_id |= {places[i].sample_id: chosen[group.key] for i in group.members}
    notes = (why, f"{len(groups)} separate blocks of {block_m:g} m")
    return Split("spatial_blocks", by_id, block_m, notes)


def _fill(
    groups: Sequence[_Group], shares: Mapping[str, float], total: int, seed: int, attempt: int
) -> dict[str, str]:
    """Split of each group: in keyed order, each to the split that is emptiest for its share."""
    order = sorted((keyed_hash(f"{attempt}:{g.key}", seed), g.key, g) for g in groups)
    filled = dict.fromkeys(shares, 0)
    chosen = {}
    for _, key, group in order:
        name = min(filled, key=lambda s: filled[s] / (shares[s] * total))
        filled[name] += len(group.members)
        chosen[key] = name
    return chosen


def _badness(
    groups: Sequence[_Group],
    chosen: Mapping[str, str],
    shares: Mapping[str, float],
    classes: Mapping[str, int],
    total: int,
) -> float:
    """Classes a split lacks, then how far classes and sizes are from their shares."""
    sizes: Counter[str] = Counter()
    seen: dict[str, Counter[str]] = {name: Counter() for name in shares}
    for group in groups:
        split = chosen[group.key]
        sizes[split] += len(group.members)
        seen[split].update(group.classes)
    badness = sum(abs(sizes[s] / total - share) for s, share in shares.items())
    for name, count in classes.items():
        for split, share in shares.items():
            found = seen[split][name]
            if not found:
                badness += _MISSING_TRAIN if split == "train" else _MISSING_OTHER
            badness += abs(found / count - share) / len(classes)
    return badness


def _groups(places: Sequence[Place], block_m: float) -> list[_Group]:
    """Blocks of samples by the middle of their footprint; overlapping samples hang together."""
    blocks = [_block(place, block_m) for place in places]
    parent = {block: block for block in blocks}

    def root(block: tuple[int, int]) -> tuple[int, int]:
        while parent[block] != block:
            parent[block] = parent[parent[block]]
            block = parent[block]
        return block

    for left, right in overlapping(places):
        a, b = root(blocks[left]), root(blocks[right])
        if a != b:
            parent[max(a, b)] = min(a, b)
    members: dict[tuple[int, int], list[int]] = defaultdict(list)
    for position, block in enumerate(blocks):
        members[root(block)].append(position)
    return [
        _Group(
            f"{column}_{row}",
            tuple(held),
            Counter(name for i in held for name in places[i].classes),
        )
        for (column, row), held in sorted(members.items())
    ]


def _block(place: Place, block_m: float) -> tuple[int, int]:
    west, south, east, north = place.box
    return int((west + east) / 2 // block_m), int((south + north) / 2 // block_m)
