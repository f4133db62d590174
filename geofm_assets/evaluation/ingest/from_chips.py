"""A task's own dataset as a source, read where it lies: nothing is copied, no rslearn file written.

Its windows are rows of its cells' tables and its pixels lie in their packed files, which
`imagery.rslearn_view` shows to rslearn. Cells come one after another, and of a cell only the
window asked for is read, so memory does not grow with the dataset.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow.compute as pc
from rslearn.config import LayerConfig
from rslearn.dataset import Window
from upath import UPath

from geofm_assets.core.errors import DatasetError, ImageryError
from geofm_assets.core.hashing import json_digest, table_digest
from geofm_assets.evaluation.ingest.images import Image, as_series, read_images, stored_pixels
from geofm_assets.evaluation.ingest.modalities import ModalityPlan
from geofm_assets.evaluation.ingest.options import IngestOptions
from geofm_assets.evaluation.ingest.report import Findings
from geofm_assets.evaluation.ingest.source import sample_id
from geofm_assets.evaluation.samples.packing import SourceImages
from geofm_assets.imagery.cell_file import CellFile
from geofm_assets.imagery.rslearn_view import CellWindows, CellWindowsFactory

_LAYOUT = f"{CellWindowsFactory.__module__}.{CellWindowsFactory.__qualname__}"
_MATERIALIZE = "Materialize the cell's rasters"


def is_task_dataset(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is that of a task's own dataset."""
    storage = config.get("storage")
    return isinstance(storage, dict) and storage.get("class_path") == _LAYOUT


def task_content(root: UPath) -> tuple[str, bool]:
    """Digest of a task's windows and pixels, and whether any point or scene was simulated.

    Args:
        root: the task's dataset; windows, rasters and chips lie beside it.

    Raises:
        ImageryError: a packed file is missing or damaged.
    """
    storage = CellWindowsFactory().get_storage(root)
    contents: dict[str, list[str]] = {}
    simulated = False
    for cell in storage.cells():
        windows = storage.store.read_table(f"windows/h3_cell={cell}/windows.parquet")
        if not windows.num_rows:
            continue
        opened, _ = storage.row(cell, windows["window_name"][0].as_py())
        pixels = "" if opened is None else str(opened.meta["content_digest"])
        contents[cell] = [table_digest(windows), pixels]
        simulated |= bool(pc.any(windows["simulated"]).as_py())
        simulated |= opened is not None and bool(opened.meta["simulated"])
    return json_digest(contents), simulated


def with_imagery(windows: Sequence[Window], findings: Findings) -> list[Window]:
    """Those of a task's own windows that became chips; every window of another source.

    Windows without a valid pixel in any month, which the split manifest does not have either, are
    left out and written down; so are windows without rasters, as an error.

    Raises:
        DatasetError: none is left.
    """
    kept = []
    for window in windows:
        try:
            packed = _packed(window)
        except DatasetError as error:
            findings.add_window("error", error.what, sample_id(window), error.fix)
            continue
        if packed is None or _has_imagery(*packed):
            kept.append(window)
        else:
            what = "A window has no imagery in any month, so it is no chip and left out"
            findings.add_window("warning", what, sample_id(window))
    if not kept:
        raise DatasetError("No window has imagery", fix=_MATERIALIZE)
    return kept


def says_simulated(window: Window) -> bool:
    """Whether a window or one of its scenes says it was simulated."""
    if (window.options or {}).get("simulated"):
        return True
    packed = _packed(window)
    if packed is not None:
        return bool(packed[0].meta["simulated"])
    return any(
        isinstance(item, dict) and item.get("simulated")
        for data in window.load_layer_datas().values()
        for group in data.serialized_item_groups
        for item in group
    )


def window_images(
    window: Window,
    layers: Mapping[str, LayerConfig],
    plan: ModalityPlan,
    options: IngestOptions,
) -> SourceImages:
    """Images of one modality of a window, from its cell's packed file or its own rasters.

    Args:
        window: of the source.
        layers: of its configuration.
        plan: how the modality is read.
        options: `temporal_range` leaves images out.

    Raises:
        DatasetError: pixels are missing, damaged or unreadable, or their date is not known.
    """
    packed = _packed(window)
    if packed is None:
        return read_images(window, layers, plan, options)
    opened, row = packed
    found = []
    for name in plan.layers:
        mosaics = opened.layers.get(name)
        if mosaics is None:
            continue
        try:
            raw = opened.row(name, row)
        except ImageryError as error:
            raise DatasetError(
                f"The packed pixels of {name} are damaged", where=error.where, fix=_MATERIALIZE
            ) from error
        nodata = layers[name].band_sets[0].nodata_value
        values = stored_pixels(raw.swapaxes(0, 1), nodata, plan)[list(plan.picks[name])]
        for step in mosaics.present[row].nonzero()[0]:
            start, end = mosaics.timestamps[row, step].tolist()
            found.append(Image((start, end), values[:, step]))
    return as_series(found, window, plan, options)


def _has_imagery(opened: CellFile, row: int) -> bool:
    return any(mosaics.present[row].any() for mosaics in opened.layers.values())


def _packed(window: Window) -> tuple[CellFile, int] | None:
    """The packed file and row of a task's own window, None for a window of another source.

    Raises:
        DatasetError: its cell has no rasters of it.
    """
    storage = window.storage
    if not isinstance(storage, CellWindows):
        return None
    opened, row = storage.row(str(window.group), str(window.name))
    if opened is None:
        raise DatasetError("A window has no rasters yet", fix=_MATERIALIZE)
    return opened, row
