import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geofm_assets.labels.dates import parse_dates

DAY = dt.date(2021, 6, 1)


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["2021-06-01"]),
        pa.array([" 2021-06-01 "]),
        pa.array(["20210601"]),
        pa.array([20210601]),
        pa.array(["2021-06-01T23:59:59"]),
        pa.array(["2021-06-01 10:00:00Z"]),
        pa.array(["2021-06-02T01:00:00+02:00"]),
        pa.array(["2021-06-01"]).dictionary_encode(),
        pa.array(["2021-06-01"], pa.large_string()),
        pa.array([DAY], pa.date32()),
        pa.array([DAY], pa.date64()),
        pa.array([dt.datetime(2021, 6, 1, 23, 59)], pa.timestamp("ns")),
        pa.array([dt.datetime(2021, 6, 1, 23, tzinfo=dt.UTC)], pa.timestamp("ms", "UTC")),
        pa.array(
            [dt.datetime(2021, 6, 1, 23, tzinfo=dt.UTC)], pa.timestamp("us", "Pacific/Auckland")
        ),
    ],
)
def test_a_day_is_read_from_every_type(column):
    assert parse_dates(column).tolist() == [DAY]


@pytest.mark.parametrize(
    "text", ["", "  ", "01/06/2021", "2021", "2021-13-01", "2021-02-30", "summer", "0001-01-01"]
)
def test_what_is_no_iso_day_is_none(text):
    assert np.isnat(parse_dates(pa.array([text]))).all()


@pytest.mark.parametrize("day", [dt.date(1899, 12, 31), dt.date(2101, 1, 1)])
def test_days_no_satellite_can_show_are_none(day):
    assert np.isnat(parse_dates(pa.array([day]))).all()


@pytest.mark.parametrize("kind", [pa.string(), pa.date32(), pa.timestamp("us"), pa.null()])
def test_null_is_none(kind):
    assert np.isnat(parse_dates(pa.array([None], kind))).all()


def test_overflow_at_the_ends_of_the_calendar_is_none():
    assert np.isnat(parse_dates(pa.array(["9999-12-31T23:59:59-12:00"]))).all()


@given(st.lists(st.dates(dt.date(1900, 1, 1), dt.date(2100, 12, 31))))
def test_text_and_dates_agree(days):
    texts = pa.array([day.isoformat() for day in days], pa.string())

    assert parse_dates(texts).tolist() == days
    assert parse_dates(pa.array(days, pa.date32())).tolist() == days
