"""Which numbers a model reads."""

import numpy as np
import pytest

from geofm_assets.core.errors import ModelInputError
from geofm_assets.evaluation.backbones.normalize import (
    RULES,
    Rule,
    dataset_factors,
    olmoearth_statistics,
    own_factors,
    std_factors,
)
from geofm_assets.imagery.bands import SENTINEL2_L2A
from geofm_assets.imagery.normalize import normalize
from tests.backbone_samples import S2, entry, statistics


def column(*values):
    """One band, one pixel a time: (T, 1, 1, 1)."""
    return np.array(values, dtype=np.float32).reshape(-1, 1, 1, 1)


def scaled(rule, *values, mean=100.0, std=10.0):
    factors = std_factors(rule, [mean], [std])
    return factors.apply(column(*values)).ravel().tolist()


def test_two_std_maps_two_deviations_to_the_ends():
    assert scaled(Rule("two_std"), 80, 100, 120, 140) == pytest.approx([0, 0.5, 1, 1.5])


def test_one_std_maps_one_deviation_to_the_ends():
    assert scaled(Rule("one_std"), 90, 100, 110) == pytest.approx([0, 0.5, 1])


def test_standard_is_mean_and_deviation():
    assert scaled(Rule("standard"), 90, 100, 120) == pytest.approx([-1, 0, 2])


def test_clipping_keeps_to_the_ends():
    assert scaled(Rule("two_std", clip=True), 0, 100, 200) == pytest.approx([0, 0.5, 1])


def test_eight_bit_rounds_down_to_255ths():
    (found,) = scaled(Rule("two_std", clip=True, eight_bit=True), 100.0)
    assert found == pytest.approx(127 / 255)


@pytest.mark.parametrize(("scale", "neutral"), [("two_std", 0.5), ("standard", 0.0)])
def test_nan_becomes_the_mean(scale, neutral):
    assert scaled(Rule(scale), np.nan) == [neutral]


def test_a_band_that_never_changes_stays_finite():
    assert scaled(Rule("two_std"), 100, std=0.0) == [0.5]
    assert scaled(Rule("standard"), 100, std=0.0) == [0.0]


def test_the_input_is_not_changed():
    values = column(1, 2, np.nan)
    kept = values.copy()
    std_factors(Rule("standard"), [0.0], [1.0]).apply(values)
    np.testing.assert_array_equal(values, kept)


def test_olmoearth_pretrained_is_what_training_uses():
    values = np.random.default_rng(0).uniform(1, 9000, (2, 12, 3, 3)).astype(np.float32)
    bands = SENTINEL2_L2A.band_names
    factors = std_factors(RULES["olmoearth"]["pretrained"], *olmoearth_statistics(S2, bands))
    np.testing.assert_allclose(factors.apply(values), normalize(values, S2), atol=1e-6)


def test_a_dataset_rule_reads_the_datasets_statistics():
    factors = dataset_factors("olmoearth", entry(S2), ("B04",), S2)
    known = statistics(200.0, 5000.0)
    found = factors.apply(column(known.mean, known.mean + 2 * known.std)).ravel()
    assert found.tolist() == pytest.approx([0.5, 1.0], abs=1e-6)


def test_min_max_reads_the_extremes():
    factors = dataset_factors("dinov3", entry(S2), ("B04",), S2)
    assert factors.apply(column(200, 5000)).ravel().tolist() == pytest.approx([0, 1])


def test_a_band_without_statistics_is_neutral_everywhere():
    some = entry(S2, filled=("B8A",))
    factors = dataset_factors("olmoearth", some, ("B04", "B8A"), S2)
    found = factors.apply(np.full((1, 2, 1, 1), 3000.0, dtype=np.float32))
    assert found[0, 1, 0, 0] == 0.5


def test_band_names_of_other_providers_are_known():
    some = entry(S2, bands=("B2", "b3"))
    factors = dataset_factors("presto", some, ("B02", "B03"), S2)
    assert np.isfinite(factors.low).all()


def test_no_statistics_at_all_is_refused():
    with pytest.raises(ModelInputError, match="None of the bands B8A has statistics"):
        dataset_factors("presto", entry(S2, filled=("B8A",)), ("B8A",), S2)


def test_own_factors_are_as_stated():
    factors = own_factors(Rule("own"), [-25.0], [25.0])
    assert factors.apply(column(-25, 0)).ravel().tolist() == [0.0, 1.0]
