"""Plain rslearn, on the command line and as a library, reads and goes on with what we wrote."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rslearn.config import DType
from rslearn.dataset import Dataset
from rslearn.train.dataset import DataInput, ModelDataset, SplitConfig
from rslearn.train.tasks.classification import ClassificationTask
from upath import UPath

from geofm_assets.imagery.bands import LAYERS
from geofm_assets.imagery.materialize import materialize_cell
from geofm_assets.imagery.stored import load_windows, open_dataset, read_mosaics
from tests.imagery_scenes import WrittenCell, make_points, make_scenes, write_cell

REPOSITORY = Path(__file__).resolve().parents[3]
S2 = "sentinel2_l2a"
S1 = "sentinel1"


@pytest.fixture
def written(tmp_path: Path) -> WrittenCell:
    scenes = make_scenes(tmp_path / "scenes", skip=("S2_2022-03",))
    points = make_points([(20, 20), (60, 60)], scenes)
    return write_cell(tmp_path / "dataset", scenes, points)


def rslearn(command: str, dataset: Path) -> str:
    """Run `rslearn dataset <command>` as a user would; what it printed."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "rslearn.main", "dataset", command),
            *("--root", str(dataset), "--workers", "0"),
            *(["--no-ignore-errors"]),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def states(dataset: Path) -> dict[str, int]:
    folder = dataset / "windows"
    return {str(p): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def test_rslearn_finds_nothing_left_to_do(written: WrittenCell) -> None:
    materialize_cell(written.dataset, written.cell)
    before = states(written.dataset)
    assert "prepared=0, skipped=2" in rslearn("prepare", written.dataset)
    assert "materialized=0, failed=0" in rslearn("materialize", written.dataset)
    assert states(written.dataset) == before


def test_rslearn_alone_makes_what_we_make(written: WrittenCell, tmp_path: Path) -> None:
    rslearn("prepare", written.dataset)
    rslearn("materialize", written.dataset)
    theirs = _pixels(written)
    for window in load_windows(open_dataset(written.dataset)[0], written.cell):
        for layer in (S1, S2):
            (Path(str(window.window_root)) / "layers" / layer / "completed").unlink()
    materialize_cell(written.dataset, written.cell)
    for name, values in _pixels(written).items():
        assert (values == theirs[name]).all()


def _pixels(written: WrittenCell) -> dict[str, np.ndarray]:
    dataset, layers = open_dataset(written.dataset)
    return {
        f"{window.name}/{layer.name}": read_mosaics(window, layer).values
        for window in load_windows(dataset, written.cell)
        for layer in layers
    }


def test_rslearns_training_dataset_reads_images_labels_and_times(written: WrittenCell) -> None:
    materialize_cell(written.dataset, written.cell)
    inputs = {
        name: DataInput(
            data_type="raster",
            layers=[name],
            bands=list(LAYERS[name].band_names),
            passthrough=True,
            load_all_layers=True,
            load_all_item_groups=True,
            dtype=DType.FLOAT32,
        )
        for name in (S2, S1)
    }
    inputs["targets"] = DataInput(data_type="vector", layers=["label"], is_target=True)
    dataset = ModelDataset(
        dataset=Dataset(UPath(written.dataset)),
        split_config=SplitConfig(groups=[written.cell], tags={"split": "train"}),
        task=ClassificationTask(property_name="category", classes=["Cropland", "Non-Cropland"]),
        workers=0,
        inputs=inputs,
    )
    samples = [dataset[i] for i in range(len(dataset))]
    assert len(samples) == 2
    assert {int(target["class"].item()) for _, target, _ in samples} == {0, 1}
    stored = _pixels(written)
    for images, _, metadata in samples:
        image = images[S2]
        expected = stored[f"{metadata.window_name}/{S2}"].transpose(1, 0, 2, 3)
        assert (image.image.numpy() == expected).all()
        assert [t[0].month for t in image.timestamps] == [12, *range(1, 12)]
