"""One tile: crops of its imagery through a model, blended into classes and confidence.

Imagery is read a block ahead of the model, crops are predicted by a few threads and added up in a
fixed order, so memory is bounded and the result does not depend on the number of threads.
"""

import datetime as dt
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from rslearn.train.model_context import RasterImage
from rslearn.utils.geometry import PixelBounds, Projection

from geofm_assets.imagery.acquisition import moments
from geofm_assets.imagery.normalize import normalize_into
from geofm_assets.prediction.crops import Block, CropGrid, Unit
from geofm_assets.prediction.model import CropModel
from geofm_assets.prediction.pieces import Imagery, LayerPixels, Stamps
from geofm_assets.training.data import Batch, Inputs

NODATA = 255
_MAX_CONFIDENCE = 254
_AHEAD = 2  # units waiting for each thread
_Seen = TypeVar("_Seen", np.bool_, np.uint16)


@dataclass
class TileMap:
    """What a model says of a tile.

    Attributes:
        classes: (H, W) uint8, index of the most probable class; 255 where nothing is asked, no
            pixel was ever seen, or not in a frame that is needed.
        confidence: (H, W) uint8, its probability times 255, at most 254; 255 as in `classes`.
        scenes: names of the scenes looked at.
        simulated: whether any of them was simulated.
        missing_frame: pixels asked for that were seen, but not in every frame that is needed.
        timesteps_seen: timesteps in which a pixel that has a class was seen, summed over them.
    """

    classes: NDArray[np.uint8]
    confidence: NDArray[np.uint8]
    scenes: set[str] = field(default_factory=set)
    simulated: bool = False
    missing_frame: int = 0
    timesteps_seen: int = 0


@dataclass(frozen=True)
class _Layer:
    """A layer of a block, as the model reads it.

    Attributes:
        image: (C, T, H, W) normalised pixels on the model's device.
        missing: (T, H, W) where no band was measured; None if there is no such pixel.
        stamps: when the mosaics of its parts were taken.
    """

    image: torch.Tensor
    missing: NDArray[np.bool_] | None
    stamps: tuple[Stamps, ...]


@dataclass(frozen=True)
class _Ready:
    """A block with its imagery.

    Attributes:
        block: where it lies.
        layers: by name; none without any scene.
        seen: (H, W) where any layer measured anything, in every frame that is needed.
        partly: (H, W) where one did, but not in every frame that is needed.
        timesteps: (H, W) uint16, in how many any layer measured anything.
        scenes: names of the scenes drawn on.
        simulated: whether any of them was simulated.
    """

    block: Block
    layers: Mapping[str, _Layer]
    seen: NDArray[np.bool_]
    partly: NDArray[np.bool_]
    timesteps: NDArray[np.uint16]
    scenes: frozenset[str]
    simulated: bool


def predict_tile(
    model: CropModel,
    imagery: Imagery,
    grid: CropGrid,
    projection: Projection,
    bounds: PixelBounds,
    wanted: Mapping[dt.date, NDArray[np.bool_]],
    threads: int = 1,
) -> TileMap:
    """Map the wanted pixels of a tile.

    Args:
        model: what is asked.
        imagery: where its pixels come from.
        grid: crops of the model's size.
        projection: the zone's grid.
        bounds: the tile, in pixels of it.
        wanted: by day, bool (H, W): pixels to map with that day's imagery; no pixel twice.
        threads: how many batches are predicted at a time; does not change the result.

    Raises:
        ImageryError: a scene cannot be read.
    """
    shape = (bounds[3] - bounds[1], bounds[2] - bounds[0])
    made = TileMap(np.full(shape, NODATA, np.uint8), np.full(shape, NODATA, np.uint8))
    for day in sorted(wanted):
        _map_day(model, imagery, grid, projection, bounds, day, wanted[day], threads, made)
    return made


def _map_day(
    model: CropModel,
    imagery: Imagery,
    grid: CropGrid,
    projection: Projection,
    bounds: PixelBounds,
    day: dt.date,
    wanted: NDArray[np.bool_],
    threads: int,
    made: TileMap,
) -> None:
    """Write one day's pixels into a tile's map."""
    sums = np.zeros((len(model.classes), *wanted.shape), dtype=np.float32)
    total = np.zeros(wanted.shape, dtype=np.float32)
    seen, partly = np.zeros(wanted.shape, dtype=bool), np.zeros(wanted.shape, dtype=bool)
    timesteps = np.zeros(wanted.shape, dtype=np.uint16)
    weights = grid.weights
    blocks = grid.blocks(wanted, bounds[:2])

    def ready(block: Block) -> _Ready:
        return _prepare(block, imagery.read(projection, block.bounds, day), model.device)

    def units() -> Iterator[tuple[_Ready, Unit]]:
        for found in _ahead(blocks, ready):
            made.scenes |= found.scenes
            made.simulated |= found.simulated
            _set(seen, bounds, found.block.bounds, found.seen)
            _set(partly, bounds, found.block.bounds, found.partly)
            _set(timesteps, bounds, found.block.bounds, found.timesteps)
            if found.layers:
                yield from ((found, unit) for unit in found.block.units)

    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[tuple[Unit, list[int], Future[np.ndarray]]] = deque()

        def finish() -> None:
            unit, crops, answer = waiting.popleft()
            for crop, values in zip(crops, answer.result(), strict=True):
                _add(sums, total, bounds, unit.corners[crop], weights, values)

        for found, unit in units():
            crops, batch = _batch(found, unit, grid.size)
            if crops:
                waiting.append((unit, crops, pool.submit(model.predict, batch)))
            if len(waiting) > _AHEAD * threads:
                finish()
        while waiting:
            finish()
    made.missing_frame += int((wanted & partly & ~seen).sum())
    answered = wanted & seen & (total > 0)
    made.timesteps_seen += int(timesteps[answered].sum())
    best = sums.argmax(axis=0)
    top = np.take_along_axis(sums, best[None], axis=0)[0]
    share = np.divide(top, total, out=np.zeros_like(top), where=answered)
    made.classes[answered] = best[answered]
    confidence = np.minimum(np.rint(255 * share), _MAX_CONFIDENCE)
    made.confidence[answered] = confidence[answered].astype(np.uint8)


def _ahead(blocks: Iterator[Block], ready: Callable[[Block], _Ready]) -> Iterator[_Ready]:
    """Blocks with their imagery, the next being read while one is worked on."""
    with ThreadPoolExecutor(1) as reader:
        coming: Future[_Ready] | None = None
        for block in blocks:
            following = reader.submit(ready, block)
            if coming is not None:
                yield coming.result()
            coming = following
        if coming is not None:
            yield coming.result()


def _prepare(block: Block, read: Mapping[str, LayerPixels], device: torch.device) -> _Ready:
    """Normalise a block's imagery."""
    left, top, right, bottom = block.bounds
    nothing = np.zeros((bottom - top, right - left), dtype=bool)
    shown: list[NDArray[np.bool_]] = []  # by timestep, where any layer measured anything
    needed: tuple[bool, ...] = ()
    layers = {}
    for name, pixels in read.items():
        cthw = pixels.values.transpose(1, 0, 2, 3)
        image = np.empty(cthw.shape, np.float32)
        lost = normalize_into(image, cthw, name, band_axis=0)
        missing = None if lost is None else np.asarray(lost.all(axis=0))
        here = [~nothing] * cthw.shape[1] if missing is None else list(~missing)
        shown = [a | b for a, b in zip(shown, here, strict=True)] if shown else here
        needed = pixels.needed
        layers[name] = _Layer(torch.from_numpy(image).to(device), missing, pixels.stamps)
    scenes = frozenset(name for pixels in read.values() for name in pixels.scenes)
    simulated = any(pixels.simulated for pixels in read.values())
    ever = np.logical_or.reduce([nothing, *shown])
    required = [step for step, need in zip(shown, needed, strict=True) if need] if needed else []
    seen = np.logical_and.reduce([ever, *required])
    timesteps = np.add.reduce(np.stack([nothing, *shown]), axis=0, dtype=np.uint16)
    return _Ready(block, layers, seen, ever & ~seen, timesteps, scenes, simulated)


def _batch(found: _Ready, unit: Unit, size: int) -> tuple[list[int], Batch]:
    """Crops of a unit that have a measured pixel: their numbers in the unit, and their images."""
    left, top = found.block.bounds[:2]
    crops, inputs = [], []
    for number, (x, y) in enumerate(unit.corners):
        rows, columns = slice(y - top, y - top + size), slice(x - left, x - left + size)
        images: Inputs = {}
        for name, layer in found.layers.items():
            image = _crop(layer, rows, columns, (x, y, x + size, y + size))
            if image is not None:
                images[name] = image
        if images:
            crops.append(number)
            inputs.append(images)
    unknown = torch.zeros(len(inputs), dtype=torch.int64)
    return crops, Batch(inputs, unknown, unknown)


def _crop(layer: _Layer, rows: slice, columns: slice, bounds: PixelBounds) -> RasterImage | None:
    """One layer of a crop, its empty timesteps left out as in training; None if all are."""
    image, times = layer.image[:, :, rows, columns], _times(layer.stamps, bounds)
    if layer.missing is not None:
        there = ~layer.missing[:, rows, columns].all(axis=(1, 2))
        if not there.any():
            return None
        if not there.all():
            steps = np.flatnonzero(there)
            image, times = image[:, torch.from_numpy(steps).to(image.device)], times[steps]
    return RasterImage(image, [moments(pair) for pair in times.tolist()])


def _times(stamps: tuple[Stamps, ...], bounds: PixelBounds) -> NDArray[np.int64]:
    """(T, 2) when a crop's mosaics were taken: from its parts' earliest to their latest scene."""
    if len(stamps) == 1:
        return stamps[0].times
    left, top, right, bottom = bounds
    parts = [
        s
        for s in stamps
        if s.bounds[0] < right and s.bounds[2] > left and s.bounds[1] < bottom and s.bounds[3] > top
    ]
    times = parts[0].times.copy()
    for step in range(len(times)):
        shown = [s.times[step] for s in parts if s.shown[step]]
        if shown:
            times[step] = (min(s[0] for s in shown), max(s[1] for s in shown))
    return times


def _add(
    sums: NDArray[np.float32],
    total: NDArray[np.float32],
    bounds: PixelBounds,
    corner: tuple[int, int],
    weights: NDArray[np.float32],
    values: np.ndarray,
) -> None:
    """Add a crop's probabilities, (C,) or (C, H, W), to what of it lies in the tile."""
    size = len(weights)
    x, y = corner[0] - bounds[0], corner[1] - bounds[1]
    rows, columns = slice(max(y, 0), max(y + size, 0)), slice(max(x, 0), max(x + size, 0))
    target = sums[:, rows, columns]
    height, width = target.shape[1:]
    inner = (slice(rows.start - y, rows.start - y + height),
             slice(columns.start - x, columns.start - x + width))  # fmt: skip
    weight = weights[inner]
    probabilities = values[:, None, None] if values.ndim == 1 else values[:, *inner]
    target += weight * probabilities
    total[rows, columns] += weight


def _set(
    seen: NDArray[_Seen], bounds: PixelBounds, place: PixelBounds, part: NDArray[_Seen]
) -> None:
    """Note what a block saw of the tile; blocks that overlap saw the same there."""
    left, top = max(bounds[0], place[0]), max(bounds[1], place[1])
    right, bottom = min(bounds[2], place[2]), min(bounds[3], place[3])
    if right > left and bottom > top:
        target = seen[top - bounds[1] : bottom - bounds[1], left - bounds[0] : right - bounds[0]]
        fresh = part[top - place[1] : bottom - place[1], left - place[0] : right - place[0]]
        np.maximum(target, fresh, out=target)
