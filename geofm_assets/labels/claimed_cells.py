# ruff: noqa: ANN001, ANN202 - numba gives the kernels their types
"""H3 cells recomputed where somebody already says which they are.

A point in the circle inscribed in a cell lies in that cell, which a few multiplications prove; only
points near a cell's edge, and wrong claims, need the whole of H3's projection.
"""

import functools

import h3
import h3.api.numpy_int as h3_int
import numpy as np
import pyarrow as pa
from numba import njit

from geofm_assets.labels.cells import cell_ids

_SAFE = 0.99  # of the inscribed radius, for rounding
_NO_CIRCLE = (0.0, 0.0, 0.0, -1.0)


def claimed_cell_ids(
    lon: np.ndarray, lat: np.ndarray, claimed: np.ndarray, resolution: int
) -> np.ndarray:
    """`cells.cell_ids`, faster the more of the claims are right; never other than it.

    For a distance d between two points, sin2(d/2) = sin2(dlat/2) + cos(lat) cos(lat') sin2(dlon/2)
    (haversine) is at most (dlat2 + c cos(lat') dlon2) / 4, with c the largest cosine of latitude in
    the circle. Where that is below sin2(r/2), d is below r.

    Args:
        lon: degrees EPSG:4326, float64, shape (n,).
        lat: likewise.
        claimed: the cell each point is said to be in, uint64, shape (n,); 0 for none.
        resolution: H3 resolution, 0-15.

    Returns:
        uint64, shape (n,); 0 where a coordinate is not finite or out of range.
    """
    coded = pa.array(claimed, pa.uint64()).dictionary_encode()
    names = np.asarray(coded.dictionary, np.uint64)
    circles = np.array([_inscribed(int(name), resolution) for name in names]).reshape(-1, 4)
    cells = np.zeros(len(lon), np.uint64)
    sure = np.zeros(len(lon), np.bool_)
    _prove(lon, lat, np.asarray(coded.indices), names, circles, cells, sure)
    open_rows = np.flatnonzero(~sure)
    cells[open_rows] = cell_ids(lon[open_rows], lat[open_rows], resolution)
    return cells


@njit(cache=True)
def _prove(lon, lat, codes, names, circles, cells, sure):  # type: ignore[no-untyped-def]
    """Fill `cells` and `sure` for points in the circles of their claims."""
    for row in range(len(lon)):
        code = codes[row]
        if not abs(lat[row]) <= 90.0 or not abs(lon[row]) <= 180.0:  # NaN too
            continue
        east = abs(lon[row] - circles[code, 0])
        if east > 180.0:
            east = 360.0 - east
        north = lat[row] - circles[code, 1]
        if north * north + circles[code, 2] * east * east <= circles[code, 3]:
            cells[row], sure[row] = names[code], True


@functools.lru_cache(maxsize=50_000)
def _inscribed(cell: int, resolution: int) -> tuple[float, float, float, float]:
    """Centre (lon, lat) in degrees, weight of dlon2, and the bound of the sum in square degrees."""
    if not h3_int.is_valid_cell(cell) or h3_int.get_resolution(cell) != resolution:
        return _NO_CIRCLE
    if h3_int.is_pentagon(cell):  # few, and not worth a proof of their own
        return _NO_CIRCLE
    lat, lon = h3_int.cell_to_latlng(cell)
    corners = _unit(np.array(h3.cell_to_boundary(h3.int_to_str(cell))))
    # edges are arcs of great circles: straight in H3's gnomonic projection
    normals = np.cross(corners, np.roll(corners, -1, axis=0))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    radius = _SAFE * float(np.arcsin(np.abs(normals @ _unit(np.array([[lat, lon]]))[0])).min())
    nearest = max(0.0, abs(np.radians(lat)) - radius)
    weight = float(np.cos(nearest) * np.cos(np.radians(lat)))
    return (lon, lat, weight, float(np.degrees(2 * np.sin(radius / 2)) ** 2))


def _unit(lat_lon: np.ndarray) -> np.ndarray:
    """Unit vectors (n, 3) of latitudes and longitudes in degrees (n, 2)."""
    lat, lon = np.radians(lat_lon).T
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)
