"""Points, polygons and multipolygons as well-known binary, many at a time and in any mixture."""

import numpy as np
import pyarrow as pa

POINT, POLYGON, MULTIPOLYGON = 1, 3, 6
_METRES_A_DEGREE = 111_320.0
_POINT_BYTES = 21
_VERTICES = np.arange(5, 17)
"""How many corners a field has; the mean is about ten."""
_VERTEX_WEIGHTS = np.array([3, 5, 8, 11, 13, 14, 13, 11, 9, 6, 4, 3], dtype=float)


def draw_shapes(
    lon: np.ndarray, lat: np.ndarray, polygons: float, rng: np.random.Generator
) -> pa.Array:
    """A geometry about each place.

    Args:
        lon: degrees, float64 (n,); points lie exactly here, fields around.
        lat: degrees, float64 (n,).
        polygons: share of fields; a hundredth of them are MultiPolygons of two parts.
        rng: random numbers.

    Returns:
        WKB, binary (n,).
    """
    count = len(lon)
    kind = np.where(rng.random(count) < polygons, POLYGON, POINT)
    kind = np.where((kind == POLYGON) & (rng.random(count) < 0.01), MULTIPOLYGON, kind)
    weights = _VERTEX_WEIGHTS / _VERTEX_WEIGHTS.sum()
    corners = rng.choice(_VERTICES, count, p=weights)
    radius = np.clip(rng.lognormal(4.2, 0.6, count), 10.0, 600.0)  # metres; median 67
    polygon_bytes = 13 + 16 * (corners + 1)
    sizes = np.select(
        [kind == POINT, kind == POLYGON], [_POINT_BYTES, polygon_bytes], 9 + 2 * polygon_bytes
    )
    offsets = np.zeros(count + 1, dtype=np.int64)
    np.cumsum(sizes, out=offsets[1:])
    data = np.empty(offsets[-1], dtype=np.uint8)
    rows = np.flatnonzero(kind == POINT)
    _put(data, offsets[rows], _points(lon[rows], lat[rows]))
    for number in _VERTICES.tolist():
        for shape in (POLYGON, MULTIPOLYGON):
            rows = np.flatnonzero((kind == shape) & (corners == number))
            if len(rows):
                parts = _fields(lon[rows], lat[rows], radius[rows], number, shape, rng)
                _put(data, offsets[rows], parts)
    buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.binary(), count, buffers)


def _put(data: np.ndarray, starts: np.ndarray, records: np.ndarray) -> None:
    """Lay records of one length (n, bytes) at their places."""
    data[starts[:, None] + np.arange(records.shape[1])] = records


def _points(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    record = np.zeros(len(lon), dtype=[("o", "u1"), ("t", "<u4"), ("xy", "<f8", 2)])
    record["o"], record["t"] = 1, POINT
    record["xy"][:, 0], record["xy"][:, 1] = lon, lat
    return record.view(np.uint8).reshape(len(lon), _POINT_BYTES)


def _fields(
    lon: np.ndarray,
    lat: np.ndarray,
    radius: np.ndarray,
    corners: int,
    shape: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Records of fields with so many corners: stars about their place, closed, counterclockwise."""
    part = [("o", "u1"), ("t", "<u4"), ("rings", "<u4"), ("n", "<u4")]
    polygon = np.dtype([*part, ("xy", "<f8", (corners + 1, 2))])
    record: np.ndarray
    if shape == POLYGON:
        record = np.zeros(len(lon), dtype=polygon)
        parts = [record]
    else:
        head = [("o", "u1"), ("t", "<u4"), ("parts", "<u4")]
        record = np.zeros(len(lon), dtype=[*head, ("first", polygon), ("second", polygon)])
        record["o"], record["t"], record["parts"] = 1, MULTIPOLYGON, 2
        parts = [record["first"], record["second"]]
    for number, one in enumerate(parts):
        one["o"], one["t"], one["rings"], one["n"] = 1, POLYGON, 1, corners + 1
        one["xy"] = _ring(lon, lat, radius, corners, 3.0 * number, rng)
    return record.view(np.uint8).reshape(len(lon), record.dtype.itemsize)


def _ring(
    lon: np.ndarray,
    lat: np.ndarray,
    radius: np.ndarray,
    corners: int,
    aside: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Rings in degrees (n, corners + 1, 2), `aside` radii to the east."""
    shape = (len(lon), corners)
    turn = (np.arange(corners) + rng.uniform(-0.3, 0.3, shape)) * (2 * np.pi / corners)
    reach = radius[:, None] * rng.uniform(0.75, 1.25, shape) / _METRES_A_DEGREE
    shrink = np.cos(np.radians(lat))[:, None]
    ring = np.empty((len(lon), corners + 1, 2))
    east = aside * radius[:, None] / _METRES_A_DEGREE
    ring[:, :-1, 0] = lon[:, None] + (reach * np.cos(turn) + east) / shrink
    ring[:, :-1, 1] = lat[:, None] + reach * np.sin(turn)
    ring[:, -1] = ring[:, 0]
    return np.round(ring, 7)
