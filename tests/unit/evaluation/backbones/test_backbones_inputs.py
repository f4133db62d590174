"""From samples to arrays in a model's order."""

import logging

import numpy as np
import pytest

from geofm_assets.core.errors import ModelInputError
from geofm_assets.evaluation.backbones.base import ModelInfo
from geofm_assets.evaluation.backbones.inputs import (
    matched_bands,
    patches_with_data,
    read_cube,
    require_runnable,
)
from geofm_assets.evaluation.samples.types import EvalSample, SampleImage
from tests.backbone_samples import BANDS, ENTRIES, S1, S2, changed, entry, image, sample


def info(name="m", bands=None, patches=(4, 2)):
    reads = {S2: ("B04", "B03", "B02")} if bands is None else bands
    return ModelInfo(name, "0" * 64, "nothing", 8, reads, patches, ("pretrained",))


def runnable(samples, entries=ENTRIES, patch_size=4, model=None):
    return require_runnable(model or info(), samples, "pretrained", entries, patch_size)


def test_bands_come_in_the_models_order():
    one = sample()
    cube = read_cube(one, S2, ("B12", "B02"))
    stored = one.images[S2].values
    np.testing.assert_array_equal(cube.values[:, 0], stored[:, BANDS[S2].index("B12")])
    np.testing.assert_array_equal(cube.values[:, 1], stored[:, BANDS[S2].index("B02")])


def test_a_band_the_dataset_lacks_is_nan():
    cube = read_cube(sample(modalities=(S2,), bands=("B04",)), S2, ("B04", "B8A"))
    assert np.isnan(cube.values[:, 1]).all()
    assert not np.isnan(cube.values[:, 0]).any()


def test_times_without_a_valid_pixel_are_left_out():
    def blank(values):
        values[1] = np.nan

    cube = read_cube(changed(sample(), S2, blank), S2, ("B04",))
    assert len(cube.values) == 2
    assert [c.month for c in cube.centres] == [5, 7]


def test_infinity_is_no_data():
    def poison(values):
        values[0, :, 0, 0] = np.inf

    cube = read_cube(changed(sample(), S2, poison), S2, ("B04",))
    assert np.isnan(cube.values[0, 0, 0, 0])


def test_times_come_oldest_first():
    one = sample()
    old = one.images[S2]
    turned = SampleImage(old.values[::-1], old.bands, old.timestamps[::-1])
    other = EvalSample("b", {S2: turned}, 0, 0.0, 0.0)
    kept, found = (read_cube(s, S2, ("B04",)).values for s in (one, other))
    np.testing.assert_array_equal(found, kept)


def test_a_modality_without_valid_pixels_is_none():
    empty = changed(sample(), S1, lambda values: values.fill(np.nan))
    assert read_cube(empty, S1, ("vv",)) is None
    assert read_cube(sample(modalities=(S2,)), S1, ("vv",)) is None


def test_spellings_of_band_names_are_matched():
    assert matched_bands(("B02", "B8A", "vv", "B12"), ("b2", "B8a", "VV")) == [
        "b2",
        "B8a",
        "VV",
        None,
    ]


def test_a_patch_has_data_where_any_pixel_has():
    seen = np.zeros((4, 4), dtype=bool)
    seen[3, 0] = True
    assert patches_with_data(seen, 2).tolist() == [[False, False], [True, False]]


def test_side_of_the_samples_is_returned():
    assert runnable([sample(size=8)]) == 8


def test_samples_of_two_sizes_are_refused():
    with pytest.raises(ModelInputError, match="samples of one size"):
        runnable([sample(size=8), sample(size=4)])


def test_a_patch_that_does_not_divide_is_refused():
    with pytest.raises(ModelInputError, match="6 x 6 pixels are not cut into patches of 4"):
        runnable([sample(size=6)])


def test_a_patch_size_the_model_has_not_is_refused():
    with pytest.raises(ModelInputError, match=r"patch size 1 at model m\. Use 4, 2"):
        runnable([sample()], patch_size=1)


def test_a_rule_the_model_has_not_is_refused():
    with pytest.raises(ModelInputError, match=r"no normalisation 'dataset'.*Use pretrained"):
        require_runnable(info(), [sample()], "dataset", ENTRIES, 4)


def test_a_dataset_without_the_models_modalities_is_refused():
    with pytest.raises(ModelInputError, match="The dataset has sentinel1, the model reads senti"):
        runnable([sample(modalities=(S1,))], {S1: entry(S1)})


def test_a_dataset_without_any_of_the_models_bands_is_refused():
    with pytest.raises(ModelInputError, match="none of the bands"):
        runnable([sample(modalities=(S2,), bands=("B11",))], {S2: entry(S2, bands=("B11",))})


def test_lacking_bands_are_said_once(caplog):
    model = info("fresh_name")
    entries = {S2: entry(S2, bands=("B04", "B03"))}
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            runnable([sample(modalities=(S2,), bands=("B04", "B03"))], entries, model=model)
    assert [r.getMessage() for r in caplog.records] == [
        "fresh_name: sentinel2_l2a lacks B02, which are filled"
    ]


def test_a_sample_without_data_takes_its_size_from_its_label():
    blank = EvalSample("a", {}, np.zeros((8, 8), dtype=np.int64), 0.0, 0.0)
    assert runnable([blank]) == 8


def test_the_sample_is_not_changed():
    one = EvalSample("a", {S2: image()}, 0, 0.0, 0.0)
    kept = one.images[S2].values.copy()
    read_cube(one, S2, ("B04",)).values[:] = 0
    np.testing.assert_array_equal(one.images[S2].values, kept)
