"""The store: where every artifact lies, written atomically, read by key.

`GEOFM_STORE` is a local folder or any URL fsspec knows. Keys are relative POSIX paths, laid out
as docs/store.md says. A write is seen whole or not at all: locally a temporary name is renamed,
in a bucket a single put is atomic by itself.
"""

import io
import json
import os
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from geofm_assets.core.errors import ConfigError
from geofm_assets.core.hashing import table_digest
from geofm_assets.core.parquet import parquet_rows, read_parquet, read_parquet_metadata
from geofm_assets.core.schema import TableModel, ValidationReport, require_passed, validate

_SMALL_TABLE = 10_000  # rows up to which setting up zstd costs more than it saves
_SAFE_KEY = re.compile(r"^[A-Za-z0-9_.=\-]+(/[A-Za-z0-9_.=\-]+)*$")


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


class Store:
    """Artifacts by key under one URL.

    Args:
        url: a local folder or an fsspec URL such as `s3://bucket/prefix`.
    """

    def __init__(self, url: str | os.PathLike[str]) -> None:
        text = str(url)
        if not text:
            raise ConfigError("The store has no location", fix="Set GEOFM_STORE or pass --store")
        self.root: UPath = UPath(text)
        if self.is_local:
            self.root = UPath(Path(self.root.path).expanduser().resolve())

    @property
    def url(self) -> str:
        """The store's location as given, with local paths absolute."""
        return str(self.root)

    @property
    def is_local(self) -> bool:
        """Whether the store is a folder of this machine."""
        return self.root.protocol in ("", "file", "local")

    def path(self, key: str) -> UPath:
        """Location of a key.

        Raises:
            ConfigError: the key could leave the store (`..`, absolute) or holds odd characters.
        """
        if not _SAFE_KEY.match(key) or ".." in key.split("/"):
            raise ConfigError("Not a store key", where=repr(key))
        return self.root / key

    def local_path(self, key: str) -> Path:
        """Local folder or file of a key, for libraries that only know local paths.

        Raises:
            ConfigError: the store is not a local folder.
        """
        if not self.is_local:
            raise ConfigError(
                "This step needs a local store", where=self.url, fix="Point --store at a folder"
            )
        return Path(self.path(key).path)

    def exists(self, key: str) -> bool:
        """Whether something was written under this key."""
        return bool(self.path(key).exists())

    def write_bytes(self, key: str, data: bytes) -> None:
        """Write bytes so that a reader sees the old content or the new, never a part."""
        target = self.path(key)
        if not self.is_local:
            target.write_bytes(data)
            return
        local = Path(target.path)
        local.parent.mkdir(parents=True, exist_ok=True)
        temporary = local.with_name(f".{local.name}.{uuid.uuid4().hex}.tmp")
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(local)

    def read_bytes(self, key: str) -> bytes:
        """Bytes of a key; FileNotFoundError if it was never written."""
        data: bytes = self.path(key).read_bytes()
        return data

    def write_json(self, key: str, value: Any) -> None:
        """Write JSON with sorted keys."""
        self.write_bytes(key, (json.dumps(value, sort_keys=True, indent=1) + "\n").encode())

    def read_json(self, key: str) -> Any:
        """Parsed JSON of a key."""
        return json.loads(self.read_bytes(key))

    def list_keys(self, prefix: str, suffix: str = "") -> list[str]:
        """Keys below a prefix, sorted, temporary files left out."""
        base = self.path(prefix)
        if not base.exists():
            return []
        root_length = len(self.root.path.rstrip("/")) + 1
        keys = [str(p.path)[root_length:] for p in base.rglob("*") if p.is_file()]
        # a killed process leaves temporary files, and folders of them, behind
        return sorted(k for k in keys if k.endswith(suffix) and ".tmp/" not in f"{k}/")

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
        provenance = Provenance(
            inputs, table_digest(table.drop_columns(list(measured))), code_version, simulated
        )
        metadata = {
            **(file_metadata or {}),
            "geofm.inputs": provenance.inputs,
            "geofm.content": provenance.content,
            "geofm.code_version": provenance.code_version,
            "geofm.simulated": json.dumps(provenance.simulated),
            "geofm.schema": model.__name__,
        }
        sink = io.BytesIO()
        pq.write_table(
            table.replace_schema_metadata(metadata),
            sink,
            compression="snappy" if table.num_rows <= _SMALL_TABLE else "zstd",
            row_group_size=65_536,
        )
        self.write_bytes(key, sink.getvalue())
        return TableRef(key, table.num_rows, provenance, report)

    def read_table(self, key: str, columns: list[str] | None = None) -> pa.Table:
        """A Parquet table, metadata dropped; FileNotFoundError if it was never written."""
        return read_parquet(self.path(key), columns)

    def rows(self, key: str) -> int:
        """How many rows a table has; FileNotFoundError if it was never written."""
        return parquet_rows(self.path(key))

    def provenance(self, key: str) -> Provenance | None:
        """Provenance in a table's footer, None if the table does not exist."""
        path = self.path(key)
        if not path.exists():
            return None
        value = read_parquet_metadata(path)
        return Provenance(
            value["geofm.inputs"],
            value["geofm.content"],
            value["geofm.code_version"],
            json.loads(value["geofm.simulated"]),
        )
