"""The periods a window's mosaics stand for, oldest first.

Two rules, one a profile:

`calendar_month` (local scenes): whole calendar months, the first being the one whose start lies
nearest to the start of the request (the earlier of two equally near). Local scenes are monthly
composites; thirty-day periods would drift against them and leave a period with two scenes and
another with none.

`fixed` (Planetary Computer): periods of thirty days that end with the request, as rslearn cuts
them with `period_duration` and as the reference configuration (twelve layers, time_offset -180
to +150 days) lays them: valid_time - 195 days to valid_time + 165 days.
"""

import datetime as dt
from collections.abc import Sequence
from typing import Literal

Period = tuple[dt.datetime, dt.datetime]
PeriodRule = Literal["calendar_month", "fixed"]

DAYS_A_PERIOD = 30


def request_offset(months: int) -> dt.timedelta:
    """From the start of a window's time range to the start of the imagery asked for.

    Half the duration back: for 12 months 180 days, so that with a window starting 15 days before
    valid_time the imagery covers valid_time - 195 days to valid_time + 165 days.
    """
    return -dt.timedelta(days=DAYS_A_PERIOD * months // 2)


def request_duration(months: int) -> dt.timedelta:
    """Length of the time range imagery is asked for."""
    return dt.timedelta(days=DAYS_A_PERIOD * months)


def periods(rule: PeriodRule, request: Period, months: int) -> list[Period]:
    """The periods of a request, oldest first.

    Args:
        rule: how periods are laid.
        request: time range imagery is asked for, UTC.
        months: how many.
    """
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


def _next_month(month: dt.datetime) -> dt.datetime:
    return (month + dt.timedelta(days=32)).replace(day=1)
