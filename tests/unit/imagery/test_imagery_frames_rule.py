"""Frames: single months counted from the one that holds the label's day."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from rslearn.config import DatasetConfig

from geofm_assets.core.hashing import json_digest
from geofm_assets.imagery.config import ImageryConfig
from geofm_assets.imagery.dataset import dataset_config
from geofm_assets.imagery.periods import (
    PeriodRule,
    frames_offset,
    period_of,
    periods,
    request_duration,
    span,
)

days = st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2060, 1, 1), timezones=st.just(dt.UTC))
frames = st.lists(st.integers(-11, 11), min_size=1, unique=True).map(sorted)
before = st.integers(0, 60)
DAY = dt.timedelta(days=1)


def laid(
    rule: PeriodRule, valid: dt.datetime, wanted: list[int], days_before: int = 15
) -> list[tuple[dt.datetime, dt.datetime]]:
    """Periods of a window that begins some days before `valid`."""
    start = valid - days_before * DAY + frames_offset(wanted, days_before)
    request = (start, start + request_duration(span(wanted)))
    return periods(rule, request, span(wanted), wanted)


def test_before_and_after_a_fire_on_the_last_of_august() -> None:
    found = laid("calendar_month", dt.datetime(2020, 8, 31, tzinfo=dt.UTC), [-1, 1])
    assert [f"{start:%Y-%m-%d}" for start, _ in found] == ["2020-07-01", "2020-09-01"]


def test_a_year_may_end_between_the_frames() -> None:
    found = laid("calendar_month", dt.datetime(2020, 12, 5, tzinfo=dt.UTC), [-2, 0, 1])
    assert [f"{start:%Y-%m}" for start, _ in found] == ["2020-10", "2020-12", "2021-01"]


@given(days, frames, before)
def test_frame_zero_holds_the_day(valid: dt.datetime, wanted: list[int], days_before: int) -> None:
    rules: list[PeriodRule] = ["calendar_month", "fixed"]
    for rule in rules:
        found = laid(rule, valid, wanted, days_before)
        assert period_of(valid, found) == (wanted.index(0) if 0 in wanted else None)


@given(days, frames)
def test_frames_are_as_far_from_it_as_they_say(valid: dt.datetime, wanted: list[int]) -> None:
    month = 12 * valid.year + valid.month
    calendar = laid("calendar_month", valid, wanted)
    assert [12 * s.year + s.month - month for s, _ in calendar] == wanted
    fixed = laid("fixed", valid, wanted)
    assert [(s - valid + 15 * DAY) // (30 * DAY) for s, _ in fixed] == wanted
    assert all(end - start == 30 * DAY for start, end in fixed)


@pytest.mark.parametrize("profile", ["local_scenes", "planetary_computer"])
def test_rslearn_reads_the_configuration(profile: str) -> None:
    imagery = ImageryConfig.model_validate({"profile": profile, "frames": [-1, 1]})
    config = dataset_config(imagery, "/scenes", None)
    assert DatasetConfig.model_validate(config).layers["sentinel1"].data_source is not None
    source = config["layers"]["sentinel2_l2a"]["data_source"]
    assert (source["time_offset"], source["duration"]) == ("-30d", "90d")
    assert source["query_config"]["max_matches"] == 3
    assert source["init_args"]["frames"] == [-1, 1]


def test_without_frames_digests_are_those_of_before() -> None:
    assert "frames" not in ImageryConfig().model_dump()
    assert (
        json_digest(ImageryConfig().model_dump())
        == "96c22be0531c92b28d162fc9e7252f694ccf28748c01fe568eb94914938564da"
    )
    assert (
        json_digest(dataset_config(ImageryConfig(), "/scenes", None))
        == "dd43ac26e56163b6d376a119d142c47755aa51b06dd41aeb2941a3da3d15b0c1"
    )


def test_with_frames_there_are_no_months_to_speak_of() -> None:
    imagery = ImageryConfig(frames=(-1, 1))
    assert imagery.timesteps == 2
    assert "months" not in imagery.model_dump()
    assert ImageryConfig.model_validate(imagery.model_dump()) == imagery


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frames": [1, -1]}, "must ascend"),
        ({"frames": [1, 1]}, "must ascend"),
        ({"frames": [-20, 20]}, "within 24 months"),
        ({"frames": []}, "at least 1"),
        ({"frames": [-1, 1], "months": 2}, "not both"),
    ],
)
def test_wrong_frames_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ImageryConfig.model_validate(settings)
