"""Small generated point tables for the sampling tests."""

import datetime
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pytest

from geofm_assets.labels.cells import cell_ids, cell_strings
from geofm_assets.labels.config import LabelsConfig
from geofm_assets.labels.rules import LabelRule, get_rule
from geofm_assets.labels.schema import REFERENCE_POINT
from geofm_assets.sampling.candidates import candidates
from geofm_assets.sampling.config import SamplingConfig, SplitConfig
from geofm_assets.sampling.plan import make_plan

CROP, GRASS = "1101010001", "2001010000"
DAY = datetime.date(2021, 6, 1)
CLASSES = ("Cropland", "Non-Cropland")
SAMPLING = SamplingConfig(per_cell=5)
EUROPE = (-5, 40, 25, 58)
ISLAND = (8.68, 41.37, 9.55, 42.93)


def points(
    lonlat: Sequence[tuple[float, float]],
    labels: Sequence[str] = (CROP, GRASS),
    collection: str = "first",
    ids: Sequence[str] | None = None,
    days: Sequence[datetime.date] = (DAY,),
    quality: Sequence[int | None] = (90,),
) -> pa.Table:
    """REFERENCE_POINT rows; labels, days and quality scores repeat as often as needed."""
    n = len(lonlat)
    lon = np.array([p[0] for p in lonlat], dtype=float)
    lat = np.array([p[1] for p in lonlat], dtype=float)
    raw = [labels[i % len(labels)] for i in range(n)]
    scores = pa.array([quality[i % len(quality)] for i in range(n)], pa.int64())
    names = [f"{collection}_{i}" for i in range(n)] if ids is None else list(ids)
    return pa.Table.from_arrays(
        [
            pa.array(names, pa.string()),
            pa.array([collection] * n, pa.string()),
            pa.array(lon),
            pa.array(lat),
            cell_strings(cell_ids(lon, lat, 3)),
            pa.array([days[i % len(days)] for i in range(n)], pa.date32()),
            pa.array(raw, pa.string()),
            pa.array([int(r) if r.isdigit() else None for r in raw], pa.int64()),
            scores,
            scores,
            pa.array([0] * n, pa.int64()),
            pa.array([0] * n, pa.int64()),
            pa.array(["point"] * n, pa.string()),
            pa.array([True] * n, pa.bool_()),
            pa.array(range(n), pa.int64()),
        ],
        schema=REFERENCE_POINT,
    )


def scattered(
    n: int, seed: int, west: float, south: float, east: float, north: float
) -> list[tuple[float, float]]:
    """n places drawn evenly from a lon/lat box."""
    rng = np.random.default_rng(seed)
    lon, lat = rng.uniform(west, east, n), rng.uniform(south, north, n)
    return list(zip(lon.tolist(), lat.tolist(), strict=True))


@pytest.fixture(scope="session")
def make_points() -> Callable[..., pa.Table]:
    return points


@pytest.fixture(scope="session")
def scatter() -> Callable[..., list[tuple[float, float]]]:
    return scattered


@pytest.fixture(scope="session")
def rule() -> LabelRule:
    return get_rule(LabelsConfig(source="worldcereal", rule="ai2_v1"))


@pytest.fixture(scope="session")
def plan_of(rule):
    def plan(*tables, sampling=SAMPLING, split=None, extent=320.0, **options):
        found = [candidates(t, rule, sampling).table for t in tables]
        return make_plan(found, sampling, split or SplitConfig(), CLASSES, extent, **options)

    return plan


@pytest.fixture(scope="session")
def europe(make_points, scatter):
    return make_points(scatter(2000, 0, *EUROPE))


@pytest.fixture(scope="session")
def second(make_points, scatter):
    return make_points(scatter(700, 1, *EUROPE), collection="second")


@pytest.fixture(scope="session")
def island(make_points, scatter):
    return make_points(scatter(500, 2, *ISLAND))
