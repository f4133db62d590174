"""The two floors."""

import numpy as np
import pytest

from geofm_assets.evaluation.backbones.baselines import STATISTICS
from geofm_assets.evaluation.backbones.build import build_model
from tests.backbone_samples import BANDS, RANGE, S1, S2, changed, entry, sample, statistics

PLACES = {S2: len(BANDS[S2]), S1: len(BANDS[S1])}


@pytest.fixture(scope="module")
def pixels():
    return build_model("raw_pixels")


@pytest.fixture(scope="module")
def numbers():
    return build_model("image_statistics")


def embed(model, samples, timesteps=3):
    entries = {name: entry(name, timesteps=timesteps) for name in (S2, S1)}
    return model.embed(samples, "dataset", entries, 1)


def test_a_pixels_vector_is_its_bands_at_all_times(pixels):
    one = sample(size=2)
    tokens = embed(pixels, [one])
    assert tokens.values.shape == (1, 2, 2, 1, 3 * (PLACES[S2] + PLACES[S1]))
    known = statistics(*RANGE[S2])
    raw = one.images[S2].values[1, :, 0, 1]
    found = tokens.values[0, 0, 1, 0, PLACES[S2] : 2 * PLACES[S2]].numpy()
    np.testing.assert_allclose(found, (raw - known.mean) / known.std, atol=1e-5)


def test_more_than_four_times_are_laid_out_by_month(pixels):
    one = sample(size=1, months=(2, 3, 4, 5, 9), modalities=(S2,))
    tokens = pixels.embed([one], "dataset", {S2: entry(S2, timesteps=5)}, 1)
    months = tokens.values.reshape(12, PLACES[S2]).abs().sum(1) > 0
    assert (months.nonzero().flatten() + 1).tolist() == [2, 3, 4, 5, 9]


def test_a_sample_without_one_month_lines_up_with_the_others(pixels):
    whole = sample(size=1, months=(1, 2, 3, 4, 5, 6), modalities=(S2,))
    lacking = changed(whole, S2, lambda v: v[2].fill(np.nan))
    entries = {S2: entry(S2, timesteps=6)}
    first, second = (
        pixels.embed([s], "dataset", entries, 1).values.reshape(12, -1) for s in (whole, lacking)
    )
    same = [i for i in range(12) if i != 2]
    np.testing.assert_array_equal(first[same], second[same])
    assert (second[2] == 0).all()


def test_images_of_one_month_are_averaged(pixels):
    one = sample(size=1, months=(5, 5, 6, 7, 8), modalities=(S2,))
    tokens = pixels.embed([one], "dataset", {S2: entry(S2, timesteps=5)}, 1)
    known = statistics(*RANGE[S2])
    raw = one.images[S2].values[:2, :, 0, 0].mean(axis=0)
    found = tokens.values.reshape(12, -1)[4].numpy()
    np.testing.assert_allclose(found, (raw - known.mean) / known.std, atol=1e-4)


def test_a_pixel_without_data_is_not_valid(pixels):
    def blank(values):
        values[:, :, 0, 0] = np.nan

    gapped = changed(changed(sample(size=2), S2, blank), S1, blank)
    valid = embed(pixels, [gapped]).valid[0, :, :, 0]
    assert valid.tolist() == [[False, True], [True, True]]


def test_a_band_without_statistics_is_left_out(pixels):
    tokens = pixels.embed(
        [sample(size=1, modalities=(S2,))], "dataset", {S2: entry(S2, filled=("B8A",))}, 1
    )
    assert tokens.values.shape[-1] == 3 * (PLACES[S2] - 1)


def test_statistics_are_those_of_the_window(numbers):
    one = sample(size=2, modalities=(S1,))
    tokens = numbers.embed([one], "dataset", {S1: entry(S1)}, 1)
    known = statistics(*RANGE[S1])
    raw = (one.images[S1].values[:, 0].astype(np.float64) - known.mean) / known.std
    expected = [raw.mean(), raw.std(), raw.min(), raw.max()]
    expected += np.percentile(raw, [5, 25, 50, 75, 95]).tolist()
    found = tokens.values[0, 0, 0, 0, : len(STATISTICS)].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_statistics_leave_out_what_is_missing(numbers):
    def blank(values):
        values[0] = np.nan

    whole = sample(size=2, months=(5, 6), modalities=(S1,))
    later = sample(size=2, months=(5, 6), modalities=(S1,))
    cut = changed(later, S1, blank)
    found = numbers.embed([cut], "dataset", {S1: entry(S1)}, 1).values[0, 0, 0, 0, 0]
    known = statistics(*RANGE[S1])
    raw = (whole.images[S1].values[1, 0] - known.mean) / known.std
    assert found.item() == pytest.approx(raw.mean(), abs=1e-5)


def test_statistics_stand_at_every_place(numbers):
    values = embed(numbers, [sample(size=2)]).values[0]
    assert (values == values[0, 0]).all()


def test_baselines_do_not_know_their_size(pixels, numbers):
    assert pixels.info.embedding_size == numbers.info.embedding_size == 0
    assert pixels.info.normalizations == numbers.info.normalizations == ("dataset",)
