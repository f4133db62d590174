"""Between grids, degrees and hectares."""

import functools
from collections.abc import Iterator

import numpy as np
import pyproj
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

WGS84 = "EPSG:4326"
_EQUAL_AREA = "EPSG:6933"  # EASE-Grid 2.0, cylindrical equal area on WGS 84, to 86 degrees
_M2_PER_HA = 10_000.0
# a straight line of a grid is a curve elsewhere: pieces of at most 1 km stray less than 0.2 m
_SEGMENT_M = 1_000.0
_CACHE_BYTES = 32 * 2**20


@functools.cache
def _transformer(source: str, target: str) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(source, target, always_xy=True)


def moved(geometries: NDArray[np.object_], source: str, target: str) -> NDArray[np.object_]:
    """Geometries in another CRS, as they are: a long straight edge stays straight.

    Args:
        geometries: shapely, shape (n,).
        source: their CRS, such as EPSG:32610 or a PROJ string.
        target: the CRS wanted; degrees are longitude, latitude.
    """
    transformer = _transformer(source, target)

    def change(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack(transformer.transform(points[:, 0], points[:, 1]))

    out: NDArray[np.object_] = shapely.transform(geometries, change)
    return out


def to_degrees(geometries: NDArray[np.object_], epsg: int) -> NDArray[np.object_]:
    """Geometries of a UTM zone in EPSG:4326, edges cut to follow the curves."""
    return moved(shapely.segmentize(geometries, _SEGMENT_M), f"EPSG:{epsg}", WGS84)


def hectares(geometries: NDArray[np.object_], epsg: int) -> NDArray[np.float64]:
    """Equal-area hectares of geometries of a UTM zone, shape (n,)."""
    cut = shapely.segmentize(geometries, _SEGMENT_M)
    areas: NDArray[np.float64] = shapely.area(moved(cut, f"EPSG:{epsg}", _EQUAL_AREA))
    return areas / _M2_PER_HA


def zone_side(epsg: int) -> BaseGeometry:
    """What of the globe a UTM zone maps, degrees: its six degrees on its side of the equator."""
    west = (epsg % 100 - 1) * 6 - 180
    south, north = (0, 84) if epsg < 32700 else (-80, 0)
    return shapely.box(west, south, west + 6, north)


def zones_of(geometry: BaseGeometry) -> list[int]:
    """EPSG codes of the UTM zones whose side of the globe a geometry in degrees touches."""
    if geometry.is_empty:
        return []
    west, south, east, north = geometry.bounds
    first, last = (min(int((lon + 180) // 6), 59) + 1 for lon in (west, east))
    sides = [base for base, there in ((32600, north > 0), (32700, south < 0)) if there]
    codes = [base + zone for base in sides for zone in range(first, last + 1)]
    return [code for code in codes if shapely.intersects(geometry, zone_side(code))]


def small_cache() -> rasterio.Env:
    """A context in which GDAL keeps few blocks.

    It keeps a twentieth of the machine's memory otherwise, so that memory would grow with the map.
    Rasterio hands the option to GDALSetCacheMax, which takes bytes, unlike the variable of the
    environment, which takes megabytes.
    """
    return rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES)


def origin(transform: Affine) -> tuple[int, int]:
    """Column and row, on the zone's grid, of a raster's upper left pixel."""
    return round(transform.c / transform.a), round(transform.f / transform.e)


def grid_windows(dataset: rasterio.DatasetReader, side: int) -> Iterator[Window]:
    """Windows that cover a raster, by row, then column.

    They are cut along multiples of `side` pixels of the zone's grid.
    """
    left, top = origin(dataset.transform)
    for row in range(top // side * side, top + dataset.height, side):
        for column in range(left // side * side, left + dataset.width, side):
            x, y = max(column - left, 0), max(row - top, 0)
            right = min(column - left + side, dataset.width)
            bottom = min(row - top + side, dataset.height)
            yield Window(x, y, right - x, bottom - y)
