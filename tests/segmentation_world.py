"""Small generated chips with masks: pixels of a rectangle are burnt, and look it after the fire."""

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from geofm_assets.training.schema import MANIFEST
from geofm_assets.windows.schema import MASK
from tests.training_world import CELLS, manifest_row, month_periods, write_cell

CLASSES = ("unburnt", "burnt")
SPLITS = ("train", "train", "train", "train", "val", "val", "test", "test")
NIR, SWIR = 3, 9  # B08 and B12 in model band order


def write_masks(folder: Path, names: list[str], masks: np.ndarray) -> Path:
    """Masks (N, size, size) of a cell; returns their file."""
    rows = [
        {
            "window_name": name,
            "size": mask.shape[0],
            "mask": mask.astype(np.uint8).tobytes(),
            "burnt": int((mask == 1).sum()),
            "unburnt": int((mask == 0).sum()),
            "nodata": int((mask == 255).sum()),
            "simulated": True,
        }
        for name, mask in sorted(zip(names, masks, strict=True))
    ]
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=MASK), folder / "masks.parquet")
    return folder / "masks.parquet"


def drawn_masks(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    """(N, size, size): a burnt rectangle, a rim of unknown pixels to the right of it."""
    masks = np.zeros((count, size, size), np.uint8)
    for mask in masks:
        top, left = rng.integers(0, size // 2, 2)
        height, width = rng.integers(size // 4, size // 2 + 1, 2)
        mask[top : top + height, left + width : left + width + 1] = 255
        mask[top : top + height, left : left + width] = 1
    return masks


def make_segmentation_world(
    root: Path, *, windows: int = 24, size: int = 16, seed: int = 0, signal: float = 1.0
) -> pa.Table:
    """Chips (below `root/chips`) of two timesteps, masks (`root/masks`), and the manifest.

    In the latest timestep near infrared is low and short-wave infrared high where it has burnt.
    """
    rng = np.random.default_rng(seed)
    periods = month_periods(dt.date(2022, 5, 1), 2)
    rows = []
    for cell, members in zip(CELLS, np.array_split(np.arange(windows), len(CELLS)), strict=True):
        masks = drawn_masks(rng, len(members), size)
        s2 = rng.normal(2000, 150, (len(members), 2, 12, size, size))
        s2[:, 1, NIR] -= signal * 1500 * (masks == 1)
        s2[:, 1, SWIR] += signal * 1500 * (masks == 1)
        names = [f"w{i:04d}" for i in members]
        values = {"sentinel2_l2a": np.clip(s2, 1, 10000).astype(np.uint16)}
        file = write_cell(root / "chips" / f"h3_cell={cell}", cell, names, values, periods)
        write_masks(root / "masks" / f"h3_cell={cell}", names, masks)
        for row, index in enumerate(members.tolist()):
            said = {"split": SPLITS[index % 8], "class_name": CLASSES[index % 2], "s2_months": 2}
            rows.append(manifest_row(index, cell, file, row, **said, s1_months=0))
    rows.sort(key=lambda r: str(r["window_name"]))
    return pa.Table.from_pylist(rows, schema=MANIFEST)
