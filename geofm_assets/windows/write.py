"""Write the windows of one H3 cell into an rslearn dataset of the classic layout, files and all.

Needed where rslearn's own commands are to write: for imagery from a catalogue, which is fetched
into such a dataset cell by cell, and for `geofm export-dataset`. A task's own dataset has no
window files (see `imagery.rslearn_view`).

One rslearn group holds one cell. A window counts as written only when its label layer is marked
completed, so a process killed at any moment leaves nothing that looks done and is not.
"""

import functools
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import shapely
from rasterio.crs import CRS
from rslearn.dataset import Dataset
from rslearn.dataset import Window as RslearnWindow
from rslearn.dataset.storage.storage import WindowStorage
from rslearn.dataset.window_data_storage.storage import WindowDataStorageFactory
from rslearn.utils import Feature, Projection, STGeometry
from rslearn.utils.vector_format import VectorFormat
from upath import UPath

from geofm_assets.core.errors import WindowError

LABEL_LAYER = "label"
LABEL_PROPERTY = "category"
_INDEX_CACHE = ".rslearn_dataset_index"


def write_window_group(dataset_dir: Path, cell: str, windows: pa.Table) -> int:
    """Make the rslearn group of a cell hold exactly these windows.

    Windows that are right are left untouched. A window whose split or other options changed has
    its options rewritten and keeps its imagery; one whose place or time changed is made anew; one
    that is no longer wanted is removed.

    Args:
        dataset_dir: an rslearn dataset whose config.json has a vector layer `label` (see
            `imagery.dataset.ensure_dataset`).
        cell: the H3 cell, which is the rslearn group.
        windows: WINDOW rows of that cell.

    Returns:
        How many windows the group now holds.

    Raises:
        WindowError: there is no dataset, or a window is of another cell.
    """
    dataset = _open_dataset(dataset_dir)
    rows = windows.to_pylist()
    wrong = next((row for row in rows if row["h3_cell"] != cell), None)
    if wrong is not None:
        raise WindowError(
            f"The window is of cell {wrong['h3_cell']}, not {cell}",
            where=f"window {wrong['window_name']}",
        )
    label_format = dataset.layers[LABEL_LAYER].instantiate_vector_format()
    group = dataset_dir / "windows" / cell
    changed = _remove_all_but(group, {row["window_name"] for row in rows})
    for row in rows:
        window = rslearn_window(row, dataset.storage, dataset.window_data_storage_factory)
        changed |= _write(window, row["class_name"], group / window.name, label_format)
    if changed:
        # rslearn checks this cache only against config.json and would serve the old windows
        shutil.rmtree(dataset_dir / _INDEX_CACHE, ignore_errors=True)
    return len(rows)


def level_123(ewoc_code: int | None) -> str | None:
    """The first three levels of a WorldCereal code: six of its ten digits."""
    return None if ewoc_code is None else f"{ewoc_code:010d}"[:6]


def _open_dataset(dataset_dir: Path) -> Dataset:
    try:
        dataset = Dataset(UPath(dataset_dir))
    except FileNotFoundError as error:
        raise WindowError(
            "Not an rslearn dataset: config.json is missing",
            where=str(dataset_dir),
            fix="Make the dataset before its windows",
        ) from error
    if LABEL_LAYER not in dataset.layers:
        raise WindowError(
            f"The dataset has no layer {LABEL_LAYER}", where=str(dataset_dir / "config.json")
        )
    return dataset


def window_options(row: Mapping[str, Any]) -> dict[str, Any]:
    """Options of an rslearn window, as the reference pipeline names them, from a WINDOW row."""
    return {
        "split": row["split"],
        "sample_id": row["sample_id"],
        "ewoc_code": row["ewoc_code"],
        "level_123": level_123(row["ewoc_code"]),
        "h3_l3_cell": row["h3_l3_cell"],
        "quality_score_lc": row["quality_score_lc"],
        "quality_score_ct": row["quality_score_ct"],
        "class_name": row["class_name"],
    }


def rslearn_window(
    row: Mapping[str, Any], storage: WindowStorage, data_factory: WindowDataStorageFactory | None
) -> RslearnWindow:
    """An rslearn window of a WINDOW row; nothing is written."""
    return RslearnWindow(
        storage=storage,
        group=row["h3_cell"],
        name=row["window_name"],
        projection=projection(row["crs"], row["resolution"]),
        bounds=(row["col_min"], row["row_min"], row["col_max"], row["row_max"]),
        time_range=(row["time_start"], row["time_end"]),
        options=window_options(row),
        data_factory=data_factory,
    )


@functools.lru_cache(maxsize=256)
def projection(crs: str, resolution: float) -> Projection:
    """The grid of a CRS in pixels, rows growing southward."""
    return Projection(CRS.from_string(crs), resolution, -resolution)


def label_features(window: RslearnWindow, category: str) -> list[Feature]:
    """The label of a window: its box with its class."""
    box = STGeometry(window.projection, shapely.box(*window.bounds), None)
    return [Feature(box, {LABEL_PROPERTY: category})]


def _remove_all_but(group: Path, wanted: set[str]) -> bool:
    if not group.is_dir():
        return False
    stale = [path for path in sorted(group.iterdir()) if path.name not in wanted]
    for path in stale:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return bool(stale)


def _write(window: RslearnWindow, category: str, folder: Path, label_format: VectorFormat) -> bool:
    """Bring one window to what it should be; whether anything had to be written."""
    wanted = _as_json(window.get_metadata())
    found = _read_json(folder / "metadata.json")
    changed = False
    if folder.is_dir() and _place(found) != _place(wanted):
        shutil.rmtree(folder)
        found = None
    if found is None or found.get("options") != wanted["options"]:
        window.save()
        changed = True
    label_folder = folder / "layers" / LABEL_LAYER
    if window.is_layer_completed(LABEL_LAYER) and _category(label_folder) == category:
        return changed
    # never marked completed while it says something else
    (label_folder / "completed").unlink(missing_ok=True)
    with window.data.open_layer_writer(LABEL_LAYER) as writer:
        writer.write_vector(label_format, label_features(window, category))
    window.mark_layer_completed(LABEL_LAYER)
    return True


def _place(metadata: dict[str, Any] | None) -> tuple[Any, ...] | None:
    """What imagery depends on."""
    if metadata is None:
        return None
    return tuple(metadata.get(key) for key in ("projection", "bounds", "time_range"))


def _category(label_folder: Path) -> str | None:
    content = _read_json(label_folder / "data.geojson")
    features = (content or {}).get("features") or []
    if len(features) != 1:
        return None
    category: str | None = features[0].get("properties", {}).get(LABEL_PROPERTY)
    return category


def _as_json(value: dict[str, Any]) -> dict[str, Any]:
    """The value as it reads after a round through JSON (tuples become lists)."""
    parsed: dict[str, Any] = json.loads(json.dumps(value))
    return parsed


def _read_json(path: Path) -> dict[str, Any] | None:
    """Parsed JSON object, None where there is none or it was cut short."""
    try:
        value = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return value if isinstance(value, dict) else None
