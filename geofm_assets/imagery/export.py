"""Copy a task's windows and rasters into an rslearn dataset of the classic layout.

For people and tools that want rslearn's own files, or want rslearn to write: another layer, model
outputs. A copy that was cut short is finished by exporting again.
"""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from rslearn.dataset import Dataset, Window
from upath import UPath

from geofm_assets.core.errors import ConfigError, WindowError
from geofm_assets.core.progress import Progress
from geofm_assets.imagery.dataset import Layout, copy_config
from geofm_assets.imagery.materialize import drop_layer
from geofm_assets.imagery.rslearn_view import CellWindows
from geofm_assets.windows.write import LABEL_LAYER, write_window_group


def export_dataset(
    dataset_dir: Path | UPath,
    target: Path,
    cells: Sequence[str] = (),
    layout: Layout = "classic",
    progress: Progress | None = None,
) -> int:
    """Write windows, labels and rasters of some cells as rslearn itself would.

    Args:
        dataset_dir: a task's dataset, here or in a bucket.
        target: folder of the copy; made if missing, and may hold an earlier export.
        cells: H3 cells; all that have windows if none are named.
        layout: `classic` is rslearn's default (a GeoTIFF a band set and period), `files` one numpy
            array a layer.
        progress: told of every window.

    Returns:
        How many windows the cells have.

    Raises:
        ConfigError: there is no dataset, or its layout is not one that is exported from or to.
        WindowError: a cell has no windows.
        ImageryError: a packed file is damaged.
    """
    source = Dataset(UPath(dataset_dir))
    if not isinstance(source.storage, CellWindows) or layout == "packed":
        raise ConfigError("Only a task's own dataset is exported", where=str(dataset_dir))
    known = source.storage.cells()
    absent = sorted(set(cells) - set(known))
    if absent:
        raise WindowError("The cell has no windows", where=absent[0], fix="Leave it out")
    chosen = sorted(cells) if cells else known
    copy_config(dataset_dir, target, layout)
    copy = Dataset(UPath(target))
    tables = {cell: _windows(source.storage, cell) for cell in chosen}
    progress = progress or Progress(sum(table.num_rows for table in tables.values()))
    for cell, table in tables.items():
        write_window_group(target, cell, table)
        written = {str(window.name): window for window in copy.load_windows(groups=[cell])}
        for window in source.load_windows(groups=[cell]):
            _copy_layers(window, written[str(window.name)], copy)
            progress.step(str(window.name))
    return progress.done


def _windows(storage: CellWindows, cell: str) -> pa.Table:
    return storage.store.read_table(f"windows/h3_cell={cell}/windows.parquet")


def _copy_layers(window: Window, target: Window, copy: Dataset) -> None:
    datas = window.load_layer_datas()
    there = target.load_layer_datas()
    for name, data in there.items():
        if name not in datas or data.serialize() != datas[name].serialize():
            drop_layer(target, name)  # of scenes that are no longer those
    if there.keys() != datas.keys() or target.load_layer_datas().keys() != datas.keys():
        target.save_layer_datas(datas)
    done = set(target.list_completed_layers())
    for name, data in datas.items():
        if name == LABEL_LAYER:
            continue
        steps = list(range(len(data.serialized_item_groups)))
        if all((name, step) in done for step in steps):
            continue
        band_set = copy.layers[name].band_sets[0]
        raster_format = band_set.instantiate_raster_format()
        rasters = window.data.read_rasters(name, band_set.bands, steps, raster_format)
        with target.data.open_layer_writer(name) as writer:
            for step, raster in zip(steps, rasters, strict=True):
                writer.write_raster(
                    band_set.bands, raster_format, target.projection, target.bounds, raster, step
                )
        for step in steps:
            target.mark_layer_completed(name, step)
