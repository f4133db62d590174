"""What an encoder has to beat: the majority class, and a logistic regression on one pixel."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from upath import UPath

from geofm_assets.core.errors import ExperimentError
from geofm_assets.core.hashing import json_digest
from geofm_assets.imagery.bands import LAYERS
from geofm_assets.training.chip_rows import ChipRows, open_chips
from geofm_assets.training.crop import crop_bounds
from geofm_assets.training.window_rows import prediction_table

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

MAJORITY = "baseline_majority"
LOGISTIC = "baseline_logistic"
ENCODER_START = "none"
# Inverse regularisation strengths tried; the macro-F1 of val decides, the strongest wins a tie.
STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)

Matrix = NDArray[np.float64]


def baseline_predictions(
    manifest: pa.Table,
    chips_root: Path | UPath,
    classes: tuple[str, ...],
    *,
    label_rule: str,
    seed: int = 0,
) -> dict[str, pa.Table]:
    """Predictions of both baselines for every window, fit on `train` only.

    Args:
        manifest: MANIFEST rows of every split.
        chips_root: folder with `h3_cell=<cell>` chips, here or in a bucket.
        classes: names in the order of `class_id`.
        label_rule: rule and version, carried along.
        seed: of the logistic regression's solver.

    Returns:
        PREDICTION tables by experiment name.

    Raises:
        ExperimentError: `train` has fewer than two classes.
    """
    manifest = manifest.sort_by("window_name")
    splits = np.array(manifest["split"].to_pylist(), dtype=object)
    targets = manifest["class_id"].to_numpy().astype(np.int64)
    train, val = splits == "train", splits == "val"
    if len(set(targets[train].tolist())) < 2:
        raise ExperimentError(
            "The train split has fewer than two classes",
            where="split manifest",
            fix="Sample more points or cells, or change the split",
        )
    simulated = bool(pc.any(manifest["simulated"]).as_py())
    shares = np.bincount(targets[train], minlength=len(classes)) / train.sum()
    pixels = centre_pixels(open_chips(manifest, chips_root))
    fitted = fit_logistic(pixels, targets, train, val, seed)
    found = {
        MAJORITY: (
            np.tile(shares, (len(targets), 1)),
            json_digest([MAJORITY, shares.tolist(), list(classes), label_rule]),
        ),
        LOGISTIC: (
            fitted.probabilities(pixels, len(classes)),
            json_digest([LOGISTIC, fitted.described(), list(classes), label_rule]),
        ),
    }
    return {
        name: prediction_table(
            manifest,
            probabilities.astype(np.float32),
            classes,
            experiment=name,
            model_id=model_id,
            encoder_start=ENCODER_START,
            label_rule=label_rule,
            simulated=simulated,
        )
        for name, (probabilities, model_id) in found.items()
    }


def centre_pixels(chips: ChipRows) -> Matrix:
    """Every month and band of the pixel that holds the point; NaN where there is no data.

    Cells are read one after the other, whatever the order of the rows.

    Args:
        chips: of the windows.

    Returns:
        (windows, features), layers in name order, then months oldest first, then bands.

    Raises:
        ExperimentError: cells differ in months or bands, or the manifest is older than the chips.
        ImageryError: the chips are missing or are not what was written.
    """
    rows: list[Matrix] = [np.empty(0)] * len(chips)
    for index in chips.by_file():
        features = []
        for layer in sorted(chips.at(index)[0].layers):
            values = chips.pixels(index, layer)
            at_row, at_column = crop_bounds(values.shape[-1], 1)
            pixel = np.array(values[:, :, at_row, at_column])
            missing = LAYERS[layer].is_nodata(pixel)
            features.append(np.where(missing, np.nan, pixel.astype(np.float64)).reshape(-1))
        rows[index] = np.concatenate(features)
    widths = {len(row) for row in rows}
    if len(widths) > 1:
        raise ExperimentError(
            f"Cells differ in months or bands: {sorted(widths)} features",
            where="chips",
            fix="Pack every cell with the same imagery settings",
        )
    return np.stack(rows)


@dataclass(frozen=True)
class PixelLogistic:
    """A fitted logistic regression with everything its features need.

    Attributes:
        used: features with any value in train.
        means: of the used features in train; stands in for a missing value.
        stds: of the used features in train.
        marked: used features whose absence is a feature of its own, because in train it is
            sometimes absent and sometimes not.
        strength: inverse regularisation chosen on val.
        model: scikit-learn's.
    """

    used: NDArray[np.int64]
    means: Matrix
    stds: Matrix
    marked: NDArray[np.int64]
    strength: float
    model: "LogisticRegression"

    def features(self, pixels: Matrix) -> Matrix:
        """Standardised values, the mean (0) where missing, and marks of absence."""
        values = (pixels[:, self.used] - self.means) / self.stds
        marks = np.isnan(pixels[:, self.marked]).astype(np.float64)
        return np.concatenate([np.nan_to_num(values, nan=0.0), marks], axis=1)

    def probabilities(self, pixels: Matrix, classes: int) -> Matrix:
        """(windows, classes); a class that train has not has probability 0."""
        full = np.zeros((len(pixels), classes))
        full[:, self.model.classes_] = self.model.predict_proba(self.features(pixels))
        return full

    def described(self) -> dict[str, object]:
        """Everything that decides a prediction, as JSON."""
        return {
            "used": self.used.tolist(),
            "means": self.means.tolist(),
            "stds": self.stds.tolist(),
            "marked": self.marked.tolist(),
            "strength": self.strength,
            "classes": self.model.classes_.tolist(),
            "coefficients": self.model.coef_.tolist(),
            "intercept": self.model.intercept_.tolist(),
        }


def fit_logistic(
    pixels: Matrix,
    targets: NDArray[np.int64],
    train: NDArray[np.bool_],
    val: NDArray[np.bool_],
    seed: int,
) -> PixelLogistic:
    """Fit on train, classes weighed equally; val chooses the regularisation if there is any.

    Without val the strength is 0.1. One thread, so that the coefficients repeat to the last digit.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score

    seen = pixels[train]
    used = np.flatnonzero(~np.isnan(seen).all(axis=0))
    stds = np.nanstd(seen[:, used], axis=0)
    used, stds = used[stds > 0], stds[stds > 0]
    absent = np.isnan(seen).mean(axis=0)
    marked = np.flatnonzero((absent > 0) & (absent < 1))
    # one mark a pattern: bands of a month are absent together
    _, first = np.unique(np.isnan(seen[:, marked]), axis=1, return_index=True)
    shape = (used, np.nanmean(seen[:, used], axis=0), stds, marked[np.sort(first)])
    best: tuple[float, PixelLogistic] | None = None
    with threadpool_limits(1):
        for strength in STRENGTHS if val.any() else (0.1,):
            model = LogisticRegression(
                C=strength, class_weight="balanced", max_iter=5000, random_state=seed
            )
            fitted = PixelLogistic(*shape, strength, model)
            model.fit(fitted.features(seen), targets[train])
            guess = model.predict(fitted.features(pixels[val])) if val.any() else targets[:0]
            score = f1_score(targets[val], guess, average="macro") if val.any() else 0.0
            if best is None or score > best[0]:
                best = (score, fitted)
    assert best is not None  # there is always a first strength
    return best[1]
