"""request.json: what a map is, for people, products and catalogues."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from geofm_assets.prediction.asked import Asked
from geofm_assets.prediction.crops import CropGrid
from geofm_assets.prediction.partition import Zone
from geofm_assets.prediction.schema import DONE
from geofm_assets.training.checkpoint import Checkpoint
from geofm_assets.training.stages import TrainingTask
from geofm_assets.windows.geometry import time_range


def map_record(
    task: TrainingTask,
    map_id: str,
    asked: Asked,
    checkpoint: Checkpoint,
    grid: CropGrid,
    zones: Sequence[Zone],
    tiles: pa.Table,
    made: Mapping[str, Any],
) -> dict[str, Any]:
    """What will be request.json.

    Args:
        task: whose model it is.
        map_id: the map.
        asked: areas, times, mask.
        checkpoint: the model.
        grid: size and overlap of its crops.
        zones: the area, divided.
        tiles: TILE table.
        made: `inputs`, `content`, `simulated`, `imagery_source`, `terms`.
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
        "modalities": [str(layer) for layer in checkpoint.experiment.layers],
        "timesteps": checkpoint.experiment.timesteps,
        "frames_needed": _frames_needed(checkpoint),
        "imagery": json.loads(task.imagery.imagery.model_dump_json()),
        "zones": _zones(zones, tiles),
    }


def _times(day: Any, windows: Any) -> list[str]:
    return [moment.isoformat() for moment in time_range(day, windows)]


def _frames_needed(checkpoint: Checkpoint) -> list[int] | None:
    """Months from that of the valid time without which a pixel has no class; None for none."""
    if checkpoint.frames is None:
        return None
    read = checkpoint.frames[-checkpoint.experiment.timesteps :]
    needed = checkpoint.frames_needed or (True,) * len(read)
    return [frame for frame, need in zip(read, needed, strict=True) if need]


def _zones(zones: Sequence[Zone], tiles: pa.Table) -> list[dict[str, Any]]:
    """Tiles of each zone, and the box of what is to be mapped in pixels of its grid."""
    bounds = {zone.epsg: list(zone.bounds) for zone in zones}
    found: dict[int, dict[str, Any]] = {}
    for row in tiles.select(["epsg", "status"]).to_pylist():
        zone = found.setdefault(row["epsg"], {"epsg": row["epsg"], "tiles": 0, "done": 0})
        zone["bounds"] = bounds[row["epsg"]]
        zone["tiles"] += 1
        zone["done"] += row["status"] == DONE
    return [found[epsg] for epsg in sorted(found)]
