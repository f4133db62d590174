"""The store: where every artifact lies, written atomically, read by key.

`GEOFM_STORE` is a local folder or any URL fsspec knows. Keys are relative POSIX paths, laid out
as docs/store.md says. A write is seen whole or not at all: locally a temporary name is renamed,
in a bucket a single put is atomic by itself. Whatever needs files of this machine asks for them
(`fetch_file`, `fetch_folder`, `new_file`, `publishing`): in a folder they are the store's own.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from geofm_assets.core.hashing import table_digest
from geofm_assets.core.parquet import parquet_rows, read_parquet
from geofm_assets.core.schema import TableModel, ValidationReport, require_passed, validate
from geofm_assets.core.store_folders import StoreFolders
from geofm_assets.core.tables import MadeFrom, Provenance, TableRef, read_provenance, table_bytes

__all__ = ["MadeFrom", "Provenance", "Store", "TableRef"]


class Store(StoreFolders):
    """Artifacts by key under one URL.

    Args:
        url: a local folder or an fsspec URL such as `s3://bucket/prefix`.
    """

    def write_json(self, key: str, value: Any) -> None:
        """Write JSON with sorted keys."""
        self.write_bytes(key, (json.dumps(value, sort_keys=True, indent=1) + "\n").encode())

    def read_json(self, key: str) -> Any:
        """Parsed JSON of a key."""
        return json.loads(self.read_bytes(key))

    def write_table(
        self,
        key: str,
        table: pa.Table,
        model: type[TableModel],
        *,
        inputs: str,
        code_version: str,
        simulated: bool,
        report: ValidationReport | None = None,
        file_metadata: Mapping[str, str] | None = None,
        measured: Sequence[str] = (),
    ) -> TableRef:
        """Validate a table and write it as Parquet, its provenance in the file's metadata.

        The same table gives the same bytes: no timestamps, one thread's encoding, fixed settings.

        Args:
            key: where it goes.
            table: what is written.
            model: its schema.
            inputs: digest of everything it was made from.
            code_version: of the code that made it.
            simulated: whether any input was simulated.
            report: what `model` said of the table, if it was validated already.
            file_metadata: what other readers look for in the file, such as GeoParquet's `geo`.
            measured: columns of what the machine took, seconds for example: never twice the same,
                so the content digest leaves them out.

        Raises:
            SchemaError: the table breaks its schema; nothing is written then.
        """
        report = require_passed(report or validate(table, model), where=key)
        content = table_digest(table.drop_columns(list(measured)))
        provenance = Provenance(inputs, content, code_version, simulated)
        data = table_bytes(table, provenance, model.__name__, file_metadata or {})
        self.write_bytes(key, data)
        return TableRef(key, table.num_rows, provenance, report)

    def read_table(self, key: str, columns: list[str] | None = None) -> pa.Table:
        """A Parquet table, metadata dropped; FileNotFoundError if it was never written."""
        with self.reading(key) as path:
            return read_parquet(path, columns)

    def rows(self, key: str) -> int:
        """How many rows a table has; FileNotFoundError if it was never written."""
        with self.reading(key) as path:
            return parquet_rows(path)

    def provenance(self, key: str) -> Provenance | None:
        """Provenance in a table's footer, None if the table does not exist."""
        with self.reading(key) as path:
            if self.is_local and not path.exists():
                return None
            try:
                return read_provenance(path)
            except FileNotFoundError:
                return None
