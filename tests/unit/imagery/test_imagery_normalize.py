"""From stored pixels to model input."""

import numpy as np
import pytest

from geofm_assets.core.errors import ContractError
from geofm_assets.imagery.bands import LAYERS, SENTINEL1_RTC, SENTINEL2_L2A
from geofm_assets.imagery.normalize import (
    FILL,
    model_input,
    normalize,
    normalize_into,
    valid_pixels,
)

ABSENT = SENTINEL2_L2A.band_names.index("B09")


@pytest.fixture
def stored() -> np.ndarray:
    values = np.random.default_rng(0).integers(1, 9000, (3, 12, 4, 5)).astype(np.uint16)
    values[:, ABSENT] = 0
    values[1, 2, 3, 4] = 0
    return values


def test_order_means_and_deviations_are_those_of_the_encoder() -> None:
    from rslearn.models.olmoearth_pretrain.norm import OlmoEarthNormalize

    for layer in LAYERS.values():
        theirs = OlmoEarthNormalize({layer.name: list(layer.band_names)})
        values = np.linspace(-20, 9000, 2 * len(layer.bands), dtype=np.float32)
        image = values.reshape(len(layer.bands), 1, 2)
        expected = _olmoearth(theirs, layer.name, image.copy())
        ours = (image - layer.lows[:, None, None]) / layer.spans[:, None, None]
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def _olmoearth(transform: object, name: str, image: np.ndarray) -> np.ndarray:
    import torch
    from rslearn.train.model_context import RasterImage

    inputs = {name: RasterImage(torch.from_numpy(image[:, None]))}
    out, _ = transform(inputs, {})  # type: ignore[operator]
    return out[name].image[:, 0].numpy()


def test_a_bands_mean_becomes_a_half() -> None:
    means = np.array([b.mean for b in SENTINEL1_RTC.bands], dtype=np.float32)
    assert np.allclose(normalize(means[:, None, None], "sentinel1"), 0.5)


def test_pixels_without_data_become_the_mean(stored: np.ndarray) -> None:
    assert (
        normalize(stored, "sentinel2_l2a")[~valid_pixels(stored, "sentinel2_l2a")] == FILL
    ).all()


def test_the_input_is_not_changed(stored: np.ndarray) -> None:
    before = stored.copy()
    model_input(stored, "sentinel2_l2a")
    assert (stored == before).all()


def test_a_read_only_input_is_good_enough(stored: np.ndarray) -> None:
    stored.flags.writeable = False
    assert normalize(stored, "sentinel2_l2a").flags.writeable


def plainly(values: np.ndarray, layer: str) -> np.ndarray:
    """The formula of the module's docstring, step by step."""
    spec = LAYERS[layer]
    normalised = values.astype(np.float32) - spec.lows[:, None, None]
    normalised = normalised / spec.spans[:, None, None]
    return np.where(spec.is_nodata(values), np.float32(FILL), normalised)


SPOILT = [None, 0, -32768, np.nan, np.inf, -np.inf, -40000]


@pytest.mark.parametrize("spoilt", SPOILT, ids=str)
@pytest.mark.parametrize("layer", sorted(LAYERS))
def test_every_bit_is_that_of_the_formula(layer: str, spoilt: float | None) -> None:
    spec = LAYERS[layer]
    rng = np.random.default_rng(1)
    values = rng.normal(10, 3, (2, len(spec.bands), 4, 4)).astype(np.float32)
    if spoilt is not None:
        values[1, 1, 2, 3] = spoilt
    if spoilt is None or spoilt == 0:
        values = np.abs(values).astype(spec.dtype)
    found = normalize(values, layer)
    assert found.tobytes() == plainly(values, layer).tobytes()


def test_bands_first_gives_the_same_bits(stored: np.ndarray) -> None:
    out = np.empty((12, 3, 4, 5), np.float32)
    missing = normalize_into(out, stored.transpose(1, 0, 2, 3), "sentinel2_l2a", band_axis=0)
    assert np.array_equal(out, normalize(stored, "sentinel2_l2a").transpose(1, 0, 2, 3))
    assert missing is not None
    assert np.array_equal(missing, (stored == 0).transpose(1, 0, 2, 3))


def test_no_mask_where_everything_was_measured() -> None:
    values = np.ones((1, 12, 2, 2), np.uint16)
    assert normalize_into(np.empty(values.shape, np.float32), values, "sentinel2_l2a", 1) is None


def test_an_empty_array_is_normalised() -> None:
    assert normalize(np.zeros((0, 12, 2, 2), np.uint16), "sentinel2_l2a").shape == (0, 12, 2, 2)


def test_bands_that_are_never_there_are_listed(stored: np.ndarray) -> None:
    assert model_input(stored, "sentinel2_l2a").filled_bands == ("B09",)


def test_a_pixel_counts_if_every_band_there_is_was_measured(stored: np.ndarray) -> None:
    pixels = model_input(stored, "sentinel2_l2a").pixels
    assert pixels.shape == (3, 4, 5)
    assert not pixels[1, 3, 4]
    assert pixels.sum() == pixels.size - 1


def test_without_any_data_no_pixel_counts() -> None:
    empty = model_input(np.zeros((2, 12, 3, 3), dtype=np.uint16), "sentinel2_l2a")
    assert not empty.pixels.any()
    assert len(empty.filled_bands) == 12


def test_not_a_number_is_no_data() -> None:
    values = np.full((1, 2, 2, 2), -10, dtype=np.float32)
    values[0, 0, 0, 0] = np.nan
    assert np.isfinite(normalize(values, "sentinel1")).all()


def test_an_array_of_another_layer_is_refused() -> None:
    with pytest.raises(ContractError, match="sentinel1 has 2 bands"):
        normalize(np.zeros((1, 12, 2, 2)), "sentinel1")


def test_an_unknown_layer_is_refused() -> None:
    with pytest.raises(ContractError, match="No layer 'landsat'"):
        normalize(np.zeros((1, 12, 2, 2)), "landsat")
