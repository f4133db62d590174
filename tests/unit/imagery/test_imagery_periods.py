"""The periods mosaics stand for."""

import datetime as dt
import itertools

import shapely
from hypothesis import given
from hypothesis import strategies as st
from rslearn.config import QueryConfig
from rslearn.data_sources import Item
from rslearn.data_sources.utils import match_candidate_items_to_window
from rslearn.utils.geometry import WGS84_PROJECTION, STGeometry, get_global_geometry

from geofm_assets.imagery.periods import (
    centre,
    period_of,
    periods,
    request_duration,
    request_offset,
)

days = st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2060, 1, 1), timezones=st.just(dt.UTC))


def request(valid: dt.datetime, months: int = 12) -> tuple[dt.datetime, dt.datetime]:
    """What rslearn asks for of a window 15 days about `valid`."""
    start = valid - dt.timedelta(days=15) + request_offset(months)
    return (start, start + request_duration(months))


def test_twelve_months_reach_from_195_days_before_to_165_after() -> None:
    valid = dt.datetime(2022, 6, 1, tzinfo=dt.UTC)
    start, end = request(valid)
    assert (valid - start, end - valid) == (dt.timedelta(days=195), dt.timedelta(days=165))


def test_calendar_months_about_the_first_of_june() -> None:
    laid = periods("calendar_month", request(dt.datetime(2022, 6, 1, tzinfo=dt.UTC)), 12)
    assert [f"{start:%Y-%m-%d}" for start, _ in laid] == [
        "2021-12-01", "2022-01-01", "2022-02-01", "2022-03-01", "2022-04-01", "2022-05-01",
        "2022-06-01", "2022-07-01", "2022-08-01", "2022-09-01", "2022-10-01", "2022-11-01",
    ]  # fmt: skip


@given(days, st.integers(1, 24))
def test_calendar_months_are_whole_and_follow_each_other(valid: dt.datetime, months: int) -> None:
    laid = periods("calendar_month", request(valid, months), months)
    assert len(laid) == months
    assert all(start.day == 1 and start.hour == 0 for start, _ in laid)
    assert all(end == start for (_, end), (start, _) in itertools.pairwise(laid))


@given(days)
def test_the_first_month_starts_within_16_days_of_the_request(valid: dt.datetime) -> None:
    asked = request(valid)
    first = periods("calendar_month", asked, 12)[0][0]
    assert abs(first - asked[0]) <= dt.timedelta(days=16)


@given(days)
def test_a_calendar_months_scene_is_in_its_own_month(valid: dt.datetime) -> None:
    laid = periods("calendar_month", request(valid), 12)
    assert [period_of(centre(*month), laid) for month in laid] == list(range(12))


@given(days, st.integers(1, 24))
def test_fixed_periods_are_those_rslearn_cuts(valid: dt.datetime, months: int) -> None:
    asked = request(valid, months)
    everywhere = Item("all", get_global_geometry((asked[0], asked[1])))
    window = STGeometry(WGS84_PROJECTION, shapely.box(0, 0, 1, 1), asked)
    query = QueryConfig(
        max_matches=months,
        period_duration=dt.timedelta(days=30),
        per_period_mosaic_reverse_time_order=False,
    )
    groups = match_candidate_items_to_window(window, [everywhere], query)
    assert [g.request_time_range for g in groups] == periods("fixed", asked, months)
