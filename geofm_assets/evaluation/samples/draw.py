"""Fewer samples than there are: per split and class, by a keyed hash of their names."""

import heapq
from collections import defaultdict
from collections.abc import Sequence

from geofm_assets.core.hashing import keyed_hashes

_TRAIN = "train"


def hash_order(names: Sequence[str], seed: int) -> list[str]:
    """Names by their keyed hash, whatever order they came in."""
    keys = keyed_hashes(list(names), seed).tolist()
    return [name for _, name in sorted(zip(keys, names, strict=True))]


def draw(sample_ids: Sequence[str], count: int, seed: int) -> set[str]:
    """The `count` samples whose ids hash lowest, whatever their order."""
    return set(hash_order(sample_ids, seed)[:count])


def quotas(sizes: Sequence[int], count: int) -> list[int]:
    """How many of each group make `count` in all, in proportion and one of each at least.

    Sainte-Laguë's method: a larger count takes no group anything away. With fewer to give than
    there are groups, the largest get one each, of equals the first.

    Args:
        sizes: of the groups, each at least 1.
        count: to give; no group gets more than it has.
    """
    if count < len(sizes):
        largest = sorted(range(len(sizes)), key=lambda i: (-sizes[i], i))[:count]
        return [int(i in largest) for i in range(len(sizes))]
    given = [1] * len(sizes)
    waiting = [(-size / 3, i) for i, size in enumerate(sizes) if size > 1]
    heapq.heapify(waiting)
    for _ in range(min(count, sum(sizes)) - len(sizes)):
        _, i = heapq.heappop(waiting)
        given[i] += 1
        if given[i] < sizes[i]:
            heapq.heappush(waiting, (-sizes[i] / (2 * given[i] + 1), i))
    return given


def draw_stratified(
    sample_ids: Sequence[str],
    splits: Sequence[str],
    classes: Sequence[str],
    count: int,
    seed: int,
) -> set[str]:
    """At most `count` samples: each split keeps its share, in a split each class.

    A class of train that is too rare to be drawn there is not drawn for val or test either, where
    it could not be predicted, unless they have no other.

    Args:
        sample_ids: unique.
        splits: split of each, empty for none.
        classes: class of each, empty for none.
        count: at least as many as there are splits, so that each has one.
        seed: of the hash.
    """
    groups: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for sample_id, split, name in zip(sample_ids, splits, classes, strict=True):
        groups[split][name].append(sample_id)
    order = sorted(groups, key=lambda split: (split != _TRAIN, split))
    shares = quotas([sum(map(len, groups[split].values())) for split in order], count)
    chosen: set[str] = set()
    unlearnt: set[str] = set()
    for split, share in zip(order, shares, strict=True):
        names = sorted(groups[split])
        names = [name for name in names if name not in unlearnt] or names
        sizes = [len(groups[split][name]) for name in names]
        given = dict(zip(names, quotas(sizes, share), strict=True))
        for name, wanted in given.items():
            chosen |= draw(groups[split][name], wanted, seed)
        if split == _TRAIN:
            unlearnt = {name for name, wanted in given.items() if not wanted}
    return chosen
