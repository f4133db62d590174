"""Tiles of a UTM zone as one cloud-optimised GeoTIFF that any viewer opens in colour.

Tiles are copied one after another into a sparse file on disk, and GDAL's COG driver rewrites that
file, so memory is bounded by a tile and GDAL's block cache however large the zone is.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.windows import Window
from rslearn.utils.geometry import PixelBounds

from geofm_assets.core.errors import MapError
from geofm_assets.prediction.cog import without_alpha
from geofm_assets.prediction.legend import NODATA, Legend

BANDS = ("class", "confidence")
_BLOCK_PX = 512  # GDAL's default for COGs
_Box = tuple[int, int, int, int]
_WHOLE = 1e-6  # how far from a whole pixel a tile may lie


@dataclass(frozen=True)
class _Placed:
    """A tile on the zone's grid: its file, and the pixels it covers."""

    path: Path
    left: int
    top: int
    width: int
    height: int
    resolution: float

    @property
    def box(self) -> _Box:
        """Left, top, right, bottom."""
        return (self.left, self.top, self.left + self.width, self.top + self.height)

    def shared(self, other: "_Placed") -> _Box | None:
        """The box both cover; None if there is none."""
        mine, its = self.box, other.box
        left, top = max(mine[0], its[0]), max(mine[1], its[1])
        right, bottom = min(mine[2], its[2]), min(mine[3], its[3])
        return (left, top, right, bottom) if left < right and top < bottom else None


@dataclass(frozen=True)
class Mosaic:
    """A zone's mosaic.

    Attributes:
        path: of the COG.
        epsg: of the UTM zone.
        class_pixels: pixels of each class.
    """

    path: Path
    epsg: int
    class_pixels: tuple[int, ...]


def build_mosaic(
    tiles: Sequence[Path],
    out: Path,
    epsg: int,
    legend: Legend,
    tags: Mapping[str, Any],
    within: PixelBounds | None = None,
) -> Mosaic:
    """Write the mosaic of a zone's tiles; the same tiles in any order give the same bytes.

    Bands are `class` and `confidence` (probability of the class times 255, at most 254), both 255
    where there is no data. Pixels of overviews are pixels of the map (nearest neighbour), so class
    and confidence belong together at every scale and small places keep their share.

    Args:
        tiles: GeoTIFFs of `prediction.tiles`; at least one.
        out: the COG, replaced whole.
        epsg: the zone.
        legend: of the classes.
        tags: what the map is; texts are written as they are, everything else as JSON.
        within: box of the zone's grid, in pixels, that holds every class; tiles reach beyond it.
            None for all of the tiles.

    Raises:
        MapError: a tile is not of this zone, grid or form, holds a value that is no class or one
            beyond `within`, or differs from another one where they overlap.
    """
    if not tiles:
        raise MapError("There are no tiles to put together", where=str(out))
    placed = sorted((_place(path, epsg) for path in tiles), key=lambda t: (t.top, t.left, t.width))
    _require_alike(placed)
    out.parent.mkdir(parents=True, exist_ok=True)
    plain, part = (out.with_name(f".{out.stem}.{kind}.tmp") for kind in ("plain", "cog"))
    try:
        counts = _write_plain(plain, placed, _extent(placed, within), epsg, legend, tags)
        rasterio.shutil.copy(
            plain,
            part,
            driver="COG",
            compress="DEFLATE",
            blocksize=_BLOCK_PX,
            overview_resampling="NEAREST",
            sparse_ok="TRUE",
            bigtiff="IF_SAFER",
        )
        without_alpha(part)
        part.replace(out)
    finally:
        for left_over in (plain, part):
            left_over.unlink(missing_ok=True)
    return Mosaic(out, epsg, tuple(counts.tolist()))


def _place(path: Path, epsg: int) -> _Placed:
    with rasterio.open(path) as tile:
        at = tile.transform
        left, top = at.c / at.a, at.f / at.e
        wrong = ""
        if tile.crs != CRS.from_epsg(epsg):
            wrong = f"it lies in {tile.crs}, not in EPSG:{epsg}"
        elif (at.b, at.d) != (0, 0) or at.a <= 0 or at.e != -at.a:
            wrong = f"its pixels are not upright squares: {tuple(at)[:6]}"
        elif max(abs(left - round(left)), abs(top - round(top))) > _WHOLE:
            wrong = f"it lies between pixels of the zone's grid: {left}, {top}"
        elif tile.count != len(BANDS) or set(tile.dtypes) != {"uint8"} or tile.nodata != NODATA:
            wrong = f"it has {tile.count} bands of {tile.dtypes} with nodata {tile.nodata}"
        if wrong:
            raise MapError(f"A tile does not fit: {wrong}", where=str(path))
        return _Placed(path, round(left), round(top), tile.width, tile.height, at.a)


def _require_alike(placed: Sequence[_Placed]) -> None:
    for tile in placed:
        if tile.resolution != placed[0].resolution:
            raise MapError(
                f"Tiles of {placed[0].resolution} m and {tile.resolution} m", where=str(tile.path)
            )
    for index, first in enumerate(placed):
        for second in placed[index + 1 :]:
            if second.top >= first.top + first.height:
                break  # they are sorted by their upper edge
            box = first.shared(second)
            if box and not np.array_equal(_read(first, box), _read(second, box)):
                raise MapError(
                    "Two tiles overlap and differ",
                    where=f"{first.path} and {second.path}",
                    fix="They are of two maps: delete the map's folder tiles and ask for it again",
                )


def _read(tile: _Placed, box: _Box) -> NDArray[np.uint8]:
    """Pixels of a tile in a box of the zone's grid, (2, rows, columns)."""
    left, top, right, bottom = box
    with rasterio.open(tile.path) as source:
        window = Window(left - tile.left, top - tile.top, right - left, bottom - top)
        pixels: NDArray[np.uint8] = source.read(window=window)
    return pixels


def _extent(placed: Sequence[_Placed], within: PixelBounds | None) -> _Box:
    """The box all tiles cover, and no more than is asked for."""
    boxes = np.array([tile.box for tile in placed])
    left, top = boxes[:, :2].min(axis=0).tolist()
    right, bottom = boxes[:, 2:].max(axis=0).tolist()
    if within is None:
        return (left, top, right, bottom)
    return (
        *(max(left, within[0]), max(top, within[1])),
        *(min(right, within[2]), min(bottom, within[3])),
    )


def _write_plain(
    path: Path,
    placed: Sequence[_Placed],
    extent: _Box,
    epsg: int,
    legend: Legend,
    tags: Mapping[str, Any],
) -> NDArray[np.int64]:
    """Write what of all tiles lies in a box into one tiled file; gives pixels by class."""
    left, top, right, bottom = extent
    whole = _Placed(path, left, top, right - left, bottom - top, placed[0].resolution)
    side = placed[0].resolution
    counts = np.zeros(NODATA + 1, dtype=np.int64)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=len(BANDS),
        width=right - left,
        height=bottom - top,
        dtype="uint8",
        nodata=NODATA,
        crs=CRS.from_epsg(epsg),
        transform=Affine(side, 0, left * side, 0, -side, top * -side),
        tiled=True,
        blockxsize=_BLOCK_PX,
        blockysize=_BLOCK_PX,
        compress="deflate",
        sparse_ok=True,
        photometric="palette",
        bigtiff="IF_SAFER",
    ) as target:
        target.descriptions = BANDS
        colours = {value: (*colour, 255) for value, colour in enumerate(legend.colours)}
        target.write_colormap(1, {**colours, NODATA: (0, 0, 0, 0)})
        target.update_tags(**{key: _text(tags[key]) for key in sorted(tags)})
        target.update_tags(1, **{f"class_{i}": name for i, name in enumerate(legend.classes)})
        target.update_tags(2, meaning="probability of the class times 255, at most 254")
        done: list[_Placed] = []
        for tile in placed:
            pixels = _read(tile, tile.box)
            fresh = np.ones(pixels.shape[1:], dtype=bool)
            done = [other for other in done if other.box[3] > tile.top]
            for box in filter(None, map(tile.shared, done)):
                fresh[
                    box[1] - tile.top : box[3] - tile.top, box[0] - tile.left : box[2] - tile.left
                ] = False
            found = np.bincount(pixels[0][fresh], minlength=NODATA + 1)
            if found[len(legend.classes) : NODATA].any():
                raise MapError(
                    f"A tile holds values that are none of {len(legend.classes)} classes",
                    where=str(tile.path),
                )
            counts += found
            done.append(tile)
            shown = tile.shared(whole) or (tile.left, tile.top, tile.left, tile.top)
            inner = pixels[
                :, shown[1] - tile.top : shown[3] - tile.top,
                shown[0] - tile.left : shown[2] - tile.left,
            ]  # fmt: skip
            if (inner[0] != NODATA).sum() < (pixels[0] != NODATA).sum():
                raise MapError("A tile has classes beyond the area", where=str(tile.path))
            if inner.size:
                width, height = shown[2] - shown[0], shown[3] - shown[1]
                window = Window(shown[0] - left, shown[1] - top, width, height)
                target.write(inner, window=window)
    return counts[: len(legend.classes)]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
