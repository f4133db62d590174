"""A few pixels of a scene, spread over what it holds."""

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.windows import Window

from geofm_assets.core.errors import ImageryError
from geofm_assets.imagery.bands import COLLECTIONS
from geofm_assets.imagery.index import Scene

BLOCKS = 16
_SIDE = 256
_PIXELS = 20_000


def band_names_inside(scene: Scene) -> tuple[str, ...] | None:
    """Names the file itself gives its bands, None if it does not name all of them."""
    with rasterio.open(scene.path) as source:
        names = source.descriptions
    return tuple(names) if all(names) else None


def sample_pixels(scene: Scene) -> np.ndarray:
    """Valid pixels of a scene, (bands in file order, pixels), at most 20,000.

    They come from at most 16 blocks evenly spaced over those that were written; blocks a sparse
    GeoTIFF leaves out hold nothing. A pixel counts if any band has data.

    Raises:
        ImageryError: the scene cannot be read.
    """
    try:
        with rasterio.open(scene.path) as source:
            windows = _written_blocks(source)
            picked = np.unique(np.linspace(0, len(windows) - 1, BLOCKS).round().astype(int))
            parts = [source.read(window=windows[i]) for i in picked] if windows else []
    except RasterioError as error:
        raise ImageryError(
            f"The scene cannot be read: {error}", where=str(scene.path), fix="Replace the file"
        ) from error
    if not parts:
        return np.empty((len(scene.bands), 0))
    pixels = np.concatenate([part.reshape(part.shape[0], -1) for part in parts], axis=1)
    valid = ~missing(pixels, scene).all(axis=0)
    pixels = pixels[:, valid]
    step = max(1, -(-pixels.shape[1] // _PIXELS))
    thinned: np.ndarray = pixels[:, ::step]
    return thinned


def missing(pixels: np.ndarray, scene: Scene) -> np.ndarray:
    """Where pixels of a scene hold no data, by the file's nodata value and the layer's."""
    empty = COLLECTIONS[scene.collection].is_nodata(pixels)
    if scene.nodata is not None:
        empty |= pixels == scene.nodata
    return empty


def _written_blocks(source: rasterio.DatasetReader) -> list[Window]:
    """Blocks of the file that hold data, cut to at most 256 x 256 pixels each."""
    windows = []
    for (row, column), window in source.block_windows(1):
        if source.driver == "GTiff":
            name = f"BLOCK_OFFSET_{column}_{row}"
            if not source.get_tag_item(name, "TIFF", bidx=1):
                continue
        width, height = min(window.width, _SIDE), min(window.height, _SIDE)
        windows.append(
            Window(
                window.col_off + (window.width - width) // 2,
                window.row_off + (window.height - height) // 2,
                width,
                height,
            )
        )
    return windows
