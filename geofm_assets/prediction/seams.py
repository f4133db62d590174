"""Whether a map changes class more often where pieces of work meet than between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window

from geofm_assets.prediction.ground import grid_windows, origin
from geofm_assets.prediction.legend import NODATA
from geofm_assets.prediction.mosaic import Mosaic

MAX_Z = 4.0
"""Standard errors by which borders may exceed the rest: four in 100,000 sound maps would fail."""
MAX_RATIO = 1.5
"""How many times more often borders may change class: a smaller excess is not seen."""
MIN_PAIRS = 1_000
MIN_LINES = 20
_SHORTEST = 64  # pairs a line must have to have a rate


@dataclass
class _Lines:
    """Sums over lines of pixel pairs; a line's excess is its rate over that of its block."""

    lines: int = 0
    pairs: int = 0
    changes: int = 0
    excess: float = 0.0
    squares: float = 0.0

    def add(
        self, pairs: NDArray[np.int64], changes: NDArray[np.int64], excess: NDArray[np.float64]
    ) -> None:
        self.lines += len(pairs)
        self.pairs += int(pairs.sum())
        self.changes += int(changes.sum())
        self.excess += float(excess.sum())
        self.squares += float((excess**2).sum())

    @property
    def rate(self) -> float:
        return self.changes / self.pairs if self.pairs else 0.0


@dataclass(frozen=True)
class Seams:
    """Transitions across one kind of border.

    Attributes:
        kind: `tile` or `crop`.
        border_rate: share of neighbouring pixels of different class across borders.
        inside_rate: the same elsewhere.
        ratio: of the two; None where nothing changes inside.
        z: mean excess of a border over its block, in standard errors; None if it has none.
        pairs: neighbouring pixels across borders.
        lines: borders' lengths of one tile.
        enough: whether there are enough of both to tell.
        passed: whether there is no seam, or not enough to tell.
    """

    kind: str
    border_rate: float
    inside_rate: float
    ratio: float | None
    z: float | None
    pairs: int
    lines: int
    enough: bool
    passed: bool

    def as_dict(self) -> dict[str, Any]:
        """JSON-encodable, rounded."""
        return {
            key: round(value, 6) if isinstance(value, float) else value
            for key, value in vars(self).items()
        }


def measure_seams(
    mosaics: Sequence[Mosaic], tile_px: int, step: int, overlap: int, dense: bool
) -> list[Seams]:
    """Seams at the borders of tiles, and of crops where pixels have their own class.

    Every border of a tile is compared with the lines of pixel pairs of the tile it ends, so what
    differs from place to place does not count. Where a crop has one class, classes change at
    crops' borders only: a tile's border is then compared with those.

    Args:
        mosaics: one a zone.
        tile_px: side of a tile; tiles lie on multiples of it.
        step: pixels from a crop to the next; crops lie on multiples of it.
        overlap: pixels two neighbouring crops share.
        dense: whether pixels have their own class.
    """
    tile, crop, ordinary = _Lines(), _Lines(), _Lines()
    # crops that disagree are blended, so the class changes about the middle of what they share
    joints = [(overlap // 2 + offset) % step for offset in (-1, 0, 1)] if overlap else [0]
    for mosaic in mosaics:
        with rasterio.open(mosaic.path) as dataset:
            first = origin(dataset.transform)
            for window in grid_windows(dataset, tile_px):
                wide = Window(
                    window.col_off,
                    window.row_off,
                    min(window.width + 1, dataset.width - window.col_off),
                    min(window.height + 1, dataset.height - window.row_off),
                )
                classes = dataset.read(1, window=wide)
                for axis, start in enumerate((window.col_off, window.row_off)):
                    pairs, changes = _pairs(classes if axis == 0 else classes.T, tile_px)
                    at = first[axis] + start + 1 + np.arange(len(pairs))
                    is_tile = at % tile_px == 0
                    is_crop = np.isin(at % step, joints) & ~is_tile
                    is_ordinary = ~is_tile & (~is_crop if dense else is_crop)
                    chosen = [(tile, is_tile), (crop, is_crop), (ordinary, is_ordinary)]
                    _add(pairs, changes, is_ordinary, chosen)
    found = [_seams("tile", tile, ordinary)]
    return [*found, _seams("crop", crop, ordinary)] if dense else found


def _pairs(classes: NDArray[np.uint8], side: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of the lines between columns: pairs with two classes' worth of data, and of these changes."""
    left, right = classes[:side, :-1], classes[:side, 1:]
    both = (left != NODATA) & (right != NODATA)
    return both.sum(axis=0), (both & (left != right)).sum(axis=0)


def _add(
    pairs: NDArray[np.int64],
    changes: NDArray[np.int64],
    ordinary: NDArray[np.bool_],
    kinds: Sequence[tuple[_Lines, NDArray[np.bool_]]],
) -> None:
    """Add a block's lines to what they are; a block without ordinary lines says nothing."""
    long = pairs >= _SHORTEST
    usual = long & ordinary
    if not usual.any():
        return
    rates = np.divide(changes, pairs, out=np.zeros(len(pairs)), where=pairs > 0)
    excess = rates - changes[usual].sum() / pairs[usual].sum()
    for lines, chosen in kinds:
        here = chosen & long
        lines.add(pairs[here], changes[here], excess[here])


def _seams(kind: str, border: _Lines, inside: _Lines) -> Seams:
    enough = border.pairs >= MIN_PAIRS and border.lines >= 1 and inside.lines >= MIN_LINES
    ratio = border.rate / inside.rate if inside.rate else None
    z = None
    if border.lines and inside.lines > 1:
        spread = np.sqrt(inside.squares / (inside.lines - 1) / border.lines)
        z = float(border.excess / border.lines / spread) if spread > 0 else None
    worse = border.changes > 0  # which is too often where nothing changes inside
    if z is not None and ratio is not None:
        worse = z > MAX_Z and ratio > MAX_RATIO
    return Seams(
        kind,
        border.rate,
        inside.rate,
        ratio,
        z,
        border.pairs,
        border.lines,
        enough,
        not (enough and worse),
    )
