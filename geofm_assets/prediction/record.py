"""request.json: what a map is, for people, products and catalogues."""

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from geofm_assets.core.store import Store
from geofm_assets.prediction.asked import Asked
from geofm_assets.prediction.crops import CropGrid
from geofm_assets.prediction.schema import DONE
from geofm_assets.training.checkpoint import Checkpoint
from geofm_assets.training.stages import ManifestStage, TrainingTask
from geofm_assets.windows.geometry import time_range


def map_record(
    store: Store,
    task: TrainingTask,
    map_id: str,
    asked: Asked,
    checkpoint: Checkpoint,
    grid: CropGrid,
    tiles: pa.Table,
    made: Mapping[str, Any],
) -> dict[str, Any]:
    """What will be request.json.

    Args:
        store: where the task lies.
        task: whose model it is.
        map_id: the map.
        asked: areas, times, mask.
        checkpoint: the model.
        grid: size and overlap of its crops.
        tiles: TILE table.
        made: `inputs`, `content`, `simulated`, `imagery_source`.
    """
    windows = task.imagery.windows
    days = asked.request.groups(windows.days_before)
    return {
        **made,
        "request_id": map_id,
        "task": task.name,
        "request": asked.request.as_geojson(),
        "days": [
            {"valid_time": day.isoformat(), "time_range": _times(day, windows)} for day in days
        ],
        "mask": None if asked.mask is None else asked.mask.as_dict(),
        "experiment": checkpoint.experiment.name,
        "head": checkpoint.experiment.head,
        "model_id": checkpoint.model_id,
        "encoder_start": checkpoint.encoder_start,
        "classes": list(checkpoint.classes),
        "positive": task.rule.positive,
        "label_rule": checkpoint.label_rule,
        "window_size": grid.size,
        "overlap": grid.overlap,
        "resolution": windows.resolution,
        "imagery": json.loads(task.imagery.imagery.model_dump_json()),
        "licences": licences(store, task),
        "zones": _zones(tiles),
    }


def licences(store: Store, task: TrainingTask) -> dict[str, str]:
    """How the label collections the model learned from may be used, by collection, as listed."""
    manifest = store.read_table(ManifestStage(task).key(), ["collection_id"])
    used = sorted(set(manifest["collection_id"].to_pylist()))
    key = task.imagery.sampling.source.collections_key
    stated: dict[str, str] = {}
    if store.exists(key):
        listing = store.read_table(key)
        if {"collection_id", "access_type"} <= set(listing.column_names):
            rows = listing.select(["collection_id", "access_type"]).to_pylist()
            stated = {row["collection_id"]: str(row["access_type"]) for row in rows}
    return {name: stated.get(name, "unstated") for name in used}


def _times(day: Any, windows: Any) -> list[str]:
    return [moment.isoformat() for moment in time_range(day, windows)]


def _zones(tiles: pa.Table) -> list[dict[str, Any]]:
    """Tiles of each zone."""
    found: dict[int, dict[str, Any]] = {}
    for row in tiles.select(["epsg", "status"]).to_pylist():
        zone = found.setdefault(row["epsg"], {"epsg": row["epsg"], "tiles": 0, "done": 0})
        zone["tiles"] += 1
        zone["done"] += row["status"] == DONE
    return [found[epsg] for epsg in sorted(found)]
