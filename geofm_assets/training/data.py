"""What a model sees: windows cut, normalised and timed at load from packed chips.

One materialized size serves every experiment: window size, months and modalities are chosen here,
so an experiment never fetches imagery again.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from rslearn.train.model_context import RasterImage
from torch.utils.data import Dataset, get_worker_info
from upath import UPath

from geofm_assets.core.errors import ExperimentError
from geofm_assets.imagery.acquisition import moments
from geofm_assets.imagery.normalize import normalize_into
from geofm_assets.training.chip_rows import ChipRows
from geofm_assets.training.experiments import Experiment

_EPOCH_DAY = date(1970, 1, 1)
Inputs = dict[str, torch.Tensor | RasterImage]
_DAY = 86_400_000_000  # microseconds
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

    inputs: Inputs
    target: int
    index: int


@dataclass(frozen=True)
class Batch:
    """Windows together; lists, because months differ between windows."""

    inputs: list[Inputs]
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
        moved: list[Inputs] = [
            {n: RasterImage(i.image.to(device), i.timestamps) for n, i in _images(images).items()}
            for images in self.inputs
        ]
        return Batch(moved, self.targets.to(device), self.indices.to(device))


def collate(examples: Sequence[Example]) -> Batch:
    """Gather examples without padding; the encoder aligns months itself.

    In a loader's worker all images of a batch go into one piece of shared memory: handing over
    every image by itself costs twice as much as making it.
    """
    inputs = [e.inputs for e in examples]
    if get_worker_info() is not None:
        inputs = _shared(inputs)
    return Batch(
        inputs,
        torch.tensor([e.target for e in examples], dtype=torch.int64),
        torch.tensor([e.index for e in examples], dtype=torch.int64),
    )


def _shared(inputs: Sequence[Inputs]) -> list[Inputs]:
    """The same images, copied to one new piece of shared memory."""
    sizes = [image.image.numel() for images in inputs for image in _images(images).values()]
    if not sizes:
        return list(inputs)
    # what torch's own collate does; there is no public way that spares a copy
    storage = torch.UntypedStorage._new_shared(sum(sizes) * torch.float32.itemsize)
    parts = iter(torch.empty(0, dtype=torch.float32).set_(storage).split(sizes))

    def moved(image: torch.Tensor) -> torch.Tensor:
        return next(parts).view(image.shape).copy_(image)

    return [
        {n: RasterImage(moved(i.image), i.timestamps) for n, i in _images(images).items()}
        for images in inputs
    ]


def _images(inputs: Inputs) -> dict[str, RasterImage]:
    """What rslearn's type of inputs does not promise: they are images."""
    assert all(isinstance(image, RasterImage) for image in inputs.values())
    return cast(dict[str, RasterImage], inputs)


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
    return _months_about(periods, (valid_time - _EPOCH_DAY).days * _DAY, timesteps)


def _months_about(periods: NDArray[np.int64], micros: int, timesteps: int) -> slice:
    if timesteps == len(periods):
        return slice(0, timesteps)
    holds = np.flatnonzero((periods[:, 0] <= micros) & (micros < periods[:, 1]))
    middle = (periods[:, 0] + periods[:, 1]) // 2
    centre = int(holds[0]) if holds.size else int(np.abs(middle - micros).argmin())
    first = min(max(centre - timesteps // 2, 0), len(periods) - timesteps)
    return slice(first, first + timesteps)


@functools.lru_cache(maxsize=1 << 16)
def _taken(first: int, last: int) -> tuple[datetime, datetime]:
    """When a mosaic was taken; windows of a cell share their scenes, so few pairs are new."""
    return moments((first, last))


class WindowDataset(Dataset[Example]):
    """Windows of a manifest as an experiment sees them.

    Construction reads nothing but the manifest. What a window's packed file lacks is an error when
    the window is first asked for.

    Args:
        manifest: MANIFEST rows; the dataset keeps their order.
        chips: pixels of the same rows, as `open_chips` gives them.
        experiment: what to cut.
        augment: mirror windows asked for by (epoch, row) at random, drawn from seed, epoch and row.
        seed: of the flips.
    """

    def __init__(
        self,
        manifest: pa.Table,
        chips: ChipRows,
        experiment: Experiment,
        *,
        augment: bool = False,
        seed: int = 0,
    ) -> None:
        if manifest.num_rows != len(chips):
            raise ExperimentError(
                f"The manifest has {manifest.num_rows} windows, the chips were opened for "
                f"{len(chips)}",
                where=experiment.name,
                fix="Open the chips with the same manifest",
            )
        self.chips, self.experiment = chips, experiment
        self.augment, self.seed = augment, seed
        self.targets = manifest["class_id"].to_numpy().astype(np.int64)
        days = manifest["valid_time"].combine_chunks().cast(pa.int32()).to_numpy()
        self._micros = days.astype(np.int64) * _DAY

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, key: int | tuple[int, int]) -> Example:
        """A window by its row, as it is; or by (epoch, row), mirrored if the dataset augments.

        Raises:
            ExperimentError: the manifest is older than the chips, or they have fewer months or
                pixels than the experiment reads.
            ImageryError: the chips are missing or are not what was written.
            SourceUnavailableError: the bucket that holds them does not answer.
        """
        epoch, index = key if isinstance(key, tuple) else (None, key)
        flips = (False, False)
        if self.augment and epoch is not None:
            drawn = np.random.default_rng([self.seed, epoch, _ROW_STREAM, index]).integers(0, 2, 2)
            flips = (bool(drawn[0]), bool(drawn[1]))
        inputs: Inputs = {}
        for layer in self.experiment.layers:
            image = self._image(layer, index, flips)
            if image is not None:
                inputs[layer] = image
        return Example(inputs, int(self.targets[index]), index)

    def _image(self, layer: str, index: int, flips: tuple[bool, bool]) -> RasterImage | None:
        """One layer of a window, or None if no chosen month has a valid pixel in the crop."""
        chips, row = self.chips.at(index)
        if layer not in chips.layers:
            raise ExperimentError(
                f"The chips lack {layer}",
                where=f"{self.chips.where(index)}, {self.experiment.name}",
            )
        known, size = chips.layers[layer], self.experiment.window_size
        _, months, _, height, width = known.shape
        if months < self.experiment.timesteps or min(height, width) < size:
            raise ExperimentError(
                f"The chips have {months} months of {height} x {width} pixels, too few",
                where=f"{self.chips.where(index)}, {layer}, {self.experiment.name}",
                fix="Materialize larger windows or more months, or choose another experiment",
            )
        chosen = _months_about(
            known.periods[row], int(self._micros[index]), self.experiment.timesteps
        )
        there = known.present[row, chosen]
        if not there.any():
            return None
        rows, columns = crop_bounds(width, size)
        crop = self.chips.pixels(index, layer)[chosen, :, rows, columns]
        times = known.timestamps[row, chosen]
        if not there.all():
            crop, times = crop[there], times[there]
        cthw = crop.transpose(1, 0, 2, 3)
        image = np.empty(cthw.shape, np.float32)  # new: chips are shared and never changed
        missing = normalize_into(image, cthw, layer, band_axis=0)
        if missing is not None and size < width:  # a month may have pixels beyond the crop only
            there = np.logical_not(missing.all(axis=(0, 2, 3)))
            if not there.any():
                return None
            if not there.all():
                image, times = np.ascontiguousarray(image[:, there]), times[there]
        stamps = [_taken(first, last) for first, last in times.tolist()]
        tensor = torch.from_numpy(image)
        mirrored = [axis for axis, flip in zip((-2, -1), flips, strict=True) if flip]
        return RasterImage(torch.flip(tensor, mirrored) if mirrored else tensor, stamps)


def open_chips(manifest: pa.Table, chips_root: Path | UPath) -> ChipRows:
    """Pixels of a manifest's windows; no file is opened yet.

    Args:
        manifest: MANIFEST rows.
        chips_root: folder with `h3_cell=<cell>` folders, here or in a bucket.
    """
    return ChipRows(manifest, chips_root)
