"""What a model says of windows, as rows: one class a window, or counts of its pixels."""

from typing import TypedDict

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from geofm_assets.training.mask_rows import NODATA
from geofm_assets.training.schema import PREDICTION, SEGMENTATION


class Said(TypedDict):
    """What every row says of the model: see `prediction_table`."""

    experiment: str
    model_id: str
    encoder_start: str
    label_rule: str
    simulated: bool


def prediction_table(
    manifest: pa.Table,
    probabilities: np.ndarray,
    classes: tuple[str, ...],
    *,
    experiment: str,
    model_id: str,
    encoder_start: str,
    label_rule: str,
    simulated: bool,
) -> pa.Table:
    """A PREDICTION table from class probabilities.

    Args:
        manifest: MANIFEST rows, one a row of `probabilities`, in its order.
        probabilities: float32 (windows, classes).
        classes: names in the order of the columns.
        experiment: name of the experiment or baseline.
        model_id: of the model.
        encoder_start: what its encoder started from, in words.
        label_rule: rule and version of the classes.
        simulated: whether anything the model learned from was simulated; a simulated window is
            marked so in any case.
    """
    rows = manifest.num_rows
    predicted = probabilities.argmax(axis=1) if rows else np.zeros(0, dtype=np.int64)
    said: dict[str, object] = {
        "experiment": [experiment] * rows,
        "predicted_id": pa.array(predicted, pa.int16()),
        "predicted_name": [classes[i] for i in predicted],
        "probabilities": _lists(probabilities.astype(np.float32)),
        "model_id": [model_id] * rows,
        "encoder_start": [encoder_start] * rows,
        "label_rule": [label_rule] * rows,
        "simulated": [simulated or bool(s) for s in manifest["simulated"].to_pylist()],
    }
    columns = [said[n] if n in said else manifest[n].combine_chunks() for n in PREDICTION.names]
    return pa.table(columns, schema=PREDICTION).sort_by("window_name")


def _lists(rows: np.ndarray) -> pa.ListArray:
    """Rows of (N, K) as an array of lists."""
    count, width = rows.shape
    ends = np.arange(count + 1, dtype=np.int32) * width
    return pa.ListArray.from_arrays(ends, pa.array(np.ascontiguousarray(rows).reshape(-1)))


def confusions(
    truth: NDArray[np.uint8], predicted: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """(B, K, K) labelled pixels of each of B windows; rows are truth, columns prediction.

    Args:
        truth: (B, H, W) classes, 255 where unknown.
        predicted: (B, H, W) classes.
        classes: K.
    """
    found = np.zeros((len(truth), classes, classes), dtype=np.int64)
    for row, (mask, said) in enumerate(zip(truth, predicted, strict=True)):
        known = mask != NODATA
        pairs = mask[known].astype(np.int64) * classes + said[known]
        found[row] = np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    return found


def segmentation_table(
    manifest: pa.Table,
    matrices: NDArray[np.int64],
    probabilities: NDArray[np.float32],
    size: int,
    *,
    experiment: str,
    model_id: str,
    encoder_start: str,
    label_rule: str,
    simulated: bool,
) -> pa.Table:
    """A SEGMENTATION table from the confusion matrices of windows.

    Args:
        manifest: MANIFEST rows, one a matrix, in its order.
        matrices: (windows, K, K) labelled pixels, rows truth.
        probabilities: float32 (windows, K), means over the crop.
        size: pixels of the crop's side.
        experiment: name of the experiment or baseline.
        model_id: of the model.
        encoder_start: what its encoder started from, in words.
        label_rule: rule and version of the classes.
        simulated: as of `prediction_table`.
    """
    rows, matrices = manifest.num_rows, matrices.astype(np.int64)
    hits = np.diagonal(matrices, axis1=1, axis2=2)
    pixels = matrices.sum(axis=(1, 2))
    said: dict[str, object] = {
        "experiment": [experiment] * rows,
        "size": [size] * rows,
        "pixels": pixels,
        "nodata": size * size - pixels,
        "tp": _lists(hits),
        "fp": _lists(matrices.sum(axis=1) - hits),
        "fn": _lists(matrices.sum(axis=2) - hits),
        "mean_probabilities": _lists(probabilities.astype(np.float32)),
        "model_id": [model_id] * rows,
        "encoder_start": [encoder_start] * rows,
        "label_rule": [label_rule] * rows,
        "simulated": [simulated or bool(s) for s in manifest["simulated"].to_pylist()],
    }
    columns = [said[n] if n in said else manifest[n].combine_chunks() for n in SEGMENTATION.names]
    return pa.table(columns, schema=SEGMENTATION).sort_by("window_name")
