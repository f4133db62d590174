import numpy as np
import pyarrow as pa
import pytest

from geofm_assets.labels.worldcereal.legend import (
    IGNORE,
    LANDCOVER10_CLASSES,
    code_strings,
    known_codes,
    parse_codes,
    prefixes,
)


def test_every_class_is_one_of_landcover10_and_each_occurs():
    assert set(prefixes().values()) == {*LANDCOVER10_CLASSES, IGNORE}


@pytest.mark.parametrize("code", [0, 1101010001, 1115000002, 1300000000, 4300000020, 7005010010])
def test_codes_of_the_legend_are_known(code):
    assert known_codes(np.array([code])).all()


@pytest.mark.parametrize("code", [-1, 1, 999_999, 1199000000, 8000000000, 99_999_999_999])
def test_other_numbers_are_not(code):
    assert not known_codes(np.array([code])).any()


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1101010000, None]),
        pa.array([1101010000, None], pa.uint64()),
        pa.array([1101010000.0, float("nan")]),
        pa.array(["1101010000", None]),
        pa.array([" 11-01-01-000-0 ", "wheat"]),
        pa.array(["1101010000", None]).dictionary_encode(),
    ],
)
def test_codes_are_read_from_every_type(column):
    assert parse_codes(column).tolist() == [1101010000, -1]


def test_half_a_code_is_no_code():
    assert parse_codes(pa.array([1101010000.5])).tolist() == [-1]


def test_code_strings_have_ten_digits():
    assert code_strings(np.array([0, 1101010000, 0])).to_pylist() == [
        "0000000000",
        "1101010000",
        "0000000000",
    ]
