"""Pieces of imagery as a map reads them, whatever they come from."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from rslearn.dataset import Dataset, Window
from rslearn.utils.geometry import PixelBounds, Projection

from geofm_assets.training.data import chosen_months
from geofm_assets.windows.config import WindowsConfig
from geofm_assets.windows.geometry import time_range


@dataclass(frozen=True)
class Stamps:
    """When the mosaics of a part of a piece were taken.

    Attributes:
        bounds: the part, in pixels of the zone's grid.
        times: (T, 2) start and end in microseconds since 1970 UTC; of the period where it has no
            scene.
        shown: (T,) whether the period has a scene.
    """

    bounds: PixelBounds
    times: NDArray[np.int64]
    shown: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        bounds: PixelBounds,
        laid: NDArray[np.int64],
        taken: Sequence[tuple[int, int] | None],
    ) -> "Stamps":
        """Stamps of a part.

        Args:
            bounds: the part.
            laid: (T, 2) the periods.
            taken: T times of their scenes, None where a period has none.
        """
        times, shown = laid.copy(), np.zeros(len(laid), dtype=bool)
        for step, moment in enumerate(taken):
            if moment is not None:
                times[step], shown[step] = moment, True
        return cls(bounds, times, shown)


@dataclass(frozen=True)
class LayerPixels:
    """One layer of a piece.

    Attributes:
        values: (T, C, H, W) stored pixels, the layer's nodata value where there are none.
        stamps: parts that cover the piece.
        scenes: names of the scenes drawn on, sorted.
        simulated: whether any of them was simulated.
        needed: (T,) whether a pixel that no layer shows at the timestep says nothing; empty where
            one timestep, whichever it is, is enough.
    """

    values: np.ndarray
    stamps: tuple[Stamps, ...]
    scenes: tuple[str, ...]
    simulated: bool
    needed: tuple[bool, ...] = ()


class Imagery(Protocol):
    """Where a map's pixels come from."""

    def read(
        self, projection: Projection, bounds: PixelBounds, day: dt.date
    ) -> dict[str, LayerPixels]:
        """The experiment's layers of a piece; a layer without any scene there is left out.

        Args:
            projection: the zone's grid.
            bounds: the piece, in pixels.
            day: the map's valid_time.

        Raises:
            ImageryError: a scene cannot be read.
        """

    def close(self) -> None:
        """Close what is open; it is opened again when needed."""


@dataclass(frozen=True)
class Steps:
    """Which of the imagery's timesteps a model reads, as in training.

    Attributes:
        count: how many.
        latest: the latest ones, instead of those about the day: they are frames, such as before
            and after a fire.
        needed: see `LayerPixels`.
    """

    count: int
    latest: bool
    needed: tuple[bool, ...] = ()

    def of(self, laid: NDArray[np.int64], day: dt.date) -> list[int]:
        """Indices into periods (T, 2)."""
        latest = slice(len(laid) - self.count, len(laid))
        steps = latest if self.latest else chosen_months(laid, day, self.count)
        return list(range(len(laid)))[steps]


@dataclass(frozen=True)
class Pieces:
    """How pieces become rslearn windows.

    Attributes:
        dataset: names the layers and their sources.
        windows: the task's windows, for their size and time range.
        steps: which timesteps are read.
    """

    dataset: Dataset
    windows: WindowsConfig
    steps: Steps

    def window(self, projection: Projection, bounds: PixelBounds, day: dt.date) -> Window:
        """An rslearn window at a place and day; nothing is written."""
        return Window(
            storage=self.dataset.storage,
            group="prediction",
            name=f"{projection.crs.to_string()}_{bounds[0]}_{bounds[1]}",
            projection=projection,
            bounds=bounds,
            time_range=time_range(day, self.windows),
        )
