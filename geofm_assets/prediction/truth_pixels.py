"""Pixels of a map counted against polygons, block by block."""

from collections.abc import Sequence
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

from geofm_assets.prediction.ground import grid_windows, hectares
from geofm_assets.prediction.legend import NODATA
from geofm_assets.prediction.mosaic import Mosaic

MARGIN_M = 1_000.0
"""The ring in which the task's own negatives lie."""
_BLOCK_PX = 1024


@dataclass
class Tally:
    """What was counted for a fire; hectares are equal-area."""

    both_ha: float = 0.0
    commission_ha: float = 0.0
    omission_ha: float = 0.0
    nodata_ha: float = 0.0
    margin_ha: float = 0.0
    pixels: int = 0

    def __iadd__(self, other: "Tally") -> "Tally":
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)
        return self


@dataclass(frozen=True)
class ZoneFire:
    """A fire in one zone.

    Attributes:
        id: of the fire.
        scored: whether it is counted; if not it only keeps pixels from being another's commission.
        shape: what of it lies on the zone's side, metres of the zone.
        asked: what of that lies in areas of its time.
    """

    id: str
    scored: bool
    shape: BaseGeometry
    asked: BaseGeometry


def tally_zone(
    mosaic: Mosaic | None, epsg: int, fires: Sequence[ZoneFire], positive: int, margin_m: float
) -> dict[str, Tally]:
    """Count a zone's pixels, each at its middle.

    A positive pixel outside every perimeter is the commission of the nearest fire within
    `margin_m`; if that fire is not scored it is nobody's.

    Args:
        mosaic: of the zone; None if nothing of it could be mapped.
        epsg: the zone.
        fires: what lies in it.
        positive: pixel value of the class that fires are.
        margin_m: metres.
    """
    found = {fire.id: Tally() for fire in fires if fire.scored}
    frame = shapely.Polygon()
    if mosaic is not None:
        with rasterio.open(mosaic.path) as dataset:
            frame = shapely.box(*dataset.bounds)
    for fire in fires:
        if fire.scored:
            found[fire.id].nodata_ha += _beyond(fire.asked, frame, epsg)
    if not found or mosaic is None:
        return found
    tree = shapely.STRtree([fire.shape for fire in fires])
    with rasterio.open(mosaic.path) as dataset:
        halo = int(np.ceil(margin_m / dataset.transform.a))
        for window in grid_windows(dataset, _BLOCK_PX):
            box = shapely.box(*rasterio.windows.bounds(window, dataset.transform))
            around = shapely.buffer(box, margin_m, join_style="mitre")
            near = sorted(tree.query(around, predicate="intersects").tolist())
            if not any(fires[index].scored for index in near):
                continue
            classes = dataset.read(1, window=window)
            part = _Block(classes, window, dataset.transform, epsg, halo)
            _count(part, [fires[index] for index in near], positive, margin_m, found)
    return found


def _beyond(shape: BaseGeometry, frame: BaseGeometry, epsg: int) -> float:
    """Hectares of a shape that no tile with data reaches."""
    return float(hectares(np.array([shapely.difference(shape, frame)], dtype=object), epsg)[0])


@dataclass(frozen=True)
class _Block:
    """A block's classes and where it lies."""

    classes: NDArray[np.uint8]
    window: Window
    transform: Affine
    epsg: int
    halo: int

    @property
    def pixel_ha(self) -> float:
        """Equal-area hectares of a pixel in its middle."""
        box = shapely.box(*rasterio.windows.bounds(self.window, self.transform))
        return float(hectares(np.array([box]), self.epsg)[0]) / self.classes.size

    def burn(self, shapes: Sequence[tuple[BaseGeometry, int]], halo: int) -> NDArray[np.int32]:
        """Shapes' values at pixels' middles, 0 elsewhere, on the block and `halo` pixels around."""
        height, width = self.classes.shape
        out = np.zeros((height + 2 * halo, width + 2 * halo), dtype=np.int32)
        shift = Affine.translation(self.window.col_off - halo, self.window.row_off - halo)
        given = [(shape, value) for shape, value in shapes if not shape.is_empty]
        if given:
            rasterio.features.rasterize(given, out=out, transform=self.transform @ shift)
        return out


def _count(
    block: _Block,
    fires: Sequence[ZoneFire],
    positive: int,
    margin_m: float,
    found: dict[str, Tally],
) -> None:
    """Add a block's pixels to the fires' tallies."""
    mapped, empty = block.classes == positive, block.classes == NODATA
    area = block.pixel_ha
    for fire in fires:
        if not fire.scored:
            continue
        inside = block.burn([(fire.asked, 1)], 0) > 0
        tally = found[fire.id]
        lost = int((inside & empty).sum())
        hit, all_pixels = int((inside & mapped).sum()), int((inside & ~empty).sum())
        tally.both_ha += hit * area
        tally.omission_ha += (all_pixels - hit) * area
        tally.nodata_ha += lost * area
        tally.pixels += all_pixels
    # whole perimeters here: what burnt at another time, or was not asked for, is no commission
    labels = block.burn([(fire.shape, n) for n, fire in enumerate(fires, start=1)], block.halo)
    core = slice(block.halo, -block.halo or None)
    outside = ~empty & (labels[core, core] == 0)
    if not outside.any() or not labels.any():
        return
    distance, (rows, columns) = ndimage.distance_transform_edt(labels == 0, return_indices=True)
    near = outside & (distance[core, core] * block.transform.a <= margin_m)
    nearest = labels[rows, columns][core, core]
    around = np.bincount(nearest[near], minlength=len(fires) + 1)
    wrong = np.bincount(nearest[near & mapped], minlength=len(fires) + 1)
    for number, fire in enumerate(fires, start=1):
        if fire.scored:
            found[fire.id].margin_ha += float(around[number]) * area
            found[fire.id].commission_ha += float(wrong[number]) * area
