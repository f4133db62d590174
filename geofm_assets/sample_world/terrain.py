"""Where the sample world lies: districts in H3 cells of one UTM zone, and the fields in them.

The cells are real places on the map, north of 40 N and inside zone 32N, because H3 and UTM know no
others. What is said to be there is not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import h3
import numpy as np
import rasterio.warp
import shapely
import shapely.affinity
from rasterio.crs import CRS
from scipy.spatial import cKDTree
from shapely.geometry.base import BaseGeometry

from geofm_assets.core.errors import GeofmError
from geofm_assets.sample_world.classes import CLASSES, draw_classes
from geofm_assets.sample_world.presets import PIXEL_M, WINDOW_PX, Preset

EPSG = 32632
_ANCHOR = (46.0, 9.0)  # latitude, longitude about which cells are taken
_ZONE = (6.3, 11.7)  # longitudes, a margin inside the zone's 6 to 12 degrees
_SPACING_PX = WINDOW_PX + 1  # along an axis, so that no two windows share a pixel
_MARGIN_PX = 20  # of known points from the edge
_STRETCH = 1.5  # fields are longer than wide, along one direction a district
_CROPLAND_SHARE = (0.5, 0.6)  # of the points of a district
_POLYGON_SHARE = 0.45  # of the points known as field outlines


@dataclass(frozen=True)
class District:
    """A square of land with fields and reference sites.

    Attributes:
        number: counts from 0 through the world.
        cell: H3 cell of resolution 3 it lies in, whole.
        latitude: of its middle, degrees.
        left: easting of its west edge, metres, a multiple of 10.
        top: northing of its north edge, metres, a multiple of 10.
        labels: field of each pixel, int16, shape (side, side), row 0 in the north.
        classes: class of each field, index into `CLASSES`, int64, shape (fields,).
        spots: where each field's point lies, also its outline's centroid, pixels (column, row),
            float64, shape (fields, 2).
        outlined: whether a field is known by its outline instead of a point, bool, (fields,).
        sites: fields with a reference point of good confidence, sorted.
        spare: other fields that a whole window fits around, sorted.
        angle: direction the fields are longest in, degrees from east towards south.
    """

    number: int
    cell: str
    latitude: float
    left: float
    top: float
    labels: np.ndarray
    classes: np.ndarray
    spots: np.ndarray
    outlined: np.ndarray
    sites: np.ndarray
    spare: np.ndarray
    angle: float

    @property
    def name(self) -> str:
        """Part of its scenes' file names."""
        return f"d{self.number:02d}"

    def lonlat(self, fields: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Longitudes and latitudes of fields' spots, degrees EPSG:4326, rounded to 1e-7."""
        easting = self.left + PIXEL_M * self.spots[fields, 0]
        northing = self.top - PIXEL_M * self.spots[fields, 1]
        return to_degrees(easting, northing)

    def outline(self, field: int) -> BaseGeometry:
        """A field's polygon in EPSG:32632 metres, with its spot as its centroid.

        Of the field's cell in the diagram that part is taken which lies in it both ways from the
        spot.
        """
        radians, side = np.deg2rad(self.angle), len(self.labels)
        cos, sin = np.cos(radians), np.sin(radians)
        # Back from the metric space: (along / stretch, across) to (column, row).
        back = [_STRETCH * cos, -sin, _STRETCH * sin, cos, 0, 0]
        ground = [PIXEL_M, 0, 0, -PIXEL_M, self.left, self.top]
        cell = shapely.affinity.affine_transform(self._diagram[field], back)
        whole = shapely.intersection(cell, shapely.box(0, 0, side, side))
        turned = shapely.affinity.scale(whole, -1, -1, origin=tuple(self.spots[field].tolist()))
        both = shapely.intersection(whole, turned)
        return shapely.affinity.affine_transform(both, ground)

    @cached_property
    def _diagram(self) -> Sequence[BaseGeometry]:
        """Voronoi cell of each field in the space where fields are round."""
        own = shapely.MultiPoint(_metric(self.spots, self.angle))
        room = own.buffer(4 * len(self.labels))
        cells = shapely.voronoi_polygons(own, extend_to=room, ordered=True)
        return tuple(cells.geoms)


def to_degrees(easting: np.ndarray, northing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """EPSG:32632 metres to degrees, rounded to 1e-7 (1 cm)."""
    lon, lat = rasterio.warp.transform(
        CRS.from_epsg(EPSG), CRS.from_epsg(4326), easting.tolist(), northing.tolist()
    )
    return np.round(lon, 7), np.round(lat, 7)


@lru_cache(maxsize=16)
def make_districts(preset: Preset, seed: int) -> tuple[District, ...]:
    """Every district of a world; where they lie does not depend on the seed, what is there does.

    Raises:
        GeofmError: the preset asks for more cells, blocks or points than there is room for.
    """
    districts: list[District] = []
    for cell in _cells(preset.cells):
        squares = _squares(cell, preset)
        for left, top in squares:
            number = len(districts)
            rng = np.random.default_rng([seed, 1, number])
            districts.append(_district(number, cell, left, top, preset, rng))
    return tuple(districts)


def _cells(count: int) -> list[str]:
    """H3 cells of resolution 3 near the anchor with their middle well inside the zone."""
    start = h3.latlng_to_cell(*_ANCHOR, 3)
    found: list[tuple[int, str]] = []
    for distance in range(12):
        ring = h3.grid_ring(start, distance)
        inside = [c for c in ring if _ZONE[0] + 0.5 < h3.cell_to_latlng(c)[1] < _ZONE[1] - 0.5]
        found += [(distance, c) for c in inside]
    if len(found) < count:
        raise GeofmError(f"The zone has {len(found)} cells, {count} were asked for")
    return sorted(cell for _, cell in sorted(found)[:count])


def _squares(cell: str, preset: Preset) -> list[tuple[float, float]]:
    """Upper left corners of a cell's districts, each inside one block and its parents."""
    found = []
    extent = preset.side_px * PIXEL_M
    for block in sorted(h3.cell_to_children(cell, preset.block_resolution)):
        lat, lon = h3.cell_to_latlng(block)
        easting, northing = _to_metres(lon, lat)
        left = round(easting / PIXEL_M) * PIXEL_M - extent / 2
        top = round(northing / PIXEL_M) * PIXEL_M + extent / 2
        corners = to_degrees(
            np.array([left, left + extent, left, left + extent]),
            np.array([top, top, top - extent, top - extent]),
        )
        whole = all(
            h3.latlng_to_cell(y, x, resolution) == h3.cell_to_parent(block, resolution)
            for x, y in zip(*corners, strict=True)
            for resolution in range(3, preset.block_resolution + 1)
        )
        if whole and _ZONE[0] < lon < _ZONE[1]:
            found.append((left, top))
    if len(found) < preset.districts_per_cell:
        raise GeofmError(f"Cell {cell} has room for {len(found)} districts only")
    chosen = np.linspace(0, len(found) - 1, preset.districts_per_cell).round().astype(int)
    return [found[i] for i in chosen]


def _to_metres(lon: float, lat: float) -> tuple[float, float]:
    xs, ys = rasterio.warp.transform(CRS.from_epsg(4326), CRS.from_epsg(EPSG), [lon], [lat])
    return xs[0], ys[0]


def _district(
    number: int, cell: str, left: float, top: float, preset: Preset, rng: np.random.Generator
) -> District:
    side = preset.side_px
    angle = rng.uniform(0, 180)
    known = _spread(side, preset.points, rng)
    seeds, labels = _mosaic(side, preset.field_px, angle, known, rng)
    sites = np.arange(len(known))
    fits = np.flatnonzero((np.abs(seeds - side / 2) <= side / 2 - WINDOW_PX / 2 - 1).all(axis=1))
    outlined = rng.random(len(seeds)) < _POLYGON_SHARE
    outlined[sites] = rng.permutation(sites) < round(len(sites) * _POLYGON_SHARE)
    cropland = rng.random(len(seeds)) < np.mean(_CROPLAND_SHARE)
    wanted = round(len(sites) * rng.uniform(*_CROPLAND_SHARE))
    cropland[sites] = rng.permutation(np.arange(len(sites)) < wanted)
    extent = side * PIXEL_M
    _, latitudes = to_degrees(np.array([left + extent / 2]), np.array([top - extent / 2]))
    return District(
        number=number,
        cell=cell,
        latitude=float(latitudes[0]),
        left=left,
        top=top,
        labels=labels,
        classes=draw_classes(rng, cropland),
        spots=seeds,
        outlined=outlined,
        sites=sites,
        spare=np.setdiff1d(fits, sites),
        angle=angle,
    )


def _spread(side: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Points a window apart along an axis, in rows (or columns) of any rhythm.

    Returns:
        pixels (column, row), float64, (count, 2).

    Raises:
        GeofmError: they do not fit.
    """
    room = side - 2 * _MARGIN_PX
    rows = max(1, round(np.sqrt(count)) if count < 12 else count // 3)
    per_row = -(-count // rows)
    wobble = 2.0 if rows > 1 else 0.0
    gaps = (_SPACING_PX + 2 * wobble, float(_SPACING_PX))
    if max((rows - 1) * gaps[0] + 2 * wobble, (per_row - 1) * gaps[1]) > room:
        raise GeofmError(f"No room for {count} windows of {WINDOW_PX} pixels in a district")
    points: list[tuple[float, float]] = []
    across = _apart(rows, gaps[0], room - 2 * wobble, rng) + wobble
    for row in range(rows):
        here = min(per_row, count - len(points))
        along = _apart(here, gaps[1], room, rng)
        points += [(x, across[row] + rng.uniform(-wobble, wobble)) for x in along]
    found = np.array(points) + _MARGIN_PX
    return found[:, ::-1] if rng.random() < 0.5 else found


def _apart(count: int, gap: float, room: float, rng: np.random.Generator) -> np.ndarray:
    """`count` sorted numbers in [0, room], at least `gap` apart, otherwise uniform."""
    slack = room - gap * (count - 1)
    return np.sort(rng.uniform(0, slack, count)) + gap * np.arange(count)


def _mosaic(
    side: int, pitch: int, angle: float, known: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Fields as a Voronoi diagram, in a rotated and stretched metric.

    Fields with a known point lie about it. Others fill the room between, from a jittered grid
    made more even by one step of Lloyd's relaxation.

    Returns:
        seeds in pixels (column, row), those of `known` first, (fields, 2); field of each pixel,
        int16, (side, side).
    """
    count = max(3, round(side / pitch))
    step = side / count
    grid = (np.indices((count, count)).reshape(2, -1).T + 0.5) * step
    grid += rng.uniform(-0.3, 0.3, grid.shape) * step
    gaps = ((grid[:, None, :] - known[None, :, :]) ** 2).sum(axis=-1).min(axis=1)
    seeds = np.concatenate([known, grid[gaps > (0.75 * step) ** 2]])
    middles = _middles(_nearest(seeds, side, angle), len(seeds))
    seeds = np.concatenate([known, middles[len(known) :]])
    return seeds, _nearest(seeds, side, angle)


def _metric(points: np.ndarray, angle: float) -> np.ndarray:
    """Pixel coordinates in the space where fields are round."""
    radians = np.deg2rad(angle)
    along = points @ np.array([np.cos(radians), np.sin(radians)])
    across = points @ np.array([-np.sin(radians), np.cos(radians)])
    return np.stack([along / _STRETCH, across], axis=-1)


def _nearest(seeds: np.ndarray, side: int, angle: float) -> np.ndarray:
    rows, columns = np.indices((side, side)) + 0.5
    pixels = _metric(np.stack([columns.ravel(), rows.ravel()], axis=-1), angle)
    _, nearest = cKDTree(_metric(seeds, angle)).query(pixels)
    return nearest.astype(np.int16).reshape(side, side)


def _middles(labels: np.ndarray, fields: int) -> np.ndarray:
    """Mean (column, row) of each field's pixels."""
    rows, columns = np.indices(labels.shape) + 0.5
    flat = labels.ravel()
    sizes = np.maximum(np.bincount(flat, minlength=fields), 1)
    sums = [np.bincount(flat, axis.ravel(), minlength=fields) for axis in (columns, rows)]
    return np.stack(sums, axis=-1) / sizes[:, None]


def codes(district: District, fields: np.ndarray) -> np.ndarray:
    """WorldCereal codes of fields, int64."""
    table = np.array([land.ewoc_code for land in CLASSES], dtype=np.int64)
    return table[district.classes[fields]]
