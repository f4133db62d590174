"""Mosaics: the same bytes in any order, where tiles say, in a form every viewer opens."""

import itertools
import json

import numpy as np
import pytest
import rasterio
import rasterio.warp
from rasterio.enums import ColorInterp

from geofm_assets.core.errors import MapError
from geofm_assets.prediction.mosaic import build_mosaic
from tests.map_files import FIRE, NORTH, ORIGINS, SOUTH, write_tile

COLUMN, ROW = ORIGINS[NORTH]
TAGS = {"task": "burned_area", "simulated": True, "classes": list(FIRE.classes)}


def classes(seed: int, shape: tuple[int, int] = (256, 256)) -> np.ndarray:
    return np.random.default_rng(seed).choice([0, 1, 255], shape, p=[0.6, 0.3, 0.1])


def four(folder):
    return [
        write_tile(folder, classes(n), at=(COLUMN + 256 * x, ROW + 256 * y))
        for n, (y, x) in enumerate(itertools.product(range(2), range(2)))
    ]


def test_tiles_in_any_order_give_the_same_bytes(tmp_path):
    tiles = four(tmp_path / "tiles")
    made = set()
    for number, order in enumerate(itertools.islice(itertools.permutations(tiles), 0, 24, 5)):
        out = tmp_path / f"{number}" / "EPSG32610.tif"
        build_mosaic(list(order), out, NORTH, FIRE, TAGS)
        made.add(out.read_bytes())
        assert [p.name for p in out.parent.iterdir()] == [out.name]
    assert len(made) == 1


def test_every_pixel_is_that_of_its_tile_and_gaps_are_nodata(tmp_path):
    tiles = four(tmp_path / "tiles")[:3]
    mosaic = build_mosaic(tiles, tmp_path / "m.tif", NORTH, FIRE, TAGS)
    with rasterio.open(mosaic.path) as opened:
        pixels = opened.read(1)
    assert pixels.shape == (512, 512)
    for n, (y, x) in enumerate([(0, 0), (0, 1), (1, 0)]):
        part = pixels[256 * y : 256 * (y + 1), 256 * x : 256 * (x + 1)]
        np.testing.assert_array_equal(part, classes(n))
    assert (pixels[256:, 256:] == 255).all()
    assert mosaic.class_pixels == tuple(int((pixels == value).sum()) for value in (0, 1))


@pytest.mark.parametrize("epsg", [NORTH, SOUTH])
def test_a_pixel_lies_where_its_tile_has_it(tmp_path, epsg):
    column, row = ORIGINS[epsg]
    pixels = np.zeros((300, 400), np.uint8)
    pixels[120, 250] = 1
    mosaic = build_mosaic(
        [write_tile(tmp_path, pixels, epsg, (column, row))], tmp_path / "m.tif", epsg, FIRE, TAGS
    )
    x, y = 10 * (column + 250.5), -10 * (row + 120.5)
    lon, lat = rasterio.warp.transform(f"EPSG:{epsg}", "EPSG:4326", [x], [y])
    assert (lat[0] > 0) == (epsg == NORTH)
    with rasterio.open(mosaic.path) as opened:
        assert opened.crs.to_epsg() == epsg
        back = rasterio.warp.transform("EPSG:4326", opened.crs, lon, lat)
        assert opened.index(back[0][0], back[1][0]) == (120, 250)
        assert next(opened.sample([(x, y)]))[0] == 1


def test_it_is_a_cog_with_overviews_colours_and_names(tmp_path):
    pixels = classes(0, (1400, 1100))
    tile = write_tile(tmp_path / "tiles", pixels)
    mosaic = build_mosaic([tile], tmp_path / "m.tif", NORTH, FIRE, TAGS)
    with rasterio.open(mosaic.path) as opened:
        assert opened.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert opened.profile["tiled"]
        assert opened.profile["compress"] == "deflate"
        assert opened.overviews(1) == opened.overviews(2) == [2, 4]
        assert opened.descriptions == ("class", "confidence")
        assert opened.nodata == 255
        assert opened.colormap(1)[1][:3] == FIRE.colours[1]
        assert opened.colorinterp == (ColorInterp.palette, ColorInterp.undefined)
        assert opened.tags()["simulated"] == "true"
        assert json.loads(opened.tags()["classes"]) == ["unburnt", "burnt"]
        assert opened.tags(1) == {"class_0": "unburnt", "class_1": "burnt"}
        coarse = opened.read(1, out_shape=(350, 275))
        assert set(np.unique(coarse).tolist()) == {0, 1, 255}
    with rasterio.open(mosaic.path, overview_level=0) as overview:
        assert overview.colorinterp[1] == ColorInterp.undefined


def test_tiles_that_overlap_and_agree_are_counted_once(tmp_path):
    whole = classes(1)
    tiles = [
        write_tile(tmp_path / "tiles", whole[:, :200]),
        write_tile(tmp_path / "tiles", whole[:, 100:], at=(COLUMN + 100, ROW)),
    ]
    mosaic = build_mosaic(tiles, tmp_path / "m.tif", NORTH, FIRE, TAGS)
    assert sum(mosaic.class_pixels) == int((whole != 255).sum())


def within_some() -> tuple[np.ndarray, tuple[int, int, int, int]]:
    pixels = np.full((512, 512), 255, np.uint8)
    pixels[100:350, 30:260] = 0
    pixels[120, 250] = 1
    return pixels, (COLUMN + 29, ROW + 99, COLUMN + 261, ROW + 351)


def test_it_reaches_no_further_than_what_is_asked_for(tmp_path):
    pixels, within = within_some()
    tiles = [
        write_tile(
            tmp_path / "tiles",
            pixels[256 * y : 256 * (y + 1), 256 * x : 256 * (x + 1)],
            at=(COLUMN + 256 * x, ROW + 256 * y),
        )
        for y, x in itertools.product(range(2), range(2))
    ]
    mosaic = build_mosaic(tiles, tmp_path / "m.tif", NORTH, FIRE, TAGS, within)
    with rasterio.open(mosaic.path) as opened:
        np.testing.assert_array_equal(opened.read(1), pixels[99:351, 29:261])
        assert opened.block_shapes == [(512, 512)] * 2
        assert opened.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        x, y = 10 * (COLUMN + 250.5), -10 * (ROW + 120.5)
        assert next(opened.sample([(x, y)]))[0] == 1
    assert mosaic.class_pixels == (250 * 230 - 1, 1)


def test_a_class_beyond_what_is_asked_for_is_refused(tmp_path):
    pixels, (left, top, right, bottom) = within_some()
    tile = write_tile(tmp_path / "tiles", pixels)
    within = (left, top, right - 2, bottom)
    with pytest.raises(MapError, match="beyond the area"):
        build_mosaic([tile], tmp_path / "m.tif", NORTH, FIRE, TAGS, within)


def test_tiles_that_overlap_and_differ_are_refused(tmp_path):
    whole = classes(1)
    other = whole.copy()
    other[10, 150] = 1 - min(other[10, 150], 1)
    tiles = [
        write_tile(tmp_path / "tiles", whole[:, :200]),
        write_tile(tmp_path / "tiles", other[:, 100:], at=(COLUMN + 100, ROW)),
    ]
    with pytest.raises(MapError, match=r"overlap and differ.*delete the map's folder tiles"):
        build_mosaic(tiles, tmp_path / "m.tif", NORTH, FIRE, TAGS)
    assert not (tmp_path / "m.tif").exists()


def test_a_tile_of_another_zone_is_refused(tmp_path):
    with pytest.raises(MapError, match="EPSG:32756"):
        build_mosaic(
            [write_tile(tmp_path, classes(0), SOUTH)], tmp_path / "m.tif", NORTH, FIRE, TAGS
        )


def test_a_value_that_is_no_class_is_refused(tmp_path):
    tile = write_tile(tmp_path / "tiles", np.full((64, 64), 2))
    with pytest.raises(MapError, match="none of 2 classes"):
        build_mosaic([tile], tmp_path / "m.tif", NORTH, FIRE, TAGS)
    assert [p.name for p in tmp_path.iterdir()] == ["tiles"]


def test_nothing_to_put_together_is_refused(tmp_path):
    with pytest.raises(MapError, match="no tiles"):
        build_mosaic([], tmp_path / "m.tif", NORTH, FIRE, TAGS)
