"""Labels of every pixel: read from a raster, or drawn from the polygons of a vector layer.

A pixel belongs to a polygon that holds its centre; a point labels the pixel it lies in. Where
polygons of different labels overlap nobody can say which is right, whatever their order: the pixel
has no label then, and is counted.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from rasterio.features import rasterize
from rasterio.transform import Affine
from rslearn.config import LayerConfig, LayerType
from rslearn.dataset import Window
from rslearn.utils import Feature

from geofm_assets.evaluation.ingest.label_plan import LabelPlan
from geofm_assets.evaluation.ingest.label_values import is_blank, is_known, is_nan, label_text
from geofm_assets.evaluation.ingest.labels import (
    LabelError,
    class_id,
    number_of,
    raster_label,
    read_features,
)
from geofm_assets.evaluation.ingest.source import window_side
from geofm_assets.evaluation.samples.types import IGNORE


@dataclass(frozen=True)
class DenseLabel:
    """The label of every pixel of a window.

    Attributes:
        values: int64 (H, W) with IGNORE, or float32 (H, W) with NaN.
        conflicts: pixels without a label, because polygons of different labels overlap there.
        unsaid: polygons left out, because their property says nothing.
    """

    values: np.ndarray
    conflicts: int = 0
    unsaid: int = 0


def dense_label(window: Window, plan: LabelPlan, layer: LayerConfig) -> DenseLabel:
    """Label of a window of a dense task.

    Raises:
        LabelError: it is missing or unreadable, or says something that is no label.
    """
    if layer.type == LayerType.RASTER:
        return DenseLabel(raster_label(window, plan, layer))
    features = read_features(window, plan.layer, layer.instantiate_vector_format())
    return drawn_label(features, window_side(window), window.bounds[:2], plan)


def drawn_label(
    features: Sequence[Feature], shape: tuple[int, int], corner: Sequence[int], plan: LabelPlan
) -> DenseLabel:
    """Draw features onto the pixels of a window.

    Args:
        features: in pixels of the window's projection, rows counted downward.
        shape: height and width of the window in pixels.
        corner: column and row of its upper left corner.
        plan: how a feature's property is read; `outside` is the class of pixels in none.

    Raises:
        LabelError: a property is no label.
    """
    regression = plan.task_type == "per_pixel_regression"
    missing = np.nan if regression else IGNORE
    outside = missing if plan.outside is None else plan.outside
    shapes: dict[float, list[Any]] = defaultdict(list)
    blank: list[Any] = []
    unsaid = 0
    for feature in features:
        value, geometry = _value(plan, feature.properties or {}), feature.geometry.shp
        if value is None:
            unsaid += 1
        elif shapely.is_empty(geometry):
            continue
        elif is_nan(value):
            blank.append(geometry)
        else:
            shapes[value].append(geometry)
    place = Affine.translation(*corner)
    label = np.full(shape, outside, np.float32 if regression else np.int64)
    depth = np.zeros(shape, np.int64)
    for value, held in sorted(shapes.items()):
        inside = _inside(held, shape, place)
        label[inside] = value
        depth += inside
    unlabelled = _inside(blank, shape, place)
    conflicts = (depth > 1) & ~unlabelled
    label[conflicts | unlabelled] = missing
    return DenseLabel(label, int(conflicts.sum()), unsaid)


def _inside(shapes: Sequence[Any], shape: tuple[int, int], place: Affine) -> np.ndarray:
    """Pixels (H, W) of any of some geometries."""
    if not shapes:
        return np.zeros(shape, bool)
    drawn = rasterize(shapes, out_shape=shape, transform=place, all_touched=False, dtype="uint8")
    return np.asarray(drawn, bool)


def _value(plan: LabelPlan, properties: Mapping[str, Any]) -> float | None:
    """Class id or number of a feature; None if it says nothing, NaN if it says "no label"."""
    value = properties.get(plan.property_name or "")
    if not is_known(value):
        return None
    if isinstance(value, list):
        raise LabelError(
            "A polygon has a list of labels", fix="Give each one value, or say another task type"
        )
    if is_nan(value):
        raise LabelError("The label is nan", fix="Correct it, or leave the window out")
    if is_blank(plan.nodata, value):
        return float("nan")
    if plan.task_type == "per_pixel_regression":
        return number_of(value)
    return class_id(plan, label_text(value))
