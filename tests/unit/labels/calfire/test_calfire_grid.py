"""The grid of samples, zones and distances, and keeping windows apart."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod

from geofm_assets.labels.calfire.apart import stand_apart
from geofm_assets.labels.calfire.grid import NO_PLACES, Grid, Places, quota
from geofm_assets.labels.calfire.samples_config import SamplesConfig
from geofm_assets.labels.calfire.utm import degrees_around, to_utm, utm_epsgs, zones_of
from geofm_assets.windows.geometry import utm_epsg

LON, LAT = st.floats(-179.9, 179.9), st.floats(-79.9, 83.9)


def places(x: np.ndarray, y: np.ndarray, fire: np.ndarray | None = None) -> Places:
    """Places in the middle of zone 10."""
    size = len(x)
    return Places(
        fire=np.zeros(size, np.int64) if fire is None else fire,
        epsg=np.full(size, 32610),
        x=x,
        y=y,
        lon=np.full(size, -123.0),
        lat=np.full(size, 39.0),
        level=np.zeros(size, np.int64),
        id=np.array([f"s{i}" for i in range(size)], dtype=object),
        key=np.random.default_rng(size).integers(0, 2**63, size).astype(np.uint64),
    )


@settings(max_examples=40, deadline=None)
@given(lon=LON, lat=LAT)
def test_zones_are_those_windows_are_laid_in(lon: float, lat: float) -> None:
    code = int(utm_epsgs(np.array([lon]), np.array([lat]))[0])
    assert code in (0, utm_epsg(lon, lat))


def test_places_on_an_edge_or_beyond_utm_have_no_zone() -> None:
    lon, lat = np.array([-120.0, 10.0, 10.0, 10.0]), np.array([39.0, 85.0, -81.0, 0.0])
    assert utm_epsgs(lon, lat).tolist() == [0, 0, 0, 0]


def test_a_box_reaches_into_every_zone_it_touches() -> None:
    found = zones_of(np.array([[-121, 38, -119, 40], [-1, -1, 1, 1]]))
    assert [(code, rows.tolist()) for code, rows in found] == [
        (32610, [0]),
        (32611, [0]),
        (32630, [1]),
        (32631, [1]),
        (32730, [1]),
        (32731, [1]),
    ]


@given(
    lon=st.floats(-170, 170),
    lat=st.floats(-79, 79),
    angle=st.floats(0, 360),
    metres=st.floats(1, 50_000),
)
def test_all_within_a_distance_lies_in_the_box(lon, lat, angle, metres) -> None:
    west, south, east, north = degrees_around(np.array([[lon, lat, lon, lat]]), metres)[0]
    other_lon, other_lat, _ = Geod(ellps="WGS84").fwd(lon, lat, angle, metres * (1 - 1e-9))
    assert west <= other_lon <= east
    assert south <= other_lat <= north


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(0, 60),
    taken=st.integers(0, 10),
    width=st.integers(200, 2000),
)
def test_what_stands_is_what_one_would_pick_in_turn(seed, count, taken, width) -> None:
    generator = np.random.default_rng(seed)
    spots = generator.integers(0, width, (count, 2)).astype(float)
    mine = places(spots[:, 0], spots[:, 1])
    rank = generator.integers(0, 20, count).astype(np.uint64)  # with ties
    before = places(np.arange(taken) * 400.0, np.zeros(taken))
    standing = stand_apart(mine, rank, 100, before)
    kept = [(x, y) for x, y in zip(before.x, before.y, strict=True)]
    expected = np.zeros(count, dtype=bool)
    for i in sorted(range(count), key=lambda i: (rank[i], mine.id[i])):
        if all(max(abs(mine.x[i] - x), abs(mine.y[i] - y)) > 100.005 for x, y in kept):
            kept.append((mine.x[i], mine.y[i]))
            expected[i] = True
    assert standing.tolist() == expected.tolist()


def test_the_nodes_in_a_box_are_a_square_grid() -> None:
    grid = Grid(SamplesConfig(window_extent_m=100), 2020, 32610, 0)
    box = np.array([[500_000, 4_300_000, 501_000, 4_301_000]])
    found = grid.nodes(["a"], box, lambda i, x, y: np.ones(len(x), bool), 0)
    assert len(found) == 100
    assert np.diff(np.unique(found.x)) == pytest.approx(100.01)
    x, y = to_utm(32610, found.lon, found.lat)
    assert np.allclose([x, y], [found.x, found.y], atol=1e-6)
    assert (found.x.min(), found.y.min()) >= (500_000, 4_300_000)
    assert (found.x.max(), found.y.max()) <= (501_000, 4_301_000)


def test_a_node_keeps_its_name_in_another_box() -> None:
    grid = Grid(SamplesConfig(window_extent_m=100), 2020, 32610, 0)
    boxes = np.array([[500_000, 4.3e6, 501_000, 4.301e6], [500_400, 4.3004e6, 502_000, 4.302e6]])
    one, other = (
        grid.nodes(["a"], box[None], lambda i, x, y: np.ones(len(x), bool), 0) for box in boxes
    )
    names = dict(zip(other.id, zip(other.x, other.y, strict=True), strict=True))
    shared = [
        (names[i], (x, y)) for i, x, y in zip(one.id, one.x, one.y, strict=True) if i in names
    ]
    assert len(shared) == 36
    assert all(a == b for a, b in shared)


def test_quota_takes_the_coarsest_nodes_first() -> None:
    several = places(np.arange(6.0), np.zeros(6), np.array([0, 0, 0, 1, 1, 1]))
    level = np.array([0, 2, 1, 0, 0, 0])
    chosen = quota(Places(**{**vars(several), "level": level}), np.array([2, 1]))
    assert chosen[:3].tolist() == [False, True, True]
    assert chosen[3:].sum() == 1


def test_nothing_stands_where_nothing_is() -> None:
    assert stand_apart(NO_PLACES, NO_PLACES.key, 100).tolist() == []
