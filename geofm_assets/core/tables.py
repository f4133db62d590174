"""A table in a Parquet file that says what it was made from."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from geofm_assets.core.parquet import read_parquet_metadata
from geofm_assets.core.schema import ValidationReport

_SMALL_TABLE = 10_000  # rows up to which setting up zstd costs more than it saves


@dataclass(frozen=True)
class Provenance:
    """What an artifact was made from, kept inside the artifact.

    Attributes:
        inputs: digest of everything it was made from (upstream content, settings, code version).
        content: digest of what it says; the Dagster data version.
        code_version: version of the code that made it.
        simulated: whether any input was simulated.
    """

    inputs: str
    content: str
    code_version: str
    simulated: bool


class MadeFrom(TypedDict):
    """What `Store.write_table` is told of a table's making."""

    inputs: str
    code_version: str
    simulated: bool


@dataclass(frozen=True)
class TableRef:
    """A table that has been written: its key, size, provenance and schema report."""

    key: str
    rows: int
    provenance: Provenance
    report: ValidationReport


def table_bytes(
    table: pa.Table, provenance: Provenance, schema: str, file_metadata: Mapping[str, str]
) -> bytes:
    """A Parquet file; the same table gives the same bytes.

    Args:
        table: what it holds.
        provenance: and what that was made from.
        schema: name of the table's schema.
        file_metadata: what else its footer says.
    """
    metadata = {
        **file_metadata,
        "geofm.inputs": provenance.inputs,
        "geofm.content": provenance.content,
        "geofm.code_version": provenance.code_version,
        "geofm.simulated": json.dumps(provenance.simulated),
        "geofm.schema": schema,
    }
    sink = io.BytesIO()
    pq.write_table(
        table.replace_schema_metadata(metadata),
        sink,
        compression="snappy" if table.num_rows <= _SMALL_TABLE else "zstd",
        row_group_size=65_536,
    )
    return sink.getvalue()


def read_provenance(path: UPath) -> Provenance:
    """Provenance in a table's footer; FileNotFoundError if there is no such file."""
    value = read_parquet_metadata(path)
    return Provenance(
        value["geofm.inputs"],
        value["geofm.content"],
        value["geofm.code_version"],
        json.loads(value["geofm.simulated"]),
    )
