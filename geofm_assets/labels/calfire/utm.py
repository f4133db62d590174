"""Degrees to metres: UTM zones, and distances on the safe side."""

import functools

import numpy as np
import shapely
from pyproj import Transformer

SOUTH_END, NORTH_END = -80.0, 84.0
"""Where UTM ends, degrees of latitude."""

_ON_EDGE_DEG = 1e-6
_METRES_PER_DEGREE_LAT = 110_574.0
_METRES_PER_DEGREE_LON = 111_319.0
"""The least lengths of a degree on the WGS84 ellipsoid: of a meridian, which is at the equator
(pi / 180 * a * (1 - e2)), and of a parallel divided by the cosine of its latitude, at the equator
too (pi / 180 * a); both rounded down."""

_REACH_DEG = 6.0


def utm_epsgs(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """EPSG code of each point's UTM zone, as windows are laid in; int64 (N,).

    0 where there is none: beyond 80 S and 84 N, and within 1e-6 degrees (0.1 m) of a zone's edge,
    where the order of PROJ's database decides.

    Args:
        lon: degrees EPSG:4326, (N,).
        lat: likewise.
    """
    zone = np.floor((lon + 180) / 6).astype(np.int64) + 1
    to_edge = np.abs(lon / 6 - np.round(lon / 6)) * 6
    inside = (np.abs(lon) <= 180) & (lat >= SOUTH_END) & (lat <= NORTH_END)
    plain = inside & (to_edge >= _ON_EDGE_DEG) & (np.abs(lat) >= _ON_EDGE_DEG)
    return np.where(plain, np.where(lat > 0, 32600, 32700) + zone, 0)


def zones_of(bounds: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Every UTM zone that some boxes reach into, and which boxes they are.

    Args:
        bounds: west, south, east, north in degrees, (N, 4).

    Returns:
        EPSG codes, ascending, each with the numbers of its boxes.
    """
    west, south, east, north = bounds.T
    first = np.clip(np.floor((west + 180) / 6), 0, 59).astype(np.int64) + 1
    last = np.clip(np.floor((east + 180) / 6), 0, 59).astype(np.int64) + 1
    found = []
    for base, there in ((32600, north > 0), (32700, south < 0)):
        for zone in range(int(first.min(initial=61)), int(last.max(initial=0)) + 1):
            rows = np.flatnonzero(there & (first <= zone) & (zone <= last))
            if len(rows):
                found.append((base + zone, rows))
    return found


def to_utm(epsg: int, lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Easting and northing in metres of points in degrees."""
    x, y = _transformer(epsg, True).transform(lon, lat)
    return np.asarray(x), np.asarray(y)


def to_degrees(epsg: int, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Longitude and latitude of points of a zone."""
    lon, lat = _transformer(epsg, False).transform(x, y)
    return np.asarray(lon), np.asarray(lat)


def polygons_to_utm(epsg: int, polygons: np.ndarray) -> np.ndarray:
    """Polygons in metres of a zone, repaired where that made them invalid, and prepared.

    What lies more than `_REACH_DEG` from the zone's meridian is cut off, where the projection has
    no meaning.

    Args:
        epsg: of a UTM zone.
        polygons: degrees EPSG:4326, (N,).
    """
    middle = 6 * (epsg % 100) - 183
    west, east = middle - _REACH_DEG, middle + _REACH_DEG
    bounds = shapely.bounds(polygons)
    near = polygons.copy()
    for i in np.flatnonzero((bounds[:, 0] < west) | (bounds[:, 2] > east)):
        near[i] = shapely.clip_by_rect(near[i], west, -90, east, 90)
    metric: np.ndarray = shapely.transform(near, lambda xy: np.column_stack(to_utm(epsg, *xy.T)))
    broken = ~shapely.is_valid(metric)
    metric[broken] = shapely.make_valid(metric[broken], method="structure")
    shapely.prepare(metric)
    return metric


def degrees_around(bounds: np.ndarray, metres: float) -> np.ndarray:
    """Boxes in degrees, widened so that all within so many metres lies inside.

    Args:
        bounds: west, south, east, north, (N, 4).
        metres: distance.
    """
    up = metres / _METRES_PER_DEGREE_LAT
    west, south, east, north = bounds.T
    south, north = np.maximum(south - up, -90), np.minimum(north + up, 90)
    shrink = np.cos(np.radians(np.minimum(np.maximum(np.abs(south), np.abs(north)), 89)))
    aside = metres / (_METRES_PER_DEGREE_LON * shrink)
    return np.column_stack((west - aside, south, east + aside, north))


@functools.lru_cache(maxsize=128)
def _transformer(epsg: int, forward: bool) -> Transformer:
    pair = (4326, epsg) if forward else (epsg, 4326)
    return Transformer.from_crs(*pair, always_xy=True)
