"""Land cover under samples: where a class that is sampled lies, and which class it is."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import h3.api.numpy_int as h3_int
import numpy as np
import rasterio
import rasterio.errors
import rasterio.warp
import rasterio.windows
from rasterio.io import DatasetReader

from geofm_assets.core.errors import LabelFileError
from geofm_assets.core.hashing import keyed_hashes
from geofm_assets.labels.calfire.samples_config import FarConfig

_MOST_PIXELS = 2048
"""Along a side of what is read of a cell. A finer raster is thinned: the choice gets coarser."""


@contextmanager
def open_cover(far: FarConfig) -> Iterator[DatasetReader]:
    """The land-cover raster.

    Raises:
        LabelFileError: it cannot be read, or has no CRS.
    """
    where = f"samples.far.land_cover = {far.land_cover}"
    try:
        with rasterio.open(far.land_cover) as raster:
            if raster.crs is None:
                raise LabelFileError("The land-cover raster has no CRS", where=where)
            yield raster
    except rasterio.errors.RasterioIOError as error:
        raise LabelFileError(
            f"The land-cover raster cannot be read: {error}", where=where
        ) from error


def cover_at(far: FarConfig, lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Land cover at points, int64, and which of them lie on a class that is sampled.

    Raises:
        LabelFileError: the raster cannot be read.
    """
    with open_cover(far) as raster:
        xs, ys = rasterio.warp.transform(4326, raster.crs, lon, lat)
        found = [np.ma.zeros(0), *raster.sample(zip(xs, ys, strict=True), 1, masked=True)]
    values = np.ma.concatenate(found)
    classes = values.filled(0).astype(np.int64)
    return classes, ~np.ma.getmaskarray(values) & ~np.isin(classes, far.skip_classes)


def tries_on_cover(
    cells: np.ndarray, tries: int, year: int, seed: int, far: FarConfig
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Points spread evenly over what of the boxes of H3 cells is of a sampled class.

    A raster may know little of a cell; points tossed blindly would hardly ever hit that.

    Args:
        cells: uint64 H3 cells.
        tries: points a cell.
        year: fire year, part of the points' names.
        seed: key of every choice.
        far: the raster and the classes left out.

    Returns:
        Names, lon, lat; a cell without a sampled class gives none.

    Raises:
        LabelFileError: the raster cannot be read.
    """
    ids: list[str] = []
    xs, ys = [np.zeros(0)], [np.zeros(0)]
    with open_cover(far) as raster:
        for cell in cells.tolist():
            found = _sampled_pixels(raster, cell, far)
            if found is None:
                continue
            names = [f"frap{year}_far_{cell:x}_{n}" for n in range(tries)]
            rows, columns, transform = found
            place, u, v = (_uniform(names, axis, seed) for axis in ("place", "x", "y"))
            chosen = (place * len(rows)).astype(np.int64)
            x, y = transform @ np.stack([columns[chosen] + u, rows[chosen] + v])
            ids += names
            xs.append(x)
            ys.append(y)
        lon, lat = rasterio.warp.transform(
            raster.crs, 4326, np.concatenate(xs).tolist(), np.concatenate(ys).tolist()
        )
    return ids, np.array(lon), np.array(lat)


def _sampled_pixels(
    raster: DatasetReader, cell: int, far: FarConfig
) -> tuple[np.ndarray, np.ndarray, "_Grid"] | None:
    """Rows and columns of a cell's box that are of a sampled class, and the grid they count in."""
    lat, lon = np.array(h3_int.cell_to_boundary(cell)).T
    if lon.max() - lon.min() > 180:  # a cell across the antimeridian
        return None
    box = rasterio.warp.transform_bounds(
        4326, raster.crs, lon.min(), lat.min(), lon.max(), lat.max()
    )
    found = raster.window(*box)
    left, top = max(0, math.floor(found.col_off)), max(0, math.floor(found.row_off))
    right = min(raster.width, math.ceil(found.col_off + found.width))
    bottom = min(raster.height, math.ceil(found.row_off + found.height))
    if right <= left or bottom <= top:
        return None  # the raster does not reach there
    window = rasterio.windows.Window(left, top, right - left, bottom - top)
    shape = tuple(max(1, min(_MOST_PIXELS, round(n))) for n in (window.height, window.width))
    values = raster.read(1, window=window, out_shape=shape, masked=True)
    known = ~np.ma.getmaskarray(values) & ~np.isin(values.filled(0), far.skip_classes)
    rows, columns = np.nonzero(known)
    if not len(rows):
        return None
    return rows, columns, _Grid(raster, window, shape)


class _Grid:
    """Pixels as they were read, and where they lie in the raster's CRS."""

    def __init__(
        self, raster: DatasetReader, window: rasterio.windows.Window, shape: tuple[int, ...]
    ) -> None:
        height, width = shape
        self._scale = (window.width / width, window.height / height)
        self._transform = raster.window_transform(window)

    def __matmul__(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates of columns and rows, (2, N)."""
        columns, rows = pixels[0] * self._scale[0], pixels[1] * self._scale[1]
        t = self._transform
        return t.a * columns + t.b * rows + t.c, t.d * columns + t.e * rows + t.f


def _uniform(names: list[str], axis: str, seed: int) -> np.ndarray:
    """A number in [0, 1) for each name."""
    hashes = keyed_hashes([f"{name}:{axis}" for name in names], seed)
    return np.minimum(hashes.astype(np.float64) / 2.0**64, np.nextafter(1.0, 0.0))
