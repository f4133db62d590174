"""What making an artifact came to: content, checks, and what people should see of it.

Plain values, so that stages can be used without Dagster; `core/assets.py` turns them into
Dagster's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from geofm_assets.core.errors import GeofmError
from geofm_assets.core.schema import ValidationReport
from geofm_assets.core.store import TableRef

_PREVIEW_ROWS = 5


@dataclass(frozen=True)
class Markdown:
    """Text shown as Markdown."""

    text: str


@dataclass(frozen=True)
class Json:
    """A value shown as JSON."""

    value: Any


@dataclass(frozen=True)
class Link:
    """A URL that can be followed."""

    url: str


@dataclass(frozen=True)
class Location:
    """Where something lies in the store."""

    path: str


@dataclass(frozen=True)
class Columns:
    """Names and types of a table's columns."""

    schema: pa.Schema


@dataclass(frozen=True)
class CheckOutcome:
    """The result of one named check on one artifact.

    Attributes:
        name: the check's name, one of the asset's declared checks.
        passed: whether it holds.
        description: one line a person can act on.
        metadata: what was measured, JSON-encodable.
        blocking: whether a failure stops everything downstream.
    """

    name: str
    passed: bool
    description: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    blocking: bool = True


@dataclass(frozen=True)
class Outcome:
    """What making one artifact came to.

    Attributes:
        content: digest of the content: the Dagster data version.
        inputs: digest of what it was made from.
        metadata: what people see: plain values or the wrappers of this module.
        checks: every declared check's result.
        skipped: the artifact was already current and was left alone.
    """

    content: str
    inputs: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    checks: Sequence[CheckOutcome] = ()
    skipped: bool = False


class BlockedError(GeofmError):
    """A blocking check failed, so the artifact does not count as made."""


def schema_check(report: ValidationReport, name: str = "schema") -> CheckOutcome:
    """A pandera report as a check."""
    return CheckOutcome(
        name,
        report.passed,
        report.describe(),
        {"rows": report.rows, "failures": report.failure_count, "schema": report.schema},
    )


def kept_check(table: pa.Table) -> CheckOutcome:
    """The schema check of a table left alone: it was checked when it was written."""
    return kept_rows(table.num_rows)


def kept_rows(rows: int) -> CheckOutcome:
    """`kept_check` of a table that was not read."""
    return CheckOutcome("schema", True, f"{rows} rows, checked when written")


def table_metadata(table: pa.Table, ref: TableRef | None = None) -> dict[str, Any]:
    """Row count, column schema, a preview and the location of a table."""
    metadata: dict[str, Any] = {
        "dagster/partition_row_count": table.num_rows,
        "dagster/column_schema": Columns(table.schema),
        "preview": Markdown(markdown_table(table.slice(0, _PREVIEW_ROWS))),
    }
    if ref is not None:
        metadata["store_key"] = ref.key
        metadata["simulated"] = ref.provenance.simulated
    return metadata


def markdown_table(table: pa.Table) -> str:
    """A small table as Markdown; floats rounded for reading."""

    def cell(value: Any) -> str:
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        return text.replace("|", "\\|")

    names = table.column_names
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(cell(row[n]) for n in names) + " |" for row in table.to_pylist()]
    return "\n".join(lines)


def require_checks(outcome: Outcome, what: str) -> None:
    """Raise if a blocking check failed.

    Raises:
        BlockedError: names the check and what it found.
    """
    for check in outcome.checks:
        if check.blocking and not check.passed:
            raise BlockedError(
                f"Check {check.name} failed: {check.description}",
                where=what,
                fix="Fix the input it names and materialize again",
            )
