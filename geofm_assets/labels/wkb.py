# ruff: noqa: ANN001, ANN202 - numba gives the kernels their types
"""Points that stand for plain geometries, read straight from WKB.

Nearly every label is a point or a polygon of one ring, for which decoding WKB into objects costs
far more than the arithmetic. Whatever is not plain here (holes, several parts, other types and byte
orders, Z, EWKB, flat rings, a centroid on or outside the outline, coordinates that are not finite)
is left to `labels.geometry`, which asks GEOS.
"""

import numpy as np
import pyarrow as pa
from numba import njit

from geofm_assets.core.raw_memory import bytes_of, load_f64, load_u32

PLAIN_POINT, PLAIN_POLYGON, LEFT_TO_GEOS = 0, 1, 2
_POINT, _POLYGON, _MULTIPOLYGON = 1, 3, 6
_MAX_WIDTH_DEG = 180.0
_LEAST_AREA = 1e-12  # square degrees, doubled: below this GEOS decides what is flat
_NEAR = 1e-12  # how near to an edge a centroid may lie, relative, before GEOS decides


def plain_points(wkb: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The point of each plain geometry.

    A point is taken as it is. A polygon gives its centroid, planar in the units of its coordinates
    and weighted by area (the formula of GEOS's Centroid), if that lies strictly inside by the
    even-odd rule.

    Args:
        wkb: binary, N values.

    Returns:
        x and y, float64 (N,), NaN where left to GEOS; and int8 (N,), one of `PLAIN_POINT`,
        `PLAIN_POLYGON`, `LEFT_TO_GEOS`.
    """
    data, offsets = bytes_of(wkb)
    size = len(wkb)
    x, y = np.full(size, np.nan), np.full(size, np.nan)
    kind = np.full(size, LEFT_TO_GEOS, np.int8)
    _locate(data, offsets, x, y, kind)
    if wkb.null_count:
        null = np.asarray(wkb.is_null())
        kind[null], x[null], y[null] = LEFT_TO_GEOS, np.nan, np.nan
    return x, y, kind


@njit(cache=True)
def _locate(data, offsets, x, y, kind):  # type: ignore[no-untyped-def]
    for row in range(len(kind)):
        at, end = offsets[row], offsets[row + 1]
        if end - at < 9 or data[at] != 1:
            continue
        geometry = load_u32(data, at + 1)
        if geometry == _POINT:
            if end - at != 21:
                continue
            px, py = load_f64(data, at + 5), load_f64(data, at + 13)
            if np.isfinite(px) and np.isfinite(py):
                x[row], y[row], kind[row] = px, py, PLAIN_POINT
        elif geometry == _POLYGON:
            _ring(data, at, end, row, x, y, kind)
        elif geometry == _MULTIPOLYGON and load_u32(data, at + 5) == 1:
            _ring(data, at + 9, end, row, x, y, kind)


@njit
def _ring(data, at, end, row, x, y, kind):  # type: ignore[no-untyped-def]
    """Fill x, y and kind of a polygon of one ring at `at`, if it is plain."""
    if end - at < 13 or data[at] != 1 or load_u32(data, at + 1) != _POLYGON:
        return
    points = np.int64(load_u32(data, at + 9))
    at += 13
    if load_u32(data, at - 8) != 1 or points < 4 or end - at != points * 16:
        return
    base_x, base_y = load_f64(data, at), load_f64(data, at + 8)
    low, high = base_x, base_x
    area, sum_x, sum_y = 0.0, 0.0, 0.0
    px, py = 0.0, 0.0
    for i in range(1, points):
        vertex = load_f64(data, at + 16 * i)
        low, high = min(low, vertex), max(high, vertex)
        qx, qy = vertex - base_x, load_f64(data, at + 16 * i + 8) - base_y
        cross = px * qy - qx * py
        area += cross
        sum_x += cross * (px + qx)
        sum_y += cross * (py + qy)
        px, py = qx, qy
    closed = px == 0.0 and py == 0.0
    # a sum that is not finite fails every comparison
    if not (closed and abs(area) > _LEAST_AREA and high - low <= _MAX_WIDTH_DEG):
        return
    cx, cy = sum_x / (3 * area), sum_y / (3 * area)
    if not (np.isfinite(cx) and np.isfinite(cy)):
        return
    if _inside(data, at, points, base_x, base_y, cx, cy):
        x[row], y[row], kind[row] = base_x + cx, base_y + cy, PLAIN_POLYGON


@njit
def _inside(data, at, points, base_x, base_y, x, y):  # type: ignore[no-untyped-def]
    """Whether a point lies surely inside a ring."""
    odd = False
    px, py = 0.0, 0.0
    for i in range(1, points):
        qx = load_f64(data, at + 16 * i) - base_x
        qy = load_f64(data, at + 16 * i + 8) - base_y
        if abs(qx - x) + abs(qy - y) <= _NEAR:  # the tip of a notch crosses no ray
            return False
        if (py > y) != (qy > y):
            side = (qx - px) * (y - py) - (x - px) * (qy - py)
            if abs(side) <= _NEAR * (abs(qx - px) + abs(qy - py)):
                return False
            if (side > 0) == (qy > py):
                odd = not odd
        elif py == y and qy == y and min(px, qx) <= x <= max(px, qx):
            return False
        px, py = qx, qy
    return odd
