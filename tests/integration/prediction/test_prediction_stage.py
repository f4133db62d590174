"""Maps as a stage: resumed, left alone when finished, refused when they cannot be."""

import json
import shutil

import numpy as np
import pyarrow.compute as pc
import pytest
import rasterio
from affine import Affine
from rasterio.env import get_gdal_config

from geofm_assets.core.errors import (
    ExperimentError,
    GeofmError,
    ImageryError,
    RequestError,
)
from geofm_assets.core.progress import silent
from geofm_assets.core.stage import MissingUpstreamError
from geofm_assets.prediction.asked import Asked
from geofm_assets.prediction.mask import open_mask
from geofm_assets.prediction.request import read_request
from geofm_assets.prediction.stages import MapStage, requests_partitions
from tests.imagery_scenes import make_scenes
from tests.prediction_world import (
    EXPERIMENT,
    TASK,
    box,
    degrees,
    feature,
    small_task,
    source,
    trained_store,
    write_model,
    write_request,
)

STAGE = MapStage(small_task())


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    # tiles of 1024 px part at column 51,200 and row -470,016: the scenes lie across both
    return make_scenes(tmp_path_factory.mktemp("map") / "scenes", left=511_360, top=4_700_800)


@pytest.fixture(scope="module")
def trained(scenes, tmp_path_factory):
    return trained_store(tmp_path_factory.mktemp("trained") / "store", scenes)


@pytest.fixture
def store(trained, tmp_path):
    shutil.copytree(trained.root.path, tmp_path / "store")
    return type(trained)(tmp_path / "store")


@pytest.fixture
def area(scenes, tmp_path):
    return write_request(tmp_path / "area.geojson", feature(degrees(scenes, 36, 36, 92, 92)))


def ask(store, world, path, **options):
    asked = Asked(read_request(path), EXPERIMENT, **options)
    return STAGE.ask(store, source(world), asked)


def make(store, scenes, map_id, report=silent, force=False):
    return STAGE.make(store, source(scenes), map_id, force, report)


def files(store, map_id, suffix=".tif"):
    folder = store.local_path(STAGE.folder(map_id)) / "tiles"
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob(f"*{suffix}")}


def tiles(store, map_id):
    return store.read_table(STAGE.key(map_id))


class KilledError(Exception):
    """Stands for a process that ended."""


def kill_after(number):
    def report(done, total, note):
        if done == number:
            raise KilledError

    return report


def test_gdal_keeps_few_blocks_while_tiles_are_made(store, scenes, area):
    bytes_kept = set()
    make(
        store,
        scenes,
        ask(store, scenes, area),
        lambda *said: bytes_kept.add(get_gdal_config("GDAL_CACHEMAX")),
    )
    assert bytes_kept == {32 * 2**20}


def test_a_map_has_a_tile_for_every_part_and_says_what_it_is(store, scenes, area):
    map_id = ask(store, scenes, area)
    outcome = make(store, scenes, map_id)
    table = tiles(store, map_id)
    assert table.num_rows == 4
    assert set(table["status"].to_pylist()) == {"done"}
    assert len(files(store, map_id)) == 4
    record = store.read_json(STAGE.record_key(map_id))
    assert record["simulated"]
    assert record["days"][0]["valid_time"] == "2022-06-16"
    assert record["classes"] == list(STAGE.task.rule.classes)
    (zone,) = record["zones"]
    assert (zone["epsg"], zone["tiles"], zone["done"]) == (32632, 4, 4)
    assert record["modalities"] == ["sentinel2_l2a"]
    assert all(check.passed for check in outcome.checks)
    assert outcome.metadata["pixels"] == pc.sum(table["area_pixels"]).as_py()


def test_a_tile_lies_where_its_name_says_and_255_is_no_class(store, scenes, area):
    map_id = ask(store, scenes, area)
    make(store, scenes, map_id)
    row = next(r for r in tiles(store, map_id).to_pylist() if r["col_min"] == 50_176)
    path = store.local_path(f"{STAGE.folder(map_id)}/tiles/{row['tile_id']}.tif")
    with rasterio.open(path) as opened:
        assert opened.crs.to_epsg() == 32632
        assert opened.transform == Affine(10, 0, 501_760, 0, -10, -10 * row["row_min"])
        assert opened.descriptions == ("class", "confidence")
        assert opened.nodata == 255
        assert opened.tags()["simulated"] == "false"  # the scenes are not marked so
        classes, confidence = opened.read()
    named = json.loads(row["class_pixels"])
    for number, name in enumerate(STAGE.task.rule.classes):
        assert named[name] == (classes == number).sum()
    assert ((classes == 255) == (confidence == 255)).all()
    assert sum(named.values()) == (classes != 255).sum() == row["area_pixels"]


def test_an_area_across_two_zones_is_mapped_by_each_on_its_side(tmp_path):
    scenes = make_scenes(tmp_path / "scenes", epsg=32631, left=746_250, top=4_700_800)
    store = trained_store(tmp_path / "store", scenes)
    path = write_request(tmp_path / "two.geojson", feature(degrees(scenes, 20, 20, 108, 108)))
    map_id = ask(store, scenes, path)
    make(store, scenes, map_id)
    assert {row["epsg"] for row in tiles(store, map_id).to_pylist()} == {32631, 32632}
    seen = {32631: [], 32632: []}
    for file in (store.local_path(STAGE.folder(map_id)) / "tiles").rglob("*.tif"):
        with rasterio.open(file) as opened:
            rows, columns = np.nonzero(opened.read(1) != 255)
            xs, ys = rasterio.transform.xy(opened.transform, rows, columns)
            lons, _ = rasterio.warp.transform(opened.crs, "EPSG:4326", xs, ys)
        seen[opened.crs.to_epsg()] += lons
    a_pixel = 1.3e-4
    assert 5.9 < max(seen[32631]) < 6 + a_pixel
    assert 6 - a_pixel < min(seen[32632]) < max(seen[32632])
    pixels = len(seen[32631]) + len(seen[32632])
    assert 88 * 88 <= pixels < 88 * 88 * 1.08  # whole pixels along every edge


def test_a_finished_map_is_left_alone(store, scenes, area):
    map_id = ask(store, scenes, area)
    first = make(store, scenes, map_id)
    store.local_path(f"{STAGE.task.folder(EXPERIMENT)}/checkpoint.ckpt").unlink()  # never opened
    assert STAGE.is_current(store, source(scenes), map_id)
    again = make(store, scenes, ask(store, scenes, area), report=kill_after(1))
    assert again.skipped
    assert again.content == first.content


def test_a_killed_run_goes_on_with_its_next_tile_and_ends_the_same(store, scenes, area):
    map_id = ask(store, scenes, area)
    whole = make(store, scenes, map_id)
    wanted = files(store, map_id)
    shutil.rmtree(store.local_path(STAGE.folder(map_id)) / "tiles")
    with pytest.raises(KilledError):
        make(store, scenes, map_id, report=kill_after(2))
    assert not STAGE.is_current(store, source(scenes), map_id)
    assert len(files(store, map_id)) == 2
    notes = []
    resumed = make(store, scenes, map_id, report=lambda done, total, note: notes.append(note))
    assert ["kept" in note for note in notes] == [True, True, False, False]
    assert files(store, map_id) == wanted
    assert resumed.content == whole.content


@pytest.mark.parametrize("left", [None, slice(-1), slice(None, None, -1)])
def test_a_lost_short_or_altered_tile_is_made_again_alone(store, scenes, area, left):
    map_id = ask(store, scenes, area)
    make(store, scenes, map_id)
    wanted = files(store, map_id)
    first = sorted(wanted)[0]
    path = store.local_path(STAGE.folder(map_id)) / "tiles" / first
    data = path.read_bytes()
    path.unlink()
    if left is not None:
        path.write_bytes(data[left])
        store.delete(STAGE.record_key(map_id))  # a run that was killed before the end
    notes = []
    make(store, scenes, map_id, report=lambda done, total, note: notes.append(note))
    assert ["kept" in note for note in notes].count(False) == 1
    assert files(store, map_id) == wanted


def test_another_model_makes_all_tiles_again(store, scenes, area):
    map_id = ask(store, scenes, area)
    make(store, scenes, map_id)
    key = f"{STAGE.task.folder(EXPERIMENT)}/checkpoint.json"
    store.write_json(key, {**store.read_json(key), "model_id": "1" * 64})
    assert not STAGE.is_current(store, source(scenes), map_id)


def test_other_scenes_are_another_map_and_the_first_one_stays(store, scenes, area, tmp_path):
    first = ask(store, scenes, area)
    make(store, scenes, first)
    before = files(store, first)
    shutil.copytree(scenes.folder, tmp_path / "moved")
    assert ask(store, scenes, area, scenes=str(tmp_path / "moved")) == first
    make_scenes(tmp_path / "others", left=511_360, top=4_700_800, seed=1)
    other = ask(store, scenes, area, scenes=str(tmp_path / "others"))
    assert other != first
    make(store, scenes, other)
    assert files(store, first) == before


def test_scenes_that_changed_since_are_refused(store, scenes, area, tmp_path):
    changing = make_scenes(tmp_path / "changing", left=511_360, top=4_700_800)
    map_id = ask(store, changing, area)
    make_scenes(tmp_path / "changing", left=511_360, top=4_700_800, seed=1)
    with pytest.raises(RequestError, match="imagery has changed"):
        make(store, changing, map_id)


def test_a_mask_of_another_projection_decides_pixel_by_pixel(store, scenes, area, tmp_path):
    west, south, east, north = 9.1, 42.42, 9.2, 42.47
    rng = np.random.default_rng(0)
    values = rng.integers(0, 4, (60, 90)).astype(np.uint8)
    path = tmp_path / "mask.tif"
    shape = {"width": 90, "height": 60, "count": 1, "dtype": "uint8", "nodata": 0}
    place = rasterio.transform.from_bounds(west, south, east, north, 90, 60)
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:4326", transform=place, **shape) as out:
        out.write(values, 1)
    plain = ask(store, scenes, area)
    make(store, scenes, plain)
    map_id = ask(store, scenes, area, mask=open_mask(path, [1, 3]))
    assert map_id != plain
    make(store, scenes, map_id)
    seen = 0
    for row in tiles(store, map_id).to_pylist():
        names = [
            store.local_path(f"{STAGE.folder(m)}/tiles/{row['tile_id']}.tif")
            for m in (map_id, plain)
        ]
        with rasterio.open(names[1]) as opened:
            whole = opened.read(1)
            rows, columns = np.nonzero(whole != 255)
            xs, ys = rasterio.transform.xy(opened.transform, rows, columns)
        lons, lats = rasterio.warp.transform("EPSG:32632", "EPSG:4326", xs, ys)
        i, j = rasterio.transform.rowcol(place, lons, lats)
        kept = np.isin(values[np.array(i), np.array(j)], [1, 3])
        with rasterio.open(names[0]) as opened:
            masked = opened.read(1)
        np.testing.assert_array_equal(masked[rows, columns] != 255, kept)
        np.testing.assert_array_equal(
            masked[rows[kept], columns[kept]], whole[rows[kept], columns[kept]]
        )
        seen += kept.sum()
    assert seen > 1000


def test_a_mask_that_changed_since_is_refused(store, scenes, area, tmp_path):
    path = tmp_path / "mask.tif"
    place = rasterio.transform.from_bounds(9, 42, 10, 43, 8, 8)
    profile = {"driver": "GTiff", "crs": "EPSG:4326", "transform": place, "dtype": "uint8"}
    for value in (1, 2):
        with rasterio.open(path, "w", width=8, height=8, count=1, **profile) as out:
            out.write(np.full((1, 8, 8), value, np.uint8))
        if value == 1:
            map_id = ask(store, scenes, area, mask=open_mask(path, [1]))
    with pytest.raises(RequestError, match="mask has changed"):
        make(store, scenes, map_id)


def test_a_mask_that_leaves_nothing_is_refused(store, scenes, area, tmp_path):
    path = tmp_path / "mask.tif"
    place = rasterio.transform.from_bounds(20, 42, 21, 43, 8, 8)
    profile = {"driver": "GTiff", "crs": "EPSG:4326", "transform": place, "dtype": "uint8"}
    with rasterio.open(path, "w", width=8, height=8, count=1, **profile) as out:
        out.write(np.ones((1, 8, 8), np.uint8))
    with pytest.raises(ImageryError, match="leaves no pixel"):
        make(store, scenes, ask(store, scenes, area, mask=open_mask(path, [1])))


def test_a_place_without_imagery_is_refused_and_recorded(store, scenes, tmp_path):
    path = write_request(tmp_path / "far.geojson", feature(box(10.0, 45.0, 10.01, 45.01)))
    map_id = ask(store, scenes, path)
    with pytest.raises(ImageryError, match="no imagery for the area about 2022-06-16"):
        make(store, scenes, map_id)
    notes = [json.loads(text) for text in files(store, map_id, ".json").values()]
    assert {note["tile"]["status"] for note in notes} == {"no_data"}


def test_parts_without_imagery_are_recorded(store, scenes, tmp_path):
    features = feature(degrees(scenes, 10, 10, 60, 60)), feature(box(10.0, 45.0, 10.01, 45.01))
    map_id = ask(store, scenes, write_request(tmp_path / "two.geojson", *features))
    make(store, scenes, map_id)
    table = tiles(store, map_id)
    assert set(table["status"].to_pylist()) == {"done", "no_data"}
    missing = table.filter(pc.equal(table["status"], "no_data"))
    assert set(missing["nodata_share"].to_pylist()) == {1.0}


def test_an_experiment_without_a_checkpoint_is_named(store, scenes, area):
    other = EXPERIMENT.replace("ws8", "ws4")
    map_id = STAGE.ask(store, source(scenes), Asked(read_request(area), other))
    with pytest.raises(MissingUpstreamError, match=f"geofm run {TASK} --experiment {other}"):
        make(store, scenes, map_id)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ("burnt", "unburnt"), "rule": "identity@1"}, "of another task.*burnt"),
        ({"experiment": EXPERIMENT.replace("ps4", "ps8")}, "another task or run.*ps8"),
        ({"classes": small_task().rule.classes, "rule": "ai2_v1@9"}, "ai2_v1@9"),
    ],
)
def test_a_checkpoint_of_another_task_or_experiment_is_refused(
    store, scenes, area, changes, message
):
    write_model(store.local_path(f"{STAGE.task.folder(EXPERIMENT)}/checkpoint.ckpt"), **changes)
    with pytest.raises(ExperimentError, match=message):
        make(store, scenes, ask(store, scenes, area))


def test_an_id_nobody_asked_for_is_refused(store, scenes):
    with pytest.raises(RequestError, match="No such map"):
        make(store, scenes, "area-0123456789ab")
    with pytest.raises(GeofmError):
        make(store, scenes, "../../etc")


def test_partitions_are_named_after_the_task():
    assert requests_partitions(TASK) == "worldcereal_cropland_requests"
