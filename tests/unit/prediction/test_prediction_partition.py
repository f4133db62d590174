"""Partition: every place of the area in one tile of its zone, whatever lies across it."""

import datetime as dt

import numpy as np
import pytest
import rasterio.warp
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from geofm_assets.core.errors import RequestError
from geofm_assets.prediction.partition import GRID_DEGREES, TILE_PX, partition

DAY, NEXT = dt.date(2022, 6, 16), dt.date(2022, 7, 16)


def pixels(lons, lats, epsg):
    xs, ys = rasterio.warp.transform(CRS.from_epsg(4326), CRS.from_epsg(epsg), lons, lats)
    columns, rows = np.array(xs) / 10, np.array(ys) / -10
    return np.floor(columns).astype(int), np.floor(rows).astype(int)


def mapped(zone):
    """Where each tile is mapped, whichever day, by its corner."""
    return {
        tile.bounds[:2]: np.any(list(zone.inside(tile).values()), axis=0) for tile in zone.tiles
    }


def is_mapped(masks, column, row):
    corner = (column // TILE_PX * TILE_PX, row // TILE_PX * TILE_PX)
    return corner in masks and masks[corner][row - corner[1], column - corner[0]]


def star(lon, lat, radii):
    turns = np.linspace(0, 2 * np.pi, len(radii), endpoint=False)
    points = np.column_stack([lon + radii * np.cos(turns), lat + radii * np.sin(turns)])
    return shapely.make_valid(shapely.Polygon(points))


@settings(max_examples=40)
@given(
    middle=st.sampled_from([(12.0, 45.0), (6.0, 0.0), (-66.0, -33.0), (3.0, 83.5), (7.3, 60.1)]),
    radii=st.lists(st.floats(0.005, 0.08), min_size=5, max_size=9),
    seed=st.integers(0, 1000),
)
def test_every_place_of_the_area_is_mapped_by_the_zone_it_lies_in(middle, radii, seed):
    area = star(*middle, np.array(radii))
    masks = {zone.epsg: mapped(zone) for zone in partition({DAY: area})}
    rng = np.random.default_rng(seed)
    west, south, east, north = area.bounds
    lons, lats = rng.uniform(west, east, 60), rng.uniform(south, north, 60)
    border = shapely.get_coordinates(area.boundary)[:-1]
    # on the border itself rounding decides; a metre inside it nothing may be missing
    inside = shapely.contains_xy(area.buffer(-1e-5), lons, lats)
    lons, lats = [*lons[inside], *border[:0, 0]], [*lats[inside], *border[:0, 1]]
    for lon, lat in zip(lons, lats, strict=True):
        epsg = (32600 if lat > 0 else 32700) + int((lon + 180) // 6) + 1
        (column,), (row,) = pixels([lon], [lat], epsg)
        assert is_mapped(masks[epsg], column, row), (lon, lat)


def test_tiles_lie_on_multiples_of_their_side_and_never_overlap():
    zones = partition({DAY: shapely.box(11.5, 44.5, 12.5, 45.0)})
    assert [zone.epsg for zone in zones] == [32632, 32633]
    for zone in zones:
        corners = [tile.bounds for tile in zone.tiles]
        assert len(set(corners)) == len(corners) > 4
        for left, top, right, bottom in corners:
            assert left % TILE_PX == top % TILE_PX == 0
            assert (right - left, bottom - top) == (TILE_PX, TILE_PX)


def test_a_zone_maps_its_own_side_only():
    """Of the strip both zones could map, each takes what lies on its side, to within a pixel."""
    for zone in partition({DAY: shapely.box(11.98, 44.99, 12.02, 45.01)}):
        found = [(*corner, *np.nonzero(here)) for corner, here in mapped(zone).items()]
        xs = np.concatenate([(left + columns + 0.5) * 10 for left, _, _, columns in found])
        ys = np.concatenate([-(top + rows + 0.5) * 10 for _, top, rows, _ in found])
        lons, _ = rasterio.warp.transform(CRS.from_epsg(zone.epsg), CRS.from_epsg(4326), xs, ys)
        a_pixel = 2e-4
        if zone.epsg == 32632:
            assert max(lons) < 12 + a_pixel
        else:
            assert min(lons) > 12 - a_pixel


def test_the_box_of_a_zone_holds_every_pixel_to_map_and_a_pixel_more():
    (zone,) = partition({DAY: shapely.box(9.013, 45.021, 9.21, 45.117)})
    left, top, right, bottom = zone.bounds
    rows, columns = [], []
    for corner, here in mapped(zone).items():
        y, x = np.nonzero(here)
        rows += [y.min() + corner[1], y.max() + corner[1]]
        columns += [x.min() + corner[0], x.max() + corner[0]]
    assert 0 <= min(columns) - left <= 1
    assert 0 <= min(rows) - top <= 1
    assert 1 <= right - max(columns) <= 2
    assert 1 <= bottom - max(rows) <= 2


def test_tiles_that_do_not_touch_the_area_are_left_out():
    ring = shapely.box(9, 45, 9.6, 45.6) - shapely.box(9.02, 45.02, 9.58, 45.58)
    (zone,) = partition({DAY: ring})
    (whole,) = partition({DAY: shapely.box(9, 45, 9.6, 45.6)})
    assert len(zone.tiles) < len(whole.tiles)
    assert all(zone.inside(tile) for tile in zone.tiles)


def test_an_area_that_ends_on_a_zone_border_stays_in_its_zone():
    (zone,) = partition({DAY: shapely.box(11.9, 45, 12, 45.1)})
    assert zone.epsg == 32632


def test_a_pixel_between_two_days_is_mapped_once():
    west, east = shapely.box(9, 45, 9.01, 45.01), shapely.box(9.01, 45, 9.02, 45.01)
    (zone,) = partition({DAY: west, NEXT: east})
    (both,) = partition({DAY: west | east})
    for tile in zone.tiles:
        parts = zone.inside(tile)
        assert set(parts) == {DAY, NEXT}
        assert not (parts[DAY] & parts[NEXT]).any()
        whole = both.inside(tile)[DAY]
        np.testing.assert_array_equal(parts[DAY] | parts[NEXT], whole)


def test_the_antimeridian_and_the_equator_are_zone_borders():
    sides = shapely.union_all(
        [shapely.box(179.9, -0.1, 180, 0.1), shapely.box(-180, -0.1, -179.9, 0.1)]
    )
    zones = partition({DAY: sides})
    assert [zone.epsg for zone in zones] == [32601, 32660, 32701, 32760]
    assert sum(int(h.sum()) for z in zones for t in z.tiles for h in z.inside(t).values()) == (
        pytest.approx(0.2 * 0.2 * 111_195**2 / 100, rel=0.01)
    )


def test_zones_part_along_cells_of_a_quarter_degree():
    assert 6 % GRID_DEGREES == 0


def test_an_area_too_large_to_divide_is_refused():
    with pytest.raises(RequestError, match="spans 360 by 160 degrees"):
        partition({DAY: shapely.box(-180, -79, 180, 81)})
