"""Which images share a moment."""

import datetime as dt

import torch
from rslearn.models.olmoearth_pretrain.model import OlmoEarth
from rslearn.train.model_context import ModelContext, RasterImage

from geofm_assets.evaluation.backbones.alignment import align

START = dt.datetime(2022, 3, 1, tzinfo=dt.UTC)


def days(*numbers):
    return [START + dt.timedelta(days=n) for n in numbers]


def test_images_nearer_than_the_tolerance_share_a_moment():
    line = align({"s2": days(0, 30), "s1": days(4, 33)})
    assert line.moments == tuple(days(0, 30))
    assert line.rows["s1"].tolist() == [0, 1]


def test_images_farther_apart_are_moments_of_their_own():
    line = align({"s2": days(0), "s1": days(15)})
    assert line.moments == tuple(days(0, 15))
    assert (line.rows["s2"].tolist(), line.rows["s1"].tolist()) == ([0], [1])


def test_moments_come_oldest_first():
    line = align({"s2": days(60, 0), "s1": days(30)})
    assert line.moments == tuple(days(0, 30, 60))
    assert line.rows["s2"].tolist() == [2, 0]


def test_two_images_at_one_time_are_two_moments():
    line = align({"s2": days(0, 0), "s1": days(0)})
    assert line.moments == tuple(days(0, 0))
    assert sorted(line.rows["s2"].tolist()) == [0, 1]
    assert line.rows["s1"].tolist() == [0]


def test_an_image_joins_the_nearest_moment():
    line = align({"s2": days(0, 10), "s1": days(9)})
    assert line.rows["s1"].tolist() == [1]


def test_alignment_is_that_of_rslearn():
    """Moments and slots as rslearn's wrapper lays out the same images."""
    centres = {"sentinel2_l2a": days(0, 31, 60, 64, 120), "sentinel1": days(12, 47, 58, 90, 121)}
    ours = align(centres)
    inputs = {
        name: RasterImage(torch.ones((12 if "2" in name else 2, 5, 1, 1)), [(c, c) for c in found])
        for name, found in centres.items()
    }
    theirs = OlmoEarth.__new__(OlmoEarth)
    torch.nn.Module.__init__(theirs)
    theirs.timestamp_error_tolerance = dt.timedelta(days=15)
    laid, _, _ = theirs._prepare_modality_inputs(ModelContext(inputs=[inputs], metadatas=[]))
    expected = [(m.day, m.month - 1, m.year) for m in ours.moments]
    assert [tuple(row) for row in laid.timestamps[0].tolist()] == expected
    for name in centres:
        there = (getattr(laid, f"{name}_mask")[0, 0, 0, :, 0] == 0).nonzero().flatten().tolist()
        assert sorted(ours.rows[name].tolist()) == there
