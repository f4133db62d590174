"""What can be known of a source without being told: task, labels, modalities, bands, splits."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rslearn.config import LayerType
from rslearn.dataset import Dataset, Window
from upath import UPath

from geofm_assets.core.errors import DatasetError, GeofmError
from geofm_assets.evaluation.ingest.label_plan import (
    LabelPlan,
    find_label_layer,
    plan_raster,
    plan_vector,
)
from geofm_assets.evaluation.ingest.labels import LabelError, read_properties
from geofm_assets.evaluation.ingest.modalities import ModalityPlan, infer_modalities
from geofm_assets.evaluation.ingest.options import IngestOptions
from geofm_assets.evaluation.ingest.report import Fact
from geofm_assets.evaluation.ingest.source import (
    given_split,
    open_source,
    sample_id,
    source_path,
    source_windows,
)
from geofm_assets.evaluation.registry.entry import SPLITS, TaskType
from geofm_assets.evaluation.samples.split import draw


@dataclass(frozen=True)
class Inferred:
    """How a source is read.

    Attributes:
        label: where labels are, and what they mean.
        modalities: by name.
        facts: everything that was inferred or said, and from where.
    """

    label: LabelPlan
    modalities: Mapping[str, ModalityPlan]
    facts: tuple[Fact, ...]

    @property
    def task_type(self) -> TaskType:
        """What is predicted."""
        return self.label.task_type

    @property
    def classes(self) -> tuple[str, ...]:
        """Names by class id."""
        return self.label.classes


@dataclass
class Parts:
    """What was found of a source, as far as it went.

    Attributes:
        label: None if it cannot be told.
        modalities: None if they cannot be told.
        properties: of vector labels, by sample id.
        unlabelled: why a window has no properties, by sample id.
        facts: what was inferred.
        errors: why something could not be.
    """

    label: LabelPlan | None = None
    modalities: dict[str, ModalityPlan] | None = None
    properties: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    unlabelled: dict[str, LabelError] = field(default_factory=dict)
    facts: list[Fact] = field(default_factory=list)
    errors: list[GeofmError] = field(default_factory=list)

    def whole(self) -> Inferred:
        """Everything.

        Raises:
            DatasetError: something could not be told.
        """
        if self.errors:
            raise self.errors[0]
        assert self.label is not None
        assert self.modalities is not None
        return Inferred(self.label, self.modalities, tuple(self.facts))


def infer(source: str | Path | UPath, options: IngestOptions) -> Inferred:
    """Look at a source's configuration, window metadata and vector labels.

    Args:
        source: an rslearn dataset.
        options: what was said; it wins over what is inferred.

    Raises:
        DatasetError: something cannot be inferred; names the flag that says it.
    """
    dataset = open_source(source_path(source))
    return infer_parts(dataset, chosen_windows(dataset, options), options).whole()


def chosen_windows(dataset: Dataset, options: IngestOptions) -> list[Window]:
    """Windows that become samples, sorted by group and name.

    Raises:
        DatasetError: there are none.
    """
    windows = source_windows(dataset, options)
    if options.max_samples is None or len(windows) <= options.max_samples:
        return windows
    kept = draw([sample_id(w) for w in windows], options.max_samples, options.seed)
    return [w for w in windows if sample_id(w) in kept]


def infer_parts(dataset: Dataset, windows: list[Window], options: IngestOptions) -> Parts:
    """Like `infer`, but everything that can be told beside everything that cannot."""
    parts = Parts()
    try:
        parts.modalities, facts = infer_modalities(dataset.layers, options)
        parts.facts += facts
        parts.facts += _timesteps(windows, parts.modalities)
    except DatasetError as error:
        parts.errors.append(error)
    try:
        _infer_label(dataset, windows, options, parts)
    except DatasetError as error:
        parts.errors.append(error)
    parts.facts += _splits(windows, options)
    return parts


def _infer_label(
    dataset: Dataset, windows: list[Window], options: IngestOptions, parts: Parts
) -> None:
    name, fact = find_label_layer(dataset.layers, options)
    parts.facts.append(fact)
    layer = dataset.layers[name]
    if layer.type == LayerType.RASTER:
        parts.label, facts = plan_raster(name, layer, options)
        parts.facts += facts
        return
    vector_format = layer.instantiate_vector_format()
    for window in windows:
        try:
            parts.properties[sample_id(window)] = read_properties(window, name, vector_format)
        except LabelError as error:
            parts.unlabelled[sample_id(window)] = error
    parts.label, facts = plan_vector(name, layer, parts.properties, options)
    parts.facts += facts


def _timesteps(windows: list[Window], modalities: Mapping[str, ModalityPlan]) -> list[Fact]:
    """How many item groups a window has of each modality."""
    most: Counter[str] = Counter()
    for window in windows:
        found = Counter(layer for layer, _ in window.list_completed_layers())
        for name, plan in modalities.items():
            most[name] = max(most[name], sum(found[layer] for layer in plan.layers))
    return [
        Fact(f"item groups of {name}", str(most[name]), "the window with most")
        for name in modalities
    ]


def _splits(windows: list[Window], options: IngestOptions) -> list[Fact]:
    counts = Counter(given_split(window, options) for window in windows)
    said = ", ".join(f"{name} {counts[name]}" for name in SPLITS if counts[name])
    if counts[None]:
        said = f"{said}, none {counts[None]}" if said else f"none {counts[None]}"
    source = f"window option {options.split_property}, else the group's name"
    return [Fact("splits of the source", said, source)]
