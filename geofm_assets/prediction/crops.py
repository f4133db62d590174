"""Where a model's crops lie, and how much each counts where they overlap.

Crops lie on a fixed grid of the zone, whatever is asked for: the same place gets the same crops in
every tile and every request, so tiles fit together and a map does not depend on its order of work.
Crops are predicted in units and read in blocks that lie on fixed grids too: which crops share a
batch, and in which order crops are added up, decides the last digits of what a model says.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rslearn.utils.geometry import PixelBounds

from geofm_assets.core.errors import ConfigError

_UNIT_CROPS = 8
_UNIT_PX = 128  # side a unit's crops fill, unless one alone is larger: bounds a batch's memory
_BLOCK_PX = 256  # side read at once, unless a unit alone is larger: bounds the imagery in memory


@dataclass(frozen=True)
class Unit:
    """Crops that are predicted together.

    Attributes:
        row: of the unit on the grid of units.
        column: of the unit on the grid of units.
        corners: column and row of each crop's upper left pixel, by row, then column.
    """

    row: int
    column: int
    corners: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Block:
    """Units whose imagery is read together.

    Attributes:
        bounds: pixels their crops cover.
        units: by row, then column.
    """

    bounds: PixelBounds
    units: tuple[Unit, ...]


@dataclass(frozen=True)
class CropGrid:
    """Crops of one size, a fixed step apart.

    Attributes:
        size: side of a crop in pixels.
        overlap: pixels two neighbours share; more than half of `size` only if the step from a
            crop to the next divides `size`.

    Raises:
        ConfigError: crops cannot overlap by that.
    """

    size: int
    overlap: int = 0

    def __post_init__(self) -> None:
        if 0 <= self.overlap <= self.size // 2:
            return
        steps = [s for s in range(1, self.size // 2) if self.size % s == 0]
        if self.size - self.overlap not in steps:
            more = ", ".join(str(self.size - s) for s in reversed(steps))
            raise ConfigError(
                f"Crops of {self.size} pixels cannot overlap by {self.overlap}",
                where="--overlap",
                fix=f"Choose 0 to {self.size // 2}" + (f", or one of {more}" if more else ""),
            )

    @property
    def step(self) -> int:
        """Pixels from a crop to the next."""
        return self.size - self.overlap

    @property
    def unit_crops(self) -> int:
        """Crops along a unit's side."""
        return max(1, min(_UNIT_CROPS, _UNIT_PX // self.size))

    @property
    def weights(self) -> NDArray[np.float32]:
        """How much each pixel of a crop counts, (size, size), positive.

        Falling as a raised cosine to each side, over the overlap or from the middle, so that the
        weights of all crops on a pixel add up to one.
        """
        side = np.ones(self.size)
        if self.overlap > self.size // 2:
            place = (np.arange(self.size) + 0.5) / self.size
            side = (1 - np.cos(2 * np.pi * place)) * self.step / self.size
        elif self.overlap:
            ramp = (1 - np.cos(np.pi * (np.arange(self.overlap) + 0.5) / self.overlap)) / 2
            side[: self.overlap] = ramp
            side[-self.overlap :] = np.minimum(side[-self.overlap :], ramp[::-1])
        return np.outer(side, side).astype(np.float32)

    def blocks(self, wanted: NDArray[np.bool_], origin: tuple[int, int]) -> Iterator[Block]:
        """Blocks of the units that have a crop on a wanted pixel, by row, then column.

        Args:
            wanted: (rows, columns) pixels that are asked for.
            origin: column and row of its upper left pixel.
        """
        rows, columns = np.nonzero(wanted)
        if not len(rows):
            return
        unit, crops = self.unit_crops * self.step, self.unit_crops
        reach = unit + self.overlap  # pixels a unit's crops cover along a side
        along = max(1, _BLOCK_PX // unit)
        # the first crop that reaches a pixel starts up to `overlap` before the step it lies in
        top = (int(rows.min()) + origin[1] - self.overlap) // unit
        left = (int(columns.min()) + origin[0] - self.overlap) // unit
        bottom = (int(rows.max()) + origin[1]) // unit + 1
        right = (int(columns.max()) + origin[0]) // unit + 1
        for block_row in range(top // along, (bottom - 1) // along + 1):
            for block_column in range(left // along, (right - 1) // along + 1):
                units = tuple(
                    Unit(row, column, self._corners(row, column, crops))
                    for row in range(block_row * along, (block_row + 1) * along)
                    for column in range(block_column * along, (block_column + 1) * along)
                    if _any(wanted, origin, column * unit, row * unit, reach)
                )
                if units:
                    yield Block(_around(units, unit, reach), units)

    def _corners(self, row: int, column: int, crops: int) -> tuple[tuple[int, int], ...]:
        return tuple(
            ((column * crops + x) * self.step, (row * crops + y) * self.step)
            for y in range(crops)
            for x in range(crops)
        )


def _any(
    wanted: NDArray[np.bool_], origin: tuple[int, int], left: int, top: int, side: int
) -> bool:
    """Whether a square of the zone's pixels holds a wanted one."""
    x, y = left - origin[0], top - origin[1]
    return bool(wanted[max(y, 0) : max(y + side, 0), max(x, 0) : max(x + side, 0)].any())


def _around(units: tuple[Unit, ...], unit: int, reach: int) -> PixelBounds:
    left, top = min(u.column for u in units) * unit, min(u.row for u in units) * unit
    right, bottom = max(u.column for u in units) * unit, max(u.row for u in units) * unit
    return (left, top, right + reach, bottom + reach)
