"""Datasets that were put into a folder of GEOFM_EVAL_DATASETS."""

import os
from pathlib import Path

import pytest

from geofm_assets.core.errors import ConfigError, DatasetError
from geofm_assets.evaluation.registry.discover import (
    VARIABLE,
    DiscoveredDataset,
    parse_options,
    search,
)


def place(root: Path, name: str, options: str | None = None) -> Path:
    """A dataset's folder as far as discovery looks at it."""
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"layers": {}}')
    if options is not None:
        (folder / "evaluation.yaml").write_text(options)
    return folder


def discover(environment: dict[str, str]) -> dict[str, DiscoveredDataset]:
    """Datasets that were found; the first thing that is wrong is raised."""
    found = search(environment)
    if found.problems:
        raise found.problems[0]
    return found.datasets


def variables(*roots: Path) -> dict[str, str]:
    return {VARIABLE: os.pathsep.join(str(root) for root in roots)}


def test_without_the_variable_nothing_is_discovered():
    assert discover({}) == {}
    assert discover({VARIABLE: ""}) == {}


def test_each_sub_folder_with_a_config_is_a_dataset_named_after_it(tmp_path):
    folder = place(tmp_path, "Togo Crops-2019")
    (tmp_path / "notes").mkdir()
    place(tmp_path, ".hidden")
    found = discover(variables(tmp_path))
    assert list(found) == ["togo_crops_2019"]
    assert found["togo_crops_2019"].folder == folder
    assert found["togo_crops_2019"].options.source == str(folder)


def test_datasets_of_several_folders_are_found_in_order_of_name(tmp_path):
    place(tmp_path / "b", "lfmc")
    place(tmp_path / "a", "togo")
    assert list(discover(variables(tmp_path / "a", tmp_path / "b"))) == ["lfmc", "togo"]


def test_a_folder_that_is_itself_a_dataset_is_one(tmp_path):
    assert list(discover(variables(place(tmp_path, "togo")))) == ["togo"]


def test_the_options_beside_a_dataset_are_read(tmp_path):
    place(
        tmp_path,
        "raw",
        "name: togo\ndisplay_name: Togo crops\ntask_type: classification\n"
        "classes: [other, crop]\nproperty_name: is_crop\ntags: {oep_eval: null}\n"
        "temporal_range: [2019-01-01, 2020-01-01]\nlicence: CC-BY-4.0\n",
    )
    options = discover(variables(tmp_path))["togo"].options
    assert options.display_name == "Togo crops"
    assert options.classes == ("other", "crop")
    assert options.tags == {"oep_eval": None}
    assert options.temporal_range[0].year == 2019
    assert options.licence == "CC-BY-4.0"


def test_an_empty_options_file_says_nothing(tmp_path):
    place(tmp_path, "togo", "# nothing yet\n")
    assert list(discover(variables(tmp_path))) == ["togo"]


BAD = {
    "an unknown key": ("colour: red", r"colour: no such option at .*evaluation.yaml.*classes"),
    "a wrong value": ("task_type: guess", r"task_type: .*evaluation.yaml"),
    "a source": ("source: /elsewhere", r"source cannot be said here.*the folder is the source"),
    "a list": ("- a\n- b", "Not a list of options"),
    "not yaml": ("a: [1", r"Not YAML at .*evaluation.yaml:\d"),
    "an odd name": ("name: Togo!", r"name: .*evaluation.yaml"),
    "two that disagree": (
        "temporal_range: [2020-01-01, 2019-01-01]",
        "temporal_range: the temporal range ends before it begins",
    ),
}


@pytest.mark.parametrize(("options", "message"), BAD.values(), ids=BAD.keys())
def test_options_that_cannot_be_are_named_by_file_and_key(tmp_path, options, message):
    place(tmp_path, "togo", options)
    with pytest.raises(ConfigError, match=message):
        discover(variables(tmp_path))


def test_a_folder_whose_name_makes_no_name_says_what_to_write(tmp_path):
    place(tmp_path, "2019")
    with pytest.raises(ConfigError, match=r"name: .*2019/evaluation.yaml.*Write it there"):
        discover(variables(tmp_path))


def test_two_datasets_of_one_name_are_refused_with_both_folders(tmp_path):
    first, second = place(tmp_path / "a", "togo"), place(tmp_path / "b", "togo")
    with pytest.raises(ConfigError, match=rf"{first} and {second}"):
        discover(variables(tmp_path / "a", tmp_path / "b"))


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(ConfigError, match=rf"{VARIABLE}: {tmp_path}/nowhere"):
        discover(variables(tmp_path / "nowhere"))


def test_searching_goes_on_past_what_cannot_be_used(tmp_path):
    place(tmp_path, "togo")
    place(tmp_path, "broken", "colour: red")
    found = search(variables(tmp_path / "nowhere", tmp_path))
    assert list(found.datasets) == ["togo"]
    assert len(found.problems) == 2


@pytest.mark.parametrize(
    ("options", "name"),
    [("colour: red", "nice_name"), ("name: lfmc\ncolour: red", "lfmc"), ("{", "nice_name")],
)
def test_what_is_broken_is_known_by_the_name_it_would_have(tmp_path, options, name):
    place(tmp_path, "Nice Name", options)
    found = search(variables(tmp_path))
    assert list(found.broken) == [name]
    assert "evaluation.yaml" in found.broken[name].where


def test_neither_of_two_datasets_of_one_name_is_taken(tmp_path):
    place(tmp_path / "a", "togo")
    place(tmp_path / "b", "togo")
    place(tmp_path / "b", "lfmc")
    found = search(variables(tmp_path / "a", tmp_path / "b"))
    assert list(found.datasets) == ["lfmc"]
    assert "2 datasets are named 'togo'" in found.broken["togo"].what


def test_a_value_that_was_typed_is_named_by_its_flag():
    typed = {"name": "togo", "source": "/data", "block_m": -1.0}
    with pytest.raises(DatasetError, match=r"--block-m: .*at --block-m -1.0"):
        parse_options(typed, lambda field: f"--{field.replace('_', '-')}")
