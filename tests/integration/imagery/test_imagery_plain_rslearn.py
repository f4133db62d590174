"""Plain rslearn, on the command line and as a library, reads what we wrote."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from rslearn.config import DType
from rslearn.dataset import Dataset
from rslearn.train.dataset import DataInput, ModelDataset, SplitConfig
from rslearn.train.tasks.classification import ClassificationTask
from upath import UPath

from geofm_assets.core.errors import WindowError
from geofm_assets.imagery.bands import LAYERS
from geofm_assets.imagery.config import ImageryConfig
from geofm_assets.imagery.dataset import ensure_dataset
from geofm_assets.imagery.export import export_dataset
from geofm_assets.imagery.materialize import materialize_windows
from geofm_assets.imagery.stored import load_windows, open_dataset, read_mosaics
from tests.imagery_scenes import (
    WrittenCell,
    chips_of,
    make_points,
    make_rasters,
    make_scenes,
    packed,
    write_cell,
)

REPOSITORY = Path(__file__).resolve().parents[3]
S2 = "sentinel2_l2a"
S1 = "sentinel1"


@pytest.fixture
def files(tmp_path: Path) -> WrittenCell:
    """A cell in an rslearn dataset of files."""
    scenes = make_scenes(tmp_path / "scenes", skip=("S2_2022-03",))
    points = make_points([(20, 20), (60, 60)], scenes)
    return write_cell(tmp_path / "dataset", scenes, points)


@pytest.fixture
def view(files: WrittenCell) -> WrittenCell:
    """The same cell laid out as a store does it."""
    task = files.dataset.with_name("task")
    cell = f"h3_cell={files.cell}"
    made = make_rasters(files)
    for name in ("windows", "rasters", "chips"):
        (task / name / cell).mkdir(parents=True)
    pq.write_table(files.windows, task / "windows" / cell / "windows.parquet")
    pq.write_table(made.rasters, task / "rasters" / cell / "rasters.parquet")
    (chips_of(files) / made.file).rename(task / "chips" / cell / made.file)
    scenes = str(files.dataset.with_name("scenes"))
    ensure_dataset(task / "dataset", ImageryConfig(), scenes, None)
    return WrittenCell(task / "dataset", files.cell, files.windows, files.points)


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


def states(folder: Path) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def test_rslearn_finds_nothing_left_to_do(view: WrittenCell) -> None:
    before = states(view.dataset.parent)
    assert "prepared=0, skipped=2" in rslearn("prepare", view.dataset)
    assert "materialized=0, failed=0" in rslearn("materialize", view.dataset)
    assert states(view.dataset.parent) == before


def test_rslearn_alone_makes_what_we_make(files: WrittenCell) -> None:
    rslearn("prepare", files.dataset)
    rslearn("materialize", files.dataset)
    theirs = _pixels(files.dataset, files.cell)
    make_rasters(files)
    ours = packed(files)
    assert len(theirs) == 2 * len(ours.window_names)
    for row, name in enumerate(ours.window_names):
        for layer in (S1, S2):
            assert (ours.row(layer, row) == theirs[f"{name}/{layer}"]).all()


def _pixels(dataset_dir: Path, cell: str) -> dict[str, np.ndarray]:
    dataset, layers = open_dataset(dataset_dir)
    return {
        f"{window.name}/{layer.name}": read_mosaics(window, layer).values
        for window in load_windows(dataset, cell)
        for layer in layers
    }


def samples(dataset_dir: Path, cell: str) -> list[tuple[dict, dict, object]]:
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
        dataset=Dataset(UPath(dataset_dir)),
        split_config=SplitConfig(groups=[cell], tags={"split": "train"}),
        task=ClassificationTask(property_name="category", classes=["Cropland", "Non-Cropland"]),
        workers=0,
        inputs=inputs,
    )
    found = [dataset[i] for i in range(len(dataset))]
    return sorted(found, key=lambda sample: sample[2].window_name)


def test_rslearns_training_dataset_sees_in_the_view_what_it_sees_in_files(
    files: WrittenCell, view: WrittenCell
) -> None:
    materialize_windows(files.dataset, files.cell)
    pairs = list(
        zip(samples(view.dataset, view.cell), samples(files.dataset, files.cell), strict=True)
    )
    assert len(pairs) == 2
    for (images, target, metadata), (images_2, target_2, metadata_2) in pairs:
        assert metadata == metadata_2
        assert target["class"] == target_2["class"]
        for name in (S2, S1):
            assert (images[name].image == images_2[name].image).all()
            assert images[name].timestamps == images_2[name].timestamps
        assert [t[0].month for t in images[S2].timestamps] == [12, *range(1, 12)]


def test_windows_of_the_view_have_the_options_of_the_reference(
    files: WrittenCell, view: WrittenCell
) -> None:
    ours, theirs = (
        sorted((w.get_metadata() for w in Dataset(UPath(d)).load_windows()), key=str)
        for d in (view.dataset, files.dataset)
    )
    assert ours == theirs


def test_windows_are_found_by_name(view: WrittenCell) -> None:
    name = view.windows["window_name"][1].as_py()
    assert [w.name for w in Dataset(UPath(view.dataset)).load_windows(names=[name])] == [name]
    assert Dataset(UPath(view.dataset)).load_windows(groups=["83ffffffffffff"]) == []


def test_a_part_of_a_window_is_read_with_nodata_beyond_it(view: WrittenCell) -> None:
    dataset = Dataset(UPath(view.dataset))
    window = dataset.load_windows()[0]
    bands = list(LAYERS[S2].band_names)
    left, top, right, bottom = window.bounds
    whole = window.data.read_raster(S2, bands, None).array
    part = window.data.read_raster(
        S2, ["B08"], None, bounds=(left + 2, top - 1, right, bottom - 3)
    ).array
    assert part.shape == (1, 1, 6, 6)
    assert (part[0, 0, 0] == 0).all()
    assert (part[0, 0, 1:] == whole[bands.index("B08"), 0, : 8 - 3, 2:]).all()


def test_writing_to_the_view_is_refused(view: WrittenCell) -> None:
    window = Dataset(UPath(view.dataset)).load_windows()[0]
    with pytest.raises(WindowError, match=r"cannot be written by rslearn.*geofm export-dataset"):
        window.save()


def test_an_exported_copy_is_rslearns_default_layout_with_the_same_samples(
    view: WrittenCell, tmp_path: Path
) -> None:
    out = tmp_path / "classic"
    assert export_dataset(view.dataset, out) == 2
    assert "prepared=0, skipped=2" in rslearn("prepare", out)
    assert "materialized=0, failed=0" in rslearn("materialize", out)
    assert len(list(out.rglob("geotiff.tif"))) == 2 * (12 + 12)
    for (images, target, _), (images_2, target_2, _) in zip(
        samples(view.dataset, view.cell), samples(out, view.cell), strict=True
    ):
        assert target["class"] == target_2["class"]
        for name in (S2, S1):
            assert (images[name].image == images_2[name].image).all()
            assert images[name].timestamps == images_2[name].timestamps


def test_an_export_cut_short_is_finished_by_exporting_again(
    view: WrittenCell, tmp_path: Path
) -> None:
    out = tmp_path / "classic"
    export_dataset(view.dataset, out)
    before = {path: path.read_bytes() for path in out.rglob("*.tif")}
    window = next((out / "windows" / view.cell).iterdir())
    (window / "layers" / S2 / "completed").unlink()
    next((window / "layers" / S2).rglob("*.tif")).unlink()
    export_dataset(view.dataset, out)
    assert {path: path.read_bytes() for path in out.rglob("*.tif")} == before


def test_a_cell_without_windows_cannot_be_exported(view: WrittenCell, tmp_path: Path) -> None:
    with pytest.raises(WindowError, match="has no windows at 83ffffffffffff"):
        export_dataset(view.dataset, tmp_path, ["83ffffffffffff"])
