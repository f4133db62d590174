"""Ingest an rslearn dataset: validate, copy, split, pack, statistics, sheets, register.

Every step leaves what it made in the store, with a digest of what it was made from. A run that was
killed goes on; a run with nothing new makes nothing; new windows, labels, splits or options make
the samples anew and change the dataset's content, so that nothing made from the old ones is used.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from upath import UPath

from geofm_assets.core.errors import DatasetError, RegistryError
from geofm_assets.core.hashing import json_digest
from geofm_assets.core.progress import Report, silent
from geofm_assets.core.store import Store
from geofm_assets.evaluation.ingest.copy import copy_source
from geofm_assets.evaluation.ingest.describe import describe
from geofm_assets.evaluation.ingest.options import IngestOptions
from geofm_assets.evaluation.ingest.report import Fact, Finding, ValidationReport
from geofm_assets.evaluation.ingest.scan import Scan, scan_source
from geofm_assets.evaluation.ingest.source import source_path
from geofm_assets.evaluation.registry.entry import DatasetEntry, ModalityEntry, SplitEntry
from geofm_assets.evaluation.registry.registry import Registry
from geofm_assets.evaluation.samples.contact_sheet import write_sheets
from geofm_assets.evaluation.samples.packed import PackedSamples
from geofm_assets.evaluation.samples.packing import part_key, samples_key, write_parts
from geofm_assets.evaluation.samples.part_file import Layout
from geofm_assets.evaluation.samples.schema import EVAL_SAMPLE, EvalSampleRow
from geofm_assets.evaluation.samples.split import subset_ranks
from geofm_assets.evaluation.samples.statistics import modality_entries

CODE_VERSION = "1"


@dataclass(frozen=True)
class IngestResult:
    """What an ingest came to.

    Attributes:
        entry: what the registry says, or would say.
        inferred: what was inferred, and from where.
        report: what validation found.
        sheets: store keys of the contact sheets.
        skipped: everything was there already.
    """

    entry: DatasetEntry
    inferred: tuple[Fact, ...]
    report: ValidationReport
    sheets: tuple[str, ...]
    skipped: bool = False


def record_key(name: str) -> str:
    """Store key of the note on a dataset's last ingest."""
    return f"evaluation/datasets/{name}/ingest.json"


def read_record(store: Store, name: str) -> dict[str, Any] | None:
    """The note on the last ingest that was finished; None if there is none."""
    key = record_key(name)
    return store.read_json(key) if store.exists(key) else None


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
    registered = registry.read().datasets.get(options.name)
    if registered is not None and not options.overwrite and registered.source != str(source):
        raise RegistryError(
            f"A dataset named {options.name!r} is registered already, from another source",
            where=f"{registry.url}, made from {registered.source}",
            fix="Choose another --name, or replace it with --overwrite",
        )
    local = source.protocol in ("", "file", "local")
    record = read_record(store, options.name)
    if local and record is None:  # before much is copied; a source elsewhere is only fetched once
        scan_source(source, options, report, pixels=False).report.require_passed(str(source))
    copied = copy_source(source, store, options.name, options.overwrite, report)
    options = options.model_copy(update={"simulated": options.simulated or copied.simulated})
    inputs = json_digest([CODE_VERSION, copied.content, options.making()])
    if record is not None and record["inputs"] == inputs and _is_whole(store, options.name, inputs):
        return _unchanged(store, options, source, record, registry)
    if registered is not None and not options.overwrite:
        raise RegistryError(
            f"The source of {options.name!r} or its options changed since it was registered",
            where=str(source),
            fix="Say --overwrite to make it anew, or choose another --name",
        )
    scan = _scanned(copied.folder, options, report, str(source))
    samples = _pack(store, options, scan, inputs, report)
    modalities = modality_entries(samples)
    report(1, 3, "statistics")
    sheets = write_sheets(store, samples, modalities, options.seed)
    _remove_old_sheets(store, options.name, sheets)
    report(2, 3, "contact sheets")
    said = scan.report
    entry = _entry(options, source, samples, modalities, scan)
    record = {
        "inputs": inputs,
        "options": options.model_dump(mode="json"),
        "modalities": {n: m.model_dump(mode="json") for n, m in modalities.items()},
        "split": entry.split.model_dump(mode="json"),
        "report": said.as_json(),
        "sheets": sheets,
        "content": entry.content,
    }
    store.write_json(record_key(options.name), record)
    if options.register:
        registry.put(entry, overwrite=options.overwrite)
    report(3, 3, "registered" if options.register else "not registered: --no-register")
    return IngestResult(entry, said.facts, said, tuple(sheets))


def _scanned(folder: UPath, options: IngestOptions, report: Report, where: str) -> Scan:
    """A scan without errors.

    Raises:
        DatasetError: it has some.
    """
    scan = scan_source(folder, options, report, keep=True)
    scan.report.require_passed(where)
    if scan.split is None or scan.inferred is None or scan.size is None:
        raise DatasetError("No window can be used", where=where, fix="Look at geofm evals validate")
    return scan


def _is_whole(store: Store, name: str, inputs: str) -> bool:
    """Whether the samples made from these inputs are all there and can be opened."""
    provenance = store.provenance(samples_key(name))
    if provenance is None or provenance.inputs != inputs:
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
    registry: Registry,
) -> IngestResult:
    """The samples are those of today's source: only what is said of them may be new."""
    samples = PackedSamples(store, options.name)
    modalities = {n: ModalityEntry.model_validate(m) for n, m in record["modalities"].items()}
    split = SplitEntry.model_validate(record["split"])
    entry = describe(options, source, samples, modalities, split)
    store.write_json(
        record_key(options.name), {**record, "options": options.model_dump(mode="json")}
    )
    if options.register:
        there = registry.read().datasets.get(options.name)
        same_data = there is not None and there.content == entry.content
        registry.put(entry, overwrite=options.overwrite or same_data)
    said = record["report"]
    report = ValidationReport(
        tuple(Finding(**f) for f in said["findings"]),
        tuple(Fact(**f) for f in said["facts"]),
        said["windows"],
        said["counts"],
    )
    return IngestResult(entry, report.facts, report, tuple(record["sheets"]), skipped=True)


def _pack(
    store: Store, options: IngestOptions, scan: Scan, inputs: str, report: Report
) -> PackedSamples:
    """Write parts and the table of samples; what is there with the same inputs is kept."""
    assert scan.inferred is not None
    assert scan.split is not None
    assert scan.size is not None
    layout = Layout(
        task_type=scan.inferred.task_type,
        classes=scan.inferred.classes,
        window_size=scan.size,
        modalities={name: plan.layout for name, plan in scan.inferred.modalities.items()},
        simulated=scan.simulated,
        inputs=inputs,
    )
    ids = [row.place.sample_id for row in scan.rows]
    timesteps = {name: max(1, count) for name, count in scan.timesteps().items()}
    places = write_parts(
        store,
        options.name,
        layout,
        timesteps,
        ids,
        lambda row: scan.read(row, options),
        report,
    )
    split = scan.split.by_id
    train = [row for row in scan.rows if split[row.place.sample_id] == "train"]
    strata = [
        row.label_text or "" if scan.inferred.task_type == "classification" else "" for row in train
    ]
    ranks = subset_ranks([row.place.sample_id for row in train], strata, options.seed)
    rows = [
        {
            "sample_id": row.place.sample_id,
            "group": str(row.window.group),
            "window_name": str(row.window.name),
            "split": split[row.place.sample_id],
            "lon": row.lon,
            "lat": row.lat,
            "start_time": row.times[0],
            "end_time": row.times[1],
            "label_text": row.label_text,
            "subset_rank": ranks.get(row.place.sample_id),
            "part": part,
            "row": place,
        }
        for row, (part, place) in zip(scan.rows, places, strict=True)
    ]
    store.write_table(
        samples_key(options.name),
        pa.Table.from_pylist(rows, schema=EVAL_SAMPLE),
        EvalSampleRow,
        inputs=inputs,
        code_version=CODE_VERSION,
        simulated=scan.simulated,
    )
    _remove_old_parts(store, options.name, places[-1][0] + 1)
    return PackedSamples(store, options.name)


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


def _remove_old_parts(store: Store, name: str, parts: int) -> None:
    kept = {part_key(name, number) for number in range(parts)}
    for key in store.list_keys(f"evaluation/datasets/{name}/parts"):
        if key not in kept:
            store.path(key).unlink()


def _remove_old_sheets(store: Store, name: str, sheets: list[str]) -> None:
    for key in store.list_keys(f"evaluation/datasets/{name}/sheets"):
        if key not in sheets:
            store.path(key).unlink()
