"""The picture and the STAC item of a map."""

import hashlib
import io
import json
import warnings

import numpy as np
import pystac
import pytest
import shapely
from PIL import Image

from geofm_assets.prediction.preview import preview
from geofm_assets.prediction.stac_item import GEOPACKAGE, MapFile, build_item
from tests.map_files import FIRE, NORTH, SOUTH, area, ground_box, record, write_mosaic


def pixels() -> np.ndarray:
    made = np.zeros((400, 400), np.uint8)
    made[100:200, 100:300] = 1
    made[300:] = 255
    return made


def colours(png: bytes) -> dict[tuple[int, ...], int]:
    image = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).reshape(-1, 3)
    values, counts = np.unique(image, axis=0, return_counts=True)
    return {tuple(v): int(c) for v, c in zip(values.tolist(), counts.tolist(), strict=True)}


@pytest.fixture
def mosaic(tmp_path):
    return write_mosaic(tmp_path, pixels())


def test_classes_and_what_has_none_are_told_apart(mosaic):
    found = colours(
        preview([mosaic], ground_box(NORTH, 0, 0, 400, 400), FIRE, "a map", simulated=True)
    )
    shares = {name: found[c] for name, c in zip(FIRE.classes, FIRE.colours, strict=True)}
    assert shares["burnt"] / shares["unburnt"] == pytest.approx(2 / 10, rel=0.1)
    assert (150, 150, 150) in found
    assert (95, 95, 95) in found


def test_the_same_map_gives_the_same_picture(mosaic):
    whole = ground_box(NORTH, 0, 0, 400, 400)
    first, second = (preview([mosaic], whole, FIRE, "a map", simulated=True) for _ in range(2))
    assert first == second
    assert preview([mosaic], whole, FIRE, "a map", simulated=False) != first


def test_zones_are_drawn_together(tmp_path):
    mosaics = [write_mosaic(tmp_path, pixels(), epsg) for epsg in (NORTH, 32611)]
    whole = shapely.union_all([ground_box(epsg, 0, 0, 400, 400) for epsg in (NORTH, 32611)])
    found = colours(preview(mosaics, whole, FIRE, "a map", simulated=False))
    assert found[(255, 255, 255)] > sum(found.values()) / 2


@pytest.fixture
def item(tmp_path):
    mosaics = [write_mosaic(tmp_path / "mosaic", pixels(), epsg) for epsg in (NORTH, SOUTH)]
    (tmp_path / "polygons.gpkg").write_bytes(b"polygons")
    files = [
        MapFile(f"EPSG{m.epsg}", m.path, pystac.MediaType.COG, ("data",), "a map") for m in mosaics
    ]
    files.append(MapFile("polygons", tmp_path / "polygons.gpkg", GEOPACKAGE, ("data",), "polygons"))
    areas = [area(ground_box(epsg, 0, 0, 400, 400), str(epsg)) for epsg in (NORTH, SOUTH)]
    return build_item(record(areas), files, tmp_path)


def test_the_item_obeys_the_core_schema_that_pystac_carries(item):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from pystac.validation.local_validator import LocalValidator

        validator = LocalValidator().item_validator()
    assert [error.message for error in validator.iter_errors(json.loads(json.dumps(item)))] == []
    assert pystac.Item.from_dict(item).to_dict(transform_hrefs=False)["assets"] == item["assets"]


def test_the_item_names_model_data_times_and_that_it_is_simulated(item):
    said = item["properties"]
    assert said["geofm:model_id"] == "f" * 64
    assert said["geofm:experiment"].endswith("-seg")
    assert said["geofm:label_collections"][0]["licence"] == "ours"
    assert said["geofm:imagery"]["modalities"] == ["sentinel2_l2a"]
    assert said["geofm:simulated"] is True
    assert said["title"].startswith("SIMULATED")
    assert (said["start_datetime"], said["end_datetime"]) == (
        "2022-06-01T00:00:00Z",
        "2022-07-01T00:00:00Z",
    )
    assert said["datetime"] is None


def test_the_items_files_are_described(item, tmp_path):
    asset = item["assets"][f"EPSG{SOUTH}"]
    assert asset["href"] == f"./mosaic/EPSG{SOUTH}.tif"
    data = (tmp_path / asset["href"]).read_bytes()
    assert asset["file:checksum"] == "1220" + hashlib.sha256(data).hexdigest()
    assert asset["file:size"] == len(data)
    assert asset["proj:code"] == f"EPSG:{SOUTH}"
    assert asset["proj:shape"] == [400, 400]
    classes = asset["bands"][0]["classification:classes"]
    assert [(c["value"], c["name"]) for c in classes] == [
        (0, "unburnt"),
        (1, "burnt"),
        (255, "nodata"),
    ]
    assert {"classification", "file", "projection", "raster"} == {
        uri.split("/")[3] for uri in item["stac_extensions"]
    }


def test_an_item_across_the_antimeridian_has_a_short_box(tmp_path):
    both = shapely.union_all([shapely.box(179, -17, 180, -16), shapely.box(-180, -17, -179, -16)])
    assert build_item(record([area(both)]), [], tmp_path)["bbox"] == [179, -17, -179, -16]


def test_an_item_of_a_catalogues_imagery_links_to_its_collections(tmp_path):
    said = record([area(shapely.box(9, 45, 9.1, 45.1))])
    href = "https://example.org/stac/collections/sentinel-2-l2a"
    said["terms"]["imagery"] = [{"collection": "sentinel-2-l2a", "source": href}]
    links = build_item(said, [], tmp_path)["links"]
    assert [(link["rel"], link["href"]) for link in links] == [("derived_from", href)]
