"""Mosaics of many windows, scene by scene: each file opened once, each block read once.

Gives what rslearn's materialization with `PeriodMosaic` gives, pixel by pixel (tested); what it
leaves out is rslearn's loop over windows, which opens every scene again for every window.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from rasterio.enums import Resampling
from rslearn.dataset import Window
from rslearn.utils.geometry import PixelBounds

from geofm_assets.core.errors import GeofmError
from geofm_assets.imagery.bands import LayerSpec
from geofm_assets.imagery.index import Scene
from geofm_assets.imagery.matching import Groups
from geofm_assets.imagery.scenes import LocalScenes


@dataclass(frozen=True)
class _Use:
    """One scene in one mosaic: window row, timestep, and its place among the mosaic's scenes."""

    row: int
    step: int
    place: int


@dataclass
class _Waiting:
    """Pixels read before those that go first, by place."""

    next: int = 0
    pieces: dict[int, tuple[PixelBounds, np.ndarray] | None] = field(default_factory=dict)


def read_mosaics(
    source: LocalScenes,
    spec: LayerSpec,
    windows: Sequence[Window],
    groups: Sequence[Groups],
    resampling: Resampling,
    out: np.ndarray,
) -> None:
    """Fill the mosaics of windows from their scenes: first valid pixel, best scene first.

    Args:
        source: where the scenes are.
        spec: the layer.
        windows: N windows.
        groups: scenes of each window's periods, as `match_windows` gives them; a window without
            groups is left as it is.
        resampling: for scenes that are not on a window's grid.
        out: (N, T, C, H, W), filled with nodata; written to.

    Raises:
        ImageryError: a scene cannot be read; names it and a window.
    """
    uses: dict[str, list[_Use]] = {}
    items = {}
    waiting: dict[tuple[int, int], _Waiting] = {}
    for row, steps in enumerate(groups):
        for step, group in enumerate(steps):
            for place, item in enumerate(group):
                uses.setdefault(item.name, []).append(_Use(row, step, place))
                items[item.name] = item
            if len(group) > 1:
                waiting[row, step] = _Waiting()
    for name in sorted(uses):
        scene = source.scene(items[name])
        order = [scene.bands.index(band) for band in spec.band_names if band in scene.bands]
        complete = len(order) == len(spec.bands)
        pieces = _pieces(source, scene, windows, uses[name], resampling) if complete else {}
        for use in uses[name]:
            piece = pieces.get(use.row)
            if piece is not None:
                piece = (piece[0], piece[1][order])
            _place(out, spec, windows[use.row], use, piece, waiting.get((use.row, use.step)))


def _pieces(
    source: LocalScenes,
    scene: Scene,
    windows: Sequence[Window],
    uses: Sequence[_Use],
    resampling: Resampling,
) -> dict[int, tuple[PixelBounds, np.ndarray]]:
    """What the scene shows of each window: bounds in the window's pixels, and the pixels."""
    parts: dict[int, PixelBounds] = {}
    for row in {use.row for use in uses}:
        window = windows[row]
        extent = source.scene_bounds(scene, window.projection)
        part = (
            max(window.bounds[0], extent[0]),
            max(window.bounds[1], extent[1]),
            min(window.bounds[2], extent[2]),
            min(window.bounds[3], extent[3]),
        )
        if part[2] > part[0] and part[3] > part[1]:
            parts[row] = part
    wanted = [(row, windows[row].projection, part) for row, part in sorted(parts.items())]
    try:
        pixels = source.reader.read_many(scene, [w[1:] for w in wanted], resampling)
    except GeofmError as error:
        first = windows[wanted[0][0]]
        where = f"{error.where}, window {first.group}/{first.name}"
        raise type(error)(error.what, where=where, fix=error.fix) from error
    return {row: (part, values) for (row, _, part), values in zip(wanted, pixels, strict=True)}


def _place(
    out: np.ndarray,
    spec: LayerSpec,
    window: Window,
    use: _Use,
    piece: tuple[PixelBounds, np.ndarray] | None,
    waiting: _Waiting | None,
) -> None:
    """Put a piece into its mosaic, after all that go before it."""
    mosaic = out[use.row, use.step]
    if waiting is None:
        _fill(mosaic, spec, window, piece)
        return
    waiting.pieces[use.place] = piece
    while waiting.next in waiting.pieces:
        _fill(mosaic, spec, window, waiting.pieces.pop(waiting.next))
        waiting.next += 1


def _fill(
    mosaic: np.ndarray,
    spec: LayerSpec,
    window: Window,
    piece: tuple[PixelBounds, np.ndarray] | None,
) -> None:
    """Write the piece's pixels where no band of the mosaic (C, H, W) has data yet."""
    if piece is None:
        return
    bounds, pixels = piece
    left, top = bounds[0] - window.bounds[0], bounds[1] - window.bounds[1]
    region = mosaic[:, top : top + pixels.shape[1], left : left + pixels.shape[2]]
    empty = np.logical_and.reduce(region == spec.nodata, axis=0)
    np.copyto(region, pixels, where=empty, casting="unsafe")
