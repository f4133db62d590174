"""The sample world: the same every time, plausible, and never taken for real."""

import hashlib
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio

from geofm_assets.core.errors import ConfigError
from geofm_assets.labels.config import LabelsConfig
from geofm_assets.labels.rules import get_rule
from geofm_assets.labels.worldcereal.collections import collections_table
from geofm_assets.labels.worldcereal.legend import code_strings
from geofm_assets.sample_world.build import add_collection, build, world_districts
from geofm_assets.sample_world.collections import samples as draw
from geofm_assets.sample_world.collections import withdraw_collection, write_labels_csv
from geofm_assets.sample_world.phenology import SEASONS, greenness
from geofm_assets.sample_world.terrain import COVERS


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return build(tmp_path_factory.mktemp("tiny"), preset="tiny")


def tree(folder):
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def points(world):
    tables = [pq.read_table(p) for p in sorted(world.mirror.glob("*/*.geoparquet"))]
    return [row for t in tables for row in t.to_pylist()]


def test_two_builds_are_the_same_to_the_byte(tiny, tmp_path):
    build(tmp_path / "again", preset="tiny")
    assert tree(tiny.mirror.parent) == tree(tmp_path / "again")


def test_another_seed_is_another_world(tiny, tmp_path):
    other = build(tmp_path, preset="tiny", seed=1)
    assert tree(other.scenes) != tree(tiny.scenes)


def test_a_finished_world_is_left_alone_and_a_broken_off_one_is_made_again(tmp_path):
    world = build(tmp_path, preset="tiny")
    scene = next(world.scenes.glob("S2_*.tif"))
    before = scene.stat().st_mtime_ns
    build(tmp_path, preset="tiny")
    assert scene.stat().st_mtime_ns == before
    (tmp_path / "sample_world.json").unlink()
    scene.unlink()
    build(tmp_path, preset="tiny")
    assert scene.exists()


def test_everything_says_that_it_is_simulated(tiny):
    listing = json.loads((tiny.mirror / "collections.json").read_text())["items"]
    assert all(collections_table(listing)["simulated"].to_pylist())
    assert all(item["title"].startswith("SIMULATED") for item in listing)
    items = json.loads((tiny.scenes / "items.json").read_text())
    assert all(item["simulated"] is True for item in items)
    with rasterio.open(tiny.scenes / items[0]["file"]) as scene:
        assert scene.tags()["SIMULATED"] == "YES"
    assert "SIMULATED" in (tiny.mirror.parent / "README.txt").read_text()


def test_optical_values_are_reflectance_times_ten_thousand(tiny):
    values = []
    for path in tiny.scenes.glob("S2_*2022-06.tif"):
        with rasterio.open(path) as scene:
            assert scene.dtypes == ("uint16",) * 12
            values.append(scene.read().reshape(12, -1))
    seen = np.concatenate([v[:, v.any(axis=0)] for v in values], axis=1)
    medians = dict(
        zip(("B02", "B04", "B08", "B11"), np.median(seen, axis=1)[[1, 3, 7, 10]], strict=True)
    )
    assert 200 < medians["B02"] < 1500
    assert medians["B08"] > 1.5 * medians["B04"]
    assert seen.max() <= 16_000


def test_radar_values_are_decibels_with_vh_below_vv(tiny):
    with rasterio.open(next(tiny.scenes.glob("S1_*2022-06.tif"))) as scene:
        vv, vh = scene.read(masked=True)
        assert scene.dtypes == ("float32",) * 2
    assert -16 < np.ma.median(vv) < -7
    assert np.ma.median(vh) < np.ma.median(vv) - 4


@pytest.mark.parametrize("preset", ["tiny", "demo", "many_cells"])
def test_every_cell_has_both_classes_and_shares_are_near_half(preset):
    rule = get_rule(LabelsConfig(source="worldcereal", rule="ai2_v1"))
    rows = draw(world_districts(preset), 9, 0)
    classes = rule.apply(code_strings(np.array([r.ewoc_code for r in rows])))
    assert 0.4 < (classes == 0).mean() < 0.65
    # one district of few fields may by chance hold one class only; cells with three may not
    full = {r.district.cell for r in rows} if preset != "many_cells" else set()
    for cell in full:
        here = {int(c) for c, r in zip(classes, rows, strict=True) if r.district.cell == cell}
        assert here == {0, 1}


def test_samples_lie_far_enough_apart_for_their_windows():
    rows = draw(world_districts("demo"), 9, 0)
    places = np.array([r.easting_northing for r in rows])
    gaps = np.abs(places[:, None] - places[None]).max(axis=2)
    np.fill_diagonal(gaps, np.inf)
    assert gaps.min() >= 330


def test_greenness_is_a_fraction_and_peaks_in_season():
    vigour, shift = np.ones(1), np.zeros(1)
    for name in SEASONS:
        year = [greenness(name, day, vigour, shift)[0] for day in range(1, 366, 5)]
        assert 0 <= min(year) <= max(year) <= 1
    assert greenness("winter cereals", 140, vigour, shift) > 0.7
    assert greenness("winter cereals", 230, vigour, shift) < 0.3
    assert greenness("maize", 210, vigour, shift) > 0.7


def test_shares_of_covers_add_up():
    assert sum(c.share for c in COVERS) == pytest.approx(1.0)


def test_a_collection_can_be_added_and_withdrawn(tmp_path):
    world = build(tmp_path, preset="tiny")
    before = len(points(world))
    added = add_collection(world, "2022_SIM_NEW_POINT_110", preset="tiny")
    assert len(points(world)) > before
    withdraw_collection(world.mirror, added)
    listing = json.loads((world.mirror / "collections.json").read_text())
    assert added not in {r["collectionId"] for r in listing["items"]}
    assert listing["totalCount"] == 3


def test_labels_as_csv_hold_four_rows_that_cannot_be_used(tmp_path):
    rows = draw(world_districts("tiny"), 6, 0)
    write_labels_csv(tmp_path / "labels.csv", rows)
    lines = (tmp_path / "labels.csv").read_text().splitlines()
    assert len(lines) == 1 + len(rows) + 4


def test_an_unknown_preset_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="galaxy"):
        build(tmp_path, preset="galaxy")


@pytest.mark.real
def test_the_label_files_have_the_columns_of_the_real_ones(tiny, real_dir):
    real = next((real_dir / "worldcereal_corsica_2022" / "collections").glob("*/*.geoparquet"))
    ours = next(tiny.mirror.glob("*/*.geoparquet"))
    theirs = {f.name: f.type for f in pq.read_schema(real)}
    mine = {f.name: f.type for f in pq.read_schema(ours)}
    assert {n: mine[n] for n in theirs if n != "geometry"} == {
        n: t for n, t in theirs.items() if n != "geometry"
    }
