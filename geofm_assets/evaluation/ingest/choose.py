"""Which windows of a source become samples, and what its split option says of them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rslearn.config import LayerType
from rslearn.dataset import Dataset, Window

from geofm_assets.core.errors import DatasetError
from geofm_assets.evaluation.ingest.label_plan import find_label_layer, plan_vector
from geofm_assets.evaluation.ingest.labels import LabelError, read_properties, vector_label
from geofm_assets.evaluation.ingest.options import IngestOptions
from geofm_assets.evaluation.ingest.report import Fact, Finding
from geofm_assets.evaluation.ingest.source import given_split, sample_id
from geofm_assets.evaluation.registry.entry import SPLITS
from geofm_assets.evaluation.samples.draw import draw_stratified
from geofm_assets.evaluation.samples.split import ALIASES

_SHOWN = 10


@dataclass(frozen=True)
class Chosen:
    """Windows that become samples.

    Attributes:
        windows: sorted by group and name; all there are, if they could not be drawn.
        facts: the splits of the source, and what was drawn.
        warnings: classes that were not drawn.
        errors: why windows could not be drawn, or their splits not told.
    """

    windows: list[Window]
    facts: tuple[Fact, ...]
    warnings: tuple[Finding, ...] = ()
    errors: tuple[DatasetError, ...] = ()


def choose_windows(dataset: Dataset, windows: list[Window], options: IngestOptions) -> Chosen:
    """All windows, or `max_samples` of them: per split of the source and, if each has one, class.

    Args:
        dataset: the source.
        windows: those of the groups and tags asked for, sorted by group and name.
        options: what was said.
    """
    facts = [_splits(windows, options)]
    wrong = _wrong_split_option(windows, options)
    errors = [] if wrong is None else [wrong]
    count = options.max_samples
    if count is None or len(windows) <= count:
        return Chosen(windows, tuple(facts), (), tuple(errors))
    splits = _splits_to_keep(windows, options)
    present = [name for name in (*SPLITS, "") if name in splits]
    if count < len(present):
        held = ", ".join(name or "none" for name in present)
        few = DatasetError(
            f"{count} samples cannot be of every split of the source, it has {held}",
            where=f"--max-samples {count}",
            fix=f"Say at least {len(present)}, or --split-rule spatial_blocks to split anew",
        )
        return Chosen(windows, tuple(facts), (), (*errors, few))
    ids = [sample_id(window) for window in windows]
    try:
        classes = _classes(dataset, windows, options)
    except DatasetError as error:
        return Chosen(windows, tuple(facts), (), (*errors, error))
    drawn = draw_stratified(ids, splits, classes, count, options.seed)
    chosen = [window for window, name in zip(windows, ids, strict=True) if name in drawn]
    kept = [name in drawn for name in ids]
    facts.append(_drawn(splits, kept, any(classes), options))
    lost = sorted(set(classes) - {c for c, k in zip(classes, kept, strict=True) if k} - {""})
    warnings = [_lost(lost, count)] if lost else []
    return Chosen(chosen, tuple(facts), tuple(warnings), tuple(errors))


def _splits(windows: Sequence[Window], options: IngestOptions) -> Fact:
    counts = Counter(given_split(window, options) for window in windows)
    said = ", ".join(f"{name} {counts[name]}" for name in SPLITS if counts[name])
    if counts[None]:
        said = f"{said}, none {counts[None]}" if said else f"none {counts[None]}"
    source = f"window option {options.split_property}, else the group's name"
    return Fact("splits of the source", said, source)


def _wrong_split_option(windows: Sequence[Window], options: IngestOptions) -> DatasetError | None:
    """What is wrong with the window option that was said to hold the split; None if nothing."""
    if "split_property" not in options.model_fields_set:
        return None
    key = options.split_property
    values = {str(said[key]) for w in windows if (said := w.options or {}).get(key) is not None}
    if any(value.lower() in ALIASES for value in values):
        return None
    where = f"--split {key}"
    if not values:
        held = sorted({name for window in windows for name in window.options or {}})
        there = f"Options of the windows are {_listed(held)}" if held else "Windows have no options"
        return DatasetError(
            f"No window has an option {key}",
            where=where,
            fix=f"{there}; name the one that says the split, or leave --split out",
        )
    return DatasetError(
        f"No value of window option {key} is a split, they are {_listed(sorted(values))}",
        where=where,
        fix=f"Splits are called {', '.join(sorted(ALIASES))}; name the option that says them, or "
        "leave --split out",
    )


def _splits_to_keep(windows: Sequence[Window], options: IngestOptions) -> list[str]:
    """Split of each window, empty if it has none or the source's are not kept anyway."""
    if options.split_rule in ("spatial_blocks", "random"):
        return [""] * len(windows)
    return [given_split(window, options) or "" for window in windows]


def _classes(dataset: Dataset, windows: Sequence[Window], options: IngestOptions) -> list[str]:
    """Class of each window; empty where it has no label, or the task has not one class a window.

    Raises:
        DatasetError: the labels cannot be told.
    """
    layer_name, _ = find_label_layer(dataset.layers, options)
    layer = dataset.layers[layer_name]
    nothing = [""] * len(windows)
    if layer.type == LayerType.RASTER:
        return nothing
    vector_format = layer.instantiate_vector_format()
    properties = {}
    for window in windows:
        try:
            properties[sample_id(window)] = read_properties(window, layer_name, vector_format)
        except LabelError:
            continue  # an error of the window if it is drawn
    plan, _ = plan_vector(layer_name, layer, properties, options)
    if plan.task_type != "classification":
        return nothing
    found = dict.fromkeys(map(sample_id, windows), "")
    for name, held in properties.items():
        try:
            _, found[name] = vector_label(plan, held)
        except LabelError:
            continue  # likewise
    return list(found.values())


def _drawn(
    splits: Sequence[str], kept: Sequence[bool], by_class: bool, options: IngestOptions
) -> Fact:
    of = Counter(splits)
    held = Counter(split for split, is_kept in zip(splits, kept, strict=True) if is_kept)
    named = [f"{name} {held[name]} of {of[name]}" for name in SPLITS if of[name]]
    if named and of[""]:
        named.append(f"none {held['']} of {of['']}")
    value = f"{sum(kept)} of {len(kept)} windows{': ' if named else ''}{', '.join(named)}"
    per = [part for part, there in (("split", bool(named)), ("class", by_class)) if there]
    how = f", per {' and '.join(per)}" if per else ""
    return Fact("drawn", value, f"--max-samples, seed {options.seed}{how}")


def _lost(names: Sequence[str], count: int) -> Finding:
    which = f"class {names[0]!r}" if len(names) == 1 else f"{len(names)} classes: {_listed(names)}"
    return Finding(
        "warning",
        f"No window was drawn of {which}",
        f"--max-samples {count}",
        "Say more samples, or another --seed",
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
