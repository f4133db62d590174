"""The packed file of one H3 cell: every mosaic of its windows, in one safetensors file.

See docs/chips.md. The file is named by its content and put in place by a rename, so a reader
sees a whole file or none. Anything that reads safetensors can read it.
"""

import json
import os
import struct
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from safetensors import SafetensorError
from safetensors.numpy import save_file

from geofm_assets.core.errors import ImageryError
from geofm_assets.core.hashing import json_digest
from geofm_assets.imagery.bands import LAYERS, LayerSpec

FORMAT = "geofm-chips"
VERSION = 2
METADATA_KEY = "geofm"
PARTS = ("values", "present", "timestamps", "periods", "checksums")
FIX = "Materialize the cell's rasters again"
_DTYPES = {"U8": "|u1", "BOOL": "|b1", "U16": "<u2", "F32": "<f4", "I64": "<i8", "U64": "<u8"}
_LARGEST_HEADER = 100 << 20  # safetensors' own limit


@dataclass(frozen=True)
class LayerMosaics:
    """One layer of a cell's windows.

    Attributes:
        values: (N, T, C, H, W) in stored bands and dtype, nodata where there is nothing.
        present: (N, T) bool: whether a mosaic has any valid pixel.
        timestamps: (N, T, 2) int64 microseconds since 1970 UTC: start of the earliest and end of
            the latest scene of the mosaic; the period where nothing is present.
        periods: (N, T, 2) int64 microseconds since 1970 UTC, oldest first.
        checksums: (N,) uint64: xxh3_64 of the bytes of `values[n]`.
        items: scenes the mosaics were made from, as rslearn keeps them.
        groups: for each window and timestep, which of `items`; empty for a window that has no
            scene in any period.
    """

    values: np.ndarray
    present: np.ndarray
    timestamps: np.ndarray
    periods: np.ndarray
    checksums: np.ndarray
    items: Sequence[Mapping[str, Any]]
    groups: Sequence[Sequence[Sequence[int]]]


@dataclass(frozen=True)
class CellFile:
    """A packed file, opened: arrays memory-mapped and read-only.

    Attributes:
        path: of the file.
        meta: what the header says; see docs/chips.md.
        layers: by layer name.
    """

    path: Path
    meta: Mapping[str, Any]
    layers: Mapping[str, LayerMosaics]

    @property
    def window_names(self) -> tuple[str, ...]:
        """Names of the windows in row order."""
        return tuple(window["window_name"] for window in self.meta["windows"])

    def row(self, layer: str, row: int) -> np.ndarray:
        """Pixels of one window (T, C, H, W), compared with their checksum.

        Raises:
            ImageryError: they are not what was written.
        """
        mosaics = self.layers[layer]
        values: np.ndarray = mosaics.values[row]
        if row_checksum(values) != int(mosaics.checksums[row]):
            raise ImageryError(
                "Pixels of the packed file are not what was written",
                where=f"{self.path}, {layer}, window {self.window_names[row]}",
                fix=FIX,
            )
        return values


def row_checksum(values: np.ndarray) -> int:
    """xxh3_64 of the bytes of one window's pixels."""
    return xxhash.xxh3_64_intdigest(np.ascontiguousarray(values).data)


def checksums(values: np.ndarray) -> np.ndarray:
    """`row_checksum` of every window of (N, ...) as uint64 (N,)."""
    return np.array([row_checksum(row) for row in values], dtype=np.uint64)


def write_cell_file(
    folder: Path,
    cell: str,
    windows: Sequence[Mapping[str, Any]],
    layers: Mapping[str, LayerMosaics],
    *,
    simulated: bool,
    bands: Sequence[Mapping[str, Any]] = (),
    sources: Mapping[str, str] | None = None,
) -> str:
    """Write a cell's packed file; the same content gives the same name and bytes.

    Args:
        folder: made if missing; other files in it are left alone.
        cell: the H3 cell.
        windows: per row window_name, sample_id, crs, resolution, bounds_px and bounds.
        layers: by layer name; every array has one row a window.
        simulated: whether any window or scene was simulated.
        bands: BAND_STATS rows of the cell.
        sources: by layer name, digest of the configuration its mosaics were made under.

    Returns:
        The file's name, `rasters-<digest>.safetensors`.

    Raises:
        ImageryError: the disk is full or cannot be written; nothing is left behind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, np.ndarray] = {}
    for name, mosaics in layers.items():
        spec = LAYERS[name]
        arrays = (getattr(mosaics, part) for part in PARTS)
        for part, array in zip(PARTS, arrays, strict=True):
            tensors[f"{name}/{part}"] = np.ascontiguousarray(array)
        assert mosaics.values.dtype == np.dtype(spec.dtype)
    meta = {
        "format": FORMAT,
        "version": VERSION,
        "h3_cell": cell,
        "simulated": simulated,
        "timesteps": "oldest first",
        "windows": [dict(window) for window in windows],
        "bands": [dict(row) for row in bands],
        "sources": dict(sources or {}),
        "layers": {name: _said(LAYERS[name], layers[name]) for name in sorted(layers)},
        "xxh3_128": {name: _digest(tensors[name]) for name in sorted(tensors)},
    }
    digest = json_digest(meta)
    text = json.dumps({**meta, "content_digest": digest}, sort_keys=True, ensure_ascii=False)
    path = folder / f"rasters-{digest[:16]}.safetensors"
    temporary = folder / f".{path.name}.{uuid.uuid4().hex}.tmp"
    try:
        # one metadata key: safetensors does not promise an order of several
        save_file(dict(sorted(tensors.items())), temporary, metadata={METADATA_KEY: text})
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    except (SafetensorError, OSError) as error:
        raise ImageryError(
            f"The packed file cannot be written: {error}",
            where=str(path),
            fix="Make room and run again; what was there before is kept",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path.name


def open_cell_file(path: Path, verify: bool = False) -> CellFile:
    """Memory-map a packed file.

    The header, sizes and shapes are always checked; every byte if asked. `CellFile.row` checks
    the window it reads.

    Raises:
        ImageryError: there is no such file, it was cut short or changed, or it is of another
            version.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            header, start = _header(stream.read(8), stream, size, path)
    except FileNotFoundError as error:
        raise ImageryError("The packed file is missing", where=str(path), fix=FIX) from error
    meta = parse_metadata(header, path)
    tensors = {}
    for name, said in header.items():
        if name == "__metadata__":
            continue
        begin, end = said["data_offsets"]
        shape, dtype = tuple(said["shape"]), np.dtype(_DTYPES[said["dtype"]])
        if start + end > size or end - begin != dtype.itemsize * int(np.prod(shape, dtype=int)):
            raise _broken(path, f"{size} bytes are too few for {name}")
        if begin == end:
            tensors[name] = np.zeros(shape, dtype)
        else:
            tensors[name] = np.memmap(path, dtype, "r", start + begin, shape)
    layers = {}
    for name, said in meta["layers"].items():
        arrays = {part: tensors[f"{name}/{part}"] for part in PARTS}
        small = {part: np.array(arrays[part]) for part in PARTS if part != "values"}
        layers[name] = LayerMosaics(
            arrays["values"], **small, items=said["items"], groups=said["groups"]
        )
    if verify:
        for name, array in tensors.items():
            if _digest(array) != meta["xxh3_128"][name]:
                raise _broken(path, f"{name} is not what was written")
    return CellFile(path, meta, layers)


def parse_metadata(header: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """What the header says of the cell.

    Raises:
        ImageryError: it is not a chips header of this version, or was changed.
    """
    try:
        meta = json.loads(header["__metadata__"][METADATA_KEY])
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise _broken(path, "its header does not describe chips") from error
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise _broken(path, "its header does not describe chips")
    if meta.get("version") != VERSION:
        raise ImageryError(
            f"The packed file is of version {meta.get('version')}, this code reads {VERSION}",
            where=str(path),
            fix=FIX,
        )
    stated = meta.get("content_digest")
    if stated != json_digest({k: v for k, v in meta.items() if k != "content_digest"}):
        raise _broken(path, "its header was changed")
    return meta


def _header(first: bytes, stream: Any, size: int, path: Path) -> tuple[dict[str, Any], int]:
    """The JSON header and where the data begins."""
    if len(first) < 8:
        raise _broken(path, f"it has {size} bytes")
    (length,) = struct.unpack("<Q", first)
    if length > min(size - 8, _LARGEST_HEADER):
        raise _broken(path, f"its header should be {length} bytes long, the file has {size}")
    try:
        header = json.loads(stream.read(length))
    except ValueError as error:
        raise _broken(path, "its header is not JSON") from error
    if not isinstance(header, dict):
        raise _broken(path, "its header is not an object")
    return header, 8 + length


def _said(spec: LayerSpec, mosaics: LayerMosaics) -> dict[str, Any]:
    return {
        "bands": list(spec.band_names),
        "dtype": spec.dtype,
        "unit": spec.unit,
        "scale": spec.scale,
        "nodata": spec.nodata,
        "axes": ["window", "timestep", "band", "row", "column"],
        "items": [dict(item) for item in mosaics.items],
        "groups": [[list(step) for step in window] for window in mosaics.groups],
    }


def _digest(array: np.ndarray) -> str:
    return xxhash.xxh3_128_hexdigest(np.ascontiguousarray(array).data)


def _broken(path: Path, what: str) -> ImageryError:
    return ImageryError(f"Not a packed file that can be used: {what}", where=str(path), fix=FIX)
