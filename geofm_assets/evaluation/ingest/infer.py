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
from geofm_assets.evaluation.ingest.choose import Chosen, choose_windows
from geofm_assets.evaluation.ingest.label_plan import (
    LabelPlan,
    find_label_layer,
    plan_raster,
    plan_vector,
)
from geofm_assets.evaluation.ingest.labels import LabelError, read_properties
from geofm_assets.evaluation.ingest.modalities import (
    ModalityPlan,
    infer_modalities,
    unknown_layers,
)
from geofm_assets.evaluation.ingest.options import IngestOptions
from geofm_assets.evaluation.ingest.report import Fact, Finding
from geofm_assets.evaluation.ingest.source import (
    open_source,
    sample_id,
    source_path,
    source_windows,
)
from geofm_assets.evaluation.registry.entry import TaskType


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
        warnings: what is left out.
    """

    label: LabelPlan | None = None
    modalities: dict[str, ModalityPlan] | None = None
    properties: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    unlabelled: dict[str, LabelError] = field(default_factory=dict)
    facts: list[Fact] = field(default_factory=list)
    errors: list[GeofmError] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)

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
    chosen = choose_windows(dataset, source_windows(dataset, options), options)
    return infer_parts(dataset, chosen, options).whole()


def infer_parts(dataset: Dataset, chosen: Chosen, options: IngestOptions) -> Parts:
    """Like `infer`, but everything that can be told beside everything that cannot."""
    parts = Parts(errors=list(chosen.errors), warnings=list(chosen.warnings))
    try:
        parts.modalities, facts = infer_modalities(dataset.layers, options)
        parts.facts += facts
        parts.facts += _timesteps(chosen.windows, parts.modalities)
    except DatasetError as error:
        parts.errors.append(error)
    try:
        _infer_label(dataset, chosen.windows, options, parts)
    except DatasetError as error:
        if str(error) not in map(str, parts.errors):  # drawing them may have said it
            parts.errors.append(error)
    label = parts.label.layer if parts.label is not None else None
    parts.warnings += unknown_layers(dataset.layers, label, options)
    parts.facts += chosen.facts
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
