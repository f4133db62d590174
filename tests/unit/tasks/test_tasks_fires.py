"""A task of fire perimeters is one file, too; what does not fit together is refused by name."""

import datetime as dt
from pathlib import Path

import pytest

import geofm_assets.tasks
from geofm_assets.core.errors import ConfigError
from geofm_assets.imagery.periods import frames_offset, periods, request_duration, span
from geofm_assets.labels.source import label_source
from geofm_assets.platform.definitions import fire_sources
from geofm_assets.tasks.config import (
    PERIMETERS_KEY,
    TaskConfig,
    load_task_file,
    window_extent_m,
)

TASKS = Path(geofm_assets.tasks.__file__).parent
SHIPPED = TASKS / "burned_area" / "defs.yaml"
CROPLAND = TASKS / "worldcereal_cropland" / "defs.yaml"


def without(tmp_path: Path, section: str) -> Path:
    """The shipped file without the line of a section."""
    lines = SHIPPED.read_text().splitlines()
    kept = [line for line in lines if not line.startswith(f"  {section}:")]
    assert len(kept) == len(lines) - 1
    path = tmp_path / "defs.yaml"
    path.write_text("\n".join(kept))
    return path


def test_the_shipped_task_trains_both_heads_on_images_before_and_after():
    task = load_task_file(SHIPPED)
    grid = task.grid()
    assert grid.default.name == "olmoearth_v1_2_nano-s2-ps4-ws32-t2-seg"
    assert {e.timesteps for e in grid.feasible} == {1, 2}
    assert {e.head for e in grid.feasible} == {"classification", "segmentation"}
    assert task.config.imagery.frames == (-1, 1)


def test_an_override_names_other_perimeters():
    task = load_task_file(SHIPPED, {PERIMETERS_KEY: "/data/fire24_1.gdb"})
    source = label_source(task.config.name, task.config.labels)
    assert source.root == "reference/calfire/fire241"


def test_no_fire_that_the_last_image_may_show_counts_as_not_yet_burning():
    task = load_task_file(SHIPPED).config
    assert task.labels.calfire is not None
    assert task.masks is not None
    frames = task.imagery.frames
    days = [dt.datetime(2024, 1, 1, tzinfo=dt.UTC) + dt.timedelta(days=n) for n in range(366)]
    ends = []
    for day in days:
        start = day - dt.timedelta(days=task.windows.days_before)
        start += frames_offset(frames, task.windows.days_before)
        asked = (start, start + request_duration(span(frames)))
        for rule in ("calendar_month", "fixed"):
            ends.append((periods(rule, asked, span(frames), frames)[-1][1] - day).days - 1)
    assert max(ends) == task.masks.after_days
    assert max(ends) == task.labels.calfire.samples.exclude_after_days


def line_of(path: Path, text: str) -> int:
    return next(i for i, row in enumerate(path.read_text().splitlines(), 1) if text in row)


def test_segmentation_needs_masks(tmp_path):
    path = without(tmp_path, "masks")
    with pytest.raises(ConfigError, match="head segmentation needs the section masks") as caught:
        load_task_file(path)
    assert f"{path}:{line_of(path, 'head: [')}" in str(caught.value)


def test_what_does_not_fit_together_is_refused_with_its_line(tmp_path):
    path = tmp_path / "defs.yaml"
    path.write_text(SHIPPED.read_text().replace("window_extent_m: 330", "window_extent_m: 320"))
    with pytest.raises(ConfigError, match="windows need 330") as caught:
        load_task_file(path)
    assert f"{path}:{line_of(path, 'window_extent_m')}" in str(caught.value)
    assert caught.value.what.startswith("labels.calfire.samples.window_extent_m is 320")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"masks": {"gap_m": 30}}, "labels.source must be calfire"),
        ({"split.by": "group"}, "split.by group needs labels.source calfire"),
        ({"experiments.head": ["segmentation"]}, "head segmentation needs the section masks"),
        ({"labels.calfire": {"perimeters": "a.gpkg"}}, "source calfire and the section calfire"),
    ],
)
def test_other_labels_have_no_fires(overrides, message):
    with pytest.raises(ConfigError, match=message):
        load_task_file(CROPLAND, overrides)


def test_samples_must_be_as_far_apart_as_windows_are_wide():
    config = load_task_file(SHIPPED).config
    assert config.labels.calfire.samples.window_extent_m >= window_extent_m(config.windows)
    with pytest.raises(ConfigError, match=r"window_extent_m is 330, windows need 650"):
        load_task_file(SHIPPED, {"windows.size": 64})
    both = {"windows.size": 64, "labels.calfire.samples.window_extent_m": 650}
    assert load_task_file(SHIPPED, both).config.windows.size == 64


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({PERIMETERS_KEY: "ftp://example.org/a.zip"}, "neither a file nor http"),
        ({"labels.classes": ["burnt", "unburnt"]}, "needs rule identity and classes"),
        ({"imagery.months": 2}, "give months or frames, not both"),
        ({"labels.calfire.last_year": 2000}, "is before first_year"),
    ],
)
def test_a_wrong_value_is_refused(override, message):
    with pytest.raises(ConfigError, match=message):
        load_task_file(SHIPPED, override)


def sources(*overrides: dict[str, object]):
    configs = [load_task_file(SHIPPED, o).config for o in overrides]
    return [label_source(c.name, c.labels) for c in configs]


def test_two_tasks_of_the_same_perimeters_share_them():
    assert len(fire_sources(sources({}, {"training.seed": 1}))) == 1


def test_two_tasks_that_sample_fires_in_other_ways_are_refused():
    with pytest.raises(ConfigError, match="read fire perimeters in different ways"):
        fire_sources(sources({}, {"labels.calfire.samples.seed": 1}))


AROUND = {
    "windows.around": "polygons",
    "windows.min_size": 16,
    "experiments.head": ["segmentation"],
}


def test_windows_around_polygons_are_what_samples_are_taken_with():
    config = load_task_file(SHIPPED, AROUND).config
    around = config.labels.calfire.samples.around
    assert (around.size, around.resolution) == (32, 10)
    assert TaskConfig.model_validate(config.model_dump()) == config
    assert load_task_file(SHIPPED).config.labels.calfire.samples.around is None


def test_two_tasks_with_other_windows_around_polygons_are_refused():
    assert len(fire_sources(sources(AROUND, {**AROUND, "windows.min_size": 8}))) == 1
    with pytest.raises(ConfigError, match="read fire perimeters in different ways"):
        fire_sources(sources({}, AROUND))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"experiments.head": ["classification", "segmentation"]}, r"must be \[segmentation\]"),
        ({"labels.calfire.samples.max_points_per_fire": 5}, "max_points_per_fire is of points"),
        ({"labels.calfire.samples.spacing_m": 400}, "spacing_m is of points"),
        ({"windows.min_size": 64}, "min_size is 64, more than size 32"),
        ({"windows.around": "points"}, "set around: polygons"),
        (
            {"labels.calfire.samples.around": {"size": 16, "resolution": 10}},
            "samples.around follows from windows.size",
        ),
    ],
)
def test_what_does_not_go_with_windows_around_polygons_is_refused(override, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load_task_file(SHIPPED, AROUND | override)
    assert "at --set" in str(caught.value)


def test_other_labels_have_no_polygons():
    with pytest.raises(ConfigError, match=r"windows.around polygons needs labels.source calfire"):
        load_task_file(CROPLAND, {"windows.around": "polygons"})


def test_a_task_file_of_polygons_is_refused_with_its_line(tmp_path):
    path = tmp_path / "defs.yaml"
    text = SHIPPED.read_text().replace("{size: 32, ", "{size: 32, around: polygons, min_size: 16, ")
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"must be \[segmentation\]") as caught:
        load_task_file(path)
    assert f"{path}:{line_of(path, 'head: [')}" in str(caught.value)
    path.write_text(text.replace("min_size: 16", "min_size: 160"))
    with pytest.raises(ConfigError, match="more than size 32") as caught:
        load_task_file(path)
    assert f"{path}:{line_of(path, 'min_size')}" in str(caught.value)
