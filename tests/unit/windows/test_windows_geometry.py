"""Windows at points: the reference pipeline's arithmetic, and rslearn's own."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rslearn.utils.geometry import WGS84_PROJECTION, Projection, STGeometry
from rslearn.utils.get_utm_ups_crs import get_utm_ups_crs

from geofm_assets.core.errors import WindowError
from geofm_assets.core.schema import validate
from geofm_assets.sampling.schema import SAMPLED_POINT
from geofm_assets.windows.config import WindowsConfig
from geofm_assets.windows.geometry import pixel_bounds, time_range, utm_epsg, windows_for_points
from geofm_assets.windows.schema import Window
from tests.imagery_scenes import Scenes, make_points

EDGES = [
    (6.0, 60.5), (5.0, 60.5), (3.0, 60.0), (12.0, 45.0), (-6.0, -33.0),  # zone edge, Norway
    (9.0, 78.0), (9.5, 78.0), (21.0, 78.0), (33.0, 79.0), (42.0, 80.0),  # Svalbard
    (-180.0, 10.0), (180.0, 10.0), (179.9999999, -20.0), (-179.9999999, -20.0),  # antimeridian
    (0.0, 0.0), (3.0, 0.0), (6.0, 0.0), (3.0, 1e-9), (3.0, -1e-9), (-180.0, 0.0),  # equator
    (3.0, 83.9998), (3.0, -79.9998),  # as far as UTM reaches
]  # fmt: skip


def points_at(places: list[tuple[float, float]], **changes: object) -> pa.Table:
    base = make_points([(0, 0)], Scenes(folder=None)).to_pylist()[0]  # type: ignore[arg-type]
    rows = [
        {**base, "sample_id": f"s{i}", "lon": lon, "lat": lat, **changes}
        for i, (lon, lat) in enumerate(places)
    ]
    return pa.Table.from_pylist(rows, schema=SAMPLED_POINT)


@pytest.mark.parametrize(("lon", "lat"), EDGES)
def test_zone_on_an_edge_is_the_one_rslearn_takes(lon: float, lat: float) -> None:
    assert utm_epsg(lon, lat) == get_utm_ups_crs(lon, lat).to_epsg()


@settings(max_examples=25, deadline=None)
@given(st.floats(-180, 180), st.floats(-79.99, 83.99))
def test_zone_anywhere_is_the_one_rslearn_takes(lon: float, lat: float) -> None:
    assert utm_epsg(lon, lat) == get_utm_ups_crs(lon, lat).to_epsg()


@pytest.mark.parametrize(("lon", "lat"), [(3.0, 84.5), (3.0, -80.0), (0.0, 90.0), (200.0, 10.0)])
def test_where_utm_ends_a_point_is_refused(lon: float, lat: float) -> None:
    with pytest.raises(WindowError, match=r"sample s0, lon=.*84 N and south of 80 S"):
        windows_for_points(points_at([(lon, lat)]), WindowsConfig())


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (1, (100, -201, 101, -200)),
        (2, (99, -201, 101, -199)),
        (3, (99, -202, 102, -199)),
        (31, (85, -216, 116, -185)),
        (32, (84, -216, 116, -184)),
    ],
)
def test_bounds_follow_the_reference_rule(size: int, expected: tuple[int, ...]) -> None:
    assert pixel_bounds(100.9, -200.9, size) == expected


@settings(max_examples=200, deadline=None)
@given(st.floats(10_000, 90_000), st.floats(-999_000, -1), st.sampled_from([1, 3, 31]))
def test_an_odd_window_holds_its_point(column: float, row: float, size: int) -> None:
    left, top, right, bottom = pixel_bounds(column, row, size)
    assert left <= column < right
    assert top <= row <= bottom


@pytest.mark.parametrize("south", [False, True])
def test_pixels_equal_rslearns_to_the_last_bit(south: bool) -> None:
    rng = np.random.default_rng(3)
    sign = -1 if south else 1
    places = [
        (float(x), sign * float(y))
        for x, y in zip(rng.uniform(-180, 180, 200), rng.uniform(0.1, 79, 200), strict=True)
    ]
    table = windows_for_points(points_at(places), WindowsConfig(size=1))
    rows = {row["sample_id"]: row for row in table.to_pylist()}
    for i, (lon, lat) in enumerate(places):
        row = rows[f"s{i}"]
        projection = Projection(CRS.from_string(row["crs"]), 10, -10)
        there = STGeometry(WGS84_PROJECTION, shapely.Point(lon, lat), None).to_projection(
            projection
        )
        expected = pixel_bounds(there.shp.x, there.shp.y, 1)
        assert (row["col_min"], row["row_min"], row["col_max"], row["row_max"]) == expected


@pytest.mark.parametrize("lon", [179.99999, -179.99999])
def test_a_window_at_the_antimeridian_stays_in_its_zone(lon: float) -> None:
    (row,) = windows_for_points(points_at([(lon, -17.0)]), WindowsConfig(size=32)).to_pylist()
    assert row["crs"] == ("EPSG:32760" if lon > 0 else "EPSG:32701")


def test_time_range_is_days_about_midnight_utc() -> None:
    start, end = time_range(dt.date(2022, 6, 1), WindowsConfig())
    assert (start.isoformat(), end.isoformat()) == (
        "2022-05-17T00:00:00+00:00",
        "2022-06-16T00:00:00+00:00",
    )


def test_a_time_range_outside_the_calendar_is_refused() -> None:
    with pytest.raises(WindowError, match="valid_time=9999-12-31"):
        time_range(dt.date(9999, 12, 31), WindowsConfig())


def test_the_name_is_cell_place_and_date() -> None:
    points = points_at([(9.5, 42.25)])
    (row,) = windows_for_points(points, WindowsConfig()).to_pylist()
    assert row["window_name"] == f"{row['h3_cell']}_42.25_9.5_2022-06-15"


def test_buffer_points_get_no_window() -> None:
    assert (
        windows_for_points(points_at([(9.5, 42.0)], split="buffer"), WindowsConfig()).num_rows == 0
    )


def test_two_samples_of_one_place_and_date_are_refused() -> None:
    with pytest.raises(WindowError, match=r"s0 and s1 have the same place and date"):
        windows_for_points(points_at([(9.5, 42.0), (9.5, 42.0)]), WindowsConfig())


def test_the_table_obeys_its_schema_whatever_the_order_of_points() -> None:
    points = points_at([(9.5, 42.0), (9.4, 42.0), (-70.0, -33.0)])
    table = windows_for_points(points, WindowsConfig(size=3))
    assert validate(table, Window).passed
    assert windows_for_points(points.take(pa.array([2, 0, 1])), WindowsConfig(size=3)) == table
