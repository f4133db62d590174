"""Digest of a table's content, taken while it streams by."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from geofm_assets.core.xxh3 import xxh3_64


class ContentDigest:
    """128-bit digest of a table's columns, row order included, in any division into batches.

    Each column has a running XXH3-128 of its values and one of which of them are null; a string
    stands in it by its own xxh3_64, so dictionary-coded strings count as the plain ones. Neither
    the file's encoding nor the version of the library that wrote it shows. Not cryptographic: it
    tells contents apart, it does not withstand somebody who looks for a collision.

    Args:
        schema: names and types; numbers, booleans, dates and strings.
    """

    def __init__(self, schema: pa.Schema) -> None:
        kinds = [f.type.value_type if pa.types.is_dictionary(f.type) else f.type for f in schema]
        self._header = json.dumps([schema.names, [str(kind) for kind in kinds]])
        self._columns = [(xxhash.xxh3_128(), xxhash.xxh3_128()) for _ in schema]

    def update(self, table: pa.Table, hashes: Mapping[str, np.ndarray] | None = None) -> None:
        """Take note of rows.

        Args:
            table: the rows.
            hashes: xxh3_64 under seed 0 of string columns without nulls, where they are at hand.
        """
        known = hashes or {}
        for name, (values, nulls) in zip(table.column_names, self._columns, strict=True):
            if name in known:
                values.update(np.ascontiguousarray(known[name]).data)
                nulls.update(bytes(table.num_rows))
                continue
            for chunk in table[name].chunks:
                values.update(_words(chunk))
                if chunk.null_count:
                    nulls.update(np.asarray(chunk.is_null()).tobytes())
                else:
                    nulls.update(bytes(len(chunk)))

    def hexdigest(self) -> str:
        """The digest of all rows so far, 32 hexadecimal digits."""
        total = xxhash.xxh3_128(self._header.encode())
        for pair in self._columns:
            for digest in pair:
                total.update(digest.digest())
        return str(total.hexdigest())


def _words(values: pa.Array) -> Any:
    """Values as contiguous little-endian numbers, nulls as zero."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        words = np.append(_words(values.dictionary), np.uint64(0))
        return words[np.asarray(pc.fill_null(values.indices, len(words) - 1))]
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        words = xxh3_64(pc.fill_null(values, "") if values.null_count else values, 0)
        if values.null_count:
            words[np.asarray(values.is_null())] = 0
        return words
    if pa.types.is_date32(kind):
        values = values.cast(pa.int32())
    if values.null_count:
        values = pc.fill_null(values, False if pa.types.is_boolean(kind) else 0)
    numbers = np.ascontiguousarray(values.to_numpy(zero_copy_only=False))
    return numbers.view(np.uint8) if numbers.dtype == bool else numbers
