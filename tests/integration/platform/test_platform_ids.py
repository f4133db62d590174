"""Ids from outside never become paths: each is refused, or is one harmless name."""

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from geofm_assets.core.errors import GeofmError
from geofm_assets.core.store import Store
from geofm_assets.evaluation.ingest.options import IngestOptions
from geofm_assets.evaluation.registry.registry import Registry
from geofm_assets.imagery.index import scenes_info
from geofm_assets.labels.calfire.config import CalfireConfig
from geofm_assets.labels.calfire.fire_years import FireYearsStage
from geofm_assets.labels.calfire.stages import FirePointsStage, PerimetersStage
from geofm_assets.labels.config import LabelsConfig, MinConfidence
from geofm_assets.labels.source import WORLDCEREAL, label_source
from geofm_assets.labels.stages import CollectionFileStage
from geofm_assets.labels.worldcereal.collections import normalise_id
from geofm_assets.labels.worldcereal.mirror import MirrorRdm
from geofm_assets.prediction.asked import asked_key
from geofm_assets.prediction.request import parse_request, request_id
from geofm_assets.tasks.config import require_name
from geofm_assets.tasks.template import write_task
from geofm_assets.training.experiment import Experiment
from geofm_assets.windows.stages import dataset_key
from tests.frap_files import frap_row, write_frap
from tests.servers.label_files import mirror, record

PIECES = [
    "..",
    "/",
    "\\",
    "\0",
    "\n",
    "%2e%2e",
    "~",
    "C:",
    "etc",
    "x",
    "-",
    ".",
    "_1",
    "é",
    "$HOME",
]
HOSTILE = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=8).map("".join), st.text(max_size=30)
)
FIXED = [
    "../../etc/passwd",
    "/etc/passwd",
    "..",
    "a/../../b",
    "a\\..\\b",
    "x\n",
    "x\0.parquet",
    "%2e%2e%2fx",
    "~root",
    "C:\\x",
    "",
]
NAME = re.compile(r"[A-Za-z0-9_-]+")
AREA = {
    "type": "Feature",
    "geometry": {"type": "Polygon", "coordinates": [[[9, 42], [9.1, 42], [9.1, 42.1], [9, 42]]]},
    "properties": {"oe_start_time": "2022-06-01T00:00:00Z", "oe_end_time": "2022-07-01T00:00:00Z"},
}


def kept_or_refused(make, text):
    """What a maker of names says, which is one harmless name; None where it refuses."""
    try:
        name = make(text)
    except (GeofmError, ValueError):
        return None
    assert NAME.fullmatch(name), (text, name)
    return name


def request_day(text):
    area = {**AREA, "properties": {**AREA["properties"], "oe_start_time": text}}
    request = parse_request({"type": "FeatureCollection", "features": [area]}, text)
    return request_id(request, "experiment")


def dataset_name(text):
    return IngestOptions(name=text, source="/data").name


def source_name(text):
    return CalfireConfig(perimeters=f"/data/{text}.gdb").name


def source_id(text):
    return CalfireConfig(perimeters="/data/x.gdb", source_id=text).name


MAKERS = {
    "collection id": normalise_id,
    "day of a request": request_day,
    "experiment name": lambda text: Experiment.parse(text).name,
    "dataset name": dataset_name,
    "task name": require_name,
    "name of a fire source": source_name,
    "id of a fire source": source_id,
}


@pytest.mark.parametrize("kind", MAKERS)
@given(text=HOSTILE)
@settings(max_examples=60)
def test_a_name_from_outside_is_harmless_or_refused(kind, text):
    kept_or_refused(MAKERS[kind], text)


@pytest.mark.parametrize("kind", ["dataset name", "task name", "id of a fire source"])
@pytest.mark.parametrize("text", FIXED)
def test_names_people_choose_are_refused_not_changed(kind, text):
    assert kept_or_refused(MAKERS[kind], text) is None


KEYS = {
    "collection": CollectionFileStage(WORLDCEREAL).record_key,
    "map": lambda text: asked_key("cropland", text),
    "task": dataset_key,
    "cell": lambda text: f"tasks/cropland/windows/{text}/windows.parquet",
    "model": lambda text: f"evaluation/embeddings/{text}/x.safetensors",
}


@pytest.mark.parametrize("kind", KEYS)
@given(text=HOSTILE)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_partition_typed_into_the_ui_stays_in_the_store(tmp_path, kind, text):
    store = Store(tmp_path / "store")
    try:
        path = store.path(KEYS[kind](text))
    except GeofmError:
        return
    assert Path(path.path).resolve().is_relative_to(tmp_path / "store")


@pytest.mark.parametrize("text", [t for t in FIXED if t])
def test_a_partition_that_leads_out_of_the_store_is_refused(tmp_path, text):
    with pytest.raises(GeofmError, match="Not a store key"):
        Store(tmp_path / "store").path(KEYS["collection"](text))


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "a/b", "x\n"])
def test_a_new_task_is_written_in_its_folder_or_not_at_all(tmp_path, name):
    labels = tmp_path / "labels.csv"
    labels.write_text("lon,lat,label,valid_time\n9,42,a,2022-06-01\n9.1,42,b,2022-06-01\n")
    folder = tmp_path / "tasks"
    with pytest.raises(GeofmError, match="cannot be the name of a task"):
        write_task(name, labels, folder)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["labels.csv"]


@pytest.mark.parametrize("name", FIXED)
def test_removing_a_dataset_deletes_nothing_outside(tmp_path, name):
    (tmp_path / "store").mkdir()
    (tmp_path / "kept").write_text("kept")
    with pytest.raises(GeofmError):
        Registry(Store(tmp_path / "store")).remove(name)
    assert (tmp_path / "kept").read_text() == "kept"


@pytest.mark.parametrize("file", ["../x.tif", "/etc/passwd", "a/../../x.tif", ""])
def test_a_scene_outside_its_folder_is_refused(tmp_path, file):
    (tmp_path / "scenes").mkdir()
    (tmp_path / "scenes" / "items.json").write_text(f'[{{"file": "{file}"}}]')
    with pytest.raises(GeofmError, match=r"outside the folder|names no file"):
        scenes_info(tmp_path / "scenes")


@pytest.mark.parametrize("rdm_id", ["../../c0", "c0/../..", "/c0", "..\\c0"])
def test_a_mirror_is_searched_by_key_and_never_by_path(tmp_path, rdm_id):
    folder = mirror(tmp_path / "mirror", "2021_tst_a_point_110")
    target = tmp_path / "target"
    with pytest.raises(GeofmError, match="no folder for collection"):
        MirrorRdm(folder).fetch(record(rdm_id), target)
    assert not target.exists()


def test_fires_of_any_id_stay_in_the_store(tmp_path):
    hostile = {"GlobalID": "../../../fire", "IRWINID": "/etc/fire", "FIRE_NAME": "../../x\0y"}
    dates = {"ALARM_DATE": "2020-07-01", "CONT_DATE": "2020-07-20"}
    rows = [frap_row(**dates, **hostile, INC_NUM="../..", COMPLEX_ID="../x", UNIT_ID="../u")]
    path = write_frap(tmp_path / "frap.gpkg", rows)
    labels = LabelsConfig(
        source="calfire",
        rule="identity",
        classes=["unburnt", "burnt"],
        calfire=CalfireConfig(perimeters=str(path)),
    )
    source, store = label_source("burned_area", labels), Store(tmp_path / "store")
    FireYearsStage(source).make(store)
    for year in PerimetersStage(source).wanted(store):
        PerimetersStage(source).make(store, year, False)
    for fires in source.accepted(store, MinConfidence())["collection_id"].to_pylist():
        FirePointsStage(source).make(store, fires, False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["frap.gpkg", "store"]
    made = [p.relative_to(tmp_path / "store").as_posix() for p in store.root.rglob("*")]
    assert made
    assert not any("etc" in name or "fire.p" in name for name in made)


def test_a_source_address_is_not_repeated_in_a_validation_error():
    with pytest.raises(ValidationError) as caught:
        IngestOptions(name="d", source="s3://key:s3cr3t-c4n4ry@bucket/x")
    assert "s3cr3t-c4n4ry" not in str(caught.value)
