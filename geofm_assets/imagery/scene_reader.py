"""Read pixels of scenes, keeping the files open between windows."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window
from rslearn.utils.geometry import PixelBounds, Projection

from geofm_assets.core.errors import ImageryError
from geofm_assets.imagery.bands import LayerSpec
from geofm_assets.imagery.footprints import offset_on_grid
from geofm_assets.imagery.index import Scene

_OPEN_FILES = 64
_UNIT_PX = 128  # thin blocks (strips) are read together up to this


class SceneReader:
    """Pixels of a layer's scenes on windows' grids.

    A scene on the window's grid is read as it is, any other is warped. At most 64 files stay open.

    Args:
        layer: whose nodata value every scene is brought to.
    """

    def __init__(self, layer: LayerSpec) -> None:
        self.layer = layer
        self._lock = threading.Lock()
        self._open: OrderedDict[Path, rasterio.DatasetReader] = OrderedDict()
        self._offsets: dict[tuple[Path, Projection], tuple[int, int] | None] = {}

    def read(
        self, scene: Scene, projection: Projection, bounds: PixelBounds, resampling: Resampling
    ) -> np.ndarray:
        """Pixels (bands in file order, rows, columns), with the layer's nodata value.

        Raises:
            ImageryError: the scene cannot be read, or holds fractions where the layer stores
                whole numbers.
        """
        if not self._whole_numbers(scene):
            raise ImageryError(
                f"The scene is {scene.dtype}, the layer stores {self.layer.dtype} "
                f"({self.layer.unit})",
                where=str(scene.path),
                fix="Scale the scene and write it as whole numbers",
            )
        try:
            with self._lock:
                pixels = self._read(scene, projection, bounds, resampling)
        except RasterioError as error:
            raise self._unreadable(scene, error) from error
        return self._with_layer_nodata(pixels, scene)

    def read_many(
        self,
        scene: Scene,
        wanted: Sequence[tuple[Projection, PixelBounds]],
        resampling: Resampling,
    ) -> list[np.ndarray]:
        """`read` for many windows of one scene, every block of the file read once.

        Args:
            scene: the file.
            wanted: grids and bounds, which lie inside the scene.
            resampling: for grids that are not the scene's.

        Raises:
            ImageryError: as `read`.
        """
        found: list[np.ndarray | None] = [None] * len(wanted)
        plain: list[tuple[int, PixelBounds]] = []
        for number, (projection, bounds) in enumerate(wanted):
            offset = self._offset(scene, projection)
            if offset is None or not self._whole_numbers(scene):
                found[number] = self.read(scene, projection, bounds, resampling)
            else:
                left, top = offset
                plain.append(
                    (number, (bounds[0] - left, bounds[1] - top, bounds[2] - left, bounds[3] - top))
                )
        try:
            with self._lock:
                self._read_blocks(scene, plain, found)
        except RasterioError as error:
            raise self._unreadable(scene, error) from error
        return [self._with_layer_nodata(pixels, scene) for pixels in found if pixels is not None]

    def _read_blocks(
        self, scene: Scene, plain: list[tuple[int, PixelBounds]], found: list[np.ndarray | None]
    ) -> None:
        """Fill `found` from blocks of the file; bounds are in its pixels."""
        if not plain:
            return
        source = self._source(scene.path)
        height, width = source.block_shapes[0]
        height *= -(-_UNIT_PX // height)
        width = min(width * -(-_UNIT_PX // width), source.width)
        units: dict[tuple[int, int], list[tuple[int, PixelBounds]]] = {}
        for number, (left, top, right, bottom) in plain:
            shape = (source.count, bottom - top, right - left)
            found[number] = np.empty(shape, dtype=source.dtypes[0])
            for row in range(top // height, (bottom - 1) // height + 1):
                for column in range(left // width, (right - 1) // width + 1):
                    units.setdefault((row, column), []).append((number, (left, top, right, bottom)))
        for (row, column), parts in sorted(units.items()):
            unit = (column * width, row * height, (column + 1) * width, (row + 1) * height)
            cuts = [(number, b, _overlap(unit, b)) for number, b in parts]
            left, top = min(c[0] for _, _, c in cuts), min(c[1] for _, _, c in cuts)
            right, bottom = max(c[2] for _, _, c in cuts), max(c[3] for _, _, c in cuts)
            pixels = source.read(window=Window(left, top, right - left, bottom - top))
            for number, bounds, cut in cuts:
                target = found[number]
                assert target is not None
                target[
                    :,
                    cut[1] - bounds[1] : cut[3] - bounds[1],
                    cut[0] - bounds[0] : cut[2] - bounds[0],
                ] = pixels[:, cut[1] - top : cut[3] - top, cut[0] - left : cut[2] - left]

    def close(self) -> None:
        """Close every open scene; they are opened again when needed."""
        with self._lock:
            for source in self._open.values():
                source.close()
            self._open.clear()
            self._offsets.clear()

    def _whole_numbers(self, scene: Scene) -> bool:
        """Whether the scene holds whole numbers where the layer stores such."""
        return not (np.dtype(self.layer.dtype).kind == "u" and np.dtype(scene.dtype).kind == "f")

    @staticmethod
    def _unreadable(scene: Scene, error: RasterioError) -> ImageryError:
        return ImageryError(
            f"The scene cannot be read: {error}",
            where=str(scene.path),
            fix="Replace the file and run again; finished windows are kept",
        )

    def _offset(self, scene: Scene, projection: Projection) -> tuple[int, int] | None:
        """Where the scene lies on a grid, None if it is not on it."""
        key = (scene.path, projection)
        if key not in self._offsets:
            self._offsets[key] = offset_on_grid(scene, projection)
        return self._offsets[key]

    def _source(self, path: Path) -> rasterio.DatasetReader:
        source = self._open.pop(path, None)
        if source is None:
            source = rasterio.open(path)
            if len(self._open) >= _OPEN_FILES:
                self._open.popitem(last=False)[1].close()
        self._open[path] = source
        return source

    def _read(
        self, scene: Scene, projection: Projection, bounds: PixelBounds, resampling: Resampling
    ) -> np.ndarray:
        source = self._source(scene.path)
        width, height = bounds[2] - bounds[0], bounds[3] - bounds[1]
        offset = self._offset(scene, projection)
        if offset is not None:
            window = Window(bounds[0] - offset[0], bounds[1] - offset[1], width, height)
            pixels: np.ndarray = source.read(window=window)
            return pixels
        transform = Affine(
            projection.x_resolution,
            0,
            bounds[0] * projection.x_resolution,
            0,
            projection.y_resolution,
            bounds[1] * projection.y_resolution,
        )
        nodata = self.layer.nodata if scene.nodata is None else scene.nodata
        with WarpedVRT(
            source,
            crs=projection.crs,
            transform=transform,
            width=width,
            height=height,
            resampling=resampling,
            src_nodata=nodata,
            nodata=nodata,
        ) as warped:
            pixels = warped.read()
            return pixels

    def _with_layer_nodata(self, pixels: np.ndarray, scene: Scene) -> np.ndarray:
        missing = np.zeros(pixels.shape, dtype=bool)
        if scene.nodata is not None and scene.nodata != self.layer.nodata:
            missing |= pixels == scene.nodata
        if pixels.dtype.kind == "f":
            missing |= ~np.isfinite(pixels)
        if missing.any():
            pixels[missing] = self.layer.nodata
        return pixels


def _overlap(one: PixelBounds, other: PixelBounds) -> PixelBounds:
    return (
        max(one[0], other[0]),
        max(one[1], other[1]),
        min(one[2], other[2]),
        min(one[3], other[3]),
    )


def _slices(cut: PixelBounds, left: int, top: int) -> tuple[slice, slice, slice]:
    """All bands of a part of an array whose corner is at (left, top)."""
    return (slice(None), slice(cut[1] - top, cut[3] - top), slice(cut[0] - left, cut[2] - left))
