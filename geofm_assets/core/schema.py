"""pandera models as the one definition of every table.

A table's model says its columns, their Arrow types and the rules its rows obey. `validate`
reports all failures at once; `arrow_schema` gives the types a table is written with.
"""

from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import pandera.errors
import pandera.pandas as pa_pandas
import pyarrow as pa

from geofm_assets.core.errors import SchemaError

MAX_FAILURES_SHOWN = 20


class TableModel(pa_pandas.DataFrameModel):
    """Base of every table's schema: no unknown columns, in the order given, no coercion."""

    class Config:
        """Strict by default: a column nobody declared is a mistake."""

        strict = True
        ordered = True
        coerce = False


@dataclass(frozen=True)
class ValidationReport:
    """What a schema said of a table.

    Attributes:
        schema: name of the pandera model.
        rows: rows looked at.
        failures: one record per failed rule and row: column, rule, value, row.
        failure_count: how many there were in all.
    """

    schema: str
    rows: int
    failures: list[dict[str, Any]] = field(default_factory=list)
    failure_count: int = 0

    @property
    def passed(self) -> bool:
        """Whether every row obeys every rule."""
        return self.failure_count == 0

    def describe(self) -> str:
        """One line a person can act on."""
        if self.passed:
            return f"{self.rows} rows satisfy {self.schema}"
        first = "; ".join(
            f"{f['column']}: {f['rule']} (value {f['value']!r}, row {f['row']})"
            for f in self.failures[:3]
        )
        return f"{self.failure_count} failures of {self.schema}: {first}"


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """Arrow to pandas with Arrow-backed dtypes, so that nulls and types survive."""
    return table.to_pandas(types_mapper=pd.ArrowDtype)


def validate(table: pa.Table, model: type[TableModel]) -> ValidationReport:
    """Check a whole table against its model, lazily: every failure, not only the first."""
    frame = to_pandas(table)
    name = model.__name__
    try:
        model.validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as error:
        cases = error.failure_cases
        failures = [
            {
                "column": str(row["column"]) if pd.notna(row["column"]) else name,
                "rule": str(row["check"]),
                "value": str(row["failure_case"]),
                "row": None if pd.isna(row["index"]) else int(row["index"]),
            }
            for _, row in cases.head(MAX_FAILURES_SHOWN).iterrows()
        ]
        return ValidationReport(name, table.num_rows, failures, len(cases))
    return ValidationReport(name, table.num_rows)


def require_valid(table: pa.Table, model: type[TableModel], where: str) -> ValidationReport:
    """`validate`, and raise `SchemaError` naming the table if anything fails."""
    return require_passed(validate(table, model), where)


def require_passed(report: ValidationReport, where: str) -> ValidationReport:
    """Raise `SchemaError` naming the table if anything failed."""
    if not report.passed:
        raise SchemaError(
            report.describe(), where=where, fix="Fix the rows named, or the rule if it is wrong"
        )
    return report
