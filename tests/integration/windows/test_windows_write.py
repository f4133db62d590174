"""Windows of a cell in an rslearn dataset: written, kept, changed, removed, resumed."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from rslearn.dataset import Dataset
from upath import UPath

from geofm_assets.core.errors import WindowError
from geofm_assets.windows.config import WindowsConfig
from geofm_assets.windows.geometry import windows_for_points
from geofm_assets.windows.write import level_123, write_window_group
from tests.imagery_scenes import Scenes, WrittenCell, make_points, write_cell


@pytest.fixture
def written(tmp_path: Path) -> WrittenCell:
    scenes = Scenes(tmp_path / "scenes")
    return write_cell(tmp_path / "dataset", scenes, make_points([(20, 20), (60, 60)], scenes))


def group(written: WrittenCell) -> Path:
    return written.dataset / "windows" / written.cell


def states(written: WrittenCell) -> dict[str, int]:
    return {
        str(p.relative_to(written.dataset)): p.stat().st_mtime_ns
        for p in sorted(group(written).rglob("*"))
        if p.is_file()
    }


def again(written: WrittenCell, points: pa.Table, size: int = 8) -> int:
    windows = windows_for_points(points, WindowsConfig(size=size))
    return write_window_group(written.dataset, written.cell, windows)


def mark_imagery(written: WrittenCell) -> list[Path]:
    """Something in every window that stands for imagery."""
    files = [folder / "layers" / "sentinel1" / "data.npy" for folder in group(written).iterdir()]
    for path in files:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"imagery")
    return files


def test_rslearn_loads_what_was_written(written: WrittenCell) -> None:
    windows = Dataset(UPath(written.dataset)).load_windows(groups=[written.cell])
    assert {w.name for w in windows} == set(written.windows["window_name"].to_pylist())
    assert all(w.is_layer_completed("label") for w in windows)


def test_options_are_those_of_the_reference_and_the_class(written: WrittenCell) -> None:
    windows = Dataset(UPath(written.dataset)).load_windows(groups=[written.cell])
    options = next(w.options for w in windows if w.options["sample_id"] == "sample_0")
    assert options == {
        "split": "train",
        "sample_id": "sample_0",
        "ewoc_code": 1101060000,
        "level_123": "110106",
        "h3_l3_cell": written.points["h3_l3_cell"][0].as_py(),
        "quality_score_lc": 90,
        "quality_score_ct": 80,
        "class_name": "Cropland",
    }


def test_the_label_is_the_window_box_with_its_category(written: WrittenCell) -> None:
    dataset = Dataset(UPath(written.dataset))
    (window,) = dataset.load_windows(names=[written.windows["window_name"][0].as_py()])
    features = window.data.read_vector("label", dataset.layers["label"].instantiate_vector_format())
    assert [f.properties["category"] for f in features] == [window.options["class_name"]]
    assert features[0].geometry.shp.bounds == window.bounds


def test_a_second_run_touches_nothing(written: WrittenCell) -> None:
    before = states(written)
    assert again(written, written.points) == 2
    assert states(written) == before


def test_a_changed_split_rewrites_options_and_keeps_imagery(written: WrittenCell) -> None:
    imagery = mark_imagery(written)
    index = written.points.schema.get_field_index("split")
    moved = written.points.set_column(index, "split", pa.array(["test", "val"]))
    again(written, moved)
    windows = Dataset(UPath(written.dataset)).load_windows(groups=[written.cell])
    assert {w.options["sample_id"]: w.options["split"] for w in windows} == {
        "sample_0": "test",
        "sample_1": "val",
    }
    assert all(path.read_bytes() == b"imagery" for path in imagery)


def test_a_changed_class_rewrites_the_label_and_keeps_imagery(written: WrittenCell) -> None:
    imagery = mark_imagery(written)
    index = written.points.schema.get_field_index("class_name")
    renamed = written.points.set_column(index, "class_name", pa.array(["A", "B"]))
    again(written, renamed)
    labels = sorted(group(written).glob("*/layers/label/data.geojson"))
    found = {json.loads(p.read_text())["features"][0]["properties"]["category"] for p in labels}
    assert found == {"A", "B"}
    assert all(path.exists() for path in imagery)


def test_a_changed_place_makes_the_window_anew(written: WrittenCell) -> None:
    imagery = mark_imagery(written)
    again(written, written.points, size=4)
    assert not any(path.exists() for path in imagery)


def test_a_window_no_longer_wanted_is_removed(written: WrittenCell) -> None:
    kept = written.points.filter(pc.equal(written.points["sample_id"], "sample_1"))
    assert again(written, kept) == 1
    assert len(list(group(written).iterdir())) == 1


@pytest.mark.parametrize("lost", ["metadata.json", "layers/label/completed"])
def test_a_run_cut_short_is_finished_by_the_next(written: WrittenCell, lost: str) -> None:
    for folder in group(written).iterdir():
        (folder / lost).unlink()
    again(written, written.points)
    assert all((folder / lost).exists() for folder in group(written).iterdir())


def test_a_label_cut_short_is_written_again(written: WrittenCell) -> None:
    label = next(group(written).glob("*/layers/label/data.geojson"))
    label.write_text(label.read_text()[:20])
    again(written, written.points)
    assert json.loads(label.read_text())["features"]


def test_rslearns_index_of_the_dataset_is_dropped_when_windows_change(written: WrittenCell) -> None:
    index = written.dataset / ".rslearn_dataset_index"
    index.mkdir()
    again(written, written.points)
    assert index.exists()
    again(written, written.points.slice(0, 1))
    assert not index.exists()


def test_windows_of_another_cell_are_refused(written: WrittenCell) -> None:
    with pytest.raises(WindowError, match="not 83ffffffffffffff"):
        write_window_group(written.dataset, "83ffffffffffffff", written.windows)


def test_without_a_dataset_it_says_so(tmp_path: Path, written: WrittenCell) -> None:
    with pytest.raises(WindowError, match=r"config\.json is missing"):
        write_window_group(tmp_path, written.cell, written.windows)


def test_levels_of_a_code_keep_leading_zeros() -> None:
    assert (level_123(1101060000), level_123(600), level_123(None)) == ("110106", "000000", None)
