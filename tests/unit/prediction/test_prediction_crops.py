"""Crops: a fixed grid, weights that add up to one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geofm_assets.core.errors import ConfigError
from geofm_assets.prediction.crops import CropGrid

SIZES = st.sampled_from([1, 2, 4, 7, 16, 32, 48, 64, 160])


@st.composite
def grids(draw):
    size = draw(SIZES)
    finer = [size - step for step in range(1, size // 2) if size % step == 0]
    return CropGrid(size, draw(st.sampled_from([*range(size // 2 + 1), *finer])))


def crops(grid, wanted, origin):
    return [c for b in grid.blocks(wanted, origin) for u in b.units for c in u.corners]


@given(grid=grids(), x=st.integers(-500, 500), y=st.integers(-500, 500))
def test_weights_of_all_crops_on_a_pixel_add_up_to_one(grid, x, y):
    wanted = np.ones((3, 5), dtype=bool)
    total, weights = np.zeros(wanted.shape), grid.weights
    for column, row in crops(grid, wanted, (x, y)):
        down, right = y - row + np.arange(3), x - column + np.arange(5)
        here = [np.flatnonzero((at >= 0) & (at < grid.size)) for at in (down, right)]
        total[np.ix_(*here)] += weights[np.ix_(down[here[0]], right[here[1]])]
    np.testing.assert_allclose(total, 1, atol=1e-6)


@given(grid=grids(), seed=st.integers(0, 99), split=st.integers(1, 59))
def test_a_part_of_an_area_gets_the_crops_and_units_of_the_whole_in_their_order(grid, seed, split):
    wanted = np.random.default_rng(seed).random((40, 60)) < 0.02
    part = wanted.copy()
    part[:, split:] = False
    whole = [u for b in grid.blocks(wanted, (-30, 7)) for u in b.units]
    some = [u for b in grid.blocks(part[:, :split], (-30, 7)) for u in b.units]
    known = [u for u in whole if u in some]
    assert known == some


@given(grid=grids())
def test_crops_of_a_block_lie_within_the_pixels_that_are_read(grid):
    wanted = np.ones((90, 90), dtype=bool)
    for block in grid.blocks(wanted, (10_000, -520_000)):
        left, top, right, bottom = block.bounds
        for unit in block.units:
            for column, row in unit.corners:
                assert left <= column <= right - grid.size
                assert top <= row <= bottom - grid.size


def test_weights_fall_as_a_raised_cosine_and_are_never_zero():
    weights = CropGrid(16, 8).weights
    middle = (1 - np.cos(np.pi * (np.arange(8) + 0.5) / 8)) / 2
    np.testing.assert_allclose(weights[7, :8] / weights[7, 7], middle / middle[7], rtol=1e-5)
    assert (weights > 0).all()
    np.testing.assert_array_equal(weights, weights[::-1, ::-1])


def test_without_overlap_every_pixel_counts_fully():
    assert (CropGrid(8).weights == 1).all()


@pytest.mark.parametrize("overlap", [-1, 5, 8])
def test_crops_that_overlap_by_more_than_half_in_uneven_steps_are_refused(overlap):
    with pytest.raises(ConfigError, match=r"--overlap.*Choose 0 to 4, or one of 6, 7"):
        CropGrid(8, overlap)


def test_nothing_is_read_where_nothing_is_wanted():
    assert list(CropGrid(8).blocks(np.zeros((64, 64), dtype=bool), (0, 0))) == []
