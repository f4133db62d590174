"""Chips: the packed training format of one H3 cell. See docs/chips.md.

A folder holds header.json and a few .npy arrays named by their content. The header is replaced
last and atomically, and names the arrays by hash, so a reader sees the old chips or the new.
"""

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rslearn.dataset import Window

from geofm_assets.core.errors import ImageryError
from geofm_assets.core.hashing import json_digest
from geofm_assets.imagery.chip_files import (
    adopt,
    new_file,
    open_array,
    remove_all_but,
    replace_file,
    write_array,
)
from geofm_assets.imagery.chip_header import (
    FORMAT,
    HEADER,
    VERSION,
    ChipHeader,
    parsed,
    read_header,
)
from geofm_assets.imagery.periods import Period
from geofm_assets.imagery.stored import ImageryLayer, load_windows, open_dataset, read_mosaics

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_PARTS = ("values", "present", "timestamps", "periods")


@dataclass(frozen=True)
class CellChips:
    """Chips of a cell, memory-mapped and read-only.

    Attributes:
        header: what header.json says.
        window_names: in row order; N of them.
        arrays: by layer (N, T, C, H, W), stored bands and dtype, nodata where nothing is.
        present: by layer (N, T) bool: whether the mosaic has any valid pixel.
        timestamps: by layer (N, T, 2) int64 microseconds since 1970 UTC: start of the earliest
            and end of the latest scene of the mosaic; the period where there is none.
        periods: by layer (N, T, 2) int64 microseconds since 1970 UTC: the period a mosaic stands
            for, oldest first.
        hashes: sha256 by file name.
    """

    header: ChipHeader
    window_names: tuple[str, ...]
    arrays: dict[str, np.ndarray]
    present: dict[str, np.ndarray]
    timestamps: dict[str, np.ndarray]
    periods: dict[str, np.ndarray]
    hashes: dict[str, str]


def pack_cell(
    dataset_dir: Path,
    cell: str,
    windows: pa.Table,
    rasters: pa.Table,
    refused: pa.Table,
    out_dir: Path,
) -> ChipHeader:
    """Pack the windows of a cell, refused ones left out.

    The same rasters give the same bytes.

    Args:
        dataset_dir: the rslearn dataset.
        cell: the H3 cell.
        windows: WINDOW rows of the cell.
        rasters: RASTER rows of the cell, which say what is present.
        refused: REFUSED_WINDOW rows of the cell.
        out_dir: folder of the chips; other files in it are removed.

    Raises:
        ImageryError: a window was not materialized, windows differ in size, or the dataset has
            changed since the inventory was taken.
    """
    dataset, layers = open_dataset(dataset_dir)
    rows = _rows_to_pack(windows, refused)
    stored = {str(w.name): w for w in load_windows(dataset, cell)}
    absent = [row["window_name"] for row in rows if row["window_name"] not in stored]
    if absent:
        raise ImageryError(
            f"{len(absent)} windows are not in the dataset",
            where=f"cell {cell}, window {absent[0]}",
            fix="Write the cell's windows and materialize them first",
        )
    out_dir.mkdir(parents=True, exist_ok=True)
    presence = _presence(rasters)
    chosen = [stored[row["window_name"]] for row in rows]
    written = {
        layer.name: _pack_layer(layer, chosen, _size(rows, cell), presence, out_dir)
        for layer in layers
    }
    simulated = any(row["simulated"] for row in rows) or any(s for _, s in written.values())
    header = _header(cell, rows, {name: said for name, (said, _) in written.items()}, simulated)
    replace_file(out_dir / HEADER, (json.dumps(header, indent=1, sort_keys=True) + "\n").encode())
    kept = {HEADER} | {said["files"][p]["name"] for said, _ in written.values() for p in _PARTS}
    remove_all_but(out_dir, kept)
    return parsed(header)


def read_chips(folder: Path, verify: bool = False) -> CellChips:
    """Open the chips of a cell.

    Sizes and shapes are always checked; contents if asked, which reads every byte.

    Args:
        folder: what `pack_cell` wrote.
        verify: compare every array with its sha256.

    Raises:
        ImageryError: there are no chips, or a file is missing, cut short or changed.
    """
    header = read_header(folder)
    parts: dict[str, dict[str, np.ndarray]] = {part: {} for part in _PARTS}
    hashes: dict[str, str] = {}
    for name, layer in header.layers.items():
        for part in _PARTS:
            said = layer["files"][part]
            parts[part][name] = open_array(folder / said["name"], said, verify)
            hashes[said["name"]] = said["sha256"]
    return CellChips(
        header,
        header.window_names,
        parts["values"],
        parts["present"],
        parts["timestamps"],
        parts["periods"],
        hashes,
    )


def _rows_to_pack(windows: pa.Table, refused: pa.Table) -> list[dict[str, Any]]:
    out = set(refused["window_name"].to_pylist())
    rows = [row for row in windows.to_pylist() if row["window_name"] not in out]
    return sorted(rows, key=lambda row: str(row["window_name"]))


def _size(rows: list[dict[str, Any]], cell: str) -> tuple[int, int]:
    """Rows and columns of every window; (0, 0) if there is none."""
    sizes = {(r["row_max"] - r["row_min"], r["col_max"] - r["col_min"]) for r in rows}
    if len(sizes) > 1:
        raise ImageryError(f"Windows differ in size: {sorted(sizes)}", where=f"cell {cell}")
    return sizes.pop() if sizes else (0, 0)


def _presence(rasters: pa.Table) -> dict[tuple[str, str, int], bool]:
    columns = (rasters[name].to_pylist() for name in ("window_name", "layer", "timestep"))
    return dict(zip(zip(*columns, strict=True), rasters["present"].to_pylist(), strict=True))


def _pack_layer(
    layer: ImageryLayer,
    windows: list[Window],
    size: tuple[int, int],
    presence: Mapping[tuple[str, str, int], bool],
    out_dir: Path,
) -> tuple[dict[str, Any], bool]:
    """Write a layer's arrays; what the header says of them, and whether any scene is simulated."""
    spec, count, months = layer.spec, len(windows), layer.months
    shape = (count, months, len(spec.bands), *size)
    present = np.zeros((count, months), dtype=bool)
    times = np.zeros((2, count, months, 2), dtype="<i8")
    simulated = False
    dtype = np.dtype(spec.dtype).newbyteorder("<")
    with new_file(out_dir, layer.name) as (stream, temporary):
        np.lib.format.write_array_header_1_0(
            stream, {"descr": dtype.str, "fortran_order": False, "shape": shape}
        )
        for row, window in enumerate(windows):
            mosaics = read_mosaics(window, layer)
            there = np.asarray((~spec.is_nodata(mosaics.values)).any(axis=(1, 2, 3)))
            said = [presence.get((str(window.name), layer.name, t)) for t in range(months)]
            if said != there.tolist():
                raise ImageryError(
                    "The stored rasters are not those the inventory counted",
                    where=f"window {window.name}, layer {layer.name}",
                    fix="Materialize the cell again",
                )
            stream.write(np.ascontiguousarray(mosaics.values, dtype=dtype).tobytes())
            present[row] = there
            for step, (period, items) in enumerate(
                zip(mosaics.periods, mosaics.items, strict=True)
            ):
                shown = [item.time for item in items if item.time is not None]
                acquired = (
                    (min(s for s, _ in shown), max(e for _, e in shown))
                    if there[step] and shown
                    else period
                )
                times[0, row, step] = _micros(acquired)
                times[1, row, step] = _micros(period)
                simulated |= any(item.simulated for item in items)
    files = {"values": adopt(temporary, out_dir, layer.name, shape, dtype)}
    for part, array in (("present", present), ("timestamps", times[0]), ("periods", times[1])):
        files[part] = write_array(out_dir, f"{layer.name}.{part}", array)
    return (
        {
            "bands": list(spec.band_names),
            "dtype": spec.dtype,
            "unit": spec.unit,
            "scale": spec.scale,
            "nodata": spec.nodata,
            "axes": ["window", "timestep", "band", "row", "column"],
            "files": files,
        },
        simulated,
    )


def _header(
    cell: str, rows: list[dict[str, Any]], layers: dict[str, Any], simulated: bool
) -> dict[str, Any]:
    header: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "h3_cell": cell,
        "simulated": simulated,
        "timesteps": "oldest first",
        "windows": [
            {
                "window_name": row["window_name"],
                "sample_id": row["sample_id"],
                "crs": row["crs"],
                "resolution": row["resolution"],
                "bounds_px": [row[k] for k in ("col_min", "row_min", "col_max", "row_max")],
                "bounds": _bounds(row),
            }
            for row in rows
        ],
        "layers": layers,
    }
    return {**header, "content_digest": json_digest(header)}


def _bounds(row: Mapping[str, Any]) -> list[float]:
    """left, bottom, right, top in CRS units."""
    side = row["resolution"]
    return [
        row["col_min"] * side,
        -row["row_max"] * side,
        row["col_max"] * side,
        -row["row_min"] * side,
    ]


def _micros(period: Period) -> list[int]:
    return [(moment - _EPOCH) // dt.timedelta(microseconds=1) for moment in period]
