"""A finished map's files, and its scores against the perimeters in the store."""

import datetime as dt
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pystac
import pytest
import rasterio
import shapely
from scipy import ndimage

from geofm_assets.core.schema import validate
from geofm_assets.core.stage import MissingUpstreamError
from geofm_assets.core.store import Store
from geofm_assets.labels.calfire.schema import FIRE_YEAR, FireYear, Perimeter
from geofm_assets.labels.calfire.side_tables import perimeters_key, years_key
from geofm_assets.prediction.products import (
    kept_products,
    make_products,
    products_there,
    training_shares,
)
from geofm_assets.prediction.quality import CHECKS
from geofm_assets.prediction.schema import TILE
from geofm_assets.prediction.stages import MapStage
from geofm_assets.prediction.truth_schema import MapScore, MapSummary
from geofm_assets.prediction.truth_stage import MapScoresStage, has_truth
from geofm_assets.tasks.component import training_task
from geofm_assets.tasks.config import load_task_file
from geofm_assets.training.schema import MANIFEST, Manifest
from geofm_assets.training.stages import ManifestStage
from tests.fire_polygons import fire, perimeters
from tests.map_files import NORTH, ORIGINS, SOUTH, area, ground_box, record, write_tile
from tests.prediction_world import small_task
from tests.training_world import manifest_row

TASK_FILE = Path(__file__).parents[3] / "geofm_assets/tasks/burned_area/defs.yaml"
TASK = training_task(load_task_file(TASK_FILE, {}).config)
STAGE = MapScoresStage(TASK)
SIDE = 256
MADE = {"inputs": "0" * 64, "code_version": "1", "simulated": True}


def zone_pixels(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(2 * SIDE, 2 * SIDE))
    burnt = ndimage.gaussian_filter(noise, 20) > 0.02
    return burnt.astype(np.uint8)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A map of two zones in two hemispheres, of four tiles each, one of them without data."""
    store = Store(tmp_path_factory.mktemp("products") / "store")
    areas = [area(ground_box(e, 0, 0, 2 * SIDE, 2 * SIDE), str(e)) for e in (NORTH, SOUTH)]
    said = {
        **record(areas),
        "head": "classification",
        "window_size": 8,
        "overlap": 0,
        "timesteps": 2,
    }
    said["content"] = "c" * 64
    said["zones"] = [
        {"epsg": epsg, "bounds": [x - 1, y - 1, x + 2 * SIDE + 1, y + 2 * SIDE + 1]}
        for epsg, (x, y) in ORIGINS.items()
    ]
    folder = MapStage(TASK).folder(said["request_id"])
    rows = []
    for epsg in (NORTH, SOUTH):
        whole, (column, row) = zone_pixels(epsg), ORIGINS[epsg]
        for y, x in np.ndindex(2, 2):
            pixels = whole[y * SIDE : (y + 1) * SIDE, x * SIDE : (x + 1) * SIDE]
            left, top = column + x * SIDE, row + y * SIDE
            done = (x, y) != (1, 1)
            tile_id = f"EPSG{epsg}/{left}_{top}"
            if done:
                path = write_tile(store.local_path(f"{folder}/tiles"), pixels, epsg, (left, top))
                target = store.local_path(f"{folder}/tiles/{tile_id}.tif")
                target.parent.mkdir(exist_ok=True)
                path.rename(target)
            counts = f'{{"burnt": {pixels.sum()}, "unburnt": {(pixels == 0).sum()}}}'
            rows.append(
                {
                    **dict.fromkeys(TILE.names),
                    "tile_id": tile_id,
                    "epsg": epsg,
                    "col_min": left,
                    "row_min": top,
                    "col_max": left + SIDE,
                    "row_max": top + SIDE,
                    "status": "done" if done else "no_data",
                    "class_pixels": counts if done else "{}",
                    "area_pixels": SIDE**2,
                    "missing_frame_pixels": 0,
                    "timesteps_seen": 2 * SIDE**2 if done else 0,
                }
            )
    table = pa.Table.from_pylist(rows, schema=TILE)
    pq.write_table(table, store.local_path(f"{folder}/tiles.parquet"))
    manifest = [
        manifest_row(n, "831e94fffffffff", f"rasters-{'0' * 16}.safetensors", n) for n in range(6)
    ]
    store.write_table(
        ManifestStage(TASK).key(), pa.Table.from_pylist(manifest, schema=MANIFEST), Manifest, **MADE
    )
    products = make_products(store, TASK, folder, said, table)
    store.write_json(f"{folder}/request.json", said)
    return store, folder, said, products


def test_every_product_lies_below_the_map(made):
    store, folder, _, products = made
    root = store.local_path(folder)
    found = {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}
    assert {name for name in found if not name.startswith("tiles/")} == {
        "mosaic/EPSG32610.tif",
        "mosaic/EPSG32756.tif",
        "polygons.gpkg",
        "preview.png",
        "item.json",
        "products.json",
        "request.json",
        "tiles.parquet",
    }
    assert [check.name for check in products.checks] == list(CHECKS)
    assert products.metadata["map"].text.startswith("![the map](data:image/png;base64,")


def test_the_mosaics_hold_the_tiles_and_say_what_they_are(made):
    store, folder, said, _ = made
    for epsg in (NORTH, SOUTH):
        with rasterio.open(store.local_path(f"{folder}/mosaic/EPSG{epsg}.tif")) as opened:
            pixels = opened.read(1)
            assert opened.tags()["model_id"] == said["model_id"]
            assert opened.tags()["positive"] == "burnt"
            assert opened.tags()["TIFFTAG_IMAGEDESCRIPTION"].startswith("SIMULATED")
        wanted = zone_pixels(epsg)
        wanted[SIDE:, SIDE:] = 255
        np.testing.assert_array_equal(pixels, wanted)


def test_polygons_cover_what_is_burnt(made):
    store, folder, _, products = made
    frame = gpd.read_file(store.local_path(f"{folder}/polygons.gpkg"))
    assert products.metadata["polygons"] == len(frame)
    burnt = sum((zone_pixels(e) == 1)[:SIDE].sum() for e in (NORTH, SOUTH))
    burnt += sum((zone_pixels(e) == 1)[SIDE:, :SIDE].sum() for e in (NORTH, SOUTH))
    assert frame["area_ha"].sum() == pytest.approx(burnt / 100, rel=0.01)


def test_the_item_names_files_that_are_there(made):
    store, folder, *_ = made
    item = pystac.Item.from_file(str(store.local_path(f"{folder}/item.json")))
    for asset in item.assets.values():
        assert Path(asset.get_absolute_href()).is_file()


def test_a_finished_maps_products_are_read_not_made(made):
    store, folder, _, products = made
    before = {p: p.stat().st_mtime_ns for p in store.local_path(folder).rglob("*")}
    assert kept_products(store, folder) == products
    assert {p: p.stat().st_mtime_ns for p in store.local_path(folder).rglob("*")} == before


def test_products_made_again_are_the_same_bytes(made):
    store, folder, said, products = made
    names = ("mosaic/EPSG32610.tif", "polygons.gpkg", "preview.png", "item.json", "products.json")
    before = [store.read_bytes(f"{folder}/{name}") for name in names]
    stale = store.local_path(f"{folder}/mosaic/EPSG32601.tif")
    stale.write_bytes(b"of other imagery")
    again = make_products(store, TASK, folder, said, store.read_table(f"{folder}/tiles.parquet"))
    assert again == products
    assert not stale.exists()
    assert [store.read_bytes(f"{folder}/{name}") for name in names] == before


@pytest.mark.parametrize("name", ["mosaic/EPSG32756.tif", "item.json", "products.json"])
def test_a_lost_product_is_noticed(made, name):
    store, folder, *_ = made
    assert products_there(store, folder)
    path = store.local_path(f"{folder}/{name}")
    path.rename(path.with_name("away"))
    assert not products_there(store, folder)
    path.with_name("away").rename(path)


def test_training_shares_are_those_of_train(made):
    store, _, said, _ = made
    shares = training_shares(store, TASK, said)
    assert set(shares) == {"unburnt", "burnt"}
    assert sum(shares.values()) == pytest.approx(1)


def write_perimeters(store, rows) -> None:
    root = TASK.imagery.sampling.source.root
    store.write_table(perimeters_key(root, 2022), perimeters(rows), Perimeter, **MADE)
    year = {"fire_year": 2022, "rows": len(rows), "prescribed_rows": 0, "sampled": True}
    listed = pa.Table.from_pylist([{**year, "digest": "d", "simulated": True}], schema=FIRE_YEAR)
    store.write_table(years_key(root), listed, FireYear, **MADE)


def test_a_map_is_scored_against_its_years_perimeters_once(made):
    store, _, said, _ = made
    map_id = said["request_id"]
    with pytest.raises(MissingUpstreamError, match="no fire perimeters"):
        STAGE.make(store, map_id, False)
    shape = shapely.MultiPolygon([ground_box(SOUTH, 40, 40, 200, 200)])
    rows = [
        fire("a", shape, contained_date=dt.date(2022, 6, 20)),
        fire("late", shape, contained_date=dt.date(2022, 7, 1)),
        fire("old", shape, contained_date=dt.date(2022, 1, 20)),
    ]
    write_perimeters(store, rows)
    outcome = STAGE.make(store, map_id, False)
    assert not outcome.skipped
    assert [check.name for check in outcome.checks] == ["schema", "polarity"]
    table = store.read_table(STAGE.key(map_id)).to_pylist()
    assert [(row["fire_id"], row["status"]) for row in table] == [
        ("a", "scored"),
        ("late", "left_out"),
        ("old", "left_out"),
    ]
    # within the request's time, but the month after its first day is the last image
    assert (
        table[1]["reason"] == "contained on 2022-07-01, the map's last image is from 2022-07-01 on"
    )
    burnt = (zone_pixels(SOUTH) == 1)[40:200, 40:200].mean()
    assert table[0]["omission"] == pytest.approx(1 - burnt)
    assert STAGE.make(store, map_id, False).skipped
    write_perimeters(store, rows[:1])
    assert not STAGE.make(store, map_id, False).skipped
    for key, model in ((STAGE.key(map_id), MapScore), (STAGE.summary_key(map_id), MapSummary)):
        assert validate(store.read_table(key), model).passed


def test_only_tasks_with_perimeters_are_compared():
    assert has_truth(TASK)
    assert not has_truth(small_task())


def test_a_map_that_is_not_finished_has_no_scores(made):
    with pytest.raises(MissingUpstreamError, match="not finished"):
        STAGE.make(made[0], "no-such-map", False)
