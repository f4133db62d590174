"""What a probe learns from: embeddings and labels, checked before anything is computed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geofm_assets.core.errors import DatasetError, ModelInputError
from geofm_assets.evaluation.registry.entry import TaskType
from geofm_assets.evaluation.samples.types import IGNORE

DENSE: frozenset[TaskType] = frozenset({"segmentation", "per_pixel_regression"})
REGRESSION: frozenset[TaskType] = frozenset({"window_regression", "per_pixel_regression"})
_ROWS_AT_ONCE = 1024
_NAMED = 3  # samples that an error names


@dataclass(frozen=True)
class ProbeData:
    """One split of a dataset as probes see it.

    Attributes:
        features: one array an input variant (a normalisation and a pooling), all of one shape:
            floating (N, D), of dense tasks (N, h, w, D) with a vector for each token of a window.
        labels: by task type: class ids (N,), IGNORE where unknown (classification); 0 or 1 (N, K)
            (multilabel); class ids (N, H, W) with IGNORE (segmentation); numbers (N,) (window
            regression); numbers (N, H, W) with NaN (per-pixel regression).
        split: `train`, `val` or `test`; errors name it.
        sample_ids: N names for errors; rows are numbered where there are none.
    """

    features: tuple[NDArray[Any], ...]
    labels: NDArray[Any]
    split: str
    sample_ids: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[Any]) -> "ProbeData":
        """The samples of these rows (row numbers or a mask), in this order."""
        chosen = np.arange(len(self))[rows]
        return replace(
            self,
            features=tuple(array[chosen] for array in self.features),
            labels=self.labels[chosen],
            sample_ids=tuple(self.sample_ids[i] for i in chosen) if self.sample_ids else (),
        )

    def name(self, row: int) -> str:
        """A sample's name."""
        return self.sample_ids[row] if self.sample_ids else f"row {row}"


def checked(data: ProbeData, task_type: TaskType, classes: Sequence[str]) -> ProbeData:
    """The samples with a label, after every check.

    A window without a label (classification), without a labelled pixel (segmentation) or without
    a number (per-pixel regression) is left out: it can neither teach nor be scored.

    Args:
        data: a split.
        task_type: what is predicted.
        classes: names by class id; empty for regressions.

    Raises:
        DatasetError: no sample with a label, a class id outside the classes, a label that is
            neither 0 nor 1, a missing or infinite target of a window, or labels and tokens that
            do not fit each other.
        ModelInputError: features that are not numbers, or whose shapes differ.
    """
    _check_features(data, task_type)
    _check_labels(data, task_type, len(classes))
    usable = labelled(data.labels, task_type)
    if not usable.any():
        raise DatasetError(
            f"None of {len(data)} samples has a label",
            where=f"split {data.split}",
            fix="Ingest the dataset again with labels in every split",
        )
    return data if usable.all() else data.take(usable)


def labelled(labels: NDArray[Any], task_type: TaskType) -> NDArray[np.bool_]:
    """(N,) which samples have anything to learn from or to be scored on."""
    if task_type == "multilabel":
        return np.ones(len(labels), dtype=bool)
    known = ~np.isnan(labels) if task_type in REGRESSION else labels != IGNORE
    return _any(known)


def class_notes(
    train: NDArray[Any],
    other: NDArray[Any],
    split: str,
    task_type: TaskType,
    classes: Sequence[str],
) -> list[str]:
    """What a reader must know of classes: those that train lacks, and a train of one class."""
    if task_type in REGRESSION:
        return []
    seen, asked = (_occurring(labels, task_type, len(classes)) for labels in (train, other))
    notes = [
        f"class {name} is in {split} and not in train: it cannot be predicted"
        for name, here, there in zip(classes, seen, asked, strict=True)
        if there and not here
    ]
    if task_type != "multilabel" and seen.sum() == 1:
        notes.append(f"train has one class only, {classes[int(seen.argmax())]}")
    return notes


def _any(values: NDArray[Any]) -> NDArray[np.bool_]:
    """(N,) whether anything in a row is true."""
    found: NDArray[np.bool_] = np.any(values.reshape(len(values), -1), axis=1)
    return found


def _occurring(labels: NDArray[Any], task_type: TaskType, classes: int) -> NDArray[np.bool_]:
    if task_type == "multilabel":
        return _any(labels.T)
    ids = labels[labels != IGNORE].astype(np.int64)
    return np.bincount(ids, minlength=classes) > 0


def _check_features(data: ProbeData, task_type: TaskType) -> None:
    where = f"embeddings of split {data.split}"
    again = "Encode the dataset again"
    if not data.features:
        raise ModelInputError("There are no embeddings", where=where, fix=again)
    shapes = sorted({array.shape for array in data.features})
    if len(shapes) > 1:
        raise ModelInputError(
            f"Inputs probed together differ in shape: {' and '.join(map(str, shapes))}",
            where=where,
            fix="Probe each shape by itself",
        )
    wanted = 4 if task_type in DENSE else 2
    if len(shapes[0]) != wanted or shapes[0][0] != len(data):
        raise ModelInputError(
            f"Embeddings of {task_type} have {wanted} axes and a row for each of {len(data)} "
            f"labels, these are {shapes[0]}",
            where=where,
            fix=again,
        )
    for number, array in enumerate(data.features):
        if not np.issubdtype(array.dtype, np.floating):
            raise ModelInputError(f"Embeddings are {array.dtype}", where=where, fix=again)
        for start in range(0, len(array), _ROWS_AT_ONCE):
            rows = array[start : start + _ROWS_AT_ONCE]
            good = np.isfinite(rows).reshape(len(rows), -1).all(axis=1)
            if not good.all():
                raise ModelInputError(
                    "An embedding holds NaN or infinity",
                    where=f"{data.name(start + int(np.argmin(good)))}, input {number}, {where}",
                    fix="The model breaks on this sample; use another start or leave it out",
                )


def _check_labels(data: ProbeData, task_type: TaskType, classes: int) -> None:
    labels = data.labels
    axes = {"classification": 1, "multilabel": 2, "window_regression": 1}.get(task_type, 3)
    if labels.ndim != axes or (task_type == "multilabel" and labels.shape[1] != classes):
        raise _wrong(data, f"Labels of {task_type} cannot be of shape {labels.shape}")
    if task_type in DENSE:
        tokens, pixels = data.features[0].shape[1:3], labels.shape[1:]
        if any(p % t for p, t in zip(pixels, tokens, strict=True)):
            raise _wrong(data, f"{tokens} tokens do not divide labels of {pixels} pixels")
    if task_type == "multilabel":
        _refuse(data, (labels != 0) & (labels != 1), "a label that is neither 0 nor 1")
    elif task_type not in REGRESSION:
        if not np.issubdtype(labels.dtype, np.integer):
            raise _wrong(data, f"Class ids are {labels.dtype}, not whole numbers")
        _refuse(
            data, (labels < IGNORE) | (labels >= classes), f"a class id outside 0..{classes - 1}"
        )
    else:
        _refuse(data, np.isinf(labels), "an infinite target")
        if task_type == "window_regression":
            _refuse(data, np.isnan(labels), "no target (NaN)")


def _refuse(data: ProbeData, bad: NDArray[np.bool_], what: str) -> None:
    rows = np.flatnonzero(bad.reshape(len(bad), -1).any(axis=1))
    if len(rows):
        names = ", ".join(data.name(int(row)) for row in rows[:_NAMED])
        raise _wrong(data, f"{len(rows)} samples have {what}", f"{names}; ")


def _wrong(data: ProbeData, what: str, where: str = "") -> DatasetError:
    return DatasetError(
        what,
        where=f"{where}split {data.split}",
        fix="Correct the source's labels and ingest it again",
    )
