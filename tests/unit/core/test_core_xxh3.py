"""xxh3_64 of whole columns equals the xxhash package's, value by value."""

import pyarrow as pa
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from geofm_assets.core.xxh3 import xxh3_64

SEEDS = st.integers(0, 2**64 - 1)


def expected(values: list[bytes], seed: int) -> list[int]:
    return [xxhash.xxh3_64_intdigest(value, seed=seed) for value in values]


@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1])
def test_every_length_up_to_the_packages_own(seed):
    values = [bytes((i * 7 + n) % 256 for i in range(n)) for n in range(260)]
    assert xxh3_64(pa.array(values, pa.binary()), seed).tolist() == expected(values, seed)


@given(st.lists(st.text(max_size=60), max_size=8), SEEDS)
def test_strings_are_hashed_by_their_utf_8(values, seed):
    found = xxh3_64(pa.array(values, pa.string()), seed)
    assert found.tolist() == expected([v.encode() for v in values], seed)


@given(st.lists(st.binary(max_size=40), min_size=3, max_size=8), SEEDS)
def test_a_slice_is_hashed_as_its_values(values, seed):
    part = pa.array(values, pa.large_binary()).slice(1, len(values) - 2)
    assert xxh3_64(part, seed).tolist() == expected(values[1:-1], seed)


def test_a_null_is_refused():
    with pytest.raises(ValueError, match="null"):
        xxh3_64(pa.array(["a", None]), 0)
