"""What is predicted, by what names, and where a source says it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rslearn.config import LayerConfig, LayerType

from geofm_assets.core.errors import DatasetError
from geofm_assets.evaluation.ingest.label_values import (
    are_ids,
    is_blank,
    is_known,
    is_nan,
    kind_of,
    label_text,
    sorted_texts,
)
from geofm_assets.evaluation.ingest.modalities import resolve_modality
from geofm_assets.evaluation.ingest.options import IngestOptions
from geofm_assets.evaluation.ingest.report import Fact
from geofm_assets.evaluation.registry.entry import TaskType

_PREFERRED = ("label", "labels", "target", "targets", "ground_truth", "label_raster")
_NOT_LABELS = ("output", "prediction", "predictions")
_PROPERTIES = ("category", "label", "class", "class_name")
_WINDOW_TASKS = ("classification", "multilabel", "window_regression")
_MOST_CLASSES = 32_000  # class ids are stored in 16 bits
Properties = Mapping[str, Sequence[Mapping[str, Any]]]
"""By sample id, the properties of each feature of its label."""


@dataclass(frozen=True)
class LabelPlan:
    """How labels are read.

    Attributes:
        task_type: what is predicted.
        layer: of the source.
        property_name: of a vector layer.
        classes: names by class id; empty for regressions.
        ids: labels in the source are class ids, not names.
        nodata: of a dense task, the value that is no label.
        outside: class id of pixels outside all polygons; None if they have no label.
    """

    task_type: TaskType
    layer: str
    property_name: str | None = None
    classes: tuple[str, ...] = ()
    ids: bool = False
    nodata: float | None = None
    outside: int | None = None

    @property
    def dense(self) -> bool:
        """Whether every pixel has a label."""
        return self.task_type not in _WINDOW_TASKS


def find_label_layer(layers: Mapping[str, LayerConfig], options: IngestOptions) -> tuple[str, Fact]:
    """The layer that holds the labels.

    Raises:
        DatasetError: it cannot be told; names `--label-layer`.
    """
    if options.label_layer is not None:
        if options.label_layer not in layers:
            raise DatasetError(
                f"There is no layer {options.label_layer}",
                where="--label-layer",
                fix=f"Layers are {', '.join(layers)}",
            )
        return options.label_layer, Fact("label layer", options.label_layer, "--label-layer")
    own = [
        name
        for name, layer in layers.items()
        if layer.data_source is None
        and name not in _NOT_LABELS
        and not (layer.type == LayerType.RASTER and resolve_modality(name))
    ]
    if options.task_type is not None:
        rasters = [name for name in own if layers[name].type == LayerType.RASTER]
        vectors = [name for name in own if layers[name].type == LayerType.VECTOR]
        # labels of pixels may be drawn from polygons, where there is no raster
        own = vectors if options.task_type in _WINDOW_TASKS else rasters or vectors
    preferred = [name for name in own if name in _PREFERRED]
    for found in (own, preferred):
        if len(found) == 1:
            return found[0], Fact("label layer", found[0], "config.json: no data source")
    why = f"{', '.join(own)} could all be it" if own else "no layer is without a data source"
    raise DatasetError(
        f"Which layer holds the labels cannot be told: {why}",
        where="config.json",
        fix="Say it with --label-layer",
    )


def plan_vector(
    name: str, layer: LayerConfig, properties: Properties, options: IngestOptions
) -> tuple[LabelPlan, list[Fact]]:
    """How labels of a vector layer are read.

    Args:
        name: of the layer.
        layer: its configuration.
        properties: of every window that has a label.
        options: what was said.

    Raises:
        DatasetError: the property, the task type or the classes cannot be told; names the flag.
    """
    prop, facts = _property(name, layer, properties, options)
    held = (p.get(prop) for features in properties.values() for p in features)
    values = [v for v in held if is_known(v) and not is_nan(v)]
    if options.task_type not in (None, *_WINDOW_TASKS):
        values = [v for v in values if not is_blank(options.label_nodata, v)]
    task_type, fact = _vector_task(layer, values, options, f"property {prop} of layer {name}")
    facts.append(fact)
    dense = task_type not in _WINDOW_TASKS
    facts += _drawing(task_type, options)
    nodata = options.label_nodata if dense else None
    if task_type in ("window_regression", "per_pixel_regression"):
        return LabelPlan(task_type, name, prop, nodata=nodata), facts
    texts = [
        label_text(v) for value in values for v in (value if isinstance(value, list) else [value])
    ]
    said, source = options.classes, "--classes"
    if said is None and layer.class_names:
        said, source = tuple(layer.class_names), f"config.json, class_names of {name}"
    if said is None:
        found = set(texts) | ({options.label_outside} if options.label_outside else set())
        said, source = tuple(sorted_texts(found)), "values found, sorted"
    if options.label_outside is not None and options.label_outside not in said:
        raise DatasetError(
            f"There is no class {options.label_outside}",
            where="--label-outside",
            fix=f"Classes are {', '.join(said)}; add it to --classes",
        )
    _require_few(said)
    outside = None if options.label_outside is None else said.index(options.label_outside)
    ids = bool(texts) and not set(texts) & set(said) and are_ids(texts, len(said))
    if ids:
        source += "; labels are class ids"
    facts.append(Fact("classes", ", ".join(said), source))
    return LabelPlan(task_type, name, prop, said, ids, nodata, outside), facts


def plan_raster(
    name: str, layer: LayerConfig, options: IngestOptions
) -> tuple[LabelPlan, list[Fact]]:
    """How labels of a raster layer are read.

    Raises:
        DatasetError: it has several bands, the task type is one of windows, or class names are
            not known; names the flag.
    """
    bands = [band for held in layer.band_sets for band in held.bands]
    if len(bands) != 1:
        raise DatasetError(
            f"The label layer has {len(bands)} bands",
            where=f"config.json, layer {name}",
            fix="Say another one with --label-layer",
        )
    band_set = layer.band_sets[0]
    kind = np.dtype(band_set.dtype.get_numpy_dtype()).kind
    inferred: TaskType = "per_pixel_regression" if kind == "f" else "segmentation"
    task_type = options.task_type or inferred
    source = "--task-type" if options.task_type else f"layer {name} is a raster of {band_set.dtype}"
    if task_type in _WINDOW_TASKS:
        raise DatasetError(
            f"{task_type} needs one label a window, layer {name} has one a pixel",
            where="--task-type",
            fix="Say another one, or a vector layer with --label-layer",
        )
    if options.label_outside is not None:
        raise DatasetError(
            f"Layer {name} is a raster, no pixel of it lies outside polygons",
            where="--label-outside",
            fix="Leave it out; --label-nodata is the value that is no label",
        )
    facts = [Fact("task type", task_type, source)]
    nodata = options.label_nodata if options.label_nodata is not None else band_set.nodata_value
    if nodata is not None:
        facts.append(Fact("label nodata", f"{nodata:g}", "--label-nodata or config.json"))
    if task_type == "per_pixel_regression":
        return LabelPlan(task_type, name, nodata=nodata), facts
    said, source = options.classes, "--classes"
    named = band_set.class_names or ([layer.class_names] if layer.class_names else None)
    if said is None and named:
        said, source = tuple(named[0]), f"config.json, class_names of {name}"
    if said is None:
        raise DatasetError(
            f"The names of the classes of {name} are not known",
            where="config.json",
            fix="Say them with --classes, in the order of the raster's values, from 0",
        )
    _require_few(said)
    facts.append(Fact("classes", ", ".join(said), source))
    return LabelPlan(task_type, name, classes=said, ids=True, nodata=nodata), facts


def _require_few(classes: Sequence[str]) -> None:
    if len(classes) > _MOST_CLASSES:
        raise DatasetError(
            f"{len(classes)} classes are too many",
            where="--classes",
            fix=f"Name at most {_MOST_CLASSES}, or say --task-type window_regression for numbers",
        )


def _property(
    name: str, layer: LayerConfig, properties: Properties, options: IngestOptions
) -> tuple[str, list[Fact]]:
    found = sorted({key for features in properties.values() for p in features for key in p})
    if options.property_name is not None:
        if found and options.property_name not in found:
            raise DatasetError(
                f"No feature of layer {name} has a property {options.property_name}",
                where="--property-name",
                fix=f"Properties are {', '.join(found)}",
            )
        return options.property_name, [
            Fact("property", options.property_name, "--property-name"),
        ]
    if layer.class_property_name:
        said = layer.class_property_name
        return said, [Fact("property", said, f"config.json, class_property_name of {name}")]
    usual = [key for key in found if key in _PROPERTIES]
    for keys, why in ((found, "the only one"), (usual, "usual name")):
        if len(keys) == 1:
            return keys[0], [Fact("property", keys[0], f"features of layer {name}: {why}")]
    why = f"it could be {', '.join(found)}" if found else "no feature has any"
    raise DatasetError(
        f"Which property of layer {name} is the label cannot be told: {why}",
        where="features",
        fix="Say it with --property-name",
    )


def _drawing(task_type: TaskType, options: IngestOptions) -> list[Fact]:
    """How polygons become pixels; nothing where a window has one label.

    Raises:
        DatasetError: a class or value of pixels is said, and the task has no labels of pixels.
    """
    if options.label_outside is not None and task_type != "segmentation":
        raise DatasetError(
            f"{task_type} has no class for pixels outside polygons",
            where="--label-outside",
            fix="Leave it out, or say --task-type segmentation",
        )
    if task_type in _WINDOW_TASKS:
        if options.label_nodata is not None:
            raise DatasetError(
                f"{task_type} has one label a window, no pixel of it is without one",
                where=f"--label-nodata {options.label_nodata:g}",
                fix="Leave it out, and windows without a label with --groups or --tags; or say "
                "--task-type of a task whose pixels have labels",
            )
        return []
    facts = [Fact("labels of pixels", "drawn from polygons", "the label layer is a vector one")]
    if options.label_nodata is not None:
        facts.append(Fact("label nodata", f"{options.label_nodata:g}", "--label-nodata"))
    outside = options.label_outside or "no label"
    said = "--label-outside" if options.label_outside else "--label-outside names a class"
    return [*facts, Fact("pixels outside polygons", outside, said)]


def _vector_task(
    layer: LayerConfig, values: list[Any], options: IngestOptions, where: str
) -> tuple[TaskType, Fact]:
    if options.task_type is not None:
        return options.task_type, Fact("task type", options.task_type, "--task-type")
    kinds = {kind_of(value) for value in values}
    inferred: dict[frozenset[str], TaskType] = {
        frozenset({"text"}): "classification",
        frozenset({"number"}): "window_regression",
        frozenset({"list"}): "multilabel",
    }
    task_type = inferred.get(frozenset(kinds))
    if task_type is None:
        held = " and ".join(sorted(kinds)) or "nothing"
        raise DatasetError(
            f"What is predicted cannot be told: labels are {held}",
            where=where,
            fix="Say it with --task-type",
        )
    if task_type == "window_regression" and (options.classes or layer.class_names):
        return "classification", Fact("task type", "classification", "classes are named")
    return task_type, Fact("task type", task_type, f"{where} holds {kinds.pop()}s")
