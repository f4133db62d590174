"""Look at every window of a source once: labels, pixels, dates, sizes, duplicates, leakage.

What is wrong with a window is written down and the next one is looked at, so that nothing is lost.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from rslearn.dataset import Dataset, Window
from upath import UPath

from geofm_assets.core.errors import DatasetError
from geofm_assets.core.progress import Report, silent
from geofm_assets.evaluation.ingest.checks import (
    common_size,
    divide,
    look_at_class_names,
    look_at_conflicts,
    look_at_duplicates,
)
from geofm_assets.evaluation.ingest.choose import choose_windows
from geofm_assets.evaluation.ingest.dense import DenseLabel, dense_label
from geofm_assets.evaluation.ingest.from_chips import says_simulated, window_images, with_imagery
from geofm_assets.evaluation.ingest.images import as_utc
from geofm_assets.evaluation.ingest.infer import Inferred, Parts, infer_parts
from geofm_assets.evaluation.ingest.label_plan import LabelPlan
from geofm_assets.evaluation.ingest.labels import LabelError, vector_label
from geofm_assets.evaluation.ingest.options import IngestOptions
from geofm_assets.evaluation.ingest.plausible import PixelSample
from geofm_assets.evaluation.ingest.report import Fact, Findings, ValidationReport
from geofm_assets.evaluation.ingest.rows import ScannedWindow, WindowLabel
from geofm_assets.evaluation.ingest.source import (
    footprint,
    given_split,
    open_source,
    sample_id,
    source_path,
    source_windows,
    unknown_split,
    window_side,
)
from geofm_assets.evaluation.samples.packing import SourceImages, SourceSample
from geofm_assets.evaluation.samples.split import Place, Split
from geofm_assets.evaluation.samples.types import IGNORE

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEVER = (_EPOCH, _EPOCH)
_KEPT_BYTES = 1 << 30  # of pixels, so that a dataset of ordinary size is read once


@dataclass
class Scan:
    """What a look at a source came to.

    Attributes:
        dataset: the source, None if it cannot be opened.
        inferred: None if something could not be told.
        rows: usable windows, sorted by sample id.
        split: None if there is none.
        size: side of a window in pixels, None if they differ.
        simulated: whether a scene or window says it was simulated.
        report: everything that was found.
    """

    dataset: Dataset | None
    inferred: Inferred | None
    rows: list[ScannedWindow]
    split: Split | None
    size: int | None
    simulated: bool
    report: ValidationReport

    def read(self, row: int, options: IngestOptions) -> SourceSample:
        """Pixels and label of a row.

        Raises:
            DatasetError: the window changed since it was looked at.
        """
        assert self.dataset is not None
        assert self.inferred is not None
        scanned, label = self.rows[row], self.inferred.label
        images = scanned.images or {
            name: window_images(scanned.window, self.dataset.layers, plan, options)
            for name, plan in self.inferred.modalities.items()
        }
        held = scanned.label
        if label.dense:
            held = dense_label(scanned.window, label, self.dataset.layers[label.layer]).values
        return SourceSample(images, held)

    def timesteps(self) -> dict[str, int]:
        """The most images any window has, by modality."""
        assert self.inferred is not None
        return {
            name: max((row.timesteps[name] for row in self.rows), default=0)
            for name in self.inferred.modalities
        }


@dataclass
class _Looking:
    """State of one look."""

    dataset: Dataset
    options: IngestOptions
    parts: Parts
    findings: Findings
    pixels: dict[str, PixelSample] = field(default_factory=dict)
    rows: list[ScannedWindow] = field(default_factory=list)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    conflicts: dict[str, int] = field(default_factory=dict)
    simulated: bool = False
    read_pixels: bool = True
    room: int = 0


def scan_source(
    source: str | Path | UPath,
    options: IngestOptions,
    report: Report = silent,
    pixels: bool = True,
    keep: bool = False,
) -> Scan:
    """Look at everything.

    Args:
        source: an rslearn dataset.
        options: what was said.
        report: told of windows done.
        pixels: whether images are read; without them only what metadata and labels say is known.
        keep: whether images stay in memory, up to a gigabyte, for packing.
    """
    findings = Findings()
    try:
        dataset = open_source(source_path(source))
        usable = with_imagery(source_windows(dataset, options), findings)
    except DatasetError as error:
        findings.add_error(error)
        return Scan(None, None, [], None, None, False, ValidationReport(findings.all()))
    chosen = choose_windows(dataset, usable, options)
    windows, parts = chosen.windows, infer_parts(dataset, chosen, options)
    for failed in parts.errors:
        findings.add_error(failed)
    for known in parts.warnings:
        findings.add(known.level, known.what, known.where, known.fix)
    looking = _Looking(dataset, options, parts, findings, simulated=options.simulated)
    looking.read_pixels, looking.room = pixels, _KEPT_BYTES if keep else 0
    for name, plan in (parts.modalities or {}).items():
        looking.pixels[name] = PixelSample(plan, len(windows))
    for number, window in enumerate(windows, start=1):
        _look(looking, window)
        report(number, len(windows), sample_id(window))
    for sample in looking.pixels.values():
        sample.judge(findings, options.sentinel1_unit)
    look_at_duplicates(looking.rows, findings)
    look_at_conflicts(looking.conflicts, findings)
    size = common_size(looking.sizes, findings)
    looking.rows.sort(key=lambda row: row.place.sample_id)
    classes = parts.label.classes if parts.label is not None else ()
    look_at_class_names(classes, findings)
    split = divide(looking.rows, classes, options, findings)
    if split is not None:
        shares = ", ".join(f"{name} {count}" for name, count in split.counts().items())
        parts.facts.append(Fact("split", f"{split.rule}: {shares}", "; ".join(split.notes)))
    inferred = None if parts.errors else parts.whole()
    said = ValidationReport(
        findings.all(), tuple(parts.facts), len(windows), split.counts() if split else {}
    )
    return Scan(dataset, inferred, looking.rows, split, size, looking.simulated, said)


def _look(looking: _Looking, window: Window) -> None:
    """One window."""
    name = sample_id(window)
    looking.simulated = looking.simulated or says_simulated(window)
    looking.sizes[window_side(window)] += 1
    said = unknown_split(window, looking.options)
    if said is not None:
        what = f"Window option {looking.options.split_property} says {said!r}, which is no split"
        fix = "Say --split-property for another option; splits are train, val and test"
        looking.findings.add_window("warning", what, name, fix)
    wanted = looking.parts.modalities or {} if looking.read_pixels else {}
    images = {modality: _images(looking, window, modality) for modality in wanted}
    found = _label(looking, window)
    held = {modality: image for modality, image in images.items() if image is not None}
    if found is None or len(held) < len(images) or (held and not _has_pixels(looking, name, held)):
        return
    box, lon, lat = footprint(window)
    place = Place(name, box, given_split(window, looking.options), found.classes)
    steps = {modality: len(image.values) for modality, image in held.items()}
    times = _times(window, held.values())
    size = sum(image.values.nbytes for image in held.values())
    looking.room -= size
    kept = held if looking.room >= 0 else None
    row = ScannedWindow(
        window, place, lon, lat, times, found.value, found.text, found.target, steps, kept
    )
    looking.rows.append(row)


def _has_pixels(looking: _Looking, name: str, held: dict[str, SourceImages]) -> bool:
    """Whether there is any valid pixel of a window."""
    empty = [modality for modality, image in held.items() if not len(image.values)]
    fix, when = "Materialize its imagery, or leave it out with --groups or --tags", ""
    if looking.options.temporal_range is not None:
        first, last = (moment.date() for moment in looking.options.temporal_range)
        when = f" within --temporal-range {first}/{last}"
        fix = f"Widen --temporal-range. Of a window without any: {fix}"
    if len(empty) == len(held):
        looking.findings.add_window("error", f"A window has no valid pixel{when}", name, fix)
        return False
    for modality in empty:
        what = f"A window has no valid pixel of {modality}{when}"
        looking.findings.add_window("warning", what, name)
    return True


def _images(looking: _Looking, window: Window, modality: str) -> SourceImages | None:
    assert looking.parts.modalities is not None
    plan = looking.parts.modalities[modality]
    try:
        images = window_images(window, looking.dataset.layers, plan, looking.options)
    except DatasetError as error:
        looking.findings.add_window("error", error.what, sample_id(window), error.fix, error.where)
        return None
    looking.pixels[modality].add(images.values)
    return images


def _label(looking: _Looking, window: Window) -> WindowLabel | None:
    """What the label of a window says; None if it cannot be used."""
    plan, name = looking.parts.label, sample_id(window)
    if plan is None:
        return None
    try:
        if plan.dense:
            found = dense_label(window, plan, looking.dataset.layers[plan.layer])
            return _dense(looking, plan, found, name)
        if name in looking.parts.unlabelled:
            raise looking.parts.unlabelled[name]
        value, text = vector_label(plan, looking.parts.properties[name])
    except LabelError as error:
        looking.findings.add_window("error", error.what, name, error.fix, error.where)
        return None
    if plan.task_type == "multilabel":
        shown = tuple(c for c, on in zip(plan.classes, value, strict=True) if on)
        return WindowLabel(value, text, shown)
    if plan.classes:
        return WindowLabel(value, text, (text,))
    return WindowLabel(value, text, target=(value, value))


def _dense(looking: _Looking, plan: LabelPlan, found: DenseLabel, name: str) -> WindowLabel:
    """What the labels of a window's pixels say; they themselves are read again for packing."""
    if found.conflicts:
        looking.conflicts[name] = found.conflicts
    if found.unsaid:
        what = f"Polygons without a {plan.property_name} are left out"
        looking.findings.add_window("warning", what, name)
    known = found.values[found.values != IGNORE if plan.classes else np.isfinite(found.values)]
    if not known.size:
        looking.findings.add_window("warning", "The label of a window has no valid pixel", name)
        return WindowLabel()
    if plan.classes:
        return WindowLabel(classes=tuple(plan.classes[i] for i in np.unique(known).tolist()))
    return WindowLabel(target=(float(known.min()), float(known.max())))


def _times(window: Window, images: Iterable[SourceImages]) -> tuple[datetime, datetime]:
    if window.time_range is not None:
        start, end = window.time_range
        return as_utc(start), as_utc(end)
    held = [image.timestamps for image in images if len(image.timestamps)]
    if not held:
        return _NEVER
    joined = np.concatenate(held)
    first, last = int(joined[:, 0].min()), int(joined[:, 1].max())
    return _EPOCH + timedelta(microseconds=first), _EPOCH + timedelta(microseconds=last)
