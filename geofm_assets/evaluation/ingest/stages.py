"""How an evaluation dataset is made as a stage: options from the partition, outcome for people.

Plain Python: a stage can be made from a notebook with a `Store`.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from geofm_assets.core.errors import DatasetError
from geofm_assets.core.outcome import (
    CheckOutcome,
    Json,
    Location,
    Markdown,
    Outcome,
    kept_check,
    table_metadata,
)
from geofm_assets.core.progress import Report, silent
from geofm_assets.core.store import Store
from geofm_assets.evaluation.ingest.options import CODE_VERSION, DESCRIBING, IngestOptions
from geofm_assets.evaluation.ingest.remember import read_record
from geofm_assets.evaluation.ingest.report import IngestResult, ValidationReport
from geofm_assets.evaluation.registry.discover import search
from geofm_assets.evaluation.registry.entry import DatasetEntry
from geofm_assets.evaluation.samples.packing import samples_key

_SHEETS_SHOWN, _SHEETS_BYTES = 9, 4 << 20  # they go into Dagster's event log
Ingest = Callable[[Store, IngestOptions, Report], IngestResult]


def ingest_now(store: Store, options: IngestOptions, report: Report) -> IngestResult:
    """`ingest_dataset`; what reads rslearn datasets is imported by whoever ingests one."""
    from geofm_assets.evaluation.ingest.ingest import ingest_dataset

    return ingest_dataset(store, options, report)


@dataclass(frozen=True)
class EvaluationDatasetStage:
    """One registered evaluation dataset.

    Attributes:
        environment: where datasets are looked for that were never ingested.
        ingest: does the work.
    """

    environment: Mapping[str, str]
    ingest: Ingest = ingest_now
    code_version: str = CODE_VERSION

    def key(self, name: str) -> str:
        """Store key of the dataset's table of samples."""
        return samples_key(name)

    def options(
        self, store: Store, name: str, said: Mapping[str, Any], remember: bool = True
    ) -> IngestOptions:
        """Options of a dataset: what was said, over those of its last ingest, over its folder's.

        Args:
            store: where its last ingest is noted.
            name: of the dataset.
            said: fields of IngestOptions that were said now.
            remember: False if what is said now is all there is to say.

        Raises:
            DatasetError: nobody ever said where it comes from, or a value is not allowed.
            ConfigError: it was placed, and the file beside it cannot be used.
        """
        record = read_record(store, name) if remember else None
        base: dict[str, Any] = {}
        if record is not None:
            # made again on purpose: what is there may be replaced; what describes the data is
            # kept by the ingest itself
            # (DESCRIBING); a default is what nobody said
            fields = IngestOptions.model_fields
            before = {
                k: v
                for k, v in record["options"].items()
                if k not in DESCRIBING and (k not in fields or v != fields[k].default)
            }
            base = {**before, "overwrite": True}
        elif remember:
            base = self._placed(name, "source" in said)
        if not base and "source" not in said:
            raise DatasetError(
                f"Where dataset {name!r} comes from is not known",
                where=f"partition {name}",
                fix="Say source in the launchpad, or put it where GEOFM_EVAL_DATASETS points",
            )
        try:
            return IngestOptions.model_validate({**base, **said, "name": name})
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise DatasetError(f"{field}: {first['msg']}", where=f"partition {name}") from error

    def _placed(self, name: str, has_source: bool) -> dict[str, Any]:
        """What the file beside a placed dataset says; nothing if none of this name was placed.

        Raises:
            ConfigError: the one of this name cannot be used; others do not matter.
        """
        found = search(self.environment)
        if name in found.datasets:
            return found.datasets[name].options.model_dump(exclude_unset=True)
        if name in found.broken and not has_source:
            raise found.broken[name]
        return {}

    def make(
        self,
        store: Store,
        name: str,
        said: Mapping[str, Any],
        report: Report = silent,
        remember: bool = True,
    ) -> Outcome:
        """Ingest the dataset, or leave it if nothing changed."""
        options = self.options(store, name, said, remember)
        return self._outcome(store, self.ingest(store, options, report), options.register)

    def kept(self, store: Store, entry: DatasetEntry) -> Outcome | None:
        """What the last ingest of a registered dataset came to; None if nothing is known of it."""
        record = read_record(store, entry.name)
        if record is None or not store.exists(self.key(entry.name)):
            return None
        said = ValidationReport.from_json(record["report"])
        sheets = tuple(record["sheets"])
        return self._outcome(store, IngestResult(entry, said.facts, said, sheets), True)

    def _outcome(self, store: Store, result: IngestResult, registered: bool) -> Outcome:
        entry, name = result.entry, result.entry.name
        table = store.read_table(self.key(name))
        metadata = {
            **table_metadata(table),
            "task_type": entry.task_type,
            "metric": entry.metric,
            "classes": Json(list(entry.classes)),
            "modalities": Json({n: list(m.bands) for n, m in entry.modalities.items()}),
            "split": Json(entry.split.model_dump(mode="json")),
            "simulated": entry.simulated,
            "registered": registered,
            "inferred": Markdown(_facts(result)),
            "contact_sheets": Markdown(_sheets(store, result)),
            "path": Location(f"{store.url}/evaluation/datasets/{name}"),
        }
        provenance = store.provenance(self.key(name))
        inputs = provenance.inputs if provenance is not None else ""
        findings = result.report
        valid = CheckOutcome(
            "valid_source",
            findings.passed,
            f"{findings.windows} windows: {len(findings.errors)} errors, "
            f"{len(findings.warnings)} warnings",
            {"warnings": [str(f) for f in findings.warnings[:20]]},
        )
        checks = [kept_check(table), valid]
        return Outcome(entry.content, inputs, metadata, checks, result.skipped)


def _facts(result: IngestResult) -> str:
    lines = ["| what | value | from |", "|---|---|---|"]
    for fact in result.inferred:
        cells = (fact.field, fact.value, fact.source)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def _sheets(store: Store, result: IngestResult) -> str:
    """The train sheets inside, the others by name."""
    parts: list[str] = []
    others: list[str] = []
    room = _SHEETS_BYTES
    for key in result.sheets:
        name = key.rpartition("/")[2]
        if not name.startswith("train-") or len(parts) == _SHEETS_SHOWN or room <= 0:
            others.append(name)
            continue
        data = base64.b64encode(store.read_bytes(key)).decode()
        room -= len(data)
        parts.append(f"![{name}](data:image/png;base64,{data})")
    if others:
        parts.append("Also in the store: " + ", ".join(others))
    return "\n\n".join(parts)
