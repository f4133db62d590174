"""Writing a table batch by batch, in memory that does not grow with it."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from geofm_assets.core.content_digest import ContentDigest
from geofm_assets.core.schema import TableModel, ValidationReport, require_passed, validate
from geofm_assets.core.store import Provenance, Store, TableRef

BATCH_ROWS = 131_072


class TableWriter:
    """A Parquet table being written; see `table_writer`.

    Attributes:
        rows: written so far.
        first: the first rows, for a preview.
    """

    def __init__(
        self,
        path: Path,
        key: str,
        schema: pa.Schema,
        model: type[TableModel],
        said: dict[str, str],
        few_values: Sequence[str],
    ) -> None:
        self.key, self.schema, self.model, self._said = key, schema, model, said
        self._few = list(few_values)
        self.rows, self.first = 0, _plain(schema).empty_table()
        self._path = path
        self._open()

    def _open(self) -> None:
        self._digest = ContentDigest(self.schema)
        coded = [f.name for f in self.schema if pa.types.is_dictionary(f.type)]
        self._parquet = pq.ParquetWriter(
            str(self._path),
            self.schema,
            compression="snappy",
            use_dictionary=[*coded, *self._few],
            write_statistics=False,
            store_schema=False,  # so that coded columns read as plain strings
        )

    def write(self, table: pa.Table, hashes: Mapping[str, np.ndarray] | None = None) -> None:
        """Append rows, validated.

        Args:
            table: of the writer's schema.
            hashes: of its string columns, see `ContentDigest.update`.

        Raises:
            SchemaError: a row breaks the schema.
        """
        if table.num_rows == 0:
            return
        require_passed(validate(table, self.model), where=self.key)
        if self.rows == 0:
            self.first = table.slice(0, 5).cast(_plain(self.schema))
        self._digest.update(table, hashes)
        self._parquet.write_table(table, row_group_size=BATCH_ROWS)
        self.rows += table.num_rows

    def written(self) -> Iterator[pa.Table]:
        """What was written, batch by batch. Nothing more can be written but through `rewrite`."""
        self._parquet.close()
        yield from _batches(self._path, self.schema)

    def rewrite(self, change: Callable[[pa.Table], pa.Table]) -> None:
        """Write every batch of `written` again, changed; it must have been called before."""
        old = _old(self._path)
        self._path.replace(old)
        self.rows = 0
        self._open()
        for batch in _batches(old, self.schema):
            self.write(change(batch))
        old.unlink()

    def finish(self) -> tuple[Provenance, ValidationReport]:
        """Write the footer and bring the file to disk."""
        content = self._digest.hexdigest()
        metadata = {**self._said, "geofm.content": content}
        self._parquet.add_key_value_metadata(metadata)
        self._parquet.close()
        with self._path.open("rb") as stream:
            os.fsync(stream.fileno())
        provenance = Provenance(
            metadata["geofm.inputs"],
            content,
            metadata["geofm.code_version"],
            json.loads(metadata["geofm.simulated"]),
        )
        return provenance, ValidationReport(self.model.__name__, self.rows)

    def abandon(self) -> None:
        """Close the file, whatever state it is in; the caller removes it."""
        with suppress(OSError, pa.ArrowException):  # Arrow writes a footer as it closes
            self._parquet.close()


class FinishedTable:
    """Where `table_writer` puts the reference to the table once it is in place."""

    ref: TableRef


@contextmanager
def table_writer(
    store: Store,
    key: str,
    schema: pa.Schema,
    model: type[TableModel],
    *,
    inputs: str,
    code_version: str,
    simulated: bool,
    few_values: Sequence[str] = (),
) -> Iterator[tuple[TableWriter, FinishedTable]]:
    """Write a table of the store batch by batch.

    The table appears under its key, whole, when the block ends well; not at all if it fails. The
    same batches give the same bytes. Its content digest (`ContentDigest`) changes with the values
    and the order of rows, not with how they were divided into batches.

    Args:
        store: where to.
        key: of the table.
        schema: columns; a column of few different strings may be dictionary-coded, and is read
            back as plain strings.
        model: what every batch must obey.
        inputs: digest of everything the table is made from.
        code_version: of the code that makes it.
        simulated: whether any input was simulated.
        few_values: other columns of few different values, stored dictionary-coded too.

    Yields:
        The writer, and where the reference will be.
    """
    said = {
        "geofm.inputs": inputs,
        "geofm.code_version": code_version,
        "geofm.simulated": json.dumps(simulated),
        "geofm.schema": model.__name__,
    }
    finished = FinishedTable()
    with store.new_file(key) as temporary:
        writer = TableWriter(temporary, key, schema, model, said, few_values)
        try:
            yield writer, finished
            provenance, report = writer.finish()
        finally:
            writer.abandon()
            _old(temporary).unlink(missing_ok=True)
    finished.ref = TableRef(key, writer.rows, provenance, report)


def read_batches(
    store: Store, key: str, columns: Sequence[str], coded: Sequence[str] = ()
) -> Iterator[pa.Table]:
    """A table of the store, batch by batch.

    Args:
        store: where from.
        key: of the table.
        columns: the only ones to read.
        coded: those of them to read dictionary-coded.

    Raises:
        FileNotFoundError: it was never written.
    """
    # of a bucket a copy: its pages are read in an order that a stream would fetch twice
    with (
        store.fetch_file(key).open("rb") as stream,
        pq.ParquetFile(stream, pre_buffer=False, read_dictionary=list(coded)) as parquet,
    ):
        for batch in parquet.iter_batches(BATCH_ROWS, columns=list(columns), use_threads=False):
            yield pa.Table.from_batches([batch]).replace_schema_metadata(None).select(columns)


def _batches(path: Path, schema: pa.Schema) -> Iterator[pa.Table]:
    coded = [f.name for f in schema if pa.types.is_dictionary(f.type)]
    with pq.ParquetFile(path, pre_buffer=False, read_dictionary=coded) as parquet:
        for batch in parquet.iter_batches(BATCH_ROWS, use_threads=False):
            yield pa.Table.from_batches([batch]).replace_schema_metadata(None).cast(schema)


def _old(path: Path) -> Path:
    """Where a file waits while it is written again; by its name no data either."""
    return path.with_name(f"{path.name}.old.tmp")


def _plain(schema: pa.Schema) -> pa.Schema:
    kinds = [f.type.value_type if pa.types.is_dictionary(f.type) else f.type for f in schema]
    return pa.schema(list(zip(schema.names, kinds, strict=True)))
