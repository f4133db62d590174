import numpy as np
import pyarrow as pa
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from geofm_assets.labels.geometry import check_range, locate
from geofm_assets.labels.refusals import Refusals

SQUARE = shapely.box(10, 40, 10.2, 40.1)
C_SHAPE = shapely.Polygon(
    [(0, 0), (3, 0), (3, 0.2), (0.2, 0.2), (0.2, 2.8), (3, 2.8), (3, 3), (0, 3)]
)


def locate_one(geometry):
    refusals = Refusals(1)
    wkb = geometry if isinstance(geometry, bytes) else shapely.to_wkb(geometry)
    located = locate(pa.array([wkb], pa.binary()), refusals)
    check_range(located.lon, located.lat, refusals)
    reason = refusals._why[0][0] if refusals.refused[0] else None
    return located.lon[0], located.lat[0], located.rule_names()[0].as_py(), reason


def test_a_point_is_taken_as_it_is():
    assert locate_one(shapely.Point(8.5, 42.25)) == (8.5, 42.25, "point", None)


def test_height_is_left_out():
    assert locate_one(shapely.Point(8.5, 42.25, 900)) == (8.5, 42.25, "point", None)


def test_a_srid_and_big_endian_bytes_change_nothing():
    wkb = shapely.to_wkb(
        shapely.set_srid(shapely.Point(8.5, 42.25), 4326), byte_order=0, include_srid=True
    )

    assert locate_one(wkb) == (8.5, 42.25, "point", None)


def test_a_polygon_gives_its_centroid():
    lon, lat, rule, reason = locate_one(SQUARE)

    assert (lon, lat) == pytest.approx((10.1, 40.05))
    assert (rule, reason) == ("centroid", None)


@pytest.mark.parametrize(
    "polygon",
    [
        C_SHAPE,
        shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(3, 0, 4, 1)]),
        shapely.box(0, 0, 3, 3).difference(shapely.box(1, 1, 2, 2)),
    ],
)
def test_a_polygon_around_its_centroid_gives_a_point_inside(polygon):
    lon, lat, rule, reason = locate_one(polygon)

    assert (rule, reason) == ("representative_point", None)
    assert polygon.contains(shapely.Point(lon, lat))


def test_a_polygon_that_crosses_itself_still_gives_a_point():
    bow_tie = shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 1)])

    lon, lat, _, reason = locate_one(bow_tie)

    assert reason is None
    assert shapely.make_valid(bow_tie).intersects(shapely.Point(lon, lat))


@pytest.mark.parametrize(
    ("geometry", "reason"),
    [
        (shapely.Polygon(), "empty_geometry"),
        (shapely.MultiPolygon(), "empty_geometry"),
        (shapely.Point(np.nan, np.nan), "bad_coordinates"),
        (shapely.Point(np.inf, 40), "bad_coordinates"),
        (shapely.Point(8, 91), "bad_coordinates"),
        (shapely.Point(181, 8), "bad_coordinates"),
        (shapely.Point(500_000, 4_600_000), "bad_coordinates"),
        (shapely.Polygon([(0, 0), (1, 0), (2, 0)]), "degenerate_geometry"),
        (shapely.box(-179.9, 0, 179.9, 1), "bad_coordinates"),
        (shapely.LineString([(0, 0), (1, 1)]), "unsupported_geometry"),
        (shapely.MultiPoint([(0, 0), (1, 1)]), "unsupported_geometry"),
        (shapely.GeometryCollection([SQUARE]), "unsupported_geometry"),
        (b"not a geometry", "unreadable_geometry"),
        (b"", "unreadable_geometry"),
    ],
)
def test_what_gives_no_point_is_refused_with_the_reason(geometry, reason):
    assert locate_one(geometry)[3] == reason


def test_a_vertex_that_is_not_finite_is_refused():
    ring = shapely.to_wkb(SQUARE)
    broken = ring[:29] + np.array([np.inf]).tobytes() + ring[37:]  # x of the second vertex

    assert locate_one(broken)[3] == "bad_coordinates"


def test_null_is_missing():
    refusals = Refusals(1)

    locate(pa.array([None], pa.binary()), refusals)

    assert refusals._why[0][0] == "missing_geometry"


@given(
    st.lists(
        st.tuples(st.floats(0.1, 5), st.floats(-170, 170), st.floats(-80, 80), st.integers(3, 12)),
        max_size=6,
    )
)
def test_the_point_lies_inside_its_polygon(stars):
    polygons = []
    for radius, lon, lat, corners in stars:
        angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
        reach = radius * np.where(np.arange(corners) % 2, 0.15, 1.0)
        polygons.append(
            shapely.Polygon(np.stack([lon + reach * np.cos(angle), lat + reach * np.sin(angle)], 1))
        )
    refusals = Refusals(len(polygons))

    located = locate(pa.array(shapely.to_wkb(polygons), pa.binary()), refusals)

    for i, polygon in enumerate(polygons):
        if not refusals.refused[i]:
            here = shapely.Point(located.lon[i], located.lat[i])
            assert shapely.make_valid(polygon).intersects(here)
