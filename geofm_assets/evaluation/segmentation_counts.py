"""Counted pixels of windows that are scored together, and the metrics of them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from geofm_assets.evaluation.bootstrap import Values, ratio
from geofm_assets.evaluation.comparison_counts import blocks_of, pixel_counts
from geofm_assets.evaluation.scores import only_value

Pixels = NDArray[np.int64]
"""(..., 3, K): pixels of class k that are right, wrongly said to be k, wrongly said not to be."""


@dataclass(frozen=True)
class Part:
    """Windows scored together.

    Attributes:
        pixels: (windows, 3, K).
        groups: (windows,) number of each window's group; its own where there are no groups.
        grouped: whether there are groups.
    """

    pixels: Pixels
    groups: NDArray[np.int64]
    grouped: bool

    @classmethod
    def of(cls, rows: pa.Table, classes: int, groups: Mapping[str, str] | None) -> "Part":
        """The windows of SEGMENTATION rows.

        Raises:
            ExperimentError: they count another number of classes, or a sample has no group.
        """
        blocks = blocks_of(rows["sample_id"].to_pylist(), groups)
        return cls(pixel_counts(rows, classes), blocks, groups is not None)

    @property
    def group_count(self) -> int:
        """How many groups there are."""
        return int(self.groups.max(initial=-1)) + 1

    def resampled(self, resamples: int, seed: int) -> Pixels:
        """(resamples, 3, K) pixels of as many groups (windows, if there is one) as there are."""
        if self.group_count > 1:
            blocks = np.zeros((self.group_count, *self.pixels.shape[1:]), dtype=np.int64)
            np.add.at(blocks, self.groups, self.pixels)
        else:
            blocks = self.pixels
        count = len(blocks)
        weights = np.random.default_rng(seed).multinomial(
            count, np.full(count, 1 / count), size=resamples
        )
        return np.tensordot(weights, blocks, axes=1).astype(np.int64)

    def labelled(self) -> NDArray[np.bool_]:
        """(windows,) whether a window has a labelled pixel."""
        found: NDArray[np.bool_] = (self.pixels[:, 0] + self.pixels[:, 2]).sum(axis=1) > 0
        return found

    def rests(self, metric: str, k: int) -> NDArray[np.bool_]:
        """(windows,) whether a window has a pixel that a metric of class k rests on."""
        hits, false, missed = self.pixels[:, 0, k], self.pixels[:, 1, k], self.pixels[:, 2, k]
        others = (self.pixels[:, 0] + self.pixels[:, 2]).sum(axis=1) - hits - missed
        rests = {
            "precision": hits + false,
            "recall": hits + missed,
            "false_alarm_rate": others,
        }
        counts: Pixels = rests.get(metric, hits + false + missed)
        found: NDArray[np.bool_] = counts > 0
        return found

    def counted(self, windows: NDArray[np.bool_]) -> tuple[int, int | None]:
        """How many windows, and how many groups they are of; None where there are no groups."""
        groups = len(np.unique(self.groups[windows])) if self.grouped else None
        return int(windows.sum()), groups


def metrics_of(pixels: Pixels, averaged: NDArray[np.bool_]) -> dict[str, Values]:
    """Metrics of (..., 3, K) pixels; what rests on none is 0."""
    hits, false, missed = (pixels[..., i, :].astype(np.float64) for i in range(3))
    f1 = ratio(2 * hits, 2 * hits + false + missed)
    iou = ratio(hits, hits + false + missed)
    true = hits + missed
    return {
        "accuracy": ratio(hits.sum(axis=-1), true.sum(axis=-1)),
        "macro_f1": f1[..., averaged].mean(axis=-1),
        "mean_iou": iou[..., averaged].mean(axis=-1),
        "precision": ratio(hits, hits + false),
        "recall": ratio(hits, hits + missed),
        "f1": f1,
        "iou": iou,
        "false_alarm_rate": ratio(false, true.sum(axis=-1, keepdims=True) - true),
    }


def said_of(rows: pa.Table) -> dict[str, object]:
    """What all rows say of their model."""
    said: dict[str, object] = {
        c: only_value(rows, c) for c in ("experiment", "model_id", "label_rule")
    }
    return {**said, "simulated": bool(pc.any(rows["simulated"]).as_py())}
