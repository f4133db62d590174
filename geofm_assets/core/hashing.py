"""Content hashes: the same content gives the same digest on any machine."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

_CHUNK = 1 << 20


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
    digest = hashlib.sha256()
    for field in table.schema:
        digest.update(f"{field.name}:{field.type};".encode())
    for column in table.columns:
        values = column.combine_chunks()
        if isinstance(values, pa.ChunkedArray):
            values = (
                pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
            )
        sink = pa.BufferOutputStream()
        # take() copies into fresh buffers, so offsets and stale bits under nulls do not leak in
        fresh = values.take(pa.array(np.arange(len(values)), pa.int64()))
        batch = pa.record_batch([fresh], names=["c"])
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        digest.update(sink.getvalue())
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
