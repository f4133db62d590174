"""Connected regions of a class map, put together from blocks while only one row of them is held."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import rasterio
import rasterio.features
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window
from scipy import ndimage
from shapely.geometry.base import BaseGeometry

from geofm_assets.prediction.ground import grid_windows

BLOCK_PX = 1024


@dataclass
class Region:
    """Pixels of one class that hang together by their sides.

    Attributes:
        class_id: their class.
        geometry: a valid polygon in the raster's CRS along pixel edges.
        pixels: how many.
        confidence: mean of their confidence, 0 to 254.
    """

    class_id: int
    geometry: BaseGeometry
    pixels: int
    confidence: float


@dataclass
class _Open:
    """A region as far as it is known, in pixels of the raster."""

    class_id: int
    pieces: list[BaseGeometry]
    pixels: int
    confidence: float


def regions(
    dataset: rasterio.DatasetReader,
    classes: Sequence[int],
    min_pixels: int = 1,
    block_px: int = BLOCK_PX,
) -> Iterator[Region]:
    """Every region of some classes with at least `min_pixels`.

    Args:
        dataset: bands class and confidence.
        classes: pixel values wanted.
        min_pixels: smaller regions are left out.
        block_px: side of what is read at once; does not change a region.

    Yields:
        Regions, by the row of blocks they end in.
    """
    merger = _Merger(dataset, classes)
    row_of: int | None = None
    for window in grid_windows(dataset, block_px):
        if row_of is not None and window.row_off != row_of:
            yield from merger.close_row(min_pixels)
        row_of = window.row_off
        merger.add(window)
    yield from merger.close_row(min_pixels, last=True)


class _Merger:
    """Regions being put together.

    A region's name is a number; regions found to be one take the smallest.
    """

    def __init__(self, dataset: rasterio.DatasetReader, classes: Sequence[int]) -> None:
        self._dataset, self._classes = dataset, classes
        self._open: dict[int, _Open] = {}
        self._parent: dict[int, int] = {}
        self._next = 1
        self._above = np.zeros(dataset.width, dtype=np.int64)
        self._below = np.zeros(dataset.width, dtype=np.int64)
        self._left: NDArray[np.int64] | None = None

    def add(self, window: Window) -> None:
        """Add the next block of the row."""
        classes, confidence = self._dataset.read(window=window)
        labels = np.zeros(classes.shape, dtype=np.int32)
        kinds: list[int] = []
        for class_id in self._classes:
            found, count = ndimage.label(classes == class_id)
            labels += np.where(found > 0, found + len(kinds), 0).astype(np.int32)
            kinds += [class_id] * count
        pixels = np.bincount(labels.ravel(), minlength=len(kinds) + 1)
        sums = np.bincount(labels.ravel(), confidence.ravel(), minlength=len(kinds) + 1)
        base = self._next - 1
        self._next += len(kinds)
        for number, class_id in enumerate(kinds, start=1):
            self._parent[base + number] = base + number
            self._open[base + number] = _Open(
                class_id, [], int(pixels[number]), float(sums[number])
            )
        place = Affine.translation(window.col_off, window.row_off)
        for shape, label in rasterio.features.shapes(
            labels, labels > 0, connectivity=4, transform=place
        ):
            self._open[base + int(label)].pieces.append(shapely.geometry.shape(shape))
        names = np.where(labels > 0, labels.astype(np.int64) + base, 0)
        columns = slice(window.col_off, window.col_off + window.width)
        self._join(self._above[columns], names[0])
        if self._left is not None:
            self._join(self._left, names[:, 0])
        self._below[columns] = names[-1]
        self._left = names[:, -1]

    def close_row(self, min_pixels: int, *, last: bool = False) -> Iterator[Region]:
        """End a row of blocks; regions that do not reach its lower edge are whole."""
        edge = [] if last else np.unique(self._below).tolist()
        alive = {self._root(name) for name in edge if name}
        self._above, self._below = self._below, np.zeros_like(self._below)
        self._left = None
        for name in [name for name in self._open if name not in alive]:
            found = self._open.pop(name)
            if found.pixels >= min_pixels:
                yield Region(
                    found.class_id,
                    _whole(found.pieces, self._dataset.transform),
                    found.pixels,
                    found.confidence / found.pixels,
                )
        # the edge above names regions by their roots, so all other names can be forgotten
        if not last:
            names, places = np.unique(self._above, return_inverse=True)
            roots = np.array([self._root(n) if n else 0 for n in names.tolist()], np.int64)
            self._above = roots[places]
        self._parent = {name: name for name in self._open}

    def _join(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> None:
        """Pixels side by side belong together where they are of one class."""
        both = (one > 0) & (other > 0)
        for first, second in np.unique(np.stack([one[both], other[both]]), axis=1).T.tolist():
            a, b = sorted((self._root(first), self._root(second)))
            if a == b or self._open[a].class_id != self._open[b].class_id:
                continue
            lost, kept = self._open.pop(b), self._open[a]
            self._parent[b] = a
            kept.pieces += lost.pieces
            kept.pixels += lost.pixels
            kept.confidence += lost.confidence

    def _root(self, name: int) -> int:
        while self._parent[name] != name:
            self._parent[name] = self._parent[self._parent[name]]
            name = self._parent[name]
        return name


def _whole(pieces: Sequence[BaseGeometry], transform: Affine) -> BaseGeometry:
    """One polygon of a region's pieces, without the corners where blocks met."""
    joined = shapely.union_all(pieces) if len(pieces) > 1 else pieces[0]
    if len(pieces) > 1:
        joined = shapely.simplify(joined, 0)
    if not joined.is_valid:
        joined = shapely.make_valid(joined)
    a, _, c, _, e, f = tuple(transform)[:6]
    placed: BaseGeometry = shapely.transform(joined, lambda xy: xy * [a, e] + [c, f])
    return shapely.normalize(placed)
