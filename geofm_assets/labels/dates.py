"""Dates as label files write them."""

import datetime as dt
import functools

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

FIRST_DAY = np.datetime64("1900-01-01")
LAST_DAY = np.datetime64("2100-12-31")


def parse_dates(column: pa.Array) -> np.ndarray:
    """Days as datetime64[D], shape (n,); NaT where there is none.

    Takes date and timestamp columns and ISO 8601 text (`2022-06-01`, `20220601`,
    `2022-06-01T10:00:00+02:00`). Times with a zone are moved to UTC before the day is taken, times
    without one are UTC. Other spellings (`01/06/2022`) are ambiguous and count as none, as do days
    outside 1900-2100.
    """
    kind = column.type
    if pa.types.is_dictionary(kind) and not pa.types.is_string(kind.value_type):
        column, kind = column.dictionary_decode(), kind.value_type
    if pa.types.is_null(kind):
        return np.full(len(column), np.datetime64("NaT"), "datetime64[D]")
    if pa.types.is_temporal(kind) and not (pa.types.is_time(kind) or pa.types.is_duration(kind)):
        if pa.types.is_date32(kind):
            days = np.asarray(column).astype("datetime64[D]")
        else:
            stamps = column.cast(pa.timestamp("us"), safe=False)
            days = np.asarray(stamps).astype("datetime64[D]")
    else:
        days = _parse_text(column)
    days = days.copy()
    with np.errstate(invalid="ignore"):
        days[(days < FIRST_DAY) | (days > LAST_DAY)] = np.datetime64("NaT")
    return days


def _parse_text(column: pa.Array) -> np.ndarray:
    coded = pa.types.is_dictionary(column.type)
    encoded = column if coded else column.cast(pa.string()).dictionary_encode()
    parsed = [_day(text or "") for text in encoded.dictionary.to_pylist()]
    lookup = np.array([*parsed, "NaT"], dtype="datetime64[D]")
    return lookup[np.asarray(pc.fill_null(encoded.indices, len(parsed)))]


@functools.lru_cache(maxsize=100_000)
def _day(text: str) -> np.datetime64:
    try:
        stamp = dt.datetime.fromisoformat(text.strip())
    except ValueError:
        return np.datetime64("NaT", "D")
    if stamp.tzinfo is not None:
        try:
            stamp = stamp.astimezone(dt.UTC)
        except OverflowError:  # year 1 or 9999, moved out of the calendar
            return np.datetime64("NaT", "D")
    return np.datetime64(stamp.date(), "D")
