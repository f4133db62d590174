"""What a segmentation head has to beat: one class everywhere, and rules that look at one pixel."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from upath import UPath

from geofm_assets.core.errors import ExperimentError
from geofm_assets.core.hashing import json_digest
from geofm_assets.evaluation.baselines import ENCODER_START, Matrix, fit_logistic
from geofm_assets.imagery.bands import LAYERS, SENTINEL2
from geofm_assets.training.chip_rows import ChipRows, open_chips
from geofm_assets.training.mask_rows import NODATA, MaskRows
from geofm_assets.training.window_rows import confusions, segmentation_table

MAJORITY = "baseline_majority_seg"
LOGISTIC = "baseline_logistic_seg"
DNBR = "baseline_dnbr_seg"
# Labelled pixels that rules are fitted to and chosen by, at most; more change little.
_PIXELS = {"train": 8000, "val": 4000}
_NIR, _SWIR = "B08", "B12"
_THRESHOLDS = np.linspace(-1, 1, 401)

Rule = Callable[[Matrix, Matrix], Matrix]
"""Class probabilities (pixels, K) of all bands (pixels, features) and the index (pixels, 1)."""


@dataclass(frozen=True)
class _Sample:
    """Labelled pixels of a split.

    Attributes:
        bands: (pixels, features), NaN where there is no data.
        index: (pixels, 1) dNBR, NaN where it is unknown.
        targets: (pixels,) classes.
    """

    bands: Matrix
    index: Matrix
    targets: NDArray[np.int64]


def segmentation_baselines(
    manifest: pa.Table,
    chips_root: Path | UPath,
    masks_root: Path | UPath,
    classes: tuple[str, ...],
    *,
    size: int,
    positive: int | None,
    label_rule: str,
    seed: int = 0,
) -> dict[str, pa.Table]:
    """Counted pixels of each baseline for every whole window, fitted on `train` only.

    `baseline_majority_seg` says the commonest class of train everywhere. `baseline_logistic_seg`
    is a logistic regression on every band and timestep of a pixel; val chooses its strength. With
    two classes and two timesteps of Sentinel-2 there is `baseline_dnbr_seg`: burnt is where the
    normalised burn ratio fell, from the first to the last timestep, by more than a threshold, the
    one with the best F1 on train.

    Args:
        manifest: MANIFEST rows of every split.
        chips_root: folder with `h3_cell=<cell>` chips.
        masks_root: folder with `h3_cell=<cell>` masks.
        classes: names in the order of their ids.
        size: pixels of a window's side.
        positive: class that a fall of the ratio means; None for no such baseline.
        label_rule: rule and version, carried along.
        seed: of the pixels drawn.

    Returns:
        SEGMENTATION tables by experiment name.

    Raises:
        ExperimentError: masks are missing, or `train` has fewer than two classes.
        ImageryError: the chips are missing or are not what was written.
    """
    manifest = manifest.sort_by("window_name")
    chips = open_chips(manifest, chips_root)
    masks = MaskRows(manifest, masks_root, size, len(classes))
    splits = np.array(manifest["split"].to_pylist(), dtype=object)
    counts = masks.counts(np.flatnonzero(splits == "train").tolist())
    if (counts > 0).sum() < 2:
        raise ExperimentError(
            "The train split has fewer than two classes",
            where="masks",
            fix="Sample more points or cells, or change the split",
        )
    drawn = {name: _draw(chips, masks, splits == name, n, seed) for name, n in _PIXELS.items()}
    rules = {MAJORITY: _majority(counts), LOGISTIC: _logistic(drawn, len(classes), seed)}
    known = ~np.isnan(drawn["train"].index)
    if positive is not None and len(classes) == 2 and known.any():
        rules[DNBR] = _dnbr(drawn["train"], positive)
    simulated = bool(pc.any(manifest["simulated"]).as_py())
    matrices = {n: np.zeros((len(masks), len(counts), len(counts)), np.int64) for n in rules}
    means = {name: np.zeros((len(masks), len(counts)), np.float32) for name in rules}
    for row in chips.by_file():
        bands, index = _bands(chips, row), _index(chips, row)
        for name, (rule, _) in rules.items():
            chances = rule(bands, index)
            said = chances.argmax(axis=1).reshape(1, size, size)
            matrices[name][row] = confusions(masks.mask(row)[None], said, len(classes))[0]
            means[name][row] = chances.mean(axis=0)
    return {
        name: segmentation_table(
            manifest,
            matrices[name],
            means[name],
            size,
            experiment=name,
            model_id=json_digest([name, described, list(classes), label_rule]),
            encoder_start=ENCODER_START,
            label_rule=label_rule,
            simulated=simulated,
        )
        for name, (_, described) in rules.items()
    }


def _majority(counts: NDArray[np.int64]) -> tuple[Rule, object]:
    shares = counts / counts.sum()
    return lambda bands, index: np.tile(shares, (len(bands), 1)), shares.tolist()


def _logistic(drawn: dict[str, _Sample], classes: int, seed: int) -> tuple[Rule, object]:
    parts = [drawn["train"], drawn["val"]]
    targets = np.concatenate([p.targets for p in parts])
    train = np.arange(len(targets)) < len(parts[0].targets)
    width = parts[0].bands.shape[1]
    bands = np.concatenate([p.bands.reshape(-1, width) for p in parts])
    fitted = fit_logistic(bands, targets, train, ~train, seed)
    return lambda bands, index: fitted.probabilities(bands, classes), fitted.described()


def _dnbr(train: _Sample, positive: int) -> tuple[Rule, object]:
    """The threshold of best F1; the lowest of equals."""
    known = ~np.isnan(train.index[:, 0])
    index, burnt = train.index[known, 0], train.targets[known] == positive
    said = index[:, None] > _THRESHOLDS
    hits = (said & burnt[:, None]).sum(axis=0)
    f1 = 2 * hits / np.maximum(said.sum(axis=0) + burnt.sum(), 1)
    threshold = float(_THRESHOLDS[int(f1.argmax())])

    def rule(bands: Matrix, index: Matrix) -> Matrix:
        found = np.zeros((len(index), 2))
        above = (index[:, 0] > threshold).astype(np.int64)  # unknown is not above
        found[np.arange(len(index)), np.where(above, positive, 1 - positive)] = 1.0
        return found

    return rule, [threshold, positive]


def _draw(
    chips: ChipRows, masks: MaskRows, chosen: NDArray[np.bool_], pixels: int, seed: int
) -> _Sample:
    """Labelled pixels of some windows, equally many of each as far as it has them."""
    each = -(-pixels // max(int(chosen.sum()), 1))
    bands, index, targets = [], [], []
    for row in chips.by_file():
        if not chosen[row]:
            continue
        mask = masks.mask(row).reshape(-1)
        there = np.flatnonzero(mask != NODATA)
        rng = np.random.default_rng([seed, row])
        picked = np.sort(rng.permutation(there)[:each])
        bands.append(_bands(chips, row)[picked])
        index.append(_index(chips, row)[picked])
        targets.append(mask[picked].astype(np.int64))
    if not targets:
        return _Sample(np.empty((0, 0)), np.empty((0, 1)), np.empty(0, np.int64))
    return _Sample(np.concatenate(bands), np.concatenate(index), np.concatenate(targets))


def _bands(chips: ChipRows, row: int) -> Matrix:
    """(pixels, features): layers in name order, then timesteps oldest first, then bands."""
    found = []
    for layer in sorted(chips.at(row)[0].layers):
        values = chips.pixels(row, layer)
        known = np.where(LAYERS[layer].is_nodata(values), np.nan, values.astype(np.float64))
        found.append(known.reshape(-1, values.shape[-2] * values.shape[-1]))
    return np.concatenate(found).T


def _index(chips: ChipRows, row: int) -> Matrix:
    """(pixels, 1): by how much the normalised burn ratio fell; NaN where it is unknown."""
    opened = chips.at(row)[0]
    if SENTINEL2 not in opened.layers or opened.layers[SENTINEL2].shape[1] < 2:
        side = chips.pixels(row, next(iter(opened.layers))).shape
        return np.full((side[-2] * side[-1], 1), np.nan)
    values, names = chips.pixels(row, SENTINEL2), LAYERS[SENTINEL2].band_names
    known = np.where(LAYERS[SENTINEL2].is_nodata(values), np.nan, values.astype(np.float64))
    nir, swir = known[:, names.index(_NIR)], known[:, names.index(_SWIR)]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (nir - swir) / (nir + swir)
    fall = ratio[0] - ratio[-1]
    return np.where(np.isfinite(fall), fall, np.nan).reshape(-1, 1)
