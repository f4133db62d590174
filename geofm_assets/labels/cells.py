"""H3 cells of many points at once."""

import functools

import h3
import h3.api.numpy_int as h3_int
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from h3ronpy.vector import coordinates_to_cells

_POLAR_DEG = 80.0
H3_SOURCE_RESOLUTION = 3
"""Resolution of WorldCereal's `h3_l3_cell` column (cells of about 12,400 km2 on average)."""


def cell_ids(lon: np.ndarray, lat: np.ndarray, resolution: int) -> np.ndarray:
    """H3 cells as uint64, shape (n,); 0 where a coordinate is not finite or out of range.

    Args:
        lon: degrees EPSG:4326, float64, shape (n,).
        lat: degrees EPSG:4326, float64, shape (n,).
        resolution: H3 resolution, 0-15.
    """
    cells = np.zeros(len(lon), dtype=np.uint64)
    good = np.isfinite(lon) & np.isfinite(lat) & (np.abs(lat) <= 90) & (np.abs(lon) <= 180)
    if good.all():
        return np.asarray(coordinates_to_cells(lat, lon, resolution), dtype=np.uint64)
    cells[good] = np.asarray(coordinates_to_cells(lat[good], lon[good], resolution))
    return cells


def cell_strings(cells: np.ndarray) -> pa.Array:
    """H3 indexes as the usual 15-digit hex strings; null for 0."""
    return coded_cells(cells).cast(pa.string())


def coded_cells(cells: np.ndarray) -> pa.DictionaryArray:
    """`cell_strings`, dictionary-coded."""
    coded = pa.array(cells, pa.uint64(), mask=cells == 0).dictionary_encode()
    names = pa.array([format(cell, "x") for cell in coded.dictionary.to_pylist()], pa.string())
    return pa.DictionaryArray.from_arrays(coded.indices, names)


def parse_cells(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """H3 indexes from hex strings (or integers) as uint64; 0 where null or not a cell."""
    if pa.types.is_integer(column.type):
        return np.asarray(pc.fill_null(column.cast(pa.uint64(), safe=False), 0))
    encoded = column
    if not pa.types.is_dictionary(column.type):
        encoded = column.cast(pa.string()).dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
        encoded = encoded.chunk(0) if isinstance(encoded, pa.ChunkedArray) else encoded
    values = [_cell_or_zero(text) for text in encoded.dictionary.to_pylist()]
    lookup = np.array([*values, 0], dtype=np.uint64)
    return lookup[np.asarray(pc.fill_null(encoded.indices, len(values)))]


def near_centres(cells: pa.Array | pa.ChunkedArray, lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Whether points lie in their cells' circumscribed circles, widened by a tenth; bool (n,).

    Distances are planar in degrees about each cell's middle, which serves up to 80 degrees of
    latitude; nearer to a pole the cell itself is computed.

    Args:
        cells: hex strings, dictionary-coded, n values.
        lon: degrees EPSG:4326, shape (n,).
        lat: likewise.
    """
    coded = cells.combine_chunks() if isinstance(cells, pa.ChunkedArray) else cells
    names = coded.dictionary.to_pylist()
    circles = np.array([_circle(name) for name in names]).reshape(len(names), 4)
    middle_lon, middle_lat, shrink, radius = circles[np.asarray(coded.indices)].T
    east = np.abs(lon - middle_lon)
    east = np.minimum(east, 360 - east) * shrink
    north = lat - middle_lat
    near = east * east + north * north <= radius * radius
    polar = np.flatnonzero(np.abs(lat) > _POLAR_DEG)
    if len(polar):
        stated = parse_cells(coded.take(pa.array(polar)))
        resolution = h3.get_resolution(names[0])
        near[polar] = stated == cell_ids(lon[polar], lat[polar], resolution)
    return near


@functools.lru_cache(maxsize=50_000)
def _circle(cell: str) -> tuple[float, float, float, float]:
    """Middle (lon, lat), cosine of its latitude and radius in degrees; NaN for what is no cell."""
    if not h3.is_valid_cell(cell):
        return (np.nan, np.nan, np.nan, np.nan)
    lat, lon = h3.cell_to_latlng(cell)
    shrink = float(np.cos(np.radians(lat)))
    corners = np.array(h3.cell_to_boundary(cell))
    east = np.abs(corners[:, 1] - lon)
    east = np.minimum(east, 360 - east) * shrink
    return (lon, lat, shrink, 1.1 * float(np.hypot(east, corners[:, 0] - lat).max()))


def near_cells(one: np.ndarray, other: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Whether two cells are equal or share an edge, for the rows asked for; bool, shape (n,)."""
    near = np.zeros(len(one), dtype=bool)
    for row in np.flatnonzero(asked & (one != 0) & (other != 0)).tolist():
        a, b = int(one[row]), int(other[row])
        near[row] = a == b or h3_int.are_neighbor_cells(a, b)
    return near


def _cell_or_zero(text: str | None) -> int:
    return h3.str_to_int(text) if text and h3.is_valid_cell(text) else 0
