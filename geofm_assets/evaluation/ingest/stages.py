"""How an evaluation dataset is made as a stage: options from the partition, outcome for people.

Plain Python: a stage can be made from a notebook with a `Store`.
"""

import base64
from collections.abc import Mapping
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
from geofm_assets.evaluation.ingest.ingest import (
    CODE_VERSION,
    IngestResult,
    ingest_dataset,
    read_record,
)
from geofm_assets.evaluation.ingest.options import IngestOptions
from geofm_assets.evaluation.registry.discover import discover
from geofm_assets.evaluation.samples.packing import samples_key

_SHEETS_SHOWN = 9


@dataclass(frozen=True)
class EvaluationDatasetStage:
    """One registered evaluation dataset.

    Attributes:
        environment: where datasets are looked for that were never ingested.
    """

    environment: Mapping[str, str]
    code_version: str = CODE_VERSION

    def key(self, name: str) -> str:
        """Store key of the dataset's table of samples."""
        return samples_key(name)

    def options(self, store: Store, name: str, said: Mapping[str, Any]) -> IngestOptions:
        """Options of a dataset: what was said, over those of its last ingest, over its folder's.

        Args:
            store: where its last ingest is noted.
            name: of the dataset.
            said: fields of IngestOptions that were said now.

        Raises:
            DatasetError: nobody ever said where it comes from, or a value is not allowed.
        """
        record = read_record(store, name)
        found = discover(self.environment).get(name) if record is None else None
        base: dict[str, Any] = {}
        if record is not None:
            # made again on purpose: what is there may be replaced
            base = {**record["options"], "overwrite": True}
        elif found is not None:
            base = found.options.model_dump()
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

    def make(
        self, store: Store, name: str, said: Mapping[str, Any], report: Report = silent
    ) -> Outcome:
        """Ingest the dataset, or leave it if nothing changed."""
        result = ingest_dataset(store, self.options(store, name, said), report)
        entry, table = result.entry, store.read_table(self.key(name))
        metadata = {
            **table_metadata(table),
            "task_type": entry.task_type,
            "metric": entry.metric,
            "classes": Json(list(entry.classes)),
            "modalities": Json({n: list(m.bands) for n, m in entry.modalities.items()}),
            "split": Json(entry.split.model_dump(mode="json")),
            "simulated": entry.simulated,
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
    shown = [key for key in result.sheets if key.rpartition("/")[2].startswith("train-")]
    parts = []
    for key in shown[:_SHEETS_SHOWN]:
        name = key.rpartition("/")[2]
        data = base64.b64encode(store.read_bytes(key)).decode()
        parts.append(f"![{name}](data:image/png;base64,{data})")
    others = [key.rpartition("/")[2] for key in result.sheets if key not in shown[:_SHEETS_SHOWN]]
    if others:
        parts.append("Also in the store: " + ", ".join(others))
    return "\n\n".join(parts)
