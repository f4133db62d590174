"""A task file is refused with the line at fault; overrides reach any key."""

from pathlib import Path

import pytest

import geofm_assets.tasks
from geofm_assets.core.errors import ConfigError, GeofmError
from geofm_assets.tasks.config import load_task_file, parse_override

SHIPPED = Path(geofm_assets.tasks.__file__).parent / "worldcereal_cropland" / "defs.yaml"


def edited(tmp_path, old, new):
    text = SHIPPED.read_text()
    assert old in text
    path = tmp_path / "worldcereal_cropland" / "defs.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text.replace(old, new))
    line = next(i for i, row in enumerate(path.read_text().splitlines(), 1) if new.strip() in row)
    return path, line


def test_the_shipped_task_loads_and_has_a_grid():
    task = load_task_file(SHIPPED)
    names = [e.name for e in task.grid().feasible]
    assert "olmoearth_v1_2_nano-s1_s2-ps4-ws4-t12" in names
    assert not any("ps8-ws4" in name for name in names)
    assert any("patch_size 8 is larger than window_size 4" in r for _, r in task.grid().excluded)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("per_cell: 100", "per_cel: 100", "per_cel"),
        ("months: 12", "months: -3", "months"),
        ("rule: ai2_v1", "rule: ai3", "ai3"),
        ("patch_size: [1, 2, 4, 8]", "patch_size: [1, 64]", "patch_size 64"),
        ("window_size: [1, 4, 8, 16, 32]", "window_size: [8, 64]", "window_size 64"),
        ("encoder: [olmoearth_v1_2_nano]", "encoder: [resnet50]", "resnet50"),
    ],
)
def test_a_wrong_value_is_refused_with_its_file_and_line(tmp_path, old, new, message):
    path, line = edited(tmp_path, old, new)
    with pytest.raises(ConfigError) as caught:
        load_task_file(path)
    assert message in str(caught.value)
    assert f"{path}:{line}" in str(caught.value)


def test_an_override_reaches_any_key():
    task = load_task_file(SHIPPED, {"sampling.per_cell": 7, "labels.min_confidence.crop_type": 50})
    assert task.config.sampling.per_cell == 7
    assert task.config.labels.min_confidence.crop_type == 50
    assert task.config.labels.min_confidence.land_cover == 90


def test_an_override_of_a_key_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match=r"--set sampling\.percell"):
        load_task_file(SHIPPED, {"sampling.percell": 7})


def test_a_smaller_window_leaves_out_what_no_longer_fits_and_moves_the_default():
    grid = load_task_file(SHIPPED, {"windows.size": 1}).grid()
    assert {(e.window_size, e.patch_size) for e in grid.feasible} == {(1, 1)}
    assert grid.default.name == "olmoearth_v1_2_nano-s1_s2-ps1-ws1-t12"
    assert any("windows.size 1" in reason for _, reason in grid.excluded)


def test_values_of_set_are_read_as_yaml():
    assert parse_override("a.b=1") == ("a.b", 1)
    assert parse_override("a=[1, 2]") == ("a", [1, 2])
    with pytest.raises(GeofmError, match="key=value"):
        parse_override("a.b")


def test_a_file_that_is_no_task_is_refused(tmp_path):
    path = tmp_path / "defs.yaml"
    path.write_text("a: [1\n")
    with pytest.raises(ConfigError, match="Not YAML"):
        load_task_file(path)
    path.write_text("type: other\n")
    with pytest.raises(ConfigError, match="Not a task file"):
        load_task_file(path)
