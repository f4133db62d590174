"""When scenes were taken, in the units packed files use."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from geofm_assets.imagery.periods import Period

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MICROSECOND = dt.timedelta(microseconds=1)


def micros(period: Period) -> tuple[int, int]:
    """Start and end in microseconds since 1970 UTC."""
    return ((period[0] - EPOCH) // MICROSECOND, (period[1] - EPOCH) // MICROSECOND)


def moments(pair: Any) -> Period:
    """Start and end, UTC, of a pair of microseconds since 1970."""
    first, last = (int(value) for value in pair)
    return (EPOCH + first * MICROSECOND, EPOCH + last * MICROSECOND)


def acquired(items: Sequence[Mapping[str, Any]]) -> tuple[int, int] | None:
    """Start of the earliest and end of the latest scene, microseconds since 1970, if known.

    Args:
        items: as rslearn keeps them with a window.
    """
    times = [item["geometry"]["time_range"] for item in items]
    shown = [[dt.datetime.fromisoformat(t) for t in pair] for pair in times if pair is not None]
    return micros((min(s for s, _ in shown), max(e for _, e in shown))) if shown else None
