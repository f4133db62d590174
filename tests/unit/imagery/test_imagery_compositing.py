"""Linear power to dB."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from geofm_assets.imagery.compositing import linear_to_decibels

NODATA = -32768.0


@given(st.floats(2**-20, 128, width=32))
def test_decibels_are_ten_times_the_logarithm(power: float) -> None:
    (decibels,) = linear_to_decibels(np.array([power], dtype=np.float32), NODATA)
    assert np.isclose(decibels, 10 * np.log10(power), atol=1e-4)


def test_nodata_stays_nodata() -> None:
    assert linear_to_decibels(np.array([NODATA], dtype=np.float32), NODATA)[0] == NODATA


def test_power_that_is_not_positive_is_no_data() -> None:
    power = np.array([0.0, -0.1, np.nan], dtype=np.float32)
    assert (linear_to_decibels(power, NODATA) == NODATA).all()


def test_the_input_is_not_changed() -> None:
    power = np.array([1.0], dtype=np.float32)
    linear_to_decibels(power, NODATA)
    assert power[0] == 1.0
