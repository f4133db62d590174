"""Licences on a map: what is stated is kept as given, what is not is said to be unknown."""

import json
import shutil

import pytest

from geofm_assets.core.errors import ConfigError, ImageryError
from geofm_assets.imagery.index import scenes_info
from geofm_assets.imagery.resources import ImagerySource
from geofm_assets.prediction.asked import Asked
from geofm_assets.prediction.request import read_request
from geofm_assets.prediction.stages import MapStage
from geofm_assets.prediction.terms import map_terms
from geofm_assets.tasks.component import training_task
from geofm_assets.tasks.config import load_task_file
from geofm_assets.training.experiments import Experiment
from tests.imagery_scenes import make_scenes
from tests.prediction_world import (
    EXPERIMENT,
    TASK_FILE,
    degrees,
    feature,
    small_task,
    source,
    trained_store,
    write_request,
)

FIRES = TASK_FILE.parents[1] / "burned_area/defs.yaml"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return make_scenes(tmp_path_factory.mktemp("terms") / "scenes", skip=("S1_2022-05",))


@pytest.fixture
def store(scenes, tmp_path):
    """A store whose only window is real: `simulated` is false."""
    return trained_store(tmp_path / "store", scenes)


def said_of(scenes, tmp_path, **fields):
    """A copy of the scenes whose entries say more."""
    shutil.copytree(scenes.folder, tmp_path / "said")
    entries = [{**entry, **fields} for entry in scenes.entries]
    (tmp_path / "said/items.json").write_text(json.dumps(entries))
    return ImagerySource(scenes=str(tmp_path / "said"))


def terms(store, task, where, names=("S2_2022-06", "S1_2022-06")):
    return map_terms(store, task, where, Experiment.parse(EXPERIMENT), names)


def test_what_nobody_stated_is_not_stated_with_how_to_state_it(store, scenes):
    found = terms(store, small_task(), source(scenes))
    (row,) = found["imagery"]
    assert (row["modality"], row["licence"], row["scenes"]) == ("sentinel2_l2a", "not stated", 1)
    (note,) = [note for note in found["notes"] if "imagery" in note]
    assert "`licence` and `attribution` in items.json" in note


def test_what_scenes_state_is_kept_and_changes_no_digest(store, scenes, tmp_path):
    where = said_of(scenes, tmp_path, licence="CC-BY-4.0", attribution="© us", simulated=False)
    (row,) = terms(store, small_task(), where)["imagery"]
    assert (row["licence"], row["attribution"]) == ("CC-BY-4.0", "© us")
    assert scenes_info(where.scenes).digest == scenes_info(scenes.folder).digest


def test_a_licence_that_is_no_text_is_refused(scenes, tmp_path):
    with pytest.raises(ImageryError, match="licence is not text: 4"):
        scenes_info(said_of(scenes, tmp_path, licence=4).scenes)


def test_simulated_data_says_so(store, scenes, tmp_path):
    found = terms(store, small_task(), said_of(scenes, tmp_path, simulated=True))
    assert found["imagery"][0]["licence"] == "simulated data"
    assert found["labels"][0]["licence"] == "simulated data"
    assert found["notes"] == []


def test_a_catalogue_names_its_collections(store):
    task = small_task(**{"imagery.profile": "planetary_computer"})
    (row,) = terms(store, task, ImagerySource(stac_url="https://example.org/stac/"))["imagery"]
    assert row["source"] == "https://example.org/stac/collections/sentinel-2-l2a"


@pytest.mark.parametrize("licence", [None, "CC-BY-4.0"])
def test_perimeters_carry_what_the_task_file_states(store, scenes, tmp_path, licence):
    task = training_task(load_task_file(FIRES, {"labels.licence": licence}).config)
    key = f"tasks/{task.name}/split_manifest.parquet"
    table = store.read_table("tasks/worldcereal_cropland/split_manifest.parquet")
    real = table.set_column(
        table.schema.get_field_index("simulated"), "simulated", [[False] * table.num_rows]
    )
    from geofm_assets.training.schema import Manifest

    made = {"inputs": "0" * 64, "code_version": "1", "simulated": False}
    store.write_table(key, real, Manifest, **made)
    found = terms(store, task, source(scenes))
    assert found["labels"][0]["licence"] == (licence or "not stated")
    assert any("--set labels.licence=TEXT" in note for note in found["notes"]) == (not licence)


def test_a_licence_of_worldcereal_is_that_of_its_listing():
    with pytest.raises(ConfigError, match="those of its listing"):
        load_task_file(TASK_FILE, {"labels.licence": "mine"})


def test_a_licence_stated_later_reaches_the_item_and_no_tile(store, scenes, tmp_path):
    stage = MapStage(small_task())
    request = write_request(tmp_path / "a.geojson", feature(degrees(scenes, 10, 10, 40, 40)))
    where = said_of(scenes, tmp_path)
    map_id = stage.ask(store, where, Asked(read_request(request), EXPERIMENT))
    notes = []

    def report(done, total, note):
        notes.append(note)

    stage.make(store, where, map_id, False, report)
    shutil.rmtree(tmp_path / "said")
    said_of(scenes, tmp_path, licence="CC0-1.0")
    assert not stage.is_current(store, where, map_id)
    stage.make(store, where, map_id, False, report)
    assert ["kept" in note for note in notes] == [False, True]
    item = store.read_json(f"{stage.folder(map_id)}/item.json")
    assert item["properties"]["geofm:imagery"]["sources"][0]["licence"] == "CC0-1.0"
    assert stage.is_current(store, where, map_id)
