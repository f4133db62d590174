"""A store of a burned-area task, from its plan to its masks, for tests of what comes after."""

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from geofm_assets.core.store import Store
from geofm_assets.labels.calfire.sample_schema import SAMPLE, Sample
from geofm_assets.labels.calfire.side_tables import samples_key
from geofm_assets.sampling.schema import CELL, Cell
from geofm_assets.tasks.component import training_task
from geofm_assets.tasks.config import TaskConfig
from geofm_assets.training.task import TrainingTask
from geofm_assets.windows.schema import WINDOW, Mask, Window
from tests.segmentation_world import make_segmentation_world

NAME, YEAR, SIZE = "fires", 2022, 8
SEGMENTS = "olmoearth_v1_2_nano-s2-ps4-ws8-t2-seg"
CLASSIFIES = "olmoearth_v1_2_nano-s2-ps4-ws8-t2"
MADE: dict[str, Any] = {"inputs": "0" * 64, "code_version": "1", "simulated": True}


def fire_task(**experiments: Any) -> TrainingTask:
    """A task of both heads."""
    axes = {
        "encoder": ["olmoearth_v1_2_nano"],
        "modality": ["s2"],
        "patch_size": [4],
        "window_size": [SIZE],
        "timesteps": [1, 2],
        "head": ["classification", "segmentation"],
    }
    config = {
        "name": NAME,
        "labels": {
            "source": "calfire",
            "rule": "identity",
            "classes": ["unburnt", "burnt"],
            "calfire": {"perimeters": "fires.gpkg", "source_id": "test"},
        },
        "windows": {"size": SIZE},
        "masks": {},
        "imagery": {"frames": [-1, 1], "modalities": ["sentinel2_l2a"]},
        "training": {"epochs": 2, "freeze_epochs": 1, "accelerator": "cpu"},
        "experiments": axes | experiments,
    }
    return training_task(TaskConfig.model_validate(config))


def fire_store(root: Path, task: TrainingTask, windows: int = 32) -> Store:
    """Plan, windows, chips, masks and samples; four windows a fire, a fire in one split."""
    store = Store(root / "store")
    world = root / "store/tasks" / NAME
    manifest = make_segmentation_world(world, windows=windows, size=SIZE).to_pylist()
    cells = sorted({row["h3_cell"] for row in manifest})
    counts = dict.fromkeys(("train", "val", "test", "buffer"), 0)
    said = [
        {"h3_cell": c, "points": 0, "digest": "0" * 64, "class_counts": "{}", **counts}
        for c in cells
    ]
    for row in said:
        row["points"] = row["train"] = sum(r["h3_cell"] == row["h3_cell"] for r in manifest)
    plan = pa.Table.from_pylist(said, schema=CELL)
    store.write_table(f"tasks/{NAME}/cells.parquet", plan, Cell, **MADE)
    for cell in cells:
        rows = [_window(r) for r in manifest if r["h3_cell"] == cell]
        key = f"tasks/{NAME}/windows/h3_cell={cell}/windows.parquet"
        store.write_table(key, pa.Table.from_pylist(rows, schema=WINDOW), Window, **MADE)
        masks = pq.read_table(world / "masks" / f"h3_cell={cell}" / "masks.parquet")
        store.write_table(task.masks_key(cell), masks, Mask, **MADE)
    store.write_json(f"tasks/{NAME}/imagery.json", {"simulated": True})
    samples = pa.Table.from_pylist([_sample(r) for r in manifest], schema=SAMPLE)
    key = samples_key(task.imagery.sampling.source.root, f"frap{YEAR}")
    store.write_table(key, samples, Sample, **MADE)
    return store


def _window(row: dict[str, Any]) -> dict[str, Any]:
    start = dt.datetime(2022, 5, 17, tzinfo=dt.UTC)
    return {
        **{k: row[k] for k in WINDOW.names if k in row},
        "collection_id": f"frap{YEAR}",
        "h3_l3_cell": row["h3_cell"],
        "crs": "EPSG:32632",
        "resolution": 10.0,
        **{"col_min": 0, "row_min": 0, "col_max": SIZE, "row_max": SIZE},
        "time_start": start,
        "time_end": start + dt.timedelta(days=30),
    }


def _sample(row: dict[str, Any]) -> dict[str, Any]:
    fire = f"fire{row['split']}{row['h3_cell'][-4:]}{row['chip_row'] // 8}"
    return {
        **{k: row[k] for k in ("sample_id", "lon", "lat", "valid_time", "simulated")},
        "fire_id": fire,
        "group_id": fire,
        "kind": "burnt" if row["class_id"] else "ring",
        "fire_year": YEAR,
        "distance_m": 10.0,
        "area_ha": 100.0,
    }
