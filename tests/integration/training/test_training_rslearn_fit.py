"""`rslearn model fit` trains on a task's own dataset, with the configuration of the docs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from geofm_assets.imagery.config import ImageryConfig
from geofm_assets.imagery.dataset import ensure_dataset
from geofm_assets.models.architecture import architecture, bundle_config, model_config
from tests.imagery_scenes import (
    WrittenCell,
    chips_of,
    make_points,
    make_rasters,
    make_scenes,
    write_cell,
)

REPOSITORY = Path(__file__).resolve().parents[3]
NANO = "olmoearth_v1_2_nano"


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """A task's folder with the windows, rasters and dataset of one cell."""
    scenes = make_scenes(tmp_path / "scenes")
    points = make_points([(20, 20), (60, 60), (30, 60), (60, 30)], scenes)
    index = points.schema.get_field_index("split")
    points = points.set_column(index, "split", pa.array(["train", "train", "val", "val"]))
    written: WrittenCell = write_cell(tmp_path / "files", scenes, points)
    made = make_rasters(written)
    folders = {
        name: tmp_path / "task" / name / f"h3_cell={written.cell}"
        for name in ("windows", "rasters", "chips")
    }
    for folder in folders.values():
        folder.mkdir(parents=True)
    pq.write_table(written.windows, folders["windows"] / "windows.parquet")
    pq.write_table(made.rasters, folders["rasters"] / "rasters.parquet")
    (chips_of(written) / made.file).rename(folders["chips"] / made.file)
    dataset = tmp_path / "task" / "dataset"
    ensure_dataset(dataset, ImageryConfig(), str(scenes.folder), None)
    return tmp_path / "task"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A nano encoder of random weights, as a published one lies in its folder."""
    torch.manual_seed(7)
    folder = tmp_path / "nano"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(bundle_config(architecture(NANO))))
    torch.save(model_config(architecture(NANO)).build().state_dict(), folder / "weights.pth")
    return folder


def test_rslearn_fits_a_model_on_the_tasks_dataset(
    task: Path, bundle: Path, tmp_path: Path
) -> None:
    before = {p: p.stat().st_mtime_ns for p in task.rglob("*") if p.is_file()}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "rslearn.main", "model", "fit"),
            *("--config", str(REPOSITORY / "docs" / "rslearn" / "model.yaml")),
            *("--trainer.max_epochs", "1", "--trainer.default_root_dir", str(tmp_path / "out")),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "DATASET": str(task / "dataset"),
            "MODEL": str(bundle),
        },
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "val_loss" in done.stdout + done.stderr
    assert {p: p.stat().st_mtime_ns for p in task.rglob("*") if p.is_file()} == before
