"""New, changed and withdrawn collections: exactly what they touch is made again."""

import io
import json

import dagster as dg
import pytest
from rich.console import Console

from geofm_assets.core.settings import load_settings
from geofm_assets.core.store import Store
from geofm_assets.imagery.resources import ImagerySource
from geofm_assets.labels.config import MinConfidence
from geofm_assets.labels.source import WORLDCEREAL
from geofm_assets.platform.definitions import build_definitions
from geofm_assets.platform.driver import Driver
from geofm_assets.platform.instance import open_instance
from geofm_assets.platform.report import Reporter
from geofm_assets.platform.resources import build_resources
from geofm_assets.platform.sensors import collections_sensor, requests_for, weekly_refresh
from geofm_assets.platform.stages import task_stages
from geofm_assets.sample_world.build import SampleWorld, add_collection
from geofm_assets.sample_world.collections import change_collection, withdraw_collection
from geofm_assets.sampling.task import planned_cells
from tests.e2e.conftest import StagesOnly

pytestmark = pytest.mark.slow
TASK = "worldcereal_cropland"
EXPERIMENT = "olmoearth_v1_2_nano-s1_s2-ps4-ws8-t6"
NEW = "2022simnewpoint110"
PER_CELL = ("filtered_points", "window_group", "rasters", "chips")


@pytest.fixture
def mirrored(copied, world, tmp_path) -> SampleWorld:
    """The finished store, looking at a mirror of its own that the test may change."""
    import shutil

    mirror = tmp_path / "mirror"
    shutil.copytree(world.mirror, mirror)
    load_settings(str(copied.store), {}, rdm=str(mirror)).remember()
    return SampleWorld(mirror, world.scenes)


def settings_of(geofm):
    return load_settings(str(geofm.store), {})


def drive(geofm, experiments=(EXPERIMENT,)) -> dict[str, list[str]]:
    """Run the task; partitions made, per asset."""
    driver = StagesOnly(settings_of(geofm), TASK, Reporter(Console(file=io.StringIO())))
    return {r.name.split("/")[-1]: r.made for r in driver.run(experiments)}


def digests(geofm) -> dict[str, str]:
    store = geofm.opened()
    keys = list(store.list_keys(f"tasks/{TASK}", ".parquet"))
    return {k: store.provenance(k).content for k in keys}


def test_a_new_collection_makes_only_the_cells_it_touches(copied, mirrored, new_store):
    cells = planned_cells(copied.opened(), TASK)
    assert len(cells) == 2
    add_collection(mirrored, "2022_SIM_NEW_POINT_110", preset="tiny", cells=1)
    made = drive(copied, [])
    touched = {p["h3_cell"] for p in new_points(copied)}
    assert len(touched) == 1
    for stage in ("reference_collection", "reference_points", "candidates"):
        assert made[stage] == [NEW]
    for stage in PER_CELL:
        assert made[stage] == sorted(touched)
    assert made["split_manifest"] == [""]
    # and what there is now is what a store that never was without it would hold, but for the
    # experiment that this one has
    fresh = new_store("fresh")
    settings_of(copied).model_copy(update={"store": str(fresh.store)}).remember()
    drive(fresh, [])
    data, whole = (
        {k: v for k, v in digests(geofm).items() if "/experiments/" not in k}
        for geofm in (copied, fresh)
    )
    assert data.keys() == whole.keys()
    differ = {k.rsplit("/", 1)[1] for k in data if data[k] != whole[k]}
    assert differ == {"scores.parquet", "comparison.parquet"}


def new_points(geofm):
    table = geofm.opened().read_table(f"tasks/{TASK}/sample.parquet")
    return [row for row in table.to_pylist() if row["collection_id"] == NEW]


def test_a_withdrawn_collection_leaves_what_was_there_before(copied, mirrored):
    before = digests(copied)
    add_collection(mirrored, "2022_SIM_NEW_POINT_110", preset="tiny", cells=1)
    drive(copied, [])
    assert digests(copied) != before
    withdraw_collection(mirrored.mirror, NEW)
    made = drive(copied)
    assert len(made["filtered_points"]) == 1
    assert made["checkpoint"] == []  # which is of these very samples
    after = digests(copied)
    assert {k: after[k] for k in before} == before


def test_a_collection_below_the_thresholds_is_not_used(copied, mirrored):
    change_collection(mirrored.mirror, "2022simlpispoly110", confidenceCropType=50)
    drive(copied, [])
    table = copied.opened().read_table(f"tasks/{TASK}/sample.parquet")
    assert set(table["collection_id"].to_pylist()) == {"2022simsurveypoint110"}


def sensor_context(geofm, instance, cursor=None):
    return dg.build_sensor_context(
        instance=instance, cursor=cursor, resources=build_resources(settings_of(geofm))
    )


def test_the_sensor_sees_new_changed_and_vanished_collections(copied, mirrored):
    sensor = collections_sensor([MinConfidence()])
    instance = open_instance(copied.opened())
    quiet = sensor.evaluate_tick(sensor_context(copied, instance))
    assert quiet.run_requests == []
    assert "none new, changed or gone" in quiet.skip_message

    add_collection(mirrored, "2022_SIM_NEW_POINT_110", preset="tiny", cells=1)
    tick = sensor.evaluate_tick(sensor_context(copied, instance))
    assert len(tick.run_requests) == 1
    assert tick.dynamic_partitions_requests[0].partition_keys == [NEW]

    for change in (
        lambda: change_collection(mirrored.mirror, NEW, featureCount=1),
        lambda: withdraw_collection(mirrored.mirror, NEW),
    ):
        change()
        later = sensor.evaluate_tick(sensor_context(copied, instance, tick.cursor))
        assert len(later.run_requests) == 1
        assert later.cursor != tick.cursor
        tick = later
    again = sensor.evaluate_tick(sensor_context(copied, instance, tick.cursor))
    assert again.run_requests == []


def test_following_the_sensors_requests_ends_where_a_run_ends(copied, mirrored):
    """What `<task>_reconcile` asks for, run as the daemon would, and nothing more."""
    add_collection(mirrored, "2022_SIM_NEW_POINT_110", preset="tiny", cells=1)
    settings, store = settings_of(copied), copied.opened()
    instance = open_instance(store)
    job = build_definitions(settings).resolve_implicit_global_asset_job_def()
    assert job.execute_in_process(
        instance=instance, asset_selection=[dg.AssetKey(WORLDCEREAL.asset_path("collections"))]
    ).success
    task = Driver(settings, TASK, Reporter(Console(file=io.StringIO()))).task
    stages = task_stages(task, ImagerySource(scenes=settings.scenes))
    asked: list[tuple[str | None, int]] = []
    for _ in range(10):
        _, requests = requests_for(stages, task, store)
        for request in requests:
            asked.append((request.partition_key, len(request.asset_selection)))
            assert job.execute_in_process(
                instance=instance,
                partition_key=request.partition_key,
                asset_selection=request.asset_selection,
            ).success
        if not requests:
            break
    cells = {p["h3_cell"] for p in new_points(copied)}
    assert asked[0] == (NEW, 3)
    assert {p for p, count in asked if count == 4} == cells
    assert len(asked) == 4
    made = drive(copied, [])
    assert all(made[stage] == [] for stage in ("candidates", *PER_CELL, "split_manifest"))


def test_the_weekly_schedule_is_off_until_someone_turns_it_on(tmp_path):
    definitions = build_definitions(load_settings(str(tmp_path), {}))
    schedule = definitions.get_schedule_def(weekly_refresh().name)
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    assert schedule.cron_schedule == "0 4 * * 1"


def test_settings_are_readable_in_the_store(copied):
    remembered = json.loads((copied.store / "settings.json").read_text())
    assert remembered["overrides"][TASK]["windows.size"] == 8
    assert Store(copied.store).exists("settings.json")
