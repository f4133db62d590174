"""What encoders compute: of a sample alone, at its real time, from what it has."""

import datetime as dt

import pytest
import torch
from rslearn.train.model_context import ModelContext, RasterImage

from geofm_assets.models.config import EncoderSpec
from geofm_assets.models.encoders import build_encoder
from geofm_assets.models.presto import FILL, PrestoEncoder

CHANNELS = {"sentinel2_l2a": 12, "sentinel1": 2}


def image(layer, months, seed=0, year=2022, size=4):
    generator = torch.Generator().manual_seed(seed)
    start = [dt.datetime(year, m, 1, tzinfo=dt.UTC) for m in months]
    return RasterImage(
        torch.rand((CHANNELS[layer], len(months), size, size), generator=generator),
        [(s, s + dt.timedelta(days=28)) for s in start],
    )


def sample(months=(5, 6, 7), layers=tuple(CHANNELS), seed=0, year=2022, size=4):
    return {layer: image(layer, months, seed + i, year, size) for i, layer in enumerate(layers)}


def features(module, *samples):
    with torch.no_grad():
        return module.eval()(ModelContext(inputs=list(samples), metadatas=[])).feature_maps[-1]


@pytest.fixture(scope="module")
def nano():
    return build_encoder(EncoderSpec(name="olmoearth_v1_2_nano"), 4).module


@pytest.fixture(scope="module")
def presto():
    return build_encoder(EncoderSpec(name="presto"), 1).module


def test_feature_map_is_at_patch_resolution():
    module = build_encoder(EncoderSpec(name="olmoearth_v1_2_nano"), 2).module
    assert features(module, sample(size=8)).shape == (1, 128, 4, 4)


@pytest.mark.parametrize(
    "neighbour",
    [
        sample(seed=9),
        sample(months=(5,), seed=9),
        sample(layers=("sentinel1",), seed=9),
        sample(months=(1, 2, 3, 4, 5, 6), seed=9),
    ],
    ids=["complete", "months missing", "layer missing", "more months"],
)
def test_a_sample_does_not_depend_on_its_neighbour(nano, neighbour):
    alone = features(nano, sample())
    together = features(nano, sample(), neighbour)[:1]
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-4)


def test_a_sample_without_one_layer_does_not_depend_on_its_neighbour(nano):
    lone = sample(layers=("sentinel2_l2a",))
    torch.testing.assert_close(
        features(nano, lone), features(nano, lone, sample(seed=9))[:1], atol=1e-5, rtol=1e-4
    )


def test_time_between_months_matters(nano):
    gap = features(nano, sample(months=(1, 6, 11)))
    assert not torch.allclose(features(nano, sample(months=(5, 6, 7))), gap, atol=1e-4)


def test_month_of_the_year_matters_to_v1():
    module = build_encoder(EncoderSpec(name="olmoearth_v1_nano"), 4).module
    summer, winter = (features(module, sample(months=m)) for m in ((5, 6, 7), (9, 10, 11)))
    assert not torch.allclose(summer, winter, atol=1e-4)


def test_presto_keeps_the_resolution(presto):
    assert features(presto, sample(size=3)).shape == (1, 128, 3, 3)


def test_presto_sample_does_not_depend_on_its_neighbour(presto):
    alone = features(presto, sample())
    together = features(presto, sample(), sample(months=(5, 6), layers=("sentinel1",), seed=3))
    torch.testing.assert_close(alone, together[:1], atol=1e-5, rtol=1e-4)


def test_presto_masks_a_band_group_that_is_fill_throughout(presto):
    absent = sample()
    absent["sentinel2_l2a"].image[7] = FILL  # B8A, the only band of its group
    _, mask, _ = presto._prepare(absent)
    channels = ["vv", "vh", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A"]
    assert mask.all(dim=0).nonzero().flatten().tolist()[0] == channels.index("B8A")


def test_presto_gets_its_own_units():
    module = PrestoEncoder()
    inputs = sample(months=(5,))
    inputs["sentinel2_l2a"].image[:] = 0.5  # every band's mean, but not all of it fill
    inputs["sentinel2_l2a"].image[:, :, 0, 0] = 0.6
    inputs["sentinel1"].image[:] = 0.5
    inputs["sentinel1"].image[:, :, 0, 0] = 0.6
    values, _, months = module._prepare(inputs)
    pixel = values[0, :, 1, 1]
    assert pixel[0].item() == pytest.approx((-11.65 + 25) / 25, abs=1e-3)  # vv, dB
    assert pixel[2].item() == pytest.approx(1188.94 / 1e4, abs=1e-4)  # B02
    ndvi = (2755.48 - 1513.06) / (2755.48 + 1513.06)
    assert pixel[-1].item() == pytest.approx(ndvi, abs=1e-3)
    assert months.tolist() == [4]
