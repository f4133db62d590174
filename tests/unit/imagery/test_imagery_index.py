"""items.json: read, or refused with the file and the field at fault."""

import datetime as dt
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio.session

from geofm_assets.core.errors import ImageryError
from geofm_assets.core.hashing import sha256_file
from geofm_assets.imagery import index as index_module
from geofm_assets.imagery.contract import check_source
from geofm_assets.imagery.index import file_content, scenes_info
from tests.imagery_scenes import Scenes

MONTH = dt.date(2022, 6, 1)


@pytest.fixture
def scenes(tmp_path: Path) -> Scenes:
    made = Scenes(tmp_path / "scenes", side=64)
    made.add_month(MONTH)
    made.write_index()
    return made


def test_what_a_folder_holds(scenes: Scenes) -> None:
    index = scenes_info(scenes.folder)
    assert [s.name for s in index.scenes] == ["S1_2022-06", "S2_2022-06"]
    assert index.modalities == ("sentinel1", "sentinel2_l2a")
    assert (index.start, index.end) == (
        dt.datetime(2022, 6, 1, tzinfo=dt.UTC),
        dt.datetime(2022, 7, 1, tzinfo=dt.UTC),
    )


def test_keys_of_a_bucket_are_looked_for_once_not_for_every_scene(
    scenes: Scenes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "any")
    made = []
    session = rasterio.session.boto3.Session
    monkeypatch.setattr(
        "rasterio.session.boto3.Session", lambda **said: made.append(said) or session(**said)
    )
    scenes_info(scenes.folder)
    assert len(made) == 1
    check_source(scenes.folder)
    assert len(made) == 2


def test_one_simulated_scene_makes_the_folder_simulated(scenes: Scenes) -> None:
    assert not scenes_info(scenes.folder).simulated
    scenes.entries[0]["simulated"] = True
    assert scenes_info(scenes.write_index()).simulated


def test_the_digest_does_not_depend_on_where_or_in_what_order(
    scenes: Scenes, tmp_path: Path
) -> None:
    digest = scenes_info(scenes.folder).digest
    scenes.entries.reverse()
    scenes.write_index()
    moved = scenes.folder.rename(tmp_path / "elsewhere")
    assert scenes_info(moved).digest == digest


def test_the_digest_does_not_depend_on_modification_times(scenes: Scenes) -> None:
    digest = scenes_info(scenes.folder).digest
    os.utime(scenes.folder / "S1_2022-06.tif", (1, 1))
    assert scenes_info(scenes.folder).digest == digest


def test_a_changed_pixel_changes_the_digest(scenes: Scenes) -> None:
    digest = scenes_info(scenes.folder).digest
    scenes.entries.clear()
    scenes.seed = 1
    scenes.add_month(MONTH)
    assert scenes_info(scenes.write_index()).digest != digest


def test_large_files_are_sampled(scenes: Scenes, monkeypatch: pytest.MonkeyPatch) -> None:
    path = scenes.folder / "big.bin"
    path.write_bytes(os.urandom(300_000))
    whole = file_content(path)
    monkeypatch.setattr(index_module, "WHOLE_FILE_LIMIT", 1000)
    index_module._contents.clear()
    assert file_content(path) != whole
    sampled = file_content(path)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert file_content(path) != sampled


def test_names_are_safe_and_unique(tmp_path: Path) -> None:
    scenes = Scenes(tmp_path, side=64)
    for name in ("a/x y.tif", "a/x,y.tif"):
        (tmp_path / "a").mkdir(exist_ok=True)
        scenes.add(name, scenes.sentinel1(MONTH), "sentinel-1-rtc", MONTH, MONTH)
    names = [s.name for s in scenes_info(scenes.write_index()).scenes]
    assert len(set(names)) == 2
    assert all(n.replace("-", "").replace("_", "").isalnum() for n in names)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file": "gone.tif"}, r"The scene is missing at .*gone\.tif"),
        ({"file": "../S2.tif"}, "The file lies outside the folder"),
        ({"file": None}, "The entry names no file"),
        ({"collection": "landsat"}, "Unknown collection 'landsat'; known are"),
        ({"bands": ["vv"]}, "The scene lacks vh"),
        ({"bands": ["vv", "vh", "vv"]}, "A band is named twice"),
        ({"bands": ["vv", "vh", "angle"]}, r"has 2 bands, items\.json names 3"),
        ({"bands": "vv"}, "bands is not a list of names"),
        ({"start": "June"}, "start is not a time: 'June'"),
        ({"end": None}, "end is not a time"),
        ({"start": "2022-06-01T00:00:00"}, "start has no time zone"),
        ({"start": "2022-08-01T00:00:00Z"}, "The scene ends before it starts"),
        ({"cloud_cover": 200}, "cloud_cover is not a per cent"),
        ({"simulated": "yes"}, "simulated is not true or false"),
        ({"sha256": "0" * 64}, "content is not what items.json states"),
        ({"sha256": "abc"}, "sha256 is not a digest"),
    ],
)
def test_a_bad_entry_is_named(scenes: Scenes, change: dict[str, Any], message: str) -> None:
    entry = next(e for e in scenes.entries if e["collection"] == "sentinel-1-rtc")
    entry.update(change)
    with pytest.raises(ImageryError, match=message):
        scenes_info(scenes.write_index())


def test_a_stated_digest_that_is_right_is_kept(scenes: Scenes) -> None:
    entry = scenes.entries[0]
    entry["sha256"] = sha256_file(scenes.folder / entry["file"])
    found = scenes_info(scenes.write_index()).scenes
    assert entry["sha256"] in {s.content for s in found}


def test_a_scene_that_is_no_raster_is_named(scenes: Scenes) -> None:
    (scenes.folder / "S1_2022-06.tif").write_text("<html>404</html>")
    with pytest.raises(ImageryError, match=r"not a raster that can be read at .*S1_2022-06\.tif"):
        scenes_info(scenes.folder)


def test_a_scene_without_a_crs_is_refused(scenes: Scenes) -> None:
    import rasterio

    path = scenes.folder / "S1_2022-06.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=2, height=8, width=8, dtype="float32"
    ) as target:
        target.write(np.zeros((2, 8, 8), dtype=np.float32))
    with pytest.raises(ImageryError, match="has no CRS or is not north up"):
        scenes_info(scenes.folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "Not JSON"), ("{}", "Not a list of scenes"), ("[]", "There are no scenes")],
)
def test_a_bad_index_is_named(scenes: Scenes, text: str, message: str) -> None:
    (scenes.folder / "items.json").write_text(text)
    with pytest.raises(ImageryError, match=message):
        scenes_info(scenes.folder)


def test_a_folder_without_an_index_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageryError, match=r"has no items\.json at"):
        scenes_info(tmp_path)


def test_unknown_keys_are_ignored(scenes: Scenes) -> None:
    scenes.entries[0]["title"] = json.dumps("anything")
    assert len(scenes_info(scenes.write_index()).scenes) == 2
