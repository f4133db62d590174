"""Ingest an rslearn dataset: validate, copy, split, pack, statistics, sheets, register.

Every step leaves what it made in the store, with a digest of what it was made from. A run that was
killed goes on; a run with nothing new makes nothing; new windows, labels, splits or options make
the samples anew and change the dataset's content, so that nothing made from the old ones is used.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from upath import UPath

from geofm_assets.core.errors import DatasetError
from geofm_assets.core.progress import Report, silent
from geofm_assets.core.store import Store
from geofm_assets.evaluation.ingest.copy import copy_source
from geofm_assets.evaluation.ingest.describe import describe
from geofm_assets.evaluation.ingest.from_chips import is_task_dataset
from geofm_assets.evaluation.ingest.options import IngestOptions
from geofm_assets.evaluation.ingest.pack import pack_scan, remove_old_sheets
from geofm_assets.evaluation.ingest.refusals import (
    inputs_digest,
    removed_if_refused,
    require_free,
    require_inputs,
    require_unchanged,
)
from geofm_assets.evaluation.ingest.remember import keep_described, read_record, record_key
from geofm_assets.evaluation.ingest.report import Fact, IngestResult, ValidationReport
from geofm_assets.evaluation.ingest.scan import Scan, scan_source
from geofm_assets.evaluation.ingest.source import read_config, source_path
from geofm_assets.evaluation.registry.entry import DatasetEntry, ModalityEntry, SplitEntry
from geofm_assets.evaluation.registry.registry import Registry, dataset_folder
from geofm_assets.evaluation.samples.contact_sheet import Sheets, write_sheets
from geofm_assets.evaluation.samples.packed import PackedSamples
from geofm_assets.evaluation.samples.packing import samples_key
from geofm_assets.evaluation.samples.statistics import modality_entries


def ingest_dataset(
    store: Store,
    options: IngestOptions,
    report: Report = silent,
    registry: Registry | None = None,
) -> IngestResult:
    """Turn an rslearn dataset into a registered evaluation.

    Args:
        store: where to.
        options: what was said; the rest is inferred.
        report: told of steps done.
        registry: of the store.

    Raises:
        DatasetError: the source is not there, something must be said by a flag, or something is
            wrong with it: one error names all of it. The registry is then as it was.
        RegistryError: another dataset has this name and `overwrite` was not said, or another
            process is ingesting it.
    """
    registry = registry or Registry(store)
    with registry.claim(options.name):
        return _ingest(store, options, report, registry)


def _ingest(
    store: Store, options: IngestOptions, report: Report, registry: Registry
) -> IngestResult:
    source = source_path(options.source)
    options = options.model_copy(update={"source": str(source)})
    registered = registry.read().datasets.get(options.name)
    require_free(registry, registered, options, source)
    record = read_record(store, options.name)
    options, kept = keep_described(store, options, record, str(source))
    in_place = is_task_dataset(read_config(source))
    if registered is not None and not options.overwrite:
        require_unchanged(store, options, source, record)
    elif source.protocol in ("", "file", "local") and not in_place:
        # before much is copied; a source elsewhere is only fetched once
        scan_source(source, options, report, pixels=False).report.require_passed(str(source))
    fresh = not store.exists(dataset_folder(options.name))
    copied = copy_source(source, store, options.name, options.overwrite, report)
    options = options.model_copy(update={"simulated": options.simulated or copied.simulated})
    inputs = inputs_digest(copied.content, options)
    if registered is not None and record is not None and not options.overwrite:
        require_inputs(store, options, source, record, inputs)  # it may have changed meanwhile
    if record is not None and record["inputs"] == inputs and _is_whole(store, options.name, record):
        return _unchanged(store, options, source, record, kept, registry)
    with removed_if_refused(registry, options.name, fresh=fresh):
        scan = _scanned(copied.folder, options, report, str(source), keep=not in_place)
        samples = pack_scan(store, options, scan, inputs, report)
        modalities = modality_entries(samples)
        report(1, 3, "statistics")
        sheets = write_sheets(store, samples, modalities, options.seed)
        remove_old_sheets(store, options.name, sheets.keys)
        report(2, 3, "contact sheets")
        said = _with_sheets(scan.report, sheets)
        entry = _entry(options, source, samples, modalities, scan)
    record = {
        "inputs": inputs,
        "options": options.model_dump(mode="json"),
        "modalities": {n: m.model_dump(mode="json") for n, m in modalities.items()},
        "split": entry.split.model_dump(mode="json"),
        "report": said.as_json(),
        "sheets": sheets.keys,
        "content": entry.content,
    }
    store.write_json(record_key(options.name), record)
    if options.register:
        same_data = registered is not None and registered.content == entry.content
        registry.put(entry, overwrite=options.overwrite or same_data)
    report(3, 3, "registered" if options.register else "not registered: --no-register")
    return _result(entry, said, kept, sheets.keys, skipped=False)


def _with_sheets(said: ValidationReport, sheets: Sheets) -> ValidationReport:
    """A report that says so where not every class is on a contact sheet."""
    if sheets.classes == sheets.of:
        return said
    value = f"{sheets.classes} of {sheets.of} classes"
    fact = Fact("contact sheets", value, "those with most samples in train")
    return dataclasses.replace(said, facts=(*said.facts, fact))


def _result(
    entry: DatasetEntry,
    said: ValidationReport,
    kept: tuple[Fact, ...],
    sheets: Sequence[str],
    *,
    skipped: bool,
) -> IngestResult:
    """With what was kept of the last ingest beside what was found by this one."""
    report = dataclasses.replace(said, facts=said.facts + kept)
    return IngestResult(entry, report.facts, report, tuple(sheets), skipped)


def _scanned(
    folder: UPath, options: IngestOptions, report: Report, where: str, *, keep: bool
) -> Scan:
    """A scan without errors; images are kept in memory if they are dear to read again.

    Raises:
        DatasetError: it has some.
    """
    scan = scan_source(folder, options, report, keep=keep)
    scan.report.require_passed(where)
    if scan.split is None or scan.inferred is None or scan.size is None:
        raise DatasetError("No window can be used", where=where, fix="Look at geofm evals validate")
    return scan


def _is_whole(store: Store, name: str, record: Mapping[str, Any]) -> bool:
    """Whether the samples and sheets of the last ingest are all there and can be opened."""
    provenance = store.provenance(samples_key(name))
    if provenance is None or provenance.inputs != record["inputs"]:
        return False
    if not all(store.exists(key) for key in record["sheets"]):
        return False
    try:
        return bool(PackedSamples(store, name).content)
    except DatasetError:
        return False


def _unchanged(
    store: Store,
    options: IngestOptions,
    source: UPath,
    record: Mapping[str, Any],
    kept: tuple[Fact, ...],
    registry: Registry,
) -> IngestResult:
    """The samples are those of today's source: only what is said of them may be new."""
    samples = PackedSamples(store, options.name)
    modalities = {n: ModalityEntry.model_validate(m) for n, m in record["modalities"].items()}
    split = SplitEntry.model_validate(record["split"])
    entry = describe(options, source, samples, modalities, split)
    said_now = {**record, "options": options.model_dump(mode="json")}
    store.write_json(record_key(options.name), said_now)
    if options.register:
        there = registry.read().datasets.get(options.name)
        same_data = there is not None and there.content == entry.content
        registry.put(entry, overwrite=options.overwrite or same_data)
    report = ValidationReport.from_json(record["report"])
    return _result(entry, report, kept, record["sheets"], skipped=True)


def _entry(
    options: IngestOptions,
    source: UPath,
    samples: PackedSamples,
    modalities: Mapping[str, ModalityEntry],
    scan: Scan,
) -> DatasetEntry:
    assert scan.split is not None
    split = SplitEntry(
        rule=scan.split.rule,
        seed=options.seed,
        block_m=scan.split.block_m,
        counts=scan.split.counts(),
    )
    return describe(options, source, samples, modalities, split)
