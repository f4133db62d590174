"""Cells proven from a claim are the cells H3 computes, whatever is claimed."""

import h3.api.numpy_int as h3
import numpy as np
import pytest

from geofm_assets.labels import claimed_cells
from geofm_assets.labels.cells import cell_ids
from geofm_assets.labels.claimed_cells import claimed_cell_ids


def on_the_globe(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(-180, 180, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))


def around(cell: int, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points in and about one cell."""
    lat, lon = np.array(h3.cell_to_boundary(cell)).T
    rng = np.random.default_rng(seed)
    pad = 0.2 * (lat.max() - lat.min())
    near_180 = lon.max() - lon.min() > 180
    lon = np.where(near_180 & (lon < 0), lon + 360, lon)
    x = rng.uniform(lon.min() - pad, lon.max() + pad, n)
    y = np.clip(rng.uniform(lat.min() - pad, lat.max() + pad, n), -90, 90)
    return (x + 180) % 360 - 180, y


@pytest.mark.parametrize("resolution", [0, 1, 2, 3, 4, 7])
def test_right_claims_give_the_same_cells(resolution):
    lon, lat = on_the_globe(6_000, resolution)
    expected = cell_ids(lon, lat, resolution)
    assert (claimed_cell_ids(lon, lat, expected, resolution) == expected).all()


def test_a_claim_everyone_makes_gives_the_same_cells():
    """Every fifth cell of the globe, pentagons, poles and face edges among them, and around it."""
    for seed, cell in enumerate(sorted(h3.uncompact_cells(h3.get_res0_cells(), 2))[::5]):
        lon, lat = around(int(cell), 300, seed)
        claimed = np.full(300, cell, np.uint64)
        assert (claimed_cell_ids(lon, lat, claimed, 2) == cell_ids(lon, lat, 2)).all(), cell


@pytest.mark.parametrize("claim", [0, 7, 2**64 - 1, h3.latlng_to_cell(45, 10, 4)])
def test_a_claim_that_is_no_cell_of_the_resolution_proves_nothing(claim):
    lon, lat = on_the_globe(500, 1)
    lon[0], lat[0] = 10, 45
    found = claimed_cell_ids(lon, lat, np.full(500, claim, np.uint64), 3)
    assert (found == cell_ids(lon, lat, 3)).all()


def test_what_is_not_on_the_globe_has_no_cell():
    lon, lat = np.array([np.nan, 10.0, 190.0, 10.0]), np.array([45.0, np.inf, 45.0, 45.0])
    cell = h3.latlng_to_cell(45, 10, 3)
    found = claimed_cell_ids(lon, lat, np.full(4, cell, np.uint64), 3)
    assert found.tolist() == [0, 0, 0, cell]


def test_most_right_claims_need_no_projection(monkeypatch):
    lon, lat = on_the_globe(4_000, 5)
    expected = cell_ids(lon, lat, 3)
    asked = []
    monkeypatch.setattr(
        claimed_cells, "cell_ids", lambda x, y, r: asked.append(len(x)) or cell_ids(x, y, r)
    )
    claimed_cell_ids(lon, lat, expected, 3)
    assert asked[0] < 1_200
