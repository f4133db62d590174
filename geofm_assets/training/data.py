"""What a model sees: windows cut, normalised and timed at load from packed chips.

One materialized size serves every experiment: window size, months and modalities are chosen here,
so an experiment never fetches imagery again.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from rslearn.train.model_context import RasterImage
from torch.utils.data import Dataset, get_worker_info

from geofm_assets.core.errors import ExperimentError
from geofm_assets.imagery.acquisition import moments
from geofm_assets.imagery.normalize import normalize_into
from geofm_assets.training.chip_rows import ChipRows, open_chips
from geofm_assets.training.crop import DAY, chosen_months, crop_bounds, months_about
from geofm_assets.training.experiment import Experiment
from geofm_assets.training.mask_rows import MaskRows

__all__ = [
    "Batch",
    "Example",
    "WindowDataset",
    "chosen_months",
    "collate",
    "crop_bounds",
    "open_chips",
]

Inputs = dict[str, torch.Tensor | RasterImage]
_ROW_STREAM = 1  # keeps flips apart from the shuffle, which is drawn from the same seed and epoch


@dataclass(frozen=True)
class Example:
    """One window.

    Attributes:
        inputs: by layer a CTHW image with the acquisition times of each month; a layer without
            any usable month is left out.
        target: class index, or the class of every pixel (H, W) uint8, 255 where unknown.
        index: row in the dataset.
    """

    inputs: Inputs
    target: int | torch.Tensor
    index: int


@dataclass(frozen=True)
class Batch:
    """Windows together; lists, because months differ between windows.

    Attributes:
        inputs: as in `Example`.
        targets: (B,) int64, or (B, H, W) uint8.
        indices: rows in the dataset.
    """

    inputs: list[Inputs]
    targets: torch.Tensor
    indices: torch.Tensor

    def with_inputs(self) -> "Batch":
        """Only the windows that have a usable month."""
        return self.only([i for i, inputs in enumerate(self.inputs) if inputs])

    def only(self, some: Sequence[int]) -> "Batch":
        """Some of the windows, in the order given; the batch itself if they are all of them."""
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
    masks = [e.target for e in examples if isinstance(e.target, torch.Tensor)]
    return Batch(
        inputs,
        torch.stack(masks)
        if masks
        else torch.tensor([e.target for e in examples], dtype=torch.int64),
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
        masks: the windows' masks, if every pixel has a class.
        frames: the task's `imagery.frames`, of which the latest are read; None where the chips
            hold consecutive months, of which those about the valid time are.
        augment: mirror windows asked for by (epoch, row) at random, drawn from seed, epoch and row.
        seed: of the flips.
    """

    def __init__(
        self,
        manifest: pa.Table,
        chips: ChipRows,
        experiment: Experiment,
        *,
        masks: MaskRows | None = None,
        frames: Sequence[int] | None = None,
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
        self.chips, self.experiment, self.masks = chips, experiment, masks
        self.frames = None if frames is None else tuple(frames)
        self.augment, self.seed = augment, seed
        self.targets = manifest["class_id"].to_numpy().astype(np.int64)
        days = manifest["valid_time"].combine_chunks().cast(pa.int32()).to_numpy()
        self._micros = days.astype(np.int64) * DAY

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
        if self.masks is None:
            return Example(inputs, int(self.targets[index]), index)
        return Example(inputs, _mirrored(self.masks.target(index), flips), index)

    def shown(self, rows: Sequence[int]) -> NDArray[np.bool_]:
        """(len(rows), T) which of the timesteps it reads any layer shows, of some windows.

        Raises:
            ExperimentError: the manifest is older than the chips.
            ImageryError: the chips cannot be read.
        """
        found = np.zeros((len(rows), self.experiment.timesteps), dtype=bool)
        for number, index in enumerate(rows):
            chips, row = self.chips.at(index)
            for layer in self.experiment.layers:
                known = chips.layers[layer]
                found[number] |= known.present[row, self._chosen(known.periods[row], index)]
        return found

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
        chosen = self._chosen(known.periods[row], index)
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
        return RasterImage(_mirrored(torch.from_numpy(image), flips), stamps)

    def _chosen(self, periods: NDArray[np.int64], index: int) -> slice:
        """The timesteps the experiment reads of a window's (T, 2) periods."""
        steps = self.experiment.timesteps
        if self.frames is None:
            return months_about(periods, int(self._micros[index]), steps)
        if len(periods) != len(self.frames):
            raise ExperimentError(
                f"The chips have {len(periods)} timesteps, the task {len(self.frames)} frames",
                where=self.chips.where(index),
                fix="Make rasters, chips and the split manifest again",
            )
        return slice(len(periods) - steps, len(periods))


def _mirrored(image: torch.Tensor, flips: tuple[bool, bool]) -> torch.Tensor:
    """An image (..., H, W) mirrored up to down, left to right, or both."""
    axes = [axis for axis, flip in zip((-2, -1), flips, strict=True) if flip]
    return torch.flip(image, axes) if axes else image
