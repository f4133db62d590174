"""The compiled reader gives what GEOS gives, or leaves the geometry to GEOS."""

import numpy as np
import pyarrow as pa
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geofm_assets.labels.geometry import locate, locate_with_geos
from geofm_assets.labels.refusals import Refusals
from geofm_assets.labels.wkb import LEFT_TO_GEOS, PLAIN_POINT, PLAIN_POLYGON, plain_points

degrees = st.one_of(st.integers(-4, 4).map(float), st.floats(-80, 80, allow_nan=False, width=32))
places = st.tuples(degrees, degrees)
rings = st.lists(places, min_size=3, max_size=9)
polygons = st.lists(rings, min_size=1, max_size=3).map(lambda r: shapely.Polygon(r[0], r[1:]))
geometries = st.one_of(
    places.map(shapely.Point),
    polygons,
    st.lists(polygons, min_size=1, max_size=3).map(shapely.MultiPolygon),
)


def binary(*shapes: shapely.Geometry, **options: object) -> pa.Array:
    return pa.array([shapely.to_wkb(shape, **options) for shape in shapes], pa.binary())


@settings(max_examples=150, deadline=None)
@given(st.lists(geometries, min_size=1, max_size=4), st.sampled_from([0, 1]))
def test_every_geometry_is_located_as_geos_does(shapes, byte_order):
    wkb = binary(*shapes, byte_order=byte_order)
    ours, theirs = Refusals(len(shapes)), Refusals(len(shapes))
    one, other = locate(wkb, ours), locate_with_geos(wkb, theirs)
    assert ours.refused.tolist() == theirs.refused.tolist()
    kept = ~ours.refused
    assert one.rule[kept].tolist() == other.rule[kept].tolist()
    np.testing.assert_allclose(one.lon[kept], other.lon[kept], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(one.lat[kept], other.lat[kept], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("many", [False, True])
def test_a_polygon_gives_its_centroid(many):
    ring = shapely.Polygon([(0, 0), (4, 0), (4, 1), (1, 4), (0, 4)])
    x, y, kind = plain_points(binary(shapely.MultiPolygon([ring]) if many else ring))
    assert kind.tolist() == [PLAIN_POLYGON]
    assert (x[0], y[0]) == pytest.approx((ring.centroid.x, ring.centroid.y), abs=1e-12)


def test_a_point_is_taken_as_it_is():
    x, y, kind = plain_points(binary(shapely.Point(12.345678901234567, -0.1)))
    assert (x[0], y[0], kind[0]) == (12.345678901234567, -0.1, PLAIN_POINT)


@pytest.mark.parametrize(
    "wkb",
    [
        shapely.to_wkb(shapely.from_wkt("POINT Z (1 2 3)"), output_dimension=3),
        shapely.to_wkb(shapely.set_srid(shapely.Point(1, 2), 4326), include_srid=True),
        shapely.to_wkb(shapely.Point(1, 2), byte_order=0),
        shapely.to_wkb(shapely.from_wkt("POLYGON EMPTY")),
        shapely.to_wkb(shapely.from_wkt("POINT EMPTY")),
        shapely.to_wkb(shapely.from_wkt("LINESTRING (0 0, 1 1)")),
        shapely.to_wkb(shapely.from_wkt("POLYGON ((0 0, 9 0, 9 1, 1 1, 1 9, 0 9, 0 0))")),
        # the centroid is the tip of the notch
        shapely.to_wkb(shapely.from_wkt("POLYGON ((0 -2, -1 0, -2 -2, -1 -1, 0 -2))")),
        shapely.to_wkb(shapely.box(0, 0, 1, 1))[:-1],
        shapely.to_wkb(shapely.box(0, 0, 4, 4).difference(shapely.box(1, 1, 2, 2))),
        shapely.to_wkb(shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(2, 2, 3, 3)])),
        shapely.to_wkb(shapely.box(-170, 0, 170, 1)),
        b"",
        b"\x01",
        b"\x01\x03\x00\x00\x00\xff\xff\xff\xff",
        None,
    ],
)
def test_what_is_not_plain_is_left(wkb):
    _, _, kind = plain_points(pa.array([wkb], pa.binary()))
    assert kind.tolist() == [LEFT_TO_GEOS]
