"""Materialize the windows of one H3 cell into its packed file, and take stock.

Local scenes are read scene by scene (`scene_major`). Any other source goes through rslearn's own
prepare, ingest and materialize in a scratch dataset of the cell, which is packed and removed; a
run that died finds its finished windows there. Windows whose place, time and scenes are those of
the cell's last packed file are copied from it.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rslearn.dataset import Window

from geofm_assets.imagery.acquisition import acquired, micros
from geofm_assets.imagery.bands import LayerSpec
from geofm_assets.imagery.cell_file import (
    CellFile,
    LayerMosaics,
    checksums,
    open_cell_file,
    write_cell_file,
)
from geofm_assets.imagery.compositing import PeriodMosaic
from geofm_assets.imagery.dataset import copy_config, source_digest
from geofm_assets.imagery.matching import match_windows
from geofm_assets.imagery.materialize import materialize_windows
from geofm_assets.imagery.scene_major import read_mosaics
from geofm_assets.imagery.scenes import LocalScenes
from geofm_assets.imagery.stock import CellRasters, take_stock
from geofm_assets.imagery.stored import (
    ImageryLayer,
    StoredMosaics,
    load_windows,
    open_dataset,
)
from geofm_assets.imagery.stored import read_mosaics as read_stored
from geofm_assets.windows.write import rslearn_window, write_window_group


@dataclass(frozen=True)
class _Layer:
    """One layer of a cell while it is made: pixels, and which scenes each mosaic is of."""

    values: np.ndarray
    periods: np.ndarray
    groups: list[list[list[dict[str, Any]]]]


def make_cell_file(
    dataset_dir: Path,
    scratch_dir: Path,
    cell: str,
    windows: pa.Table,
    folder: Path,
    previous: str | None,
    *,
    scene_major: bool = True,
) -> CellRasters:
    """Bring every window of a cell to its mosaics, in one packed file.

    Args:
        dataset_dir: the task's rslearn dataset (its config.json names layers and sources).
        scratch_dir: where a dataset of the cell may be built; removed at the end.
        cell: the H3 cell.
        windows: WINDOW rows of the cell.
        folder: where the packed file goes.
        previous: name of the cell's last packed file in `folder`, whose unchanged windows are
            copied; None to read everything anew.
        scene_major: False to go through rslearn whatever the source.

    Returns:
        Inventory, statistics, refused windows and the file's name.

    Raises:
        ImageryError: a scene or the previous file cannot be used, or the disk is full; names it.
            What was there before stays.
        SourceUnavailableError: a catalogue did not answer.
    """
    dataset, layers = open_dataset(dataset_dir)
    rows = sorted(windows.to_pylist(), key=lambda row: str(row["window_name"]))
    placed = [rslearn_window(row, dataset.storage, None) for row in rows]
    sources = {layer.name: source_digest(dataset_dir, layer.name) for layer in layers}
    old = _Previous(open_cell_file(folder / previous), sources) if previous else None
    made: dict[str, _Layer] = {}
    slow = []
    for layer in layers:
        source = _scene_major(layer, dataset_dir) if scene_major else None
        if source is not None:
            made[layer.name] = _from_scenes(source, layer, placed, old)
        else:
            slow.append(layer)
    if slow:
        made |= _through_rslearn(dataset_dir, scratch_dir, cell, windows, placed, slow, old)
    mosaics = {layer.name: _mosaics(layer.spec, made[layer.name]) for layer in layers}
    stock = take_stock(cell, rows, mosaics)
    simulated = any(row["simulated"] for row in rows) or any(
        item.get("simulated", False) for m in mosaics.values() for item in m.items
    )
    said = [_window_entry(row) for row in rows]
    bands = stock.bands.to_pylist()
    name = write_cell_file(
        folder, cell, said, mosaics, simulated=simulated, bands=bands, sources=sources
    )
    if slow:
        shutil.rmtree(scratch_dir, ignore_errors=True)
    return stock.in_file(name)


def _scene_major(layer: ImageryLayer, dataset_dir: Path) -> LocalScenes | None:
    """The layer's source if its scenes can be read one by one; None if rslearn must."""
    assert layer.config.data_source is not None
    source = layer.config.instantiate_data_source(dataset_dir)
    compositor = layer.config.instantiate_compositor()
    plain = isinstance(compositor, PeriodMosaic) and not compositor.linear_to_decibels
    query = layer.config.data_source.query_config
    if not isinstance(source, LocalScenes) or layer.config.data_source.ingest or not plain:
        return None
    return None if query.per_period_mosaic_reverse_time_order else source


class _Previous:
    """Windows of the cell's last packed file."""

    def __init__(self, file: CellFile, sources: Mapping[str, str]) -> None:
        self.file, self.sources = file, sources
        self.rows = {name: row for row, name in enumerate(file.window_names)}

    def find(self, window: Window, layer: str, periods: Any) -> int | None:
        """Row of a window at the same place, with the same periods and settings."""
        row = self.rows.get(str(window.name))
        if row is None or self.file.meta["sources"].get(layer) != self.sources[layer]:
            return None
        entry = self.file.meta["windows"][row]
        crs, side = window.projection.crs.to_string(), window.projection.x_resolution
        same = (entry["crs"], entry["resolution"], entry["bounds_px"]) == (
            crs,
            side,
            list(window.bounds),
        )
        return (
            row if same and np.array_equal(self.file.layers[layer].periods[row], periods) else None
        )

    def groups(self, layer: str, row: int) -> list[list[dict[str, Any]]]:
        """Scenes of the row's mosaics."""
        mosaics = self.file.layers[layer]
        return [[dict(mosaics.items[i]) for i in step] for step in mosaics.groups[row]]


def _from_scenes(
    source: LocalScenes, layer: ImageryLayer, windows: Sequence[Window], old: _Previous | None
) -> _Layer:
    matched = match_windows(source, layer, windows)
    groups = [[[item.serialize() for item in step] for step in steps] for steps in matched]
    made = _empty(layer, windows, groups)
    todo = list(range(len(windows)))
    for row in list(todo):
        found = None if old is None else old.find(windows[row], layer.name, made.periods[row])
        if old is not None and found is not None and old.groups(layer.name, found) == groups[row]:
            made.values[row] = old.file.row(layer.name, found)
            todo.remove(row)
    values = made.values
    left = values if len(todo) == len(windows) else values[todo]
    read_mosaics(
        source,
        layer.spec,
        [windows[row] for row in todo],
        [matched[row] for row in todo],
        layer.config.resampling_method.get_rasterio_resampling(),
        left,
    )
    if left is not values:
        values[todo] = left
    source.close()
    return made


def _through_rslearn(
    dataset_dir: Path,
    scratch_dir: Path,
    cell: str,
    table: pa.Table,
    windows: Sequence[Window],
    layers: Sequence[ImageryLayer],
    old: _Previous | None,
) -> dict[str, _Layer]:
    """Layers whose source or settings need rslearn's own path."""
    periods = {
        layer.name: [[micros(p) for p in layer.periods(w)] for w in windows] for layer in layers
    }
    kept: dict[int, dict[str, int]] = {}
    for row, window in enumerate(windows):
        found = {
            layer.name: old.find(window, layer.name, periods[layer.name][row])
            for layer in layers
            if old is not None and not _revalidates(layer, dataset_dir)
        }
        if len(found) == len(layers) and None not in found.values():
            kept[row] = {name: at for name, at in found.items() if at is not None}
    new = [row for row in range(len(windows)) if row not in kept]
    stored: dict[str, dict[str, StoredMosaics]] = {}
    if new:
        copy_config(dataset_dir, scratch_dir, "files", [layer.name for layer in layers])
        names = pa.array([str(windows[row].name) for row in new], pa.string())
        mask = pc.is_in(table["window_name"], value_set=names)
        write_window_group(scratch_dir, cell, table.filter(mask))
        materialize_windows(scratch_dir, cell)
        dataset, scratch_layers = open_dataset(scratch_dir)
        for window in load_windows(dataset, cell):
            datas = window.load_layer_datas()
            stored[str(window.name)] = {
                layer.name: read_stored(window, layer, datas) for layer in scratch_layers
            }
    made = {}
    for layer in layers:
        groups: list[list[list[dict[str, Any]]]] = []
        result = _empty(layer, windows, groups)
        for row, window in enumerate(windows):
            if row in kept and old is not None:
                result.values[row] = old.file.row(layer.name, kept[row][layer.name])
                groups.append(old.groups(layer.name, kept[row][layer.name]))
            else:
                mosaic = stored[str(window.name)][layer.name]
                result.values[row] = mosaic.values
                groups.append([list(step) for step in mosaic.items])
        made[layer.name] = result
    return made


def _revalidates(layer: ImageryLayer, dataset_dir: Path) -> bool:
    """Whether a source must be asked again for windows that have imagery."""
    source = layer.config.instantiate_data_source(dataset_dir)
    return bool(getattr(source, "revalidates", False))


def _empty(
    layer: ImageryLayer, windows: Sequence[Window], groups: list[list[list[dict[str, Any]]]]
) -> _Layer:
    """A layer of nodata."""
    spec, count = layer.spec, len(windows)
    first = windows[0].bounds if windows else (0, 0, 0, 0)
    size = (first[3] - first[1], first[2] - first[0])
    shape = (count, layer.months, len(spec.bands), *size)
    values = np.full(shape, spec.nodata, dtype=np.dtype(spec.dtype))
    return _Layer(values, _periods(layer, windows), groups)


def _periods(layer: ImageryLayer, windows: Sequence[Window]) -> np.ndarray:
    """(N, T, 2) microseconds."""
    laid = [[micros(period) for period in layer.periods(window)] for window in windows]
    return np.array(laid, dtype=np.int64).reshape(len(windows), layer.months, 2)


def _mosaics(spec: LayerSpec, made: _Layer) -> LayerMosaics:
    """What goes into the packed file."""
    present = np.asarray((~spec.is_nodata(made.values)).any(axis=(2, 3, 4)))
    unique = {item["name"]: item for steps in made.groups for step in steps for item in step}
    names = sorted(unique)
    number = {name: i for i, name in enumerate(names)}
    timestamps = made.periods.copy()
    for row, steps in enumerate(made.groups):
        for step, items in enumerate(steps):
            shown = acquired(items)
            if shown is not None and present[row, step]:
                timestamps[row, step] = shown
    return LayerMosaics(
        made.values,
        present,
        timestamps,
        made.periods,
        checksums(made.values),
        [unique[name] for name in names],
        [[[number[item["name"]] for item in step] for step in steps] for steps in made.groups],
    )


def _window_entry(row: Mapping[str, Any]) -> dict[str, Any]:
    side = row["resolution"]
    return {
        "window_name": row["window_name"],
        "sample_id": row["sample_id"],
        "crs": row["crs"],
        "resolution": side,
        "bounds_px": [row[k] for k in ("col_min", "row_min", "col_max", "row_max")],
        # left, bottom, right, top in CRS units
        "bounds": [
            row["col_min"] * side,
            -row["row_max"] * side,
            row["col_max"] * side,
            -row["row_min"] * side,
        ],
    }
