"""The promise between splits, seen from the windows made of the sample."""

import datetime
from itertools import product

import numpy as np
import pyarrow as pa
import pytest

from geofm_assets.labels.cells import cell_ids, cell_strings
from geofm_assets.labels.config import LabelsConfig
from geofm_assets.labels.rules import get_rule
from geofm_assets.labels.schema import REFERENCE_POINT
from geofm_assets.sampling.candidates import candidates
from geofm_assets.sampling.config import SamplingConfig, SplitConfig
from geofm_assets.sampling.naming import window_name
from geofm_assets.sampling.plan import make_plan
from geofm_assets.windows.config import WindowsConfig
from geofm_assets.windows.geometry import windows_for_points

RULE = get_rule(LabelsConfig(source="worldcereal", rule="ai2_v1"))
SAMPLING = SamplingConfig(per_cell=5000)


def sample(lon, lat, extent):
    n = len(lon)
    codes = ["1101010001" if i % 2 else "2001010000" for i in range(n)]
    table = pa.Table.from_arrays(
        [
            pa.array([f"p{i}" for i in range(n)]),
            pa.array(["c"] * n),
            pa.array(lon),
            pa.array(lat),
            cell_strings(cell_ids(lon, lat, 3)),
            pa.array([datetime.date(2021, 6, 1)] * n),
            pa.array(codes),
            pa.array([int(c) for c in codes], pa.int64()),
            *([pa.array([0] * n, pa.int64())] * 4),
            pa.array(["point"] * n),
            pa.array([True] * n),
            pa.array(range(n), pa.int64()),
        ],
        schema=REFERENCE_POINT,
    )
    found = candidates(table, RULE, SAMPLING).table
    return make_plan([found], SAMPLING, SplitConfig(max_resolution=10), RULE.classes, extent).sample


@pytest.mark.parametrize(
    ("lon", "lat", "size"), [(9.2, 42.0, 32), (9.2, 42.0, 1), (28.0, -33.5, 31), (15.0, 69.0, 128)]
)
def test_windows_of_different_splits_share_no_pixel(lon, lat, size):
    config = WindowsConfig(size=size, resolution=10)
    rng = np.random.default_rng(size)
    # dense enough that without a promise hundreds of windows would overlap
    reach = 0.02 * size**0.5
    points = sample(
        lon + rng.uniform(-reach, reach, 2500), lat + rng.uniform(-reach, reach, 2500), size * 10.0
    )
    windows = windows_for_points(points, config)
    parts = {
        (split, crs): np.array(
            [
                (w["col_min"], w["row_min"], w["col_max"], w["row_max"])
                for w in windows.to_pylist()
                if (w["split"], w["crs"]) == (split, crs)
            ]
        )
        for split, crs in product(("train", "val", "test"), set(windows["crs"].to_pylist()))
    }
    compared = 0
    for (first, crs), one in parts.items():
        for (second, other_crs), other in parts.items():
            if first < second and crs == other_crs and len(one) and len(other):
                a, b = one[:, None], other[None]
                apart = (a[..., :2] >= b[..., 2:]) | (b[..., :2] >= a[..., 2:])
                assert apart.any(axis=-1).all()
                compared += 1
    assert compared >= 3


def test_windows_are_named_by_the_rule_the_split_hashes():
    rng = np.random.default_rng(0)
    points = sample(9.2 + rng.uniform(-0.2, 0.2, 300), 42 + rng.uniform(-0.2, 0.2, 300), 320.0)
    names = set(windows_for_points(points, WindowsConfig())["window_name"].to_pylist())
    rows = [r for r in points.to_pylist() if r["split"] != "buffer"]
    expected = {window_name(r["h3_cell"], r["lat"], r["lon"], r["valid_time"]) for r in rows}
    assert expected <= names
