import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geofm_assets.core.errors import SchemaError
from geofm_assets.sampling.leakage import EARTH_RADIUS_M, hold_out_near, min_split_distances


def haversine(a, b):
    (lon1, lat1), (lon2, lat2) = np.radians(a), np.radians(b)
    h = np.sin((lat2 - lat1) / 2) ** 2
    h += np.cos(lat1) * np.cos(lat2) * np.sin((lon2 - lon1) / 2) ** 2
    return 2 * EARTH_RADIUS_M * np.arcsin(np.sqrt(h))


places = st.lists(
    st.tuples(
        st.floats(8.9, 9.1), st.floats(41.9, 42.1), st.sampled_from(["train", "val", "test"])
    ),
    min_size=1,
    max_size=40,
)


def columns(rows):
    return tuple(np.array([r[i] for r in rows]) for i in range(3))


def test_distances_agree_with_haversine_over_all_pairs():
    rng = np.random.default_rng(0)
    lon, lat = rng.uniform(-180, 180, 60), rng.uniform(-90, 90, 60)
    split = np.array(["train", "val", "test"] * 20)
    brute = min(
        haversine((lon[i], lat[i]), (lon[j], lat[j]))
        for i in range(60)
        for j in range(60)
        if (split[i], split[j]) == ("val", "test")
    )
    assert min_split_distances(lon, lat, split)["val-test"] == pytest.approx(brute, rel=1e-9)


def test_the_antimeridian_is_no_border():
    found = min_split_distances([179.999, -179.999], [0, 0], ["train", "val"])
    assert found["train-val"] == pytest.approx(haversine((0, 0), (0.002, 0)), rel=1e-6)


def test_at_the_pole_all_longitudes_meet():
    assert min_split_distances([0, 90], [90, 90], ["train", "test"])["train-test"] < 1e-6


def test_a_metre_is_told_from_two():
    step = 1 / 111_195
    found = min_split_distances([9, 9, 9], [42, 42 + step, 42 + 3 * step], ["train", "val", "test"])
    assert found == pytest.approx({"train-val": 1, "train-test": 3, "val-test": 2}, rel=1e-4)


def test_a_pair_with_an_empty_split_is_absent():
    assert min_split_distances([0, 1], [0, 0], ["train", "buffer"]) == {}


def test_a_coordinate_that_is_no_number_is_refused():
    with pytest.raises(SchemaError, match="not a number"):
        min_split_distances([0, np.nan], [0, 0], ["train", "val"])


@settings(max_examples=200)
@given(places, st.floats(0, 20_000))
def test_held_out_points_leave_the_promised_distance(rows, distance):
    lon, lat, split = columns(rows)
    held = hold_out_near(lon, lat, split, distance)
    assert all(d >= distance for d in min_split_distances(lon, lat, held).values())


@given(places, st.floats(0, 20_000))
def test_test_points_never_move(rows, distance):
    lon, lat, split = columns(rows)
    held = hold_out_near(lon, lat, split, distance)
    assert (held[split == "test"] == "test").all()


@given(places, st.floats(1, 20_000))
def test_only_points_too_near_are_held_out(rows, distance):
    lon, lat, split = columns(rows)
    held = hold_out_near(lon, lat, split, distance)
    for i in np.flatnonzero(held == "buffer"):
        others = [j for j in range(len(rows)) if held[j] not in ("buffer", split[i])]
        assert min(haversine((lon[i], lat[i]), (lon[j], lat[j])) for j in others) < distance + 1e-3


@given(places, st.floats(0, 20_000), st.randoms())
def test_what_is_held_out_does_not_depend_on_order(rows, distance, random):
    shuffled = list(rows)
    random.shuffle(shuffled)

    def result(r):
        return sorted(zip(r, hold_out_near(*columns(r), distance), strict=True))

    assert result(rows) == result(shuffled)


def test_a_train_point_stays_if_its_only_near_neighbour_was_held_out():
    step = 100 / 111_195  # train, val, test 100 m apart in a row: val gives way to test
    lat = np.array([42, 42 + step, 42 + 2 * step])
    held = hold_out_near(np.full(3, 9.0), lat, np.array(["train", "val", "test"]), 150)
    assert held.tolist() == ["train", "buffer", "test"]
