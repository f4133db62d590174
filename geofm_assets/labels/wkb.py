# ruff: noqa: ANN001, ANN202 - numba gives the kernels their types
"""Points that stand for plain geometries, read straight from WKB.

Nearly every label is a point or a sound polygon, for which decoding WKB into objects costs far
more than the arithmetic. Whatever is not plain here (other types and byte orders, Z, EWKB, empty
or flat rings, a centroid on or outside the outline, coordinates that are not finite) is left to
`labels.geometry`, which asks GEOS.
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

    A point is taken as it is. A polygon gives its centroid, planar in the units of its
    coordinates and weighted by area, holes subtracted (the formula of GEOS's Centroid), if that
    lies strictly inside by the even-odd rule.

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
        elif geometry in (_POLYGON, _MULTIPOLYGON):
            _polygons(data, at, end, geometry == _MULTIPOLYGON, row, x, y, kind)


@njit
def _polygons(data, at, end, many, row, x, y, kind):  # type: ignore[no-untyped-def]
    """Fill x, y and kind of a polygon or multipolygon, if it is plain."""
    count = np.int64(load_u32(data, at + 5)) if many else np.int64(1)
    start = at + 9 if many else at
    if count == 0:
        return
    base_x, base_y = 0.0, 0.0
    low, high = np.inf, -np.inf
    area, sum_x, sum_y = 0.0, 0.0, 0.0
    position, first = start, True
    for _ in range(count):
        if end - position < 9 or data[position] != 1 or load_u32(data, position + 1) != _POLYGON:
            return
        rings = np.int64(load_u32(data, position + 5))
        position += 9
        if rings == 0:
            return
        for ring in range(rings):
            if end - position < 4:
                return
            points = np.int64(load_u32(data, position))
            position += 4
            if points < 4 or end - position < points * 16:
                return
            if first:
                base_x, base_y = load_f64(data, position), load_f64(data, position + 8)
                first = False
            a, sx, sy = 0.0, 0.0, 0.0
            px, py = load_f64(data, position) - base_x, load_f64(data, position + 8) - base_y
            start_x, start_y = px, py
            for i in range(points):
                vertex_x = load_f64(data, position + 16 * i)
                qx, qy = vertex_x - base_x, load_f64(data, position + 16 * i + 8) - base_y
                low, high = min(low, vertex_x), max(high, vertex_x)
                cross = px * qy - qx * py
                a += cross
                sx += cross * (px + qx)
                sy += cross * (py + qy)
                px, py = qx, qy
            if px != start_x or py != start_y or not np.isfinite(a + sx + sy):
                return
            if abs(a) < _LEAST_AREA:
                return
            # shells count, holes are taken away, whichever way round they are drawn
            if (a < 0) != (ring > 0):
                a, sx, sy = -a, -sx, -sy
            area += a
            sum_x += sx
            sum_y += sy
            position += 16 * points
    if position != end or not area > _LEAST_AREA or not high - low <= _MAX_WIDTH_DEG:
        return
    cx, cy = sum_x / (3 * area), sum_y / (3 * area)
    if _inside(data, start, count, base_x, base_y, cx, cy):
        x[row], y[row], kind[row] = base_x + cx, base_y + cy, PLAIN_POLYGON


@njit
def _inside(data, position, count, base_x, base_y, x, y):  # type: ignore[no-untyped-def]
    """Whether a point lies surely inside one of the polygons."""
    for _ in range(count):
        rings = np.int64(load_u32(data, position + 5))
        position += 9
        odd = False
        for _ring in range(rings):
            points = np.int64(load_u32(data, position))
            position += 4
            px, py = load_f64(data, position) - base_x, load_f64(data, position + 8) - base_y
            for i in range(1, points):
                qx = load_f64(data, position + 16 * i) - base_x
                qy = load_f64(data, position + 16 * i + 8) - base_y
                if (py > y) != (qy > y):
                    side = (qx - px) * (y - py) - (x - px) * (qy - py)
                    if abs(side) <= _NEAR * (abs(qx - px) + abs(qy - py)):
                        return False
                    if (side > 0) == (qy > py):
                        odd = not odd
                elif py == y and qy == y and min(px, qx) <= x <= max(px, qx):
                    return False
                px, py = qx, qy
            position += 16 * points
        if odd:
            return True
    return False
