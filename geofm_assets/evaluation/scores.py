"""Scores of an experiment, from its prediction rows and nothing else."""

import re
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.core.errors import ConfigError, ExperimentError
from geofm_assets.evaluation.bootstrap import (
    Counts,
    confusion,
    interval,
    metric_values,
    resample_blocks,
    resample_windows,
)
from geofm_assets.evaluation.schema import SCORE

SPLITS = ("train", "val", "test")


def class_slug(name: str) -> str:
    """A class name as metric names spell it: `Non-Cropland` is `non_cropland`."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def class_slugs(classes: tuple[str, ...]) -> list[str]:
    """Class names as metric names spell them.

    Raises:
        ConfigError: two are spelt alike, or one has no letter or digit.
    """
    slugs = [class_slug(name) for name in classes]
    if len(set(slugs)) < len(slugs) or not all(slugs):
        raise ConfigError(
            "Two classes have the same metric name, or one has none",
            where=", ".join(classes),
            fix="Use letters and digits that tell them apart",
        )
    return slugs


def scores(
    predictions: pa.Table,
    classes: tuple[str, ...],
    *,
    resamples: int = 1000,
    seed: int = 0,
    by: Literal["window", "h3_cell"] = "window",
) -> pa.Table:
    """Accuracy, macro-F1 and per-class precision, recall and F1 of every split.

    Macro-F1 averages over the classes that occur in the split as truth or prediction, as
    scikit-learn does. Intervals are the 2.5th and 97.5th percentile of a seeded bootstrap.

    Args:
        predictions: PREDICTION rows of one model; splits other than train, val and test are
            left out.
        classes: names in the order of `class_id`.
        resamples: bootstrap resamples.
        seed: of the bootstrap.
        by: what is drawn: windows, or whole H3 cells, which is honest where windows cluster.

    Returns:
        SCORE table, splits in order train, val, test; a split without rows has no scores.

    Raises:
        ExperimentError: rows of several models, or a class id outside the classes.
        ConfigError: two class names are spelt alike, or cells are drawn where there is only one.
    """
    slugs = class_slugs(classes)
    said = {c: only_value(predictions, c) for c in ("experiment", "model_id", "label_rule")}
    simulated = bool(pc.any(predictions["simulated"]).as_py())
    rows: list[dict[str, object]] = []
    for split in SPLITS:
        part = predictions.filter(pc.equal(predictions["split"], split))
        if part.num_rows == 0:
            continue
        matrices, blocks = _matrices(part, len(classes), by)
        matrix = matrices.sum(axis=0)
        averaged = (matrix.sum(axis=0) + matrix.sum(axis=1)) > 0
        if by == "h3_cell":
            if len(blocks) < 2:
                raise ConfigError(
                    "Cells cannot be drawn, the split has only one",
                    where=f"split {split}",
                    fix="Draw windows instead",
                )
            drawn = resample_blocks(matrices, resamples, seed)
        else:
            drawn = resample_windows(matrix, resamples, seed)
        for metric, value, low, high, count in _metrics(matrix, drawn, averaged, slugs):
            rows.append(
                {
                    **said,
                    "split": split,
                    "metric": metric,
                    "value": value,
                    "low": low,
                    "high": high,
                    "n": count,
                    "groups": None,
                    "simulated": simulated,
                }
            )
    return pa.Table.from_pylist(rows, schema=SCORE)


def _metrics(
    matrix: Counts, drawn: Counts, averaged: np.ndarray, slugs: list[str]
) -> list[tuple[str, float, float, float, int]]:
    """(name, value, low, high, n) of every metric."""
    value, spread = metric_values(matrix, averaged), metric_values(drawn, averaged)
    of_class, as_class = matrix.sum(axis=1), matrix.sum(axis=0)
    hits = np.diagonal(matrix)
    counts = {"precision": as_class, "recall": of_class, "f1": of_class + as_class - hits}
    found = []
    for name in ("accuracy", "macro_f1"):
        low, high = interval(spread[name])
        found.append((name, float(value[name]), float(low), float(high), int(matrix.sum())))
    for name in ("precision", "recall", "f1"):
        low, high = interval(spread[name])
        for k, slug in enumerate(slugs):
            found.append(
                (
                    f"{name}_{slug}",
                    float(value[name][k]),
                    float(low[k]),
                    float(high[k]),
                    int(counts[name][k]),
                )
            )
    return found


def _matrices(
    part: pa.Table, classes: int, by: Literal["window", "h3_cell"]
) -> tuple[Counts, list[str]]:
    """Confusion matrices by block, blocks sorted by name; one block unless cells are drawn."""
    truth, predicted = part["class_id"].to_numpy(), part["predicted_id"].to_numpy()
    for ids in (truth, predicted):
        if len(ids) and (ids.min() < 0 or ids.max() >= classes):
            raise ExperimentError(
                f"A prediction has class id {int(ids.min())} to {int(ids.max())}, "
                f"there are {classes} classes",
                where="predictions",
                fix="Predict again with the task's label rule",
            )
    if by == "window":
        return confusion(truth, predicted, classes)[None], ["all"]
    cells = np.array(part["h3_cell"].to_pylist(), dtype=object)
    names = sorted(set(cells.tolist()))
    return (
        np.stack([confusion(truth[cells == c], predicted[cells == c], classes) for c in names]),
        names,
    )


def only_value(predictions: pa.Table, column: str) -> str:
    """The one value of a column.

    Raises:
        ExperimentError: there are several, or no rows.
    """
    values = sorted(set(predictions[column].to_pylist()))
    if len(values) != 1:
        raise ExperimentError(
            f"Scores need the predictions of one model, found {len(values)} values of {column}",
            where=", ".join(map(str, values[:3])),
            fix="Predict with one model, and score each experiment by itself",
        )
    return str(values[0])
