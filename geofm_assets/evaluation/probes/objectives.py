"""What heads of a task type give out, how that is judged, and how it is read."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from geofm_assets.core.errors import DatasetError
from geofm_assets.evaluation.probes.data import ProbeData
from geofm_assets.evaluation.registry.entry import TaskType
from geofm_assets.evaluation.samples.types import IGNORE

Decoded = tuple[torch.Tensor, torch.Tensor | None]
"""Labels (R, n, ...) and, of windows with classes, scores (R, n, K)."""


class Batch(Protocol):
    """Targets of a batch, ready for gradients."""

    def gradient(self, logits: torch.Tensor, rows: slice) -> torch.Tensor:
        """Derivative of the batch's mean loss by logits (R, n, T, O) of these samples."""
        ...


class Objective(Protocol):
    """A task type for a linear head."""

    @property
    def outputs(self) -> int:
        """O: numbers a head gives for a token."""
        ...

    def batch(self, labels: NDArray[Any], dtype: torch.dtype) -> Batch | None:
        """Targets of some samples; None if none of their pixels has a label."""
        ...

    def decode(self, logits: torch.Tensor) -> Decoded:
        """What logits (R, n, T, O) say."""
        ...


def make_objective(task_type: TaskType, classes: Sequence[str], train: ProbeData) -> Objective:
    """The objective of a task type.

    Raises:
        DatasetError: all targets of train are the same number.
    """
    if task_type == "multilabel":
        return Labels(len(classes))
    if task_type == "classification":
        return Classes(len(classes), None)
    if task_type == "segmentation":
        return Classes(len(classes), Grid(train))
    return Numbers(train, Grid(train) if task_type == "per_pixel_regression" else None)


class Grid:
    """How the pixels of a window lie in its tokens."""

    def __init__(self, data: ProbeData) -> None:
        self.rows, self.columns = data.features[0].shape[1:3]
        self.height, self.width = data.labels.shape[1:]
        self.tokens = self.rows * self.columns
        self.sides = (self.height // self.rows, self.width // self.columns)
        self.pixels = self.sides[0] * self.sides[1]

    def cut(self, labels: torch.Tensor) -> torch.Tensor:
        """(n, H, W) to (n, T, P): the pixels of each token."""
        down, across = self.sides
        tiled = labels.view(-1, self.rows, down, self.columns, across).transpose(2, 3)
        return tiled.reshape(-1, self.tokens, self.pixels)

    def lay(self, tokens: torch.Tensor) -> torch.Tensor:
        """(R, n, T, P) back to (R, n, H, W)."""
        rates, samples = tokens.shape[:2]
        tiled = tokens.view(rates, samples, self.rows, self.columns, *self.sides)
        return tiled.transpose(3, 4).reshape(rates, samples, self.height, self.width)

    def spread(self, dtype: torch.dtype) -> torch.Tensor:
        """(T, H * W) bilinear interpolation from tokens' middles to pixels' middles."""
        each = torch.eye(self.tokens, dtype=dtype).view(-1, 1, self.rows, self.columns)
        size = (self.height, self.width)
        laid = torch.nn.functional.interpolate(each, size, mode="bilinear", align_corners=False)
        return laid.view(self.tokens, -1)


class Classes:
    """One class for each window, or for each pixel of its tokens: cross-entropy.

    Args:
        classes: how many.
        grid: of pixels; None for windows.
    """

    def __init__(self, classes: int, grid: Grid | None) -> None:
        self.classes, self.grid = classes, grid
        self.pixels = grid.pixels if grid else 1
        self.outputs = classes * self.pixels

    def batch(self, labels: NDArray[Any], dtype: torch.dtype) -> Batch | None:
        """Targets as shares of one, pixels without a label masked."""
        ids = torch.from_numpy(labels.astype(np.int64))
        ids = self.grid.cut(ids) if self.grid else ids.view(-1, 1, 1)
        mask = ids != IGNORE
        count = int(mask.sum())
        if count == 0:
            return None
        shares = torch.arange(self.classes)[:, None] == ids.unsqueeze(2)  # (n, T, C, P)
        weight = mask.unsqueeze(2).to(dtype) / count
        return _Shares(shares.to(dtype), weight)

    def decode(self, logits: torch.Tensor) -> Decoded:
        """The likeliest class, and for windows how likely each is."""
        spread = logits.unflatten(-1, (self.classes, self.pixels))
        best = _likeliest(spread)
        if self.grid:
            return self.grid.lay(best), None
        return best[:, :, 0, 0], torch.softmax(spread[:, :, 0, :, 0], dim=2)


def _likeliest(logits: torch.Tensor) -> torch.Tensor:
    """(R, n, T, P) the first class with the largest logit (R, n, T, C, P).

    A class after the other, as torch's own argmax is ten times slower over an inner axis.
    """
    largest = logits[:, :, :, 0].clone()
    best = torch.zeros_like(largest, dtype=torch.int64)
    for number in range(1, logits.shape[3]):
        one = logits[:, :, :, number]
        best.masked_fill_(one > largest, number)
        largest = torch.maximum(largest, one)
    return best


class _Shares:
    """Targets of cross-entropy: shares (n, T, C, P), weights (n, T, 1, P)."""

    def __init__(self, shares: torch.Tensor, weight: torch.Tensor) -> None:
        self.shares, self.weight = shares, weight

    def gradient(self, logits: torch.Tensor, rows: slice) -> torch.Tensor:
        """Softmax less target."""
        shares, weight = self.shares[rows], self.weight[rows]
        classes, pixels = shares.shape[2:4]
        spread = logits.unflatten(-1, (classes, pixels))
        return torch.softmax(spread, dim=3).sub_(shares).mul_(weight).view_as(logits)


class Labels:
    """Any number of K labels for each window: binary cross-entropy, mean over samples and labels.

    Args:
        classes: K.
    """

    def __init__(self, classes: int) -> None:
        self.outputs = classes

    def batch(self, labels: NDArray[Any], dtype: torch.dtype) -> Batch | None:
        """Targets of 0 and 1."""
        return _Binary(torch.from_numpy(labels.astype(np.float64)).to(dtype))

    def decode(self, logits: torch.Tensor) -> Decoded:
        """Labels likelier than not, and how likely each is."""
        found = logits[:, :, 0]
        return (found > 0).to(torch.uint8), torch.sigmoid(found)


class _Binary:
    """Targets (n, K)."""

    def __init__(self, targets: torch.Tensor) -> None:
        self.targets = targets.unsqueeze(1)

    def gradient(self, logits: torch.Tensor, rows: slice) -> torch.Tensor:
        """Sigmoid less target."""
        return torch.sigmoid(logits).sub_(self.targets[rows]).div_(self.targets.numel())


class Numbers:
    """A number for each window or pixel: squared error of standardised targets.

    Numbers of pixels are interpolated bilinearly between tokens, which is the same as the
    published head's linear layer on interpolated tokens.

    Args:
        train: whose labels give mean and standard deviation.
        grid: of pixels; None for windows.

    Raises:
        DatasetError: all targets are the same.
    """

    outputs = 1

    def __init__(self, train: ProbeData, grid: Grid | None) -> None:
        known = train.labels[~np.isnan(train.labels)].astype(np.float64)
        self.mean, self.std = float(known.mean()), float(known.std())
        if self.std <= 1e-12 * max(1.0, abs(self.mean)):
            raise DatasetError(
                f"Every target is {self.mean:g}, there is nothing to learn",
                where=f"split {train.split}",
                fix="Take another property (--property-name) or another split",
            )
        self.grid = grid
        self._spread: dict[torch.dtype, torch.Tensor] = {}

    def batch(self, labels: NDArray[Any], dtype: torch.dtype) -> Batch | None:
        """Standardised targets, pixels without one masked."""
        flat = labels.reshape(len(labels), -1).astype(np.float64)
        mask = ~np.isnan(flat)
        if not mask.any():
            return None
        wanted = np.where(mask, (flat - self.mean) / self.std, 0.0)
        weight = torch.from_numpy(mask / mask.sum()).to(dtype)
        return _Squares(torch.from_numpy(wanted).to(dtype), weight, self._matrix(dtype))

    def decode(self, logits: torch.Tensor) -> Decoded:
        """Numbers in the target's own unit."""
        found = logits[..., 0]
        spread = self._matrix(logits.dtype)
        if self.grid is None or spread is None:
            return found[..., 0] * self.std + self.mean, None
        laid = torch.matmul(found, spread).unflatten(-1, (self.grid.height, self.grid.width))
        return laid * self.std + self.mean, None

    def _matrix(self, dtype: torch.dtype) -> torch.Tensor | None:
        if self.grid is None:
            return None
        if dtype not in self._spread:
            self._spread[dtype] = self.grid.spread(dtype)
        return self._spread[dtype]


class _Squares:
    """Targets (n, X) and weights (n, X) of windows or pixels; spread (T, X) or None."""

    def __init__(
        self, targets: torch.Tensor, weight: torch.Tensor, spread: torch.Tensor | None
    ) -> None:
        self.targets, self.weight, self.spread = targets, weight, spread

    def gradient(self, logits: torch.Tensor, rows: slice) -> torch.Tensor:
        """Twice the error."""
        found = logits[..., 0]
        if self.spread is not None:
            found = torch.matmul(found, self.spread)
        by_found = (found - self.targets[rows]).mul_(self.weight[rows]).mul_(2)
        if self.spread is not None:
            by_found = torch.matmul(by_found, self.spread.T)
        return by_found.unsqueeze(-1)
