"""Burned area by the command line: from a file of perimeters to scores and the map of a fire."""

import io
import json
import re
import shutil
from pathlib import Path

import dagster as dg
import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyogrio
import pytest
import rasterio
import shapely
from rich.console import Console

from geofm_assets.core.settings import Settings, load_settings
from geofm_assets.core.store import Store
from geofm_assets.platform.definitions import build_definitions
from geofm_assets.platform.driver import Driver, StageFailedError
from geofm_assets.platform.report import Reporter
from geofm_assets.platform.sensors import requests_for
from geofm_assets.sample_world.fire_perimeters import FIRE_LAYER, PRESCRIBED_LAYER
from geofm_assets.tasks.config import PERIMETERS_KEY
from tests.e2e.conftest import Geofm, StagesOnly, environment

TASK = "burned_area"
EXPERIMENT = "olmoearth_v1_2_nano-s2-ps4-ws16-t2-seg"
# What a demo takes from the store's settings: small windows and little training.
SMALL = {
    "windows.size": 16,
    "training.epochs": 1,
    "training.freeze_epochs": 0,
    "experiments.window_size": [16],
    "experiments.default.window_size": 16,
}
PER_CELL = ("filtered_points", "window_group", "masks", "rasters", "chips")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Geofm:
    """A store in which the demo has been run once. Tests only read it."""
    geofm = Geofm(tmp_path_factory.mktemp("burned") / "store", environment())
    settings = load_settings(str(geofm.store), {}, profile="demo")
    settings.model_copy(update={"overrides": {TASK: SMALL}}).remember()
    output = geofm.store.parent / "stdout.txt"
    done = geofm.started(output, "demo", "--task", TASK, "--preset", "tiny_fires")
    assert done.wait(600) == 0, output.read_text()[-3000:]
    return geofm


@pytest.fixture
def copied(made, tmp_path) -> Geofm:
    """A copy of the store that a test may change."""
    shutil.copytree(made.store, tmp_path / "store")
    return Geofm(tmp_path / "store", environment())


def printed(made) -> str:
    return (made.store.parent / "stdout.txt").read_text()


def places(made) -> tuple[str, str]:
    """The sample world's perimeters and scenes."""
    world = made.store / "sample_fires"
    return str(world / "perimeters.gpkg"), str(world / "scenes")


def settings_with(geofm, perimeters: Path) -> Settings:
    """The store's settings, but other perimeters."""
    settings = load_settings(str(geofm.store), {})
    overrides = {**settings.overrides.get(TASK, {}), PERIMETERS_KEY: str(perimeters)}
    return settings.model_copy(update={"overrides": {TASK: overrides}})


def drive(geofm, perimeters: Path) -> dict[str, list[str]]:
    """Run the task on other perimeters; partitions made, by asset."""
    settings = settings_with(geofm, perimeters)
    driver = StagesOnly(settings, TASK, Reporter(Console(file=io.StringIO())))
    return {r.name.split("/")[-1]: r.made for r in driver.run([EXPERIMENT])}


def side_table(store: Store, name: str) -> pa.Table:
    """One of the tables by fire year, all years."""
    keys = store.list_keys(f"reference/calfire/perimeters/{name}", ".parquet")
    return pa.concat_tables([store.read_table(key) for key in keys])


def test_the_demo_says_simulated_and_ends_with_scores_and_a_map(made):
    text = printed(made)
    assert "SIMULATED" in text
    assert EXPERIMENT in text
    assert re.search(r"(ok|LOOK) +seams: ", text)
    assert re.search(r"iou \d\.\d{3} \(no interval; fires: \d, groups: 1\)", text)
    assert "preview: " in text


def test_every_stage_is_current_and_the_other_task_is_listed_untouched(made):
    status = made.json("status")
    rows = [r for r in status if r["task"] == TASK]
    assert [r["stage"] for r in rows if r["out_of_date"]] == []
    assert all(r["wanted"] > 0 for r in rows)
    assert {"calfire/perimeters", "burned_area/masks"} <= {r["stage"] for r in rows}
    others = [r for r in status if r["task"] == "worldcereal_cropland"]
    assert others
    assert all(r["current"] == 0 for r in others)


def test_a_run_on_a_file_and_scenes_of_ones_own_makes_nothing_again(copied, made):
    perimeters, scenes = places(made)
    done = copied.here("run", TASK, "--perimeters", perimeters, "--scenes", scenes)
    assert "Settings changed from the task file" in done.stdout
    made_again = re.findall(r"\] (\S+?): (?:[1-9]\d* )?to make", done.stdout)
    assert made_again == ["calfire/collections"]  # which is asked whether anything has changed


def test_scores_are_by_class_and_by_part_with_intervals(made):
    store = made.opened()
    (key,) = store.list_keys(f"tasks/{TASK}/experiments/{EXPERIMENT}", "metrics.parquet")
    rows = store.read_table(key).to_pylist()
    metrics = {r["metric"] for r in rows}
    assert {"iou_burnt", "f1_burnt", "precision_burnt", "recall_burnt"} <= metrics
    assert all(r["simulated"] for r in rows)
    assert all(r["low"] <= r["value"] <= r["high"] for r in rows)
    parts = store.read_table(f"tasks/{TASK}/experiments/{EXPERIMENT}/metrics_by_part.parquet")
    assert set(parts["dimension"].to_pylist()) == {"fire_year", "fire_size", "kind"}


def test_rows_nobody_can_use_are_in_quarantine_with_their_reason(made):
    refused = side_table(made.opened(), "quarantine")
    reasons = set(refused["reason"].to_pylist())
    assert len(reasons) >= 2
    assert refused.num_rows >= 3


def test_masks_hold_burnt_unburnt_and_unknown_pixels(made):
    store = made.opened()
    keys = store.list_keys(f"tasks/{TASK}/masks", ".parquet")
    masks = pa.concat_tables([store.read_table(key) for key in keys])
    values = np.unique(np.frombuffer(b"".join(masks["mask"].to_pylist()), np.uint8))
    assert values.tolist() == [0, 1, 255]
    assert set(masks["simulated"].to_pylist()) == {True}


def test_a_fire_its_ring_and_its_complex_are_in_one_split(made):
    store = made.opened()
    manifest = store.read_table(f"tasks/{TASK}/split_manifest.parquet")
    split = dict(zip(*(manifest[c].to_pylist() for c in ("sample_id", "split")), strict=True))
    samples = side_table(store, "samples").to_pylist()
    found: dict[str, set[str]] = {}
    for row in samples:
        if row["sample_id"] in split:
            found.setdefault(row["group_id"], set()).add(split[row["sample_id"]])
    assert all(len(splits) == 1 for splits in found.values())
    assert {s for splits in found.values() for s in splits} >= {"train", "val", "test"}
    assert {row["kind"] for row in samples} == {"burnt", "ring", "far"}


def scene_boxes(made) -> list[shapely.Polygon]:
    """Where the sample world was imaged, in its only projection."""
    boxes = set()
    for path in Path(places(made)[1]).glob("S2_*.tif"):
        with rasterio.open(path) as scene:
            boxes.add(tuple(scene.bounds))
    return [shapely.box(*box) for box in sorted(boxes)]


def test_the_map_lies_where_the_fire_was(made):
    store = made.opened()
    (folder,) = made.store.glob(f"maps/{TASK}/*")
    request = json.loads((made.store / "sample_fires/request.geojson").read_text())
    asked = shapely.geometry.shape(request["features"][0]["geometry"])
    name = request["features"][0]["properties"]["fire"]
    rows = side_table(store, "perimeters").filter(pc.field("fire_name") == name).to_pylist()
    fire = shapely.from_wkb(rows[0]["geometry"])
    (mosaic,) = folder.glob("mosaic/*.tif")
    with rasterio.open(mosaic) as opened:
        classes, transform, crs = opened.read(1), opened.transform, opened.crs
        assert opened.nodata == 255
        layout = opened.tags(ns="IMAGE_STRUCTURE")["LAYOUT"]
    assert layout == "COG"
    rows, columns = np.nonzero(classes != 255)
    corners = ([columns.min(), columns.max() + 1], [rows.min(), rows.max() + 1])
    (west, east), (north, south) = transform @ np.array(corners, float)
    wanted = shapely.geometry.shape(rasterio.warp.transform_geom(4326, crs, asked))
    wanted = wanted.intersection(shapely.union_all(scene_boxes(made)))  # no image, no map
    assert (west, south, east, north) == pytest.approx(wanted.bounds, abs=30)  # three pixels
    inside = shapely.point_on_surface(fire)
    x, y = rasterio.warp.transform(4326, crs, [inside.x], [inside.y])
    column, row = ~transform @ (x[0], y[0])
    assert classes[int(row), int(column)] in (0, 1)  # mapped, whatever was learnt


def read_layers(made) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]:
    """Wildfires and prescribed burns of the sample world."""
    path = places(made)[0]
    wild, lit = (pyogrio.read_dataframe(path, layer=n) for n in (FIRE_LAYER, PRESCRIBED_LAYER))
    return wild, lit


def test_a_fire_renamed_makes_its_year_again_and_no_cell(copied, made, tmp_path):
    fires, burns = read_layers(made)
    year = int(fires["YEAR_"].max())
    renamed = fires.assign(AGENCY=fires["AGENCY"].where(fires["YEAR_"] != year, "NEW"))
    again = drive(copied, written(tmp_path / "renamed", renamed, burns))
    assert again["perimeters"] == [str(year)]
    # an agency is in no sample and no mask
    assert all(again[stage] == [] for stage in (*PER_CELL, "candidates", "checkpoint"))


def test_a_fire_that_lost_its_date_is_followed_by_the_sensor_stage_by_stage(copied, made, tmp_path):
    fires, burns = read_layers(made)
    store = copied.opened()
    lost = side_table(store, "samples").filter(pc.field("kind") == "burnt")["fire_id"][0].as_py()
    row = side_table(store, "perimeters").filter(pc.field("fire_id") == lost).to_pylist()[0]
    dates = fires["CONT_DATE"].where(fires["FIRE_NAME"] != row["fire_name"])
    path = written(tmp_path / "undated", fires.assign(CONT_DATE=dates), burns)
    settings = settings_with(copied, path)
    driver = Driver(settings, TASK, Reporter(Console(file=io.StringIO())))
    job = build_definitions(settings).resolve_implicit_global_asset_job_def()
    listing = dg.AssetKey(["calfire", "collections"])
    assert job.execute_in_process(instance=driver.instance, asset_selection=[listing]).success
    asked, keys = [], set()
    for _ in range(10):
        _, requests = requests_for(driver.stages, driver.task, store)
        if not requests:
            break
        for request in requests:
            asked.append((request.job_name, request.partition_key))
            assert request.run_key not in keys
            keys.add(request.run_key)
            assert job.execute_in_process(
                instance=driver.instance,
                partition_key=request.partition_key,
                asset_selection=request.asset_selection,
            ).success
    axes = list(dict.fromkeys(name.removeprefix(f"{TASK}_") for name, _ in asked))
    assert axes == ["fire_years", "collections", "plan", "cells", "manifest"]
    years = [partition for name, partition in asked if name == f"{TASK}_fire_years"]
    assert years == [str(row["fire_year"])]
    assert lost not in side_table(store, "samples")["fire_id"].to_pylist()


def written(folder: Path, fires: gpd.GeoDataFrame, burns: gpd.GeoDataFrame) -> Path:
    """A file of perimeters in a folder of its own; its name is that of the source."""
    folder.mkdir()
    path = folder / "perimeters.gpkg"
    fires.to_file(path, layer=FIRE_LAYER, driver="GPKG")
    burns.to_file(path, layer=PRESCRIBED_LAYER, driver="GPKG", mode="a")
    return path


def test_perimeters_without_dates_are_one_clear_error(made, tmp_path):
    fires, _ = read_layers(made)
    path = tmp_path / "mine.gpkg"
    fires.drop(columns=["ALARM_DATE", "CONT_DATE"]).to_file(path, driver="GPKG")
    with pytest.raises(StageFailedError, match=r"date.*mine\.gpkg"):
        drive(Geofm(tmp_path / "store", environment()), path)


def test_perimeters_without_a_crs_are_one_clear_error(made, tmp_path):
    fires, _ = read_layers(made)
    path = tmp_path / "mine.gpkg"
    bare = gpd.GeoDataFrame(fires.drop(columns="geometry"), geometry=list(fires.geometry))
    pyogrio.write_dataframe(bare, path, layer="fires")
    with pytest.raises(StageFailedError, match=r"no coordinate reference system at .*mine\.gpkg"):
        drive(Geofm(tmp_path / "store", environment()), path)
