"""The label of every window, and what can be wrong with it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rasterio.enums import Resampling
from rslearn.config import LayerConfig
from rslearn.dataset import Window
from rslearn.utils import Feature
from rslearn.utils.vector_format import VectorFormat

from geofm_assets.core.errors import DatasetError
from geofm_assets.evaluation.ingest.label_plan import LabelPlan
from geofm_assets.evaluation.ingest.label_values import is_known, is_nan, label_text
from geofm_assets.evaluation.ingest.source import UNREADABLE, reading_failed
from geofm_assets.evaluation.samples.types import IGNORE

_INTERNAL = ("tvf_index",)  # rslearn's own, of its tiled vector format
_LISTED = 5


class LabelError(DatasetError):
    """The label of one window cannot be used."""


def read_properties(
    window: Window, name: str, vector_format: VectorFormat
) -> list[Mapping[str, Any]]:
    """Properties of the features of a window's vector label.

    Raises:
        LabelError: it is missing or unreadable.
    """
    features = read_features(window, name, vector_format)
    return [{k: v for k, v in (f.properties or {}).items() if k not in _INTERNAL} for f in features]


def read_features(window: Window, name: str, vector_format: VectorFormat) -> list[Feature]:
    """Features of a window's vector label, in pixels of the window's projection.

    Raises:
        LabelError: it is missing or unreadable.
    """
    if not window.is_layer_completed(name):
        raise LabelError("The label is missing", fix="Label the window, or leave it out")
    try:
        found: list[Feature] = window.data.read_vector(name, vector_format)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise unreadable_label(window, name, error) from error
    return found


def unreadable_label(window: Window, layer: str, error: Exception) -> LabelError:
    """What to say of a label file that cannot be read."""
    return LabelError(
        "The label cannot be read",
        where=reading_failed(f"{window.window_root}/layers/{layer}", error),
        fix="Write the label again, or leave the window out",
    )


def vector_label(plan: LabelPlan, properties: Sequence[Mapping[str, Any]]) -> tuple[Any, str]:
    """Label of a window as `EvalSample.label` says it, and as text.

    Raises:
        LabelError: there is none, it is not a number, its class is unknown, or features disagree.
    """
    values = [p.get(plan.property_name or "") for p in properties]
    known = [v for v in values if is_known(v)]
    if not known:
        raise LabelError("The label is missing", fix="Label the window, or leave it out")
    if any(is_nan(v) for v in known):
        raise LabelError("The label is nan", fix="Correct it, or leave the window out")
    if plan.task_type == "window_regression":
        numbers = {number_of(v) for v in known}
        if len(numbers) > 1:
            raise LabelError("Features of one window have several values", fix="Keep one feature")
        (number,) = numbers
        return number, f"{number:.10g}"
    texts = [
        label_text(v) for value in known for v in (value if isinstance(value, list) else [value])
    ]
    ids = sorted({class_id(plan, text) for text in texts})
    if plan.task_type == "multilabel":
        label = np.zeros(len(plan.classes), np.uint8)
        label[ids] = 1
        return label, ", ".join(plan.classes[i] for i in ids)
    if len(ids) > 1:
        raise LabelError(
            "Features of one window have several classes",
            fix="Say --task-type segmentation if they are areas of the window, multilabel if all "
            "hold for the whole of it, or keep one feature",
        )
    return ids[0], plan.classes[ids[0]]


def raster_label(window: Window, plan: LabelPlan, layer: LayerConfig) -> np.ndarray:
    """Label of a window: int64 (H, W) with IGNORE, or float32 (H, W) with NaN.

    Raises:
        LabelError: it is missing or unreadable, or holds a value that is no class.
    """
    if not window.is_layer_completed(plan.layer):
        raise LabelError("The label is missing", fix="Label the window, or leave it out")
    band_set = layer.band_sets[0]
    try:
        raster = window.data.read_raster(
            plan.layer,
            band_set.bands,
            band_set.instantiate_raster_format(),
            resampling=Resampling.nearest,  # classes have no average
        )
    except UNREADABLE as error:
        raise unreadable_label(window, plan.layer, error) from error
    if raster.array.shape[:2] != (1, 1):
        raise LabelError("The label has several bands or times", fix="Keep one")
    raw = np.asarray(raster.array[0, 0])
    nodata = plan.nodata if plan.nodata is not None else raster.metadata.nodata_value
    missing = np.zeros(raw.shape, bool) if nodata is None else raw == nodata
    if plan.task_type == "per_pixel_regression":
        out = raw.astype(np.float32)
        out[missing] = np.nan
        if np.isinf(out).any():
            raise LabelError("A pixel of the label is infinite", fix="Correct the label")
        return out
    if raw.dtype.kind == "f":
        missing |= np.isnan(raw)
        fractions = ~missing & (raw != np.rint(raw))
        if fractions.any():
            raise LabelError("The label has values that are not whole", fix="Correct the label")
    ids = np.full(raw.shape, IGNORE, np.int64)
    ids[~missing] = raw[~missing]
    wrong = np.unique(ids[~missing & ((ids < 0) | (ids >= len(plan.classes)))])
    if wrong.size:
        shown = ", ".join(str(v) for v in wrong[:_LISTED].tolist())
        raise LabelError(
            f"The label has values that are no class: {shown}",
            fix="Name them with --classes, or say --label-nodata for the value that is no label",
        )
    return ids


def number_of(value: Any) -> float:
    """A regression's target.

    Raises:
        LabelError: it is no finite number.
    """
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise LabelError(f"The label {value!r} is not a number", fix="Correct it") from error
    if not math.isfinite(number):
        raise LabelError(f"The label is {number}", fix="Correct it, or leave the window out")
    return number


def class_id(plan: LabelPlan, text: str) -> int:
    """The class id of a label's text.

    Raises:
        LabelError: no class is called so.
    """
    if plan.ids:
        return int(text)
    try:
        return plan.classes.index(text)
    except ValueError as error:
        raise LabelError(
            f"Class {text!r} is unknown",
            fix=f"Add it to --classes (they are {', '.join(plan.classes)}), or leave the windows "
            "out with --groups or --tags",
        ) from error
