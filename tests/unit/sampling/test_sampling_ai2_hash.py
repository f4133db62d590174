import datetime

import numpy as np
import pytest
from pydantic import ValidationError

from geofm_assets.core.errors import SplitError
from geofm_assets.core.schema import validate
from geofm_assets.sampling.ai2_hash import ai2_split
from geofm_assets.sampling.candidates import candidates
from geofm_assets.sampling.config import Fractions, SamplingConfig, SplitConfig
from geofm_assets.sampling.naming import window_name
from geofm_assets.sampling.plan import make_plan
from geofm_assets.sampling.schema import SampledPoint

CLASSES = ("Cropland", "Non-Cropland")
EUROPE = (-5, 40, 25, 58)


@pytest.fixture(scope="module")
def plan(rule, make_points, scatter):
    table = candidates(make_points(scatter(1000, 0, *EUROPE)), rule, SamplingConfig()).table
    return make_plan([table], SamplingConfig(), SplitConfig(by="ai2_hash"), CLASSES, 320)


def test_a_window_name_joins_cell_latitude_longitude_and_date():
    name = window_name("831e94fffffffff", 41.39531649409238, 9.0, datetime.date(2022, 6, 1))
    assert name == "831e94fffffffff_41.39531649409238_9.0_2022-06-01"


def test_numpy_floats_are_written_as_python_floats():
    name = window_name("c", np.float64(1e-5), np.float64(-0.1), datetime.date(2022, 6, 1))
    assert name == "c_1e-05_-0.1_2022-06-01"


# first digits by `printf NAME | sha256sum`
@pytest.mark.parametrize(
    ("name", "digest_starts", "split"),
    [
        ("831e94fffffffff_42.0_9.0_2021-06-01", "6508", "train"),
        ("831e94fffffffff_42.1_9.5_2021-06-01", "f26a", "train"),
        ("831e94fffffffff_42.8_9.5_2021-06-01", "03da", "val"),
        ("831e94fffffffff_42.10_9.5_2021-06-01", "109d", "val"),
    ],
)
def test_the_first_digit_of_the_sha256_decides(name, digest_starts, split):
    assert ai2_split(name) == split == ("val" if digest_starts[0] in "01" else "train")


def test_the_plan_splits_by_hand_computed_hashes(rule, make_points):
    # sha256 of 831eb0fffffffff_LAT_9.5_2021-06-01 starts with afea, 0869, 936e, ... by sha256sum
    lats = [42.3, 42.4, 42.6, 42.8, 43.0]
    table = candidates(make_points([(9.5, lat) for lat in lats]), rule, SamplingConfig()).table
    with pytest.raises(SplitError, match="class 'Cropland' in val"):  # 42.4, the only val, is not
        make_plan([table], SamplingConfig(), SplitConfig(by="ai2_hash"), CLASSES, 320)


def test_every_point_is_split_by_its_window_name(plan):
    for row in plan.sample.to_pylist():
        name = window_name(row["h3_cell"], row["lat"], row["lon"], row["valid_time"])
        assert (row["split_unit"], row["split"]) == (name, ai2_split(name))


def test_about_an_eighth_is_val_and_nothing_is_called_test(plan):
    got = plan.report["fractions_got"]
    assert got["val"] == pytest.approx(0.125, abs=0.03)
    assert got["test"] == 0
    assert plan.report["fractions_wanted"] == {"train": 0.875, "val": 0.125, "test": 0.0}


def test_the_note_says_what_the_reference_does(plan):
    assert "It has no test split (the reference tests on val)" in plan.report["note"]


def test_no_distance_is_promised_but_it_is_reported(plan):
    assert plan.report["min_distance_promised_m"] == 0
    assert list(plan.report["min_distance_m"]) == ["train-val"]


def test_the_sample_satisfies_its_schema(plan):
    assert validate(plan.sample, SampledPoint).failures == []


def test_a_distance_cannot_be_asked_of_it():
    with pytest.raises(ValidationError, match="cannot be kept by ai2_hash"):
        SplitConfig(by="ai2_hash", min_distance_m=100)


def test_fractions_must_add_up():
    with pytest.raises(ValidationError, match=r"must be 1, they are 0.9"):
        Fractions(train=0.5, val=0.2, test=0.2)


def test_unknown_keys_are_refused():
    with pytest.raises(ValidationError, match="per_cel"):
        SamplingConfig.model_validate({"per_cel": 5})
