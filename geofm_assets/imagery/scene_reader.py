"""Read pixels of scenes, keeping the files open between windows."""

import threading
from collections import OrderedDict
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
        if np.dtype(self.layer.dtype).kind == "u" and np.dtype(scene.dtype).kind == "f":
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
            raise ImageryError(
                f"The scene cannot be read: {error}",
                where=str(scene.path),
                fix="Replace the file and run again; finished windows are kept",
            ) from error
        return self._with_layer_nodata(pixels, scene)

    def close(self) -> None:
        """Close every open scene; they are opened again when needed."""
        with self._lock:
            for source in self._open.values():
                source.close()
            self._open.clear()
            self._offsets.clear()

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
        key = (scene.path, projection)
        if key not in self._offsets:
            self._offsets[key] = offset_on_grid(scene, projection)
        offset = self._offsets[key]
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
