"""Content hashes: the same content gives the same digest on any machine."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

_CHUNK = 1 << 20


class _HashSink(io.RawIOBase):
    """A file that keeps only the sha256 of what is written to it."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._digest.update(data)
        return len(data)

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def json_digest(value: Any) -> str:
    """Hex sha256 of a JSON-encodable value, independent of key order."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def table_digest(table: pa.Table) -> str:
    """Hex sha256 of a table's schema and values, row order included.

    Independent of chunking, of offsets into shared buffers and of schema metadata, because the
    table is re-laid into one Arrow IPC batch before it is hashed.
    """
    # take() copies into fresh buffers, so offsets and stale bits under nulls do not leak in
    rows = pa.array(np.arange(table.num_rows), pa.int64())
    fresh = table.replace_schema_metadata(None).combine_chunks().take(rows).combine_chunks()
    digest = _HashSink()
    with pa.ipc.new_stream(pa.PythonFile(digest, "w"), fresh.schema) as writer:
        writer.write_table(fresh)
    return digest.hexdigest()


def keyed_hash(key: str, seed: int) -> int:
    """64-bit xxh3 of a UTF-8 string under a seed: the order used wherever we sample.

    xxh3 is specified and stable across platforms and versions, unlike DuckDB's or polars' hash.
    """
    return xxhash.xxh3_64_intdigest(key.encode(), seed=seed)


def keyed_hashes(keys: list[str], seed: int) -> np.ndarray:
    """`keyed_hash` of each key as a uint64 array."""
    digest = xxhash.xxh3_64_intdigest
    return np.fromiter(
        (digest(k.encode(), seed=seed) for k in keys), dtype=np.uint64, count=len(keys)
    )
