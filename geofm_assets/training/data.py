"""What a model sees: windows cut, normalised and timed at load from packed chips.

One materialized size serves every experiment: window size, months and modalities are chosen here,
so an experiment never fetches imagery again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from rslearn.train.model_context import RasterImage
from torch.utils.data import Dataset

from geofm_assets.core.errors import ExperimentError
from geofm_assets.imagery.chips import CellChips, read_chips
from geofm_assets.imagery.normalize import normalize, valid_pixels
from geofm_assets.training.experiments import Experiment

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ROW_STREAM = 1  # keeps flips apart from the shuffle, which is drawn from the same seed and epoch


@dataclass(frozen=True)
class Example:
    """One window.

    Attributes:
        inputs: by layer a CTHW image with the acquisition times of each month; a layer without
            any usable month is left out.
        target: class index.
        index: row in the dataset.
    """

    inputs: dict[str, torch.Tensor | RasterImage]
    target: int
    index: int


@dataclass(frozen=True)
class Batch:
    """Windows together; lists, because months differ between windows."""

    inputs: list[dict[str, torch.Tensor | RasterImage]]
    targets: torch.Tensor
    indices: torch.Tensor

    def with_inputs(self) -> "Batch":
        """Only the windows that have a usable month."""
        some = [i for i, inputs in enumerate(self.inputs) if inputs]
        if len(some) == len(self.inputs):
            return self
        rows = torch.tensor(some, dtype=torch.int64, device=self.targets.device)
        return Batch([self.inputs[i] for i in some], self.targets[rows], self.indices[rows])

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        moved: list[dict[str, torch.Tensor | RasterImage]] = []
        for inputs in self.inputs:
            images: dict[str, torch.Tensor | RasterImage] = {}
            for name, image in inputs.items():
                assert isinstance(image, RasterImage)
                images[name] = RasterImage(image.image.to(device), image.timestamps)
            moved.append(images)
        return Batch(moved, self.targets.to(device), self.indices.to(device))


def collate(examples: Sequence[Example]) -> Batch:
    """Gather examples without padding; the encoder aligns months itself."""
    return Batch(
        [e.inputs for e in examples],
        torch.tensor([e.target for e in examples], dtype=torch.int64),
        torch.tensor([e.index for e in examples], dtype=torch.int64),
    )


def crop_bounds(size: int, window: int) -> tuple[slice, slice]:
    """Rows and columns of a centred crop.

    A window's geometry puts its point into column size // 2 and row (size - 1) // 2 (pixel rows
    count down from the equator in UTM, and truncation rounds them up, which shifts even sizes by
    one). The crop keeps that, so a window of one pixel is the pixel that holds the point.

    Args:
        size: pixels of the materialized side.
        window: pixels of the crop's side, at most `size`.
    """
    row = (size - 1) // 2 - (window - 1) // 2
    column = size // 2 - window // 2
    return slice(row, row + window), slice(column, column + window)


def chosen_months(periods: NDArray[np.int64], valid_time: date, timesteps: int) -> slice:
    """The run of months an experiment reads: around the month that holds `valid_time`.

    Args:
        periods: (T, 2) start and end in microseconds since 1970 UTC, oldest first.
        valid_time: date the label is for.
        timesteps: how many months, at most T.

    Returns:
        `timesteps` consecutive months. Where the run cannot be centred it leans to the past by
        half a month, and at an end of the year of imagery it is shifted inside. If no period
        holds `valid_time`, the one whose middle is nearest stands in.
    """
    moment = datetime(valid_time.year, valid_time.month, valid_time.day, tzinfo=UTC) - _EPOCH
    micros = moment // timedelta(microseconds=1)
    holds = np.flatnonzero((periods[:, 0] <= micros) & (micros < periods[:, 1]))
    middle = (periods[:, 0] + periods[:, 1]) // 2
    centre = int(holds[0]) if holds.size else int(np.abs(middle - micros).argmin())
    first = min(max(centre - timesteps // 2, 0), len(periods) - timesteps)
    return slice(first, first + timesteps)


class WindowDataset(Dataset[Example]):
    """Windows of a manifest as an experiment sees them.

    Args:
        manifest: MANIFEST rows; the dataset keeps their order.
        chips: chips by H3 cell, as `open_chips` gives them.
        experiment: what to cut.
        augment: mirror windows asked for by (epoch, row) at random, drawn from seed, epoch and row.
        seed: of the flips.

    Raises:
        ExperimentError: the chips have fewer months or pixels than the experiment reads.
    """

    def __init__(
        self,
        manifest: pa.Table,
        chips: Mapping[str, CellChips],
        experiment: Experiment,
        *,
        augment: bool = False,
        seed: int = 0,
    ) -> None:
        self.chips, self.experiment = chips, experiment
        self.augment, self.seed = augment, seed
        self.cells: list[str] = manifest["h3_cell"].to_pylist()
        self.chip_rows: list[int] = manifest["chip_row"].to_pylist()
        self.targets: list[int] = manifest["class_id"].to_pylist()
        self.valid_times: list[date] = manifest["valid_time"].to_pylist()
        names = manifest["window_name"].to_pylist()
        for cell in sorted(set(self.cells)):
            self._require_enough(cell)
        for cell, row, name in zip(self.cells, self.chip_rows, names, strict=True):
            if chips[cell].window_names[row] != name:
                raise ExperimentError(
                    f"Chip row {row} holds window {chips[cell].window_names[row]!r}",
                    where=f"cell {cell}, window {name}",
                    fix="Make the split manifest again: it is older than the chips",
                )

    def _require_enough(self, cell: str) -> None:
        for layer in self.experiment.layers:
            if layer not in self.chips[cell].arrays:
                raise ExperimentError(
                    f"The chips lack {layer}", where=f"cell {cell}, {self.experiment.name}"
                )
            _, months, _, height, width = self.chips[cell].arrays[layer].shape
            if (
                months < self.experiment.timesteps
                or min(height, width) < self.experiment.window_size
            ):
                raise ExperimentError(
                    f"The chips have {months} months of {height} x {width} pixels, too few",
                    where=f"cell {cell}, {layer}, {self.experiment.name}",
                    fix="Materialize larger windows or more months, or choose another experiment",
                )

    def __len__(self) -> int:
        return len(self.cells)

    def __getitem__(self, key: int | tuple[int, int]) -> Example:
        """A window by its row, as it is; or by (epoch, row), mirrored if the dataset augments."""
        epoch, index = key if isinstance(key, tuple) else (None, key)
        flips = [False, False]
        if self.augment and epoch is not None:
            generator = np.random.default_rng([self.seed, epoch, _ROW_STREAM, index])
            flips = [bool(f) for f in generator.integers(0, 2, 2)]
        inputs: dict[str, torch.Tensor | RasterImage] = {}
        for layer in self.experiment.layers:
            image = self._image(layer, index, flips)
            if image is not None:
                inputs[layer] = image
        return Example(inputs, self.targets[index], index)

    def _image(self, layer: str, index: int, flips: list[bool]) -> RasterImage | None:
        """One layer of a window, or None if no chosen month has a valid pixel in the crop."""
        chips, row = self.chips[self.cells[index]], self.chip_rows[index]
        periods = np.asarray(chips.periods[layer][row])
        months = chosen_months(periods, self.valid_times[index], self.experiment.timesteps)
        values = chips.arrays[layer]
        rows, columns = crop_bounds(values.shape[-1], self.experiment.window_size)
        crop = np.asarray(values[row, months, :, rows, columns])
        there = valid_pixels(crop, layer).any(axis=(1, 2, 3))
        there &= np.asarray(chips.present[layer][row, months])
        if not there.any():
            return None
        image = normalize(crop[there], layer)  # a new array: chips are shared and never changed
        for axis, flip in zip((-2, -1), flips, strict=True):
            if flip:
                image = np.flip(image, axis)
        cthw = torch.from_numpy(np.ascontiguousarray(image.transpose(1, 0, 2, 3)))
        times = [
            (_EPOCH + timedelta(microseconds=int(a)), _EPOCH + timedelta(microseconds=int(b)))
            for a, b in np.asarray(chips.timestamps[layer][row, months])[there]
        ]
        return RasterImage(cthw, times)


def open_chips(manifest: pa.Table, chips_root: Path) -> dict[str, CellChips]:
    """Chips of every cell of a manifest, memory-mapped.

    Args:
        manifest: MANIFEST rows.
        chips_root: folder with `h3_cell=<cell>` folders.
    """
    cells = sorted(set(manifest["h3_cell"].to_pylist()))
    return {cell: read_chips(chips_root / f"h3_cell={cell}") for cell in cells}
