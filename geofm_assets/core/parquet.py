"""Reading Parquet without Arrow's worker threads.

A worker that still holds a Python file object while the interpreter ends aborts the process
(apache/arrow issues 34314 and 50482), after the work is done and only sometimes. One thread and
no pre-buffering leave no worker behind.
"""

import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath


def read_parquet(path: UPath, columns: list[str] | None = None) -> pa.Table:
    """A table, its metadata dropped.

    Args:
        path: local or remote.
        columns: the only ones to read, in this order.

    Raises:
        FileNotFoundError: there is no such file.
        KeyError: a column of `columns` is not in it.
    """
    with path.open("rb") as stream:
        parquet = pq.ParquetFile(stream, pre_buffer=False)
        unknown = set(columns or ()) - set(parquet.schema_arrow.names)
        if unknown:
            raise KeyError(f"{path} has no column {', '.join(sorted(unknown))}")
        table = parquet.read(columns=columns, use_threads=False)
    return (table.select(columns) if columns else table).replace_schema_metadata(None)


def read_parquet_metadata(path: UPath) -> dict[str, str]:
    """Key-value metadata of a file's schema; FileNotFoundError if there is no such file."""
    with path.open("rb") as stream:
        raw = pq.ParquetFile(stream, pre_buffer=False).schema_arrow.metadata or {}
    return {k.decode(): v.decode() for k, v in raw.items()}


def parquet_rows(path: UPath) -> int:
    """Rows of a file, from its footer; FileNotFoundError if there is no such file."""
    with path.open("rb") as stream:
        rows: int = pq.ParquetFile(stream, pre_buffer=False).metadata.num_rows
    return rows
