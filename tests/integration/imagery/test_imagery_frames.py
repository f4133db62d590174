"""Imagery of named months: the one before and the one after, nothing between."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from rslearn.dataset import Dataset
from upath import UPath

from geofm_assets.imagery import stac
from geofm_assets.imagery.config import ImageryConfig
from geofm_assets.imagery.dataset import ensure_dataset
from geofm_assets.imagery.export import export_dataset
from geofm_assets.imagery.stored import load_windows, open_dataset, read_mosaics
from tests.imagery_scenes import (
    Scenes,
    WrittenCell,
    chips_of,
    make_points,
    make_rasters,
    make_scenes,
    packed,
    write_cell,
)
from tests.integration.imagery.test_imagery_plain_rslearn import S1, S2, rslearn
from tests.integration.imagery.test_imagery_stac import SIDE, START, add_item
from tests.integration.imagery.test_imagery_stac import make as make_stac
from tests.servers.stac_server import StacServer, serve

FRAMES = ImageryConfig(frames=(-1, 1))
FIRE = dt.date(2022, 6, 3)  # a window's thirty days reach into May


@pytest.fixture
def written(tmp_path: Path) -> WrittenCell:
    scenes = make_scenes(tmp_path / "scenes")
    points = make_points([(20, 20), (60, 60)], scenes, FIRE)
    return write_cell(tmp_path / "dataset", scenes, points, imagery=FRAMES)


def items(written: WrittenCell, layer: str, **options: bool) -> list[str]:
    """Scenes of the first window's timesteps."""
    rasters = make_rasters(written, **options).rasters
    rows = rasters.filter(pc.equal(rasters["layer"], layer)).to_pylist()
    return [r["items"] for r in rows if r["window_name"] == rows[0]["window_name"]]


def lay_out(written: WrittenCell) -> Path:
    """The cell as a store holds it; returns the dataset of the view."""
    task, cell = written.dataset.with_name("task"), f"h3_cell={written.cell}"
    made = make_rasters(written)
    for name in ("windows", "rasters", "chips"):
        (task / name / cell).mkdir(parents=True)
    pq.write_table(written.windows, task / "windows" / cell / "windows.parquet")
    pq.write_table(made.rasters, task / "rasters" / cell / "rasters.parquet")
    (chips_of(written) / made.file).rename(task / "chips" / cell / made.file)
    ensure_dataset(task / "dataset", FRAMES, str(written.dataset.with_name("scenes")), None)
    return task / "dataset"


@pytest.mark.parametrize("scene_major", [True, False])
def test_the_months_before_and_after_are_read(written: WrittenCell, scene_major: bool) -> None:
    assert items(written, S2, scene_major=scene_major) == ["S2_2022-05", "S2_2022-07"]


def test_scene_by_scene_gives_what_rslearn_gives(written: WrittenCell) -> None:
    make_rasters(written)
    ours = {name: packed(written).layers[name] for name in (S1, S2)}
    values = {name: np.array(packed(written).row(name, 1)) for name in ours}
    make_rasters(written, scene_major=False)
    for name, mosaics in ours.items():
        assert (packed(written).layers[name].periods == mosaics.periods).all()
        assert (packed(written).row(name, 1) == values[name]).all()


def test_plain_rslearn_makes_the_same(written: WrittenCell) -> None:
    rslearn("prepare", written.dataset)
    rslearn("materialize", written.dataset)
    dataset, layers = open_dataset(written.dataset)
    theirs = {
        f"{window.name}/{layer.name}": read_mosaics(window, layer).values
        for window in load_windows(dataset, written.cell)
        for layer in layers
    }
    make_rasters(written)
    ours = packed(written)
    for row, name in enumerate(ours.window_names):
        for layer in (S1, S2):
            assert ours.row(layer, row).shape[0] == 2
            assert (ours.row(layer, row) == theirs[f"{name}/{layer}"]).all()


def test_the_view_and_its_export_are_read_by_rslearn(written: WrittenCell, tmp_path: Path) -> None:
    view = lay_out(written)
    assert "prepared=0, skipped=2" in rslearn("prepare", view)
    assert export_dataset(view, tmp_path / "copy") == 2
    assert "materialized=0, failed=0" in rslearn("materialize", tmp_path / "copy")
    for folder in (view, tmp_path / "copy"):
        window = Dataset(UPath(folder)).load_windows()[0]
        data = window.load_layer_datas()[S2]
        assert [r[0].month for r in data.group_time_ranges or []] == [5, 7]


@pytest.mark.parametrize("days_before", [0, 15, 40])
def test_the_window_may_begin_on_another_day(tmp_path: Path, days_before: int) -> None:
    """Frames are counted from the month of valid_time, not of the window's first day."""
    ensure_dataset(tmp_path, FRAMES, str(tmp_path), None, days_before=days_before)
    _, layers = open_dataset(tmp_path)
    start = dt.datetime(2022, 6, 3, tzinfo=dt.UTC) - dt.timedelta(days=days_before)
    source = layers[0].config.data_source
    assert source is not None
    begun = start + (source.time_offset or dt.timedelta())
    assert begun == dt.datetime(2022, 6, 3, tzinfo=dt.UTC) - dt.timedelta(days=45)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StacServer]:
    monkeypatch.setattr(stac, "_BACKOFF_S", 0.01)
    folder, scenes = tmp_path / "assets", Scenes(tmp_path / "unused", side=SIDE)
    folder.mkdir()
    made = StacServer(folder, page_size=5)
    for period in range(4, 9):
        add_item(made, scenes, period, f"s2_{period:02}", radar=False)
    add_item(made, scenes, 6, "s1_06", radar=True)
    with serve(made):
        yield made


def test_a_catalogues_frames_are_thirty_day_periods(tmp_path: Path, server: StacServer) -> None:
    """Period 6 of twelve holds valid_time."""
    scenes = Scenes(tmp_path / "unused", side=SIDE)
    written = make_stac(tmp_path / "dataset", server, scenes, frames=[-1, 1])
    rasters = make_rasters(written).rasters
    rows = [r for r in rasters.to_pylist() if r["layer"] == S2]
    assert [r["items"] for r in rows] == ["s2_05", "s2_07"]
    assert [r["period_start"] for r in rows] == [START + dt.timedelta(days=30 * i) for i in (5, 7)]


def test_a_scene_between_the_frames_is_no_imagery(tmp_path: Path, server: StacServer) -> None:
    scenes = Scenes(tmp_path / "unused", side=SIDE)
    written = make_stac(tmp_path / "dataset", server, scenes, frames=[-1, 1])
    rasters = make_rasters(written).rasters
    assert [r["items"] for r in rasters.to_pylist() if r["layer"] == S1] == ["", ""]
