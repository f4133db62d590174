"""Cuts what is to be made into ranges that runs can take: neighbours in Dagster's order of keys."""

import math
from collections.abc import Collection, Sequence


def stretches(order: Sequence[str], wanted: Collection[str]) -> list[list[str]]:
    """Runs of neighbours among the wanted keys.

    A run is given the first and last key of a range and makes all between, so a key that is not
    wanted ends a stretch.

    Args:
        order: all keys as Dagster keeps them.
        wanted: keys to be made; those that are not in `order` are left out.
    """
    chosen = set(wanted)
    found: list[list[str]] = []
    open_stretch = False
    for key in order:
        if key not in chosen:
            open_stretch = False
        elif open_stretch:
            found[-1].append(key)
        else:
            found.append([key])
            open_stretch = True
    return found


def pieces(
    order: Sequence[str], wanted: Collection[str], workers: int, most: int | None
) -> list[list[str]]:
    """Stretches, cut so that every worker has something to do and no run takes too much.

    Args:
        order: all keys as Dagster keeps them.
        wanted: keys to be made.
        workers: how many runs go on at once, at least 1.
        most: keys a run may take; None for any number.
    """
    found = stretches(order, wanted)
    size = max(1, math.ceil(sum(map(len, found)) / workers))
    if most is not None:
        size = min(size, most)
    return [
        stretch[start : start + size] for stretch in found for start in range(0, len(stretch), size)
    ]
