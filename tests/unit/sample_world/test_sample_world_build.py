"""The sample world as files: the same every time, finished or resumed, never taken for real."""

import hashlib
import json
import shutil

import pyarrow.parquet as pq
import pytest
import rasterio

from geofm_assets.core.errors import ConfigError
from geofm_assets.imagery.index import scenes_info
from geofm_assets.labels.worldcereal.collections import collections_table
from geofm_assets.sample_world import scenes
from geofm_assets.sample_world.build import MARKER, SampleWorld, build


def tree(folder):
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def times(folder):
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def copied(tiny, tmp_path):
    """A world the test may change; its files keep their times."""
    folder = tmp_path / "copy"
    shutil.copytree(tiny.mirror.parent, folder)
    return SampleWorld(folder / "mirror", folder / "scenes")


def test_a_finished_world_is_left_alone(copied):
    before = times(copied.mirror.parent)
    build(copied.mirror.parent, preset="tiny")
    assert times(copied.mirror.parent) == before


def test_a_build_broken_off_goes_on_and_is_the_same_to_the_byte(tiny, tmp_path, monkeypatch):
    wrote = []
    write = scenes._write

    def fails_at_the_fiftieth(path, *more):
        if len(wrote) == 50:
            raise OSError("no space left on device")
        wrote.append(path)
        write(path, *more)

    monkeypatch.setattr(scenes, "_write", fails_at_the_fiftieth)
    with pytest.raises(OSError, match="no space"):
        build(tmp_path / "world", preset="tiny")
    assert not (tmp_path / "world" / MARKER).exists()
    monkeypatch.setattr(scenes, "_write", write)
    kept = times(tmp_path / "world" / "scenes")
    build(tmp_path / "world", preset="tiny")
    now = times(tmp_path / "world" / "scenes")
    assert len(kept) >= 50
    assert {path: now[path] for path in kept} == kept
    assert tree(tmp_path / "world") == tree(tiny.mirror.parent)


def test_a_world_of_another_seed_is_replaced_by_another_world(tiny, copied):
    build(copied.mirror.parent, preset="tiny", seed=3)
    assert json.loads((copied.mirror.parent / MARKER).read_text())["seed"] == 3
    ours, theirs = tree(tiny.mirror.parent), tree(copied.mirror.parent)
    assert {name for name in ours if ours[name] == theirs.get(name)} == set()


def test_a_world_that_lost_a_scene_is_made_again(tiny, copied):
    next(copied.scenes.glob("S2_*.tif")).unlink()
    build(copied.mirror.parent, preset="tiny")
    assert tree(copied.mirror.parent) == tree(tiny.mirror.parent)


def test_a_folder_with_other_things_is_refused_and_kept(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"thesis\.txt"):
        build(tmp_path, preset="tiny")
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_folder_called_mirror_that_is_not_ours_is_refused(tmp_path):
    (tmp_path / "mirror").mkdir()
    with pytest.raises(ConfigError, match="other things"):
        build(tmp_path, preset="tiny")


@pytest.mark.parametrize(("preset", "seed", "said"), [("galaxy", 0, "galaxy"), ("tiny", -1, "-1")])
def test_an_impossible_world_is_refused(tmp_path, preset, seed, said):
    with pytest.raises(ConfigError, match=said):
        build(tmp_path, preset=preset, seed=seed)


def test_the_world_says_where_when_and_what(tiny):
    assert (tiny.start.isoformat(), tiny.end.isoformat()) == ("2022-03-01", "2022-09-01")
    assert tiny.collections == (
        "2022simcrowdpoint110",
        "2022simlpispoly110",
        "2022simsurveypoint110",
    )


def test_every_record_of_the_listing_says_simulated(tiny):
    listing = json.loads((tiny.mirror / "collections.json").read_text())["items"]
    assert len(listing) == 3
    assert all(record["additionalData"] == {"simulated": True} for record in listing)
    assert all(record["title"].startswith("SIMULATED ") for record in listing)
    assert all(collections_table(listing)["simulated"].to_pylist())


def test_every_scene_says_simulated(tiny):
    assert all(scene.simulated for scene in scenes_info(tiny.scenes).scenes)
    for path in tiny.scenes.glob("*.tif"):
        with rasterio.open(path) as scene:
            assert scene.tags()["SIMULATED"] == "YES"


def test_the_folder_says_simulated(tiny):
    assert "SIMULATED" in (tiny.mirror.parent / "README.txt").read_text()
    assert json.loads((tiny.mirror.parent / MARKER).read_text())["simulated"] is True


def test_the_listing_counts_what_the_files_hold(tiny):
    for record in json.loads((tiny.mirror / "collections.json").read_text())["items"]:
        folder = tiny.mirror / record["collectionId"]
        full = pq.read_table(next(folder.glob("2022_*.geoparquet")))
        subset = pq.read_table(next(folder.glob("sample_*.geoparquet")))
        assert record["featureCount"] == full.num_rows
        assert 0 < subset.num_rows < full.num_rows
        assert set(subset["sample_id"].to_pylist()) <= set(full["sample_id"].to_pylist())
