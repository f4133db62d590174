"""The file of embeddings: where its tensors lie, and whether to believe it.

A safetensors file (eight bytes of header length, a JSON header, the tensors' bytes:
https://huggingface.co/docs/safetensors, "Format") with one metadata key. Anything that reads
safetensors can read it; see `store.py` for what the key says.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from geofm_assets.core.errors import DatasetError
from geofm_assets.core.hashing import json_digest

FORMAT = "geofm-embeddings"
VERSION = 1
METADATA_KEY = "geofm"
LENGTH_BYTES = 8
NO_DIGEST = "0" * 32
_NO_CONTENT = "0" * 64
_ALIGNMENT = 8
_LARGEST_HEADER = 100 << 20  # safetensors' own limit
_NAMES = {"F16": "<f2", "F32": "<f4", "I8": "|i1"}
_CODES = {np.dtype(name): code for code, name in _NAMES.items()}
_FIX = "Remove the file and run the sweep again"


@dataclass(frozen=True)
class Placed:
    """A tensor's dtype, shape and first byte, counted from the file's beginning."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    begin: int

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))


def place(
    meta: Mapping[str, Any], tensors: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]
) -> tuple[bytes, dict[str, Placed]]:
    """First bytes of a file, and where its tensors go.

    The length of the header does not depend on the digests in `meta`, so that they can be filled
    in after the tensors were written.

    Args:
        meta: what is said of them; `content` is made of the rest.
        tensors: dtype and shape by name.
    """
    said: dict[str, Any] = {}
    offset = 0
    for name in sorted(tensors):
        dtype, shape = tensors[name]
        size = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        span = [offset, offset + size]
        said[name] = {"dtype": _CODES[dtype], "shape": list(shape), "data_offsets": span}
        offset += size
    complete = {**meta, "content": _content(meta)}
    text = json.dumps(
        {"__metadata__": {METADATA_KEY: json.dumps(complete, sort_keys=True)}, **said},
        separators=(",", ":"),
    ).encode()
    text += b" " * (-(LENGTH_BYTES + len(text)) % _ALIGNMENT)
    start = LENGTH_BYTES + len(text)
    placed = {name: Placed(*tensors[name], start + said[name]["data_offsets"][0]) for name in said}
    return struct.pack("<Q", len(text)) + text, placed


def read_length(first: bytes, where: str) -> int:
    """Bytes of the JSON header, from the file's first eight.

    Raises:
        DatasetError: they cannot begin such a file.
    """
    if len(first) < LENGTH_BYTES:
        raise broken(where, f"it has {len(first)} bytes")
    (length,) = struct.unpack("<Q", first[:LENGTH_BYTES])
    if length > _LARGEST_HEADER:
        raise broken(where, f"its header should be {length} bytes long")
    return int(length)


def read_header(text: bytes, where: str) -> tuple[dict[str, Any], dict[str, Placed]]:
    """What a JSON header says, and where the tensors lie.

    Args:
        text: the JSON.
        where: the file, for errors.

    Raises:
        DatasetError: it is not of embeddings of this version, or was changed.
    """
    try:
        header = json.loads(text)
        meta = json.loads(header.pop("__metadata__")[METADATA_KEY])
        start = LENGTH_BYTES + len(text)
        placed = {
            name: Placed(
                np.dtype(_NAMES[said["dtype"]]),
                tuple(said["shape"]),
                start + int(said["data_offsets"][0]),
            )
            for name, said in header.items()
        }
        kind, version, content = meta["format"], meta["version"], meta["content"]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise broken(where, "its header does not describe embeddings") from error
    if kind != FORMAT:
        raise broken(where, "its header does not describe embeddings")
    if version != VERSION:
        raise DatasetError(
            f"The embeddings are of version {version}, this code reads {VERSION}",
            where=where,
            fix=_FIX,
        )
    if content != _content(meta):
        raise broken(where, "its header was changed")
    return meta, placed


def broken(where: str, what: str) -> DatasetError:
    """The error of a file that cannot be used."""
    return DatasetError(f"Not a file of embeddings that can be used: {what}", where=where, fix=_FIX)


def _content(meta: Mapping[str, Any]) -> str:
    """Digest of everything said, the tensors' digests included."""
    if NO_DIGEST in meta["xxh3_128"].values():
        return _NO_CONTENT
    return json_digest({name: value for name, value in meta.items() if name != "content"})
