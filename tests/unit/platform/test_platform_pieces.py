"""Ranges of partitions, as runs take them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geofm_assets.platform.pieces import pieces, stretches

ORDER = [f"{n:03}" for n in range(40)]


@given(st.sets(st.sampled_from(ORDER)), st.integers(1, 9), st.none() | st.integers(1, 50))
def test_pieces_hold_every_wanted_key_once_and_no_other(wanted, workers, most):
    found = pieces(ORDER, wanted, workers, most)
    assert [key for part in found for key in part] == sorted(wanted)
    for part in found:
        first, last = ORDER.index(part[0]), ORDER.index(part[-1])
        assert ORDER[first : last + 1] == part  # a range names its first and last key only
        assert len(part) <= (most or len(ORDER))


@pytest.mark.parametrize(("workers", "sizes"), [(1, [40]), (3, [14, 14, 12]), (100, [1] * 40)])
def test_all_workers_have_something_to_do(workers, sizes):
    assert [len(part) for part in pieces(ORDER, ORDER, workers, None)] == sizes


def test_a_key_that_is_not_wanted_ends_a_stretch():
    assert stretches(["a", "b", "c", "d"], {"d", "a", "c", "x"}) == [["a"], ["c", "d"]]
