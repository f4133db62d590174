"""The header of a packed file: what it says, where its tensors lie, and whether to believe it.

A safetensors file is eight bytes (little-endian length of the header), a JSON header, then the
tensors' bytes (https://huggingface.co/docs/safetensors, "Format"). Ours carries one metadata key.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xxhash

from geofm_assets.core.errors import ImageryError
from geofm_assets.core.hashing import json_digest
from geofm_assets.imagery.bands import LAYERS

FORMAT = "geofm-chips"
VERSION = 2
METADATA_KEY = "geofm"
PARTS = ("values", "present", "timestamps", "periods", "checksums")
FIX = "Materialize the cell's rasters again"
LENGTH_BYTES = 8
_DTYPES = {"U8": "|u1", "BOOL": "|b1", "U16": "<u2", "F32": "<f4", "I64": "<i8", "U64": "<u8"}
_LARGEST_HEADER = 100 << 20  # safetensors' own limit


@dataclass(frozen=True)
class Tensor:
    """Where a tensor lies: dtype, shape, and its bytes, counted from the file's beginning."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    begin: int
    end: int

    def of(self, data: bytes) -> np.ndarray:
        """The tensor of its bytes."""
        return np.frombuffer(data, self.dtype).reshape(self.shape)


@dataclass(frozen=True)
class PackedHeader:
    """A header that was checked.

    Attributes:
        meta: what it says of the cell; see docs/chips.md.
        tensors: by name, `<layer>/<part>`.
    """

    meta: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    @property
    def window_names(self) -> tuple[str, ...]:
        """Names of the windows in row order."""
        return tuple(window["window_name"] for window in self.meta["windows"])

    def require_digest(self, name: str, array: np.ndarray, where: str) -> None:
        """Compare a whole tensor with its hash.

        Raises:
            ImageryError: it is not what was written.
        """
        if tensor_digest(array) != self.meta["xxh3_128"].get(name):
            raise broken(where, f"{name} is not what was written")


def header_length(first: bytes, where: str, size: int | None = None) -> int:
    """Bytes of the JSON header, from the file's first eight.

    Args:
        first: they.
        where: the file, for errors.
        size: of the file, if known.

    Raises:
        ImageryError: the file cannot hold such a header.
    """
    if len(first) < LENGTH_BYTES:
        raise broken(where, f"it has {len(first)} bytes")
    (length,) = struct.unpack("<Q", first[:LENGTH_BYTES])
    if size is not None and length > size - LENGTH_BYTES:
        raise broken(where, f"its header should be {length} bytes long, the file has {size}")
    if length > _LARGEST_HEADER:
        raise broken(where, f"its header should be {length} bytes long")
    return int(length)


def read_header(text: bytes, where: str, size: int | None = None) -> PackedHeader:
    """What a JSON header says, checked against itself, the layers known here and the file's size.

    Args:
        text: the JSON.
        where: the file, for errors.
        size: of the file, if known.

    Raises:
        ImageryError: it is not a chips header of this version, or was changed.
    """
    try:
        header = json.loads(text)
    except ValueError as error:
        raise broken(where, "its header is not JSON") from error
    if not isinstance(header, dict):
        raise broken(where, "its header is not an object")
    meta = _metadata(header, where)
    start = LENGTH_BYTES + len(text)
    try:
        tensors = {
            name: _tensor(said, start) for name, said in header.items() if name != "__metadata__"
        }
        for layer, said in meta["layers"].items():
            _require_shapes(layer, said, len(meta["windows"]), tensors)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise broken(where, f"its header and its tensors disagree ({error})") from error
    for name, tensor in tensors.items():
        if size is not None and tensor.end > size:
            raise broken(where, f"{size} bytes are too few for {name}")
    return PackedHeader(meta, tensors)


def row_checksum(values: np.ndarray) -> int:
    """xxh3_64 of the bytes of one window's pixels."""
    return xxhash.xxh3_64_intdigest(np.ascontiguousarray(values).data)


def require_checksum(values: np.ndarray, checksum: int, where: str) -> None:
    """Compare one window's pixels with what was written.

    Raises:
        ImageryError: they are not.
    """
    if row_checksum(values) != checksum:
        raise ImageryError(
            "Pixels of the packed file are not what was written", where=where, fix=FIX
        )


def tensor_digest(array: np.ndarray) -> str:
    """xxh3_128 of a tensor's bytes."""
    return xxhash.xxh3_128_hexdigest(np.ascontiguousarray(array).data)


def broken(where: str, what: str) -> ImageryError:
    """The error of a file that cannot be used."""
    return ImageryError(f"Not a packed file that can be used: {what}", where=where, fix=FIX)


def missing(where: str) -> ImageryError:
    """The error of a file that is not there."""
    return ImageryError("The packed file is missing", where=where, fix=FIX)


def _metadata(header: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What the header says of the cell."""
    try:
        meta = json.loads(header["__metadata__"][METADATA_KEY])
    except (KeyError, TypeError, ValueError) as error:
        raise broken(where, "its header does not describe chips") from error
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise broken(where, "its header does not describe chips")
    if meta.get("version") != VERSION:
        raise ImageryError(
            f"The packed file is of version {meta.get('version')}, this code reads {VERSION}",
            where=where,
            fix=FIX,
        )
    stated = meta.get("content_digest")
    if stated != json_digest({k: v for k, v in meta.items() if k != "content_digest"}):
        raise broken(where, "its header was changed")
    return meta


def _tensor(said: Mapping[str, Any], start: int) -> Tensor:
    begin, end = said["data_offsets"]
    tensor = Tensor(np.dtype(_DTYPES[said["dtype"]]), tuple(said["shape"]), begin, end)
    expected = tensor.dtype.itemsize * int(np.prod(tensor.shape, dtype=np.int64))
    if begin < 0 or end - begin != expected:
        raise ValueError(f"{end - begin} bytes for {tensor.dtype} {tensor.shape}")
    return Tensor(tensor.dtype, tensor.shape, start + begin, start + end)


def _require_shapes(
    layer: str, said: Mapping[str, Any], windows: int, tensors: Mapping[str, Tensor]
) -> None:
    """That a layer's tensors are those of its windows and bands."""
    values = tensors[f"{layer}/values"]
    spec = LAYERS[layer]
    if list(said["bands"]) != list(spec.band_names):
        raise ValueError(f"{layer} has bands {', '.join(said['bands'])}")
    if len(values.shape) != 5 or values.dtype != np.dtype(spec.dtype):
        raise ValueError(f"{layer}/values is {values.dtype} {values.shape}")
    count, months, bands = values.shape[:3]
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {
        "present": ("|b1", (windows, months)),
        "timestamps": ("<i8", (windows, months, 2)),
        "periods": ("<i8", (windows, months, 2)),
        "checksums": ("<u8", (windows,)),
    }
    for part, (dtype, shape) in shapes.items():
        tensor = tensors[f"{layer}/{part}"]
        if tensor.shape != shape or tensor.dtype != np.dtype(dtype):
            raise ValueError(f"{layer}/{part} is {tensor.dtype} {tensor.shape}")
    if (count, bands) != (windows, len(spec.bands)):
        raise ValueError(f"{layer}/values is {values.shape}, of {windows} windows")
