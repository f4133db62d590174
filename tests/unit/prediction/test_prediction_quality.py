"""Quality of maps: seams are found where there are some, and only there."""

import json

import numpy as np
import pyarrow as pa
import pytest
from scipy import ndimage

from geofm_assets.prediction.legend import legend
from geofm_assets.prediction.mosaic import Mosaic
from geofm_assets.prediction.quality import (
    CHECKS,
    QualityReport,
    polarity_against_truth,
    quality_report,
)
from geofm_assets.prediction.seams import measure_seams
from tests.map_files import FIRE, write_mosaic

TILE = 256


def blobs(seed: int, side: int = 4 * TILE) -> np.ndarray:
    """Smooth patches of two classes."""
    noise = np.random.default_rng(seed).normal(size=(side, side))
    return (ndimage.gaussian_filter(noise, 6, mode="wrap") > 0.01).astype(np.uint8)


def seams(folder, pixels, step=28, overlap=4, dense=True):
    found = measure_seams([write_mosaic(folder, pixels)], TILE, step, overlap, dense)
    return {s.kind: s for s in found}


@pytest.mark.parametrize("seed", range(5))
def test_a_map_without_seams_passes(tmp_path, seed):
    found = seams(tmp_path, blobs(seed))
    assert found["tile"].passed
    assert found["crop"].passed
    assert found["tile"].enough
    assert found["tile"].pairs == 2 * 3 * 4 * TILE


def test_tiles_that_do_not_fit_are_found(tmp_path):
    pixels = blobs(0)
    pixels[:, TILE : 2 * TILE] = np.roll(pixels, 40, axis=0)[:, TILE : 2 * TILE]
    pixels[TILE : 2 * TILE] = np.roll(pixels, 40, axis=1)[TILE : 2 * TILE]
    found = seams(tmp_path, pixels)["tile"]
    assert not found.passed
    assert found.ratio > 2


def test_crops_that_were_not_blended_are_found(tmp_path):
    pixels = blobs(0)
    edge = np.arange(len(pixels)) % 28 < 2  # a rim of each crop turned round
    pixels[:, edge] = 1 - pixels[:, edge]
    found = seams(tmp_path, pixels)
    assert not found["crop"].passed


@pytest.mark.parametrize("step", [8, 24])
def test_crops_of_one_class_are_no_seams(tmp_path, step):
    """Classes then change at crops' borders only, and as often at tiles' as at others'."""
    chosen = np.random.default_rng(0).random((130, 130)) < 0.4
    column, row = 0, 0
    pixels = np.kron(chosen, np.ones((step, step)))[: 4 * TILE, : 4 * TILE].astype(np.uint8)
    mosaic = write_mosaic(tmp_path, pixels, at=(column, row))
    (found,) = measure_seams([mosaic], TILE, step, 0, dense=False)
    assert found.passed
    assert found.enough


def test_few_borders_are_not_judged(tmp_path):
    found = seams(tmp_path, blobs(0, 64))["tile"]
    assert found.passed
    assert not found.enough


def tiles(burnt: int, unburnt: int, asked: int, missing: int = 0, seen: int = 12) -> pa.Table:
    row = {"col_min": 0, "col_max": TILE, "area_pixels": asked, "missing_frame_pixels": missing,
           "timesteps_seen": seen * (burnt + unburnt)}  # fmt: skip
    return pa.Table.from_pylist(
        [{**row, "class_pixels": json.dumps({"burnt": burnt, "unburnt": unburnt})}]
    )


def report(folder, table, training):
    mosaic: Mosaic = write_mosaic(folder, blobs(0, 64))
    made = quality_report(
        [mosaic], table, FIRE, training, window_size=32, overlap=4, dense=True, timesteps=12
    )
    return made, {f.name: f for f in made.findings}


TRAINED = {"unburnt": 0.7, "burnt": 0.3}


def test_a_sound_map_passes_every_check(tmp_path):
    made, found = report(tmp_path, tiles(10, 90, 110), TRAINED)
    assert tuple(found) == CHECKS
    assert made.passed
    assert found["nodata_share"].numbers["share"] == pytest.approx(10 / 110, abs=1e-6)
    assert found["class_shares"].numbers["map"] == {"burnt": 0.1, "unburnt": 0.9}
    assert QualityReport.from_list(json.loads(json.dumps(made.as_list()))) == made
    assert not any(f.as_check().blocking for f in made.findings)


def test_a_map_of_gaps_fails(tmp_path):
    assert not report(tmp_path, tiles(10, 30, 100), TRAINED)[1]["nodata_share"].passed


def test_pixels_that_miss_a_frame_are_counted(tmp_path):
    found = report(tmp_path, tiles(10, 90, 110, missing=8), TRAINED)[1]["nodata_share"]
    assert "(8 miss a frame the model needs)" in found.text
    assert found.numbers["missing_frame"] == 8


def test_a_map_from_few_of_the_months_fails(tmp_path):
    found = report(tmp_path, tiles(10, 90, 110, seen=4), TRAINED)[1]["timesteps"]
    assert not found.passed
    assert found.text == "pixels were seen in 4.0 of the model's 12 timesteps on average"
    assert report(tmp_path, tiles(10, 90, 110, seen=6), TRAINED)[1]["timesteps"].passed


def test_swapped_classes_fail(tmp_path):
    assert not report(tmp_path, tiles(75, 25, 100), TRAINED)[1]["polarity"].passed
    balanced = {"unburnt": 0.5, "burnt": 0.5}
    assert report(tmp_path, tiles(75, 25, 100), balanced)[1]["polarity"].passed


def test_shares_of_another_world_fail(tmp_path):
    found = report(tmp_path, tiles(100, 0, 100), {"unburnt": 0.9, "burnt": 0.1})[1]
    assert not found["class_shares"].passed


def test_unknown_training_shares_are_said(tmp_path):
    found = report(tmp_path, tiles(10, 90, 100), {})[1]
    assert "not known" in found["class_shares"].text


def fires(both, missed, more, margin):
    row = {"both_ha": both, "omission_ha": missed, "commission_ha": more, "margin_ha": margin}
    return pa.Table.from_pylist([{**row, "pixels": 100}])


def test_known_fires_tell_swapped_classes():
    assert polarity_against_truth(fires(80.0, 20.0, 10.0, 100.0)).passed
    assert not polarity_against_truth(fires(20.0, 80.0, 90.0, 100.0)).passed
    assert polarity_against_truth(fires(0.0, 0.0, 0.0, 0.0)).passed


def test_a_map_is_about_the_positive_class_or_all_of_them():
    assert FIRE.shown == (1,)
    assert legend(["crop", "other"], "crop").shown == (0,)
    assert legend(["a", "b", "c"]).shown == (0, 1, 2)
    assert len(set(legend([str(n) for n in range(20)]).colours)) == 20
