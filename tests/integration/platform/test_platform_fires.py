"""Burned area in the graph: its assets, jobs and sensors, and perimeters from any source."""

from pathlib import Path

import dagster as dg
import geopandas as gpd
import pyarrow as pa
import pyogrio
import pytest

import geofm_assets.tasks
from geofm_assets.core.errors import ConfigError
from geofm_assets.core.settings import Settings, load_settings
from geofm_assets.core.store import Store
from geofm_assets.labels.calfire.fire_years import FireYearsStage
from geofm_assets.labels.calfire.stages import PerimetersStage
from geofm_assets.labels.source import label_source
from geofm_assets.platform.definitions import TASKS_VARIABLE, build_definitions
from geofm_assets.platform.sensors import reconcile_sensor
from geofm_assets.platform.status import task_status
from geofm_assets.sample_world.build_fires import fires_of
from geofm_assets.sample_world.fire_perimeters import FIRE_LAYER, write_perimeters
from geofm_assets.tasks.component import jobs_of, training_task
from geofm_assets.tasks.config import PERIMETERS_KEY, load_task_file
from tests.servers.feature_server import FeatureServer

TASK = "burned_area"
SHIPPED = Path(geofm_assets.tasks.__file__).parent / TASK / "defs.yaml"


def settings_of(store: Path, perimeters: str) -> Settings:
    settings = load_settings(str(store), {})
    return settings.model_copy(update={"overrides": {TASK: {PERIMETERS_KEY: perimeters}}})


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """The sample world's perimeters, without its scenes."""
    path = tmp_path_factory.mktemp("fires") / "fires.gpkg"
    write_perimeters(path, fires_of("tiny_fires")[1])
    return path


@pytest.fixture(scope="module")
def served(world):
    """The same wildfires as a feature layer."""
    frame = pyogrio.read_dataframe(world, layer=FIRE_LAYER).to_crs(4326)
    for name in ("ALARM_DATE", "CONT_DATE"):
        frame[name] = frame[name].dt.strftime("%Y-%m-%d")
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    with FeatureServer(rows) as service:
        yield service


def test_nothing_is_fetched_to_load_or_to_see_the_status(served, tmp_path):
    before = len(served.requests)
    settings = settings_of(tmp_path / "store", served.url)
    build_definitions(settings).get_repository_def().load_all_definitions()
    rows = task_status(settings)
    assert {row["task"] for row in rows} == {TASK, "worldcereal_cropland"}
    assert all(row["current"] == 0 for row in rows)
    assert len(served.requests) == before


def test_its_assets_jobs_and_sensors_are_there(tmp_path):
    definitions = build_definitions(load_settings(str(tmp_path), {}))
    keys = {spec.key.to_user_string() for spec in definitions.resolve_all_asset_specs()}
    assert {"calfire/collections", "calfire/perimeters", "calfire/reference_points"} <= keys
    assert {"burned_area/masks", "burned_area/map", "burned_area/map_scores"} <= keys
    assert "worldcereal_cropland/masks" not in keys
    repository = definitions.get_repository_def()
    jobs = {job.name for job in repository.get_all_jobs()}
    assert {"calfire_listing", "burned_area_fire_years", "burned_area_cells"} <= jobs
    assert "worldcereal_cropland_fire_years" not in jobs
    sensors = {sensor.name: sensor for sensor in repository.sensor_defs}
    for name in ("calfire_perimeters", "burned_area_reconcile"):
        assert sensors[name].default_status == dg.DefaultSensorStatus.STOPPED


def test_every_job_that_is_asked_for_is_one_of_the_sensors():
    task = training_task(load_task_file(SHIPPED).config)
    named = {target.job_name for target in reconcile_sensor(task).targets}
    assert named == {f"{TASK}_{axis}" for axis in jobs_of(task) if axis != "training"}


def test_two_tasks_that_sample_fires_in_other_ways_are_refused(tmp_path, monkeypatch):
    other = tmp_path / "other_fires" / "defs.yaml"
    other.parent.mkdir()
    text = SHIPPED.read_text().replace("name: burned_area", "name: other_fires")
    other.write_text(text)
    monkeypatch.setenv(TASKS_VARIABLE, str(tmp_path))
    dg.Definitions.validate_loadable(build_definitions(load_settings(str(tmp_path / "s"), {})))

    other.write_text(text.replace("min_km: 5", "min_km: 6"))
    with pytest.raises(ConfigError, match="read fire perimeters in different ways"):
        build_definitions(load_settings(str(tmp_path / "s"), {}))


def perimeters(store: Store, location: str, **more: object) -> pa.Table:
    """Perimeters of every year of a source, with the task file's own settings otherwise."""
    overrides = {PERIMETERS_KEY: location, "labels.calfire.backoff_s": 0, **more}
    config = load_task_file(SHIPPED, overrides).config
    source = label_source(TASK, config.labels)
    FireYearsStage(source).make(store)
    stage = PerimetersStage(source)
    years = stage.wanted(store)
    for year in years:
        stage.make(store, year, False)
    return pa.concat_tables([store.read_table(stage.key(year)) for year in years])


def test_a_geopackage_a_geojson_and_a_feature_layer_say_the_same(world, served, tmp_path):
    geojson = tmp_path / "fires.geojson"
    gpd.read_file(world, layer=FIRE_LAYER).to_crs(4326).to_file(geojson, driver="GeoJSON")
    store = Store(tmp_path / "store")
    first = perimeters(store, str(world), **{"labels.calfire.layer": FIRE_LAYER})
    assert first.num_rows > 5
    for location in (str(geojson), served.url):
        other = perimeters(store, location)
        for name in ("fire_id", "group_id", "alarm_date", "contained_date", "simulated"):
            assert other[name].to_pylist() == first[name].to_pylist(), (location, name)
        assert other["area_ha"].to_pylist() == pytest.approx(first["area_ha"].to_pylist(), 1e-3)
