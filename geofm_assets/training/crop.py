"""Which pixels and which months of a materialized window an experiment reads."""

from datetime import date

import numpy as np
from numpy.typing import NDArray

DAY = 86_400_000_000  # microseconds
_EPOCH_DAY = date(1970, 1, 1)


def crop_bounds(size: int, window: int) -> tuple[slice, slice]:
    """Rows and columns of a centred crop.

    A window's geometry puts its point into column size // 2 and row (size - 1) // 2 (pixel rows
    count down from the equator in UTM, and truncation rounds them up, which shifts even sizes by
    one). The crop keeps that, so a window of one pixel is the pixel that holds the point.

    Args:
        size: pixels of the materialized side.
        window: pixels of the crop's side, at most `size`.
    """
    row = (size - 1) // 2 - (window - 1) // 2
    column = size // 2 - window // 2
    return slice(row, row + window), slice(column, column + window)


def chosen_months(periods: NDArray[np.int64], valid_time: date, timesteps: int) -> slice:
    """The run of months an experiment reads: around the month that holds `valid_time`.

    Args:
        periods: (T, 2) start and end in microseconds since 1970 UTC, oldest first.
        valid_time: date the label is for.
        timesteps: how many months, at most T.

    Returns:
        `timesteps` consecutive months. Where the run cannot be centred it leans to the past by
        half a month, and at an end of the year of imagery it is shifted inside. If no period
        holds `valid_time`, the one whose middle is nearest stands in.
    """
    return months_about(periods, (valid_time - _EPOCH_DAY).days * DAY, timesteps)


def months_about(periods: NDArray[np.int64], micros: int, timesteps: int) -> slice:
    """`chosen_months` about a moment in microseconds since 1970 UTC."""
    if timesteps == len(periods):
        return slice(0, timesteps)
    holds = np.flatnonzero((periods[:, 0] <= micros) & (micros < periods[:, 1]))
    middle = (periods[:, 0] + periods[:, 1]) // 2
    centre = int(holds[0]) if holds.size else int(np.abs(middle - micros).argmin())
    first = min(max(centre - timesteps // 2, 0), len(periods) - timesteps)
    return slice(first, first + timesteps)
