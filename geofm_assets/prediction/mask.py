"""A raster that says where a map is wanted, in any projection."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.warp import transform, transform_bounds
from rasterio.windows import Window, from_bounds
from rslearn.utils.geometry import PixelBounds, Projection

from geofm_assets.core.errors import RequestError
from geofm_assets.imagery.index import file_content

_ROWS = 64


@dataclass(frozen=True)
class Mask:
    """Where to map: the pixels of a raster that hold one of some values.

    Attributes:
        path: a raster; its first band counts.
        values: those that are mapped.
        content: digest of the file.
    """

    path: Path
    values: tuple[float, ...]
    content: str

    def as_dict(self) -> dict[str, Any]:
        """JSON-encodable."""
        return {"path": str(self.path), "values": list(self.values), "content": self.content}

    @classmethod
    def from_dict(cls, said: dict[str, Any]) -> "Mask":
        """Back from `as_dict`.

        Raises:
            RequestError: the file is gone or has changed since the request was made.
        """
        mask = open_mask(Path(said["path"]), said["values"])
        if mask.content != said["content"]:
            raise RequestError(
                "The mask has changed since the map was asked for",
                where=said["path"],
                fix="Ask again with `geofm predict`: that is another map",
            )
        return mask

    def wanted(self, projection: Projection, bounds: PixelBounds) -> np.ndarray:
        """Which pixels of a grid are mapped: bool (rows, columns).

        The pixel of the raster that holds a pixel's middle decides; outside of the raster, and
        where it has no data, nothing is mapped.

        Raises:
            RequestError: the raster cannot be read.
        """
        left, top, right, bottom = bounds
        x, y = projection.x_resolution, projection.y_resolution
        found = np.zeros((bottom - top, right - left), dtype=bool)
        try:
            with rasterio.open(self.path) as source:
                corners = (left * x, bottom * y, right * x, top * y)
                around = transform_bounds(projection.crs, source.crs, *corners)
                window = _whole_pixels(from_bounds(*around, source.transform), source)
                if window is None:
                    return found
                there = np.isin(source.read(1, window=window), self.values)
                there &= source.read_masks(1, window=window) > 0
                place, crs = source.window_transform(window), source.crs
        except RasterioError as error:
            raise RequestError(f"The mask cannot be read: {error}", where=str(self.path)) from error
        eastings = (np.arange(left, right) + 0.5) * x
        for row in range(top, bottom, _ROWS):  # not all at once: coordinates are Python floats
            northings = (np.arange(row, min(row + _ROWS, bottom)) + 0.5) * y
            xs, ys = (axis.ravel().tolist() for axis in np.meshgrid(eastings, northings))
            there_x, there_y = (np.array(v) for v in transform(projection.crs, crs, xs, ys)[:2])
            columns = np.floor((there_x - place.c) / place.a)
            rows = np.floor((there_y - place.f) / place.e)
            inside = (columns >= 0) & (columns < window.width) & (rows >= 0)
            inside &= rows < window.height
            part = np.zeros(len(xs), dtype=bool)
            part[inside] = there[rows[inside].astype(int), columns[inside].astype(int)]
            found[row - top : row - top + len(northings)] = part.reshape(-1, right - left)
        return found


def open_mask(path: Path, values: Sequence[float]) -> Mask:
    """A mask, checked.

    Raises:
        RequestError: not a raster with a CRS, no values, or a value that means no data in it.
    """
    where = f"--mask {path}"
    if not values:
        raise RequestError(
            "A mask needs the values that are mapped", where=where, fix="Pass --mask-values 1,2"
        )
    try:
        with rasterio.open(path) as source:
            crs, nodata, place = source.crs, source.nodata, source.transform
    except RasterioError as error:
        raise RequestError(f"Not a raster: {error}", where=where, fix="Give a GeoTIFF") from error
    if crs is None:
        raise RequestError("The mask has no CRS", where=where, fix="Give it one")
    if place.b or place.d or place.a <= 0 or place.e >= 0:
        raise RequestError("The mask is not north up", where=where, fix="Reproject it first")
    if nodata is not None and any(value == nodata for value in values):
        raise RequestError(
            f"Value {nodata:g} means no data in the mask", where=f"{where}, --mask-values"
        )
    return Mask(path.resolve(), tuple(sorted(set(values))), file_content(path))


def _whole_pixels(window: Window, source: rasterio.DatasetReader) -> Window | None:
    """A window's whole pixels and one more at each side, as far as the raster has them."""
    left = max(math.floor(window.col_off) - 1, 0)
    top = max(math.floor(window.row_off) - 1, 0)
    right = min(math.ceil(window.col_off + window.width) + 1, source.width)
    bottom = min(math.ceil(window.row_off + window.height) + 1, source.height)
    if right <= left or bottom <= top:
        return None
    return Window(left, top, right - left, bottom - top)
