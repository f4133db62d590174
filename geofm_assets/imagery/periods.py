"""The periods a window's mosaics stand for, oldest first.

Two rules, one a profile:

`calendar_month` (local scenes): whole calendar months, the first being the one whose start lies
nearest to the start of the request (the earlier of two equally near). Local scenes are monthly
composites; thirty-day periods would drift against them and leave a period with two scenes and
another with none.

`fixed` (Planetary Computer): periods of thirty days that end with the request, as rslearn cuts
them with `period_duration` and as the reference configuration (twelve layers, time_offset -180
to +150 days) lays them: valid_time - 195 days to valid_time + 165 days.

Frames name single ones, by their distance from the month (or thirty days) that holds valid_time:
-1 is the one before. The range asked for reaches from the first to the last; that of frame 0
begins 15 days before valid_time, under either rule.
"""

import datetime as dt
from collections.abc import Sequence
from typing import Literal

Period = tuple[dt.datetime, dt.datetime]
PeriodRule = Literal["calendar_month", "fixed"]

DAYS_A_PERIOD = 30
_DAYS_BEFORE = DAYS_A_PERIOD // 2  # of frame 0 before valid_time


def request_offset(months: int) -> dt.timedelta:
    """From the start of a window's time range to the start of the imagery asked for.

    Half the duration back: for 12 months 180 days, so that with a window starting 15 days before
    valid_time the imagery covers valid_time - 195 days to valid_time + 165 days.
    """
    return -dt.timedelta(days=DAYS_A_PERIOD * months // 2)


def request_duration(months: int) -> dt.timedelta:
    """Length of the time range imagery is asked for."""
    return dt.timedelta(days=DAYS_A_PERIOD * months)


def frames_offset(frames: Sequence[int], days_before: int) -> dt.timedelta:
    """From the start of a window's time range to the start of the imagery of its frames.

    Args:
        frames: ascending.
        days_before: days from that start to valid_time.
    """
    return dt.timedelta(days=days_before - _DAYS_BEFORE + DAYS_A_PERIOD * frames[0])


def span(frames: Sequence[int]) -> int:
    """How many periods lie from the first frame to the last, both included."""
    return frames[-1] - frames[0] + 1


def periods(
    rule: PeriodRule, request: Period, months: int, frames: Sequence[int] | None = None
) -> list[Period]:
    """The periods of a request, oldest first.

    Args:
        rule: how periods are laid.
        request: time range imagery is asked for, UTC.
        months: how many.
        frames: ascending; the only ones wanted, of a request that begins with the first.
    """
    if frames is not None and rule == "calendar_month":
        valid = request[0] + dt.timedelta(days=_DAYS_BEFORE - DAYS_A_PERIOD * frames[0])
        return [_month_from(valid, frame) for frame in frames]
    if frames is not None:
        laid = periods(rule, request, span(frames))
        return [laid[frame - frames[0]] for frame in frames]
    if rule == "calendar_month":
        return calendar_months(request[0], months)
    length = dt.timedelta(days=DAYS_A_PERIOD)
    return [(request[1] - length * k, request[1] - length * (k - 1)) for k in range(months, 0, -1)]


def calendar_months(start: dt.datetime, months: int) -> list[Period]:
    """Whole calendar months, the first starting nearest to `start`."""
    this = dt.datetime(start.year, start.month, 1, tzinfo=dt.UTC)
    following = _next_month(this)
    first = this if start - this <= following - start else following
    found: list[Period] = []
    while len(found) < months:
        after = _next_month(first)
        found.append((first, after))
        first = after
    return found


def period_of(moment: dt.datetime, laid: Sequence[Period]) -> int | None:
    """Index of the period that holds a moment, None if none does. Ends are exclusive."""
    for index, (start, end) in enumerate(laid):
        if start <= moment < end:
            return index
    return None


def centre(start: dt.datetime, end: dt.datetime) -> dt.datetime:
    """Middle of a time range."""
    return start + (end - start) / 2


def _month_from(moment: dt.datetime, count: int) -> Period:
    """The calendar month so many after the one that holds a moment."""
    year, month = divmod(12 * moment.year + moment.month - 1 + count, 12)
    first = dt.datetime(year, month + 1, 1, tzinfo=dt.UTC)
    return (first, _next_month(first))


def _next_month(month: dt.datetime) -> dt.datetime:
    return (month + dt.timedelta(days=32)).replace(day=1)
