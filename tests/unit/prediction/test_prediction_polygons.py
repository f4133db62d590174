"""Polygons: those of the pixels, whatever blocks they were read in, in two hemispheres."""

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import rasterio.features
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geofm_assets.prediction.polygons import vectorize
from geofm_assets.prediction.regions import regions
from tests.map_files import END, FIRE, NORTH, ORIGINS, SOUTH, START, area, ground_box, write_mosaic

AREAS = [area(ground_box(epsg, 0, 0, 400, 400), str(epsg)) for epsg in (NORTH, SOUTH)]


def write(mosaics, out, **options):
    given = {"model_id": "m", "simulated": True, **options}
    return vectorize(mosaics, out, FIRE, AREAS, **given)


def squares() -> np.ndarray:
    pixels = np.zeros((300, 300), np.uint8)
    pixels[100:120, 50:80] = 1
    pixels[200:202, 200:202] = 1  # 0.04 ha
    pixels[105:110, 60:70] = 255
    return pixels


@pytest.mark.parametrize("epsg", [NORTH, SOUTH])
def test_a_polygon_lies_on_its_pixels(tmp_path, epsg):
    mosaic = write_mosaic(tmp_path, squares(), epsg)
    summary = write([mosaic], tmp_path / "p.gpkg")
    frame = gpd.read_file(tmp_path / "p.gpkg")
    assert frame.crs.to_epsg() == 4326
    assert (summary.polygons, len(frame)) == (1, 1)
    wanted = ground_box(epsg, 50, 100, 80, 120).difference(ground_box(epsg, 60, 105, 70, 110))
    found = frame.geometry[0]
    assert shapely.hausdorff_distance(found, wanted) < 1e-8
    assert found.is_valid
    # back on the map's own grid it covers the pixels' middles, and only those
    with rasterio.open(mosaic.path) as opened:
        there = frame.to_crs(opened.crs).geometry[0]
        burnt = rasterio.features.rasterize([there], opened.shape, transform=opened.transform)
        pixels = opened.read(1)
    pixels[200:202, 200:202] = 0
    np.testing.assert_array_equal(burnt, pixels == 1)


def test_a_polygon_says_what_it_is(tmp_path):
    mosaics = [write_mosaic(tmp_path, squares(), epsg) for epsg in (SOUTH, NORTH)]
    write(mosaics, tmp_path / "p.gpkg")
    frame = gpd.read_file(tmp_path / "p.gpkg")
    assert frame["utm_epsg"].tolist() == [NORTH, SOUTH]
    assert frame["areas"].tolist() == [str(NORTH), str(SOUTH)]
    assert frame["polygon_id"].tolist() == [1, 2]
    assert set(frame["class_name"]) == {"burnt"}
    assert frame["simulated"].all()
    assert frame["pixels"].tolist() == [550, 550]
    np.testing.assert_allclose(frame["mean_confidence"], 0.8)
    np.testing.assert_allclose(frame["area_ha"], 5.5, rtol=2e-3)
    assert frame["oe_start_time"][0].to_pydatetime() == START
    assert frame["oe_end_time"][0].to_pydatetime() == END


def test_small_polygons_are_left_out_or_not(tmp_path):
    mosaic = write_mosaic(tmp_path, squares())
    assert write([mosaic], tmp_path / "p.gpkg", min_area_ha=0).polygons == 2
    assert write([mosaic], tmp_path / "p.gpkg", min_area_ha=6).polygons == 0
    assert len(gpd.read_file(tmp_path / "p.gpkg")) == 0


def test_the_same_map_gives_the_same_bytes(tmp_path):
    mosaic = write_mosaic(tmp_path, squares())
    for name in ("a", "b"):
        write([mosaic], tmp_path / name / "p.gpkg")
    first, second = ((tmp_path / name / "p.gpkg").read_bytes() for name in ("a", "b"))
    assert first == second


def shapes(mosaic, block_px):
    with rasterio.open(mosaic.path) as opened:
        found = list(regions(opened, (0, 1), block_px=block_px))
    return {(r.class_id, r.geometry.wkb, r.pixels, round(r.confidence, 9)) for r in found}, found


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    share=st.sampled_from([0.2, 0.5, 0.7]),
    shift=st.tuples(st.integers(0, 15), st.integers(0, 15)),
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
)
def test_regions_do_not_depend_on_blocks(tmp_path_factory, seed, share, shift, size):
    rng = np.random.default_rng(seed)
    pixels = (rng.random(size) < share).astype(np.uint8)
    pixels[rng.random(size) < 0.05] = 255
    column, row = ORIGINS[NORTH]
    folder = tmp_path_factory.mktemp("regions")
    mosaic = write_mosaic(folder, pixels, at=(column + shift[0], row + shift[1]))
    whole, found = shapes(mosaic, 1024)
    assert shapes(mosaic, 16)[0] == whole
    assert sum(r.pixels for r in found) == int((pixels != 255).sum())
    for region in found:
        assert region.geometry.is_valid
        assert region.geometry.area == pytest.approx(100 * region.pixels)
