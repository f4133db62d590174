"""From areas in degrees to work tiles in UTM: each tile of one zone, no two of a zone overlapping.

The area is laid over a grid of quarter degrees. A grid cell belongs to the UTM zone of its middle,
so zones part exactly along meridians and the equator, and each zone maps only its own side.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import rasterio.features
import rasterio.warp
import shapely
from affine import Affine
from rasterio.crs import CRS
from rslearn.utils.geometry import PixelBounds, Projection
from shapely.geometry.base import BaseGeometry

from geofm_assets.core.errors import RequestError
from geofm_assets.windows.geometry import utm_epsg
from geofm_assets.windows.write import projection

GRID_DEGREES = 0.25
TILE_PX = 1024
# A straight line in degrees is a curve in UTM: cut into pieces of at most 1.1 km it strays by
# less than 0.2 m up to 84 degrees of latitude (length squared over eight times the radius).
_SEGMENT_DEGREES = 0.01
_WGS84 = CRS.from_epsg(4326)
_MAX_CELLS = 100_000  # a box of 79 by 79 degrees


@dataclass(frozen=True)
class Tile:
    """One work tile.

    Attributes:
        epsg: its UTM zone.
        bounds: column and row of the upper left pixel, column and row past the lower right one,
            in pixels of the zone's grid (rows grow southward).
    """

    epsg: int
    bounds: PixelBounds

    @property
    def name(self) -> str:
        """`EPSG32632/50176_-520192`: zone, column and row of the upper left pixel."""
        return f"EPSG{self.epsg}/{self.bounds[0]}_{self.bounds[1]}"


@dataclass(frozen=True)
class Zone:
    """What lies in one UTM zone.

    Attributes:
        epsg: its EPSG code.
        resolution: metres a pixel.
        parts: by day, the area to map, in pixels of the zone's grid; days do not overlap.
        tiles: those that hold some of it, by row, then column.
    """

    epsg: int
    resolution: float
    parts: Mapping[dt.date, BaseGeometry]
    tiles: tuple[Tile, ...]

    @property
    def projection(self) -> Projection:
        """The zone's grid."""
        return projection(f"EPSG:{self.epsg}", self.resolution)

    @property
    def bounds(self) -> PixelBounds:
        """Box that holds every pixel to be mapped, and at most a pixel more on each side."""
        boxes = np.array([area.bounds for area in self.parts.values()])
        left, top = (np.floor(boxes[:, :2].min(axis=0)) - 1).astype(int).tolist()
        right, bottom = (np.ceil(boxes[:, 2:].max(axis=0)) + 1).astype(int).tolist()
        return (left, top, right, bottom)

    def inside(self, tile: Tile) -> dict[dt.date, np.ndarray]:
        """Which pixels of a tile are to be mapped: bool (rows, columns) by day.

        A pixel is, if any of it lies in the zone's side of the area: then no place of the area is
        left out, neither along its edge nor where two zones meet. Where areas of two days meet,
        the earlier takes the pixel.
        """
        left, top, right, bottom = tile.bounds
        shape = (bottom - top, right - left)
        found: dict[dt.date, np.ndarray] = {}
        taken = np.zeros(shape, dtype=bool)
        for day, area in self.parts.items():
            here = shapely.clip_by_rect(area, left - 1, top - 1, right + 1, bottom + 1)
            if here.is_empty:
                continue
            burnt = rasterio.features.rasterize(
                [here],
                out_shape=shape,
                transform=Affine.translation(left, top),
                all_touched=True,
                dtype="uint8",
            )
            mine = burnt.astype(bool) & ~taken
            taken |= mine
            if mine.any():
                found[day] = mine
        return found


def partition(
    areas: Mapping[dt.date, BaseGeometry], resolution: float = 10.0, tile_px: int = TILE_PX
) -> tuple[Zone, ...]:
    """Zones and tiles of an area.

    Args:
        areas: by day, polygons in degrees (EPSG:4326) within -180..180.
        resolution: metres a pixel.
        tile_px: side of a tile; tiles lie on multiples of it.

    Returns:
        Zones by EPSG code, each with at least one tile.

    Raises:
        RequestError: the area is too large to divide.
        WindowError: it reaches where there are no UTM zones.
    """
    sides: dict[int, dict[dt.date, BaseGeometry]] = {}
    for day, area in areas.items():
        require_divisible(area, f"the request's areas of {day}")
        for epsg, side in _sides(area).items():
            sides.setdefault(epsg, {})[day] = side
    zones = []
    for epsg in sorted(sides):
        parts = {day: _to_pixels(side, epsg, resolution) for day, side in sides[epsg].items()}
        zones.append(Zone(epsg, resolution, parts, _tiles(epsg, parts, tile_px)))
    return tuple(zone for zone in zones if zone.tiles)


def require_divisible(area: BaseGeometry, where: str) -> None:
    """Refuse an area whose box has too many grid cells.

    Args:
        area: polygons in degrees of one day.
        where: what it was read from.

    Raises:
        RequestError: it has.
    """
    columns, rows = _cells(area)
    if len(columns) * len(rows) > _MAX_CELLS:
        west, south, east, north = area.bounds
        raise RequestError(
            f"The area spans {east - west:.0f} by {north - south:.0f} degrees",
            where=where,
            fix="Divide it into several requests",
        )


def _cells(area: BaseGeometry) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows of the grid of degrees under an area's box."""
    west, south, east, north = area.bounds
    columns = np.arange(np.floor(west / GRID_DEGREES), np.ceil(east / GRID_DEGREES))
    rows = np.arange(np.floor(south / GRID_DEGREES), np.ceil(north / GRID_DEGREES))
    return columns, rows


def _sides(area: BaseGeometry) -> dict[int, BaseGeometry]:
    """The part of an area in each zone's grid cells, degrees."""
    shapely.prepare(area)
    columns, rows = _cells(area)
    x, y = (axis.ravel() * GRID_DEGREES for axis in np.meshgrid(columns, rows))
    boxes = shapely.box(x, y, x + GRID_DEGREES, y + GRID_DEGREES)
    held: dict[int, list[BaseGeometry]] = {}
    for cell in boxes[shapely.intersects(area, boxes)]:
        middle = cell.centroid
        held.setdefault(utm_epsg(middle.x, middle.y), []).append(cell)
    found = {
        epsg: shapely.intersection(area, shapely.union_all(cells)) for epsg, cells in held.items()
    }
    # cells that only touch the area leave a line or a point
    return {epsg: side for epsg, side in found.items() if side.area > 0}


def _to_pixels(side: BaseGeometry, epsg: int, resolution: float) -> BaseGeometry:
    """Polygons in degrees as polygons in pixels of a zone's grid."""
    crs = CRS.from_epsg(epsg)

    def moved(points: np.ndarray) -> np.ndarray:
        xs, ys = rasterio.warp.transform(_WGS84, crs, points[:, 0].tolist(), points[:, 1].tolist())
        return np.column_stack([xs, ys]) / [resolution, -resolution]

    pixels = shapely.transform(shapely.segmentize(side, _SEGMENT_DEGREES), moved)
    valid = pixels if pixels.is_valid else shapely.make_valid(pixels)
    if valid.geom_type == "GeometryCollection":  # an intersection leaves lines beside its polygons
        valid = shapely.union_all([part for part in shapely.get_parts(valid) if part.area > 0])
    return valid


def _tiles(epsg: int, parts: Mapping[dt.date, BaseGeometry], tile_px: int) -> tuple[Tile, ...]:
    """Tiles that hold some of the area, by row, then column."""
    held: set[tuple[int, int]] = set()
    for area in parts.values():
        shapely.prepare(area)
        left, top, right, bottom = (np.array(area.bounds) / tile_px).tolist()
        columns = np.arange(np.floor(left), np.ceil(right))
        for row in np.arange(np.floor(top), np.ceil(bottom)).tolist():
            boxes = shapely.box(
                *(columns * tile_px, np.full(len(columns), row * tile_px)),
                *((columns + 1) * tile_px, np.full(len(columns), (row + 1) * tile_px)),
            )
            inside = shapely.intersects(area, boxes) & ~shapely.touches(area, boxes)
            held |= {(int(row), int(column)) for column in columns[inside].tolist()}
    return tuple(
        Tile(epsg, (c * tile_px, r * tile_px, (c + 1) * tile_px, (r + 1) * tile_px))
        for r, c in sorted(held)
    )
