"""The packed file of one H3 cell: every mosaic of its windows, in one safetensors file.

See docs/chips.md. The file is named by its content and put in place by a rename, so a reader
sees a whole file or none. Anything that reads safetensors can read it.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from geofm_assets.core.errors import ImageryError
from geofm_assets.core.hashing import json_digest
from geofm_assets.core.temporary import temporary_beside
from geofm_assets.imagery.bands import LAYERS, LayerSpec
from geofm_assets.imagery.packed_header import (
    FORMAT,
    LENGTH_BYTES,
    METADATA_KEY,
    PARTS,
    VERSION,
    Tensor,
    header_length,
    missing,
    read_header,
    require_checksum,
    row_checksum,
    tensor_digest,
)


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
        where = f"{self.path}, {layer}, window {self.window_names[row]}"
        require_checksum(values, int(mosaics.checksums[row]), where)
        return values


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
        "xxh3_128": {name: tensor_digest(tensors[name]) for name in sorted(tensors)},
    }
    digest = json_digest(meta)
    text = json.dumps({**meta, "content_digest": digest}, sort_keys=True, ensure_ascii=False)
    path = folder / f"rasters-{digest[:16]}.safetensors"
    temporary = temporary_beside(path)
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

    The header, sizes, shapes and every tensor but the pixels are always checked; pixels if asked.
    `CellFile.row` checks the window it reads.

    Raises:
        ImageryError: there is no such file, it was cut short or changed, or it is of another
            version.
    """
    where = str(path)
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            length = header_length(stream.read(LENGTH_BYTES), where, size)
            header = read_header(stream.read(length), where, size)
            tensors = {name: _mapped(stream, header.tensors[name]) for name in header.tensors}
    except FileNotFoundError as error:
        raise missing(where) from error
    layers = {}
    for name, said in header.meta["layers"].items():
        values = tensors[f"{name}/values"]
        if verify:
            header.require_digest(f"{name}/values", values, where)
        small = {part: np.array(tensors[f"{name}/{part}"]) for part in PARTS if part != "values"}
        for part, array in small.items():
            header.require_digest(f"{name}/{part}", array, where)
        layers[name] = LayerMosaics(values, **small, items=said["items"], groups=said["groups"])
    return CellFile(path, header.meta, layers)


def _mapped(stream: BinaryIO, tensor: Tensor) -> np.ndarray:
    if tensor.begin == tensor.end:  # nothing cannot be mapped
        return np.zeros(tensor.shape, tensor.dtype)
    return np.memmap(stream, tensor.dtype, "r", tensor.begin, tensor.shape)


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
