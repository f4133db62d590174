"""Where the generated collections lie, and how large each is.

The bias is that of the reference data: farmers' declarations of a few European countries make up
nearly all rows, sixty small surveys over the rest of the world most of the cells' variety.
"""

import math
from dataclasses import dataclass

import h3
import numpy as np

RESOLUTION = 3
_INSIDE = 0.9  # of the largest circle inside a cell, so that fields stay inside as well
_LARGEST_SHARE_EXPONENT = 1.07  # Zipf over thirty collections: the largest holds about 27 %
_SURVEY_ROWS = 40_000  # in all surveys together, whatever the total: they were small
_SURVEY_CELLS, _LPIS_CELLS = 16, 28

# Middles of collections, degrees east and north: places with agriculture.
SURVEYS = (
    (37.0, -1.0), (32.5, 0.5), (34.8, -6.2), (39.5, 8.9), (8.5, 12.0), (-1.5, 11.5), (-14.9, 14.7),
    (28.3, -15.4), (31.0, -17.8), (35.3, -15.0), (47.0, -19.5), (25.5, -29.0), (17.5, -13.0),
    (30.9, 30.6), (9.7, 35.8), (-6.5, 33.0), (35.5, 39.0), (44.5, 33.2), (53.0, 35.5), (66.0, 35.0),
    (69.0, 40.6), (76.0, 30.7), (78.5, 22.5), (76.5, 15.0), (85.5, 25.8), (90.0, 24.0), (80.6, 7.5),
    (96.0, 21.5), (100.8, 16.0), (105.3, 12.5), (105.8, 10.3), (110.5, -7.5), (121.0, 15.5),
    (114.0, 34.5), (104.5, 30.5), (126.0, 46.5), (140.5, 38.5), (71.5, 51.5), (83.0, 53.5),
    (40.0, 47.0), (31.5, 49.5), (-93.5, 42.0), (-98.5, 38.5), (-119.8, 36.7), (-101.0, 33.5),
    (-106.0, 51.5), (-100.5, 20.6), (-90.5, 14.6), (-74.0, 4.8), (-79.0, -1.5), (-76.0, -12.0),
    (-64.5, -17.5), (-55.0, -12.5), (-47.5, -15.8), (-52.5, -25.0), (-61.0, -33.5), (-56.5, -27.0),
    (-71.0, -34.5), (147.5, -34.0), (172.0, -43.5),
)  # fmt: skip
LPIS = (
    (2.2, 47.5), (-0.5, 44.6), (10.4, 51.6), (-4.0, 40.5), (-3.2, 42.4), (4.8, 50.7), (5.6, 52.2),
    (9.4, 55.9), (14.6, 48.2), (15.8, 47.2), (14.9, 46.1), (24.8, 59.0), (24.6, 57.0), (24.0, 55.4),
    (17.5, 48.8), (15.3, 49.8), (14.8, 57.5), (26.0, 62.5), (-8.0, 53.2), (-8.2, 39.6),
    (11.5, 44.6), (12.5, 49.0), (8.8, 48.9), (13.1, 53.4), (19.4, 52.2), (25.2, 44.6),
    (16.6, 45.6), (20.4, 47.3), (5.9, 45.5), (0.4, 49.2),
)  # fmt: skip


@dataclass(frozen=True)
class CollectionPlan:
    """What one collection is to be.

    Attributes:
        number: its place in the mirror; part of its seed.
        title: in the RDM's grammar.
        rows: how many.
        polygons: share of its geometries that are fields.
        cells: H3 cells of resolution 3 it lies in.
        weights: share of its rows in each.
        lpis: whether farmers declared it.
    """

    number: int
    title: str
    rows: int
    polygons: float
    cells: tuple[str, ...]
    weights: tuple[float, ...]
    lpis: bool


def plan_mirror(rows: int, collections: int = 90, seed: int = 0) -> list[CollectionPlan]:
    """Collections of a mirror with so many rows in all; two thirds surveys, one third LPIS.

    Args:
        rows: in all collections; at least ten a collection.
        collections: how many, at most 90.
        seed: another one gives other cells and sizes.
    """
    if not 3 <= collections <= len(SURVEYS) + len(LPIS) or rows < 10 * collections:
        raise ValueError(f"{collections} collections of {rows} rows: 3 to 90, ten rows each")
    declared = max(1, collections // 3)
    surveys = collections - declared
    small = min(rows // 20, _SURVEY_ROWS)
    sizes = _zipf(small, surveys, 0.7) + _zipf(rows - small, declared, _LARGEST_SHARE_EXPONENT)
    plans = []
    for number, count in enumerate(sizes):
        lpis = number >= surveys
        middle = LPIS[number - surveys] if lpis else SURVEYS[number]
        rng = np.random.default_rng([seed, 1, number])
        cells = _cells_about(middle, _LPIS_CELLS if lpis else _SURVEY_CELLS, rng)
        shares = rng.permutation(1.0 / np.arange(1, len(cells) + 1) ** 0.8)
        name = f"LPIS{number - surveys + 1:02d}" if lpis else f"SURVEY{number + 1:02d}"
        kind = "POLY" if lpis else "POINT"
        plans.append(
            CollectionPlan(
                number,
                f"2021_SIM_{name}_{kind}_110",
                count,
                0.77 if lpis else 0.3,
                tuple(cells),
                tuple((shares / shares.sum()).tolist()),
                lpis,
            )
        )
    return plans


def extra_collection(rows: int, seed: int = 0) -> CollectionPlan:
    """One more collection, for what a new one costs; in Europe, as most new ones."""
    rng = np.random.default_rng([seed, 2])
    cells = _cells_about((3.0, 46.5), _LPIS_CELLS, rng)
    weights = (1.0 / len(cells),) * len(cells)
    return CollectionPlan(1000, "2022_SIM_ADDED_POLY_110", rows, 0.77, tuple(cells), weights, True)


def draw_places(
    plan: CollectionPlan, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places of a collection, each surely inside its cell.

    Returns:
        lon and lat in degrees, float64 (count,); index into `plan.cells`, int64 (count,).
    """
    which = rng.choice(len(plan.cells), count, p=np.array(plan.weights))
    middles = np.array([h3.cell_to_latlng(cell) for cell in plan.cells])
    radii = np.array([_inner_radius_deg(cell) for cell in plan.cells])
    reach = radii[which] * np.sqrt(rng.random(count))
    turn = rng.uniform(0, 2 * np.pi, count)
    lat = middles[which, 0] + reach * np.sin(turn)
    lon = middles[which, 1] + reach * np.cos(turn) / np.cos(np.radians(lat))
    return np.round(lon, 7), np.round(lat, 7), which


def _zipf(total: int, count: int, exponent: float) -> list[int]:
    """Sizes that fall with rank, add up to `total`, and are at least ten."""
    shares = 1.0 / np.arange(1, count + 1) ** exponent
    sizes = np.maximum(10, (total * shares / shares.sum()).astype(np.int64))
    sizes[0] += total - int(sizes.sum())
    return [int(size) for size in sizes]


def _cells_about(middle: tuple[float, float], count: int, rng: np.random.Generator) -> list[str]:
    """Cells around a place, nearer ones more likely; sorted."""
    lon, lat = middle
    origin = h3.latlng_to_cell(lat, lon, RESOLUTION)
    near = sorted(h3.grid_disk(origin, 4))
    distance = np.array([h3.grid_distance(origin, cell) for cell in near])
    weights = 1.0 / (1.0 + distance) ** 2
    chosen = rng.choice(len(near), count, replace=False, p=weights / weights.sum())
    return sorted(near[i] for i in chosen.tolist())


def _inner_radius_deg(cell: str) -> float:
    """Radius, degrees of latitude, of a circle inside a cell."""
    lat, lon = h3.cell_to_latlng(cell)
    corners = np.array(h3.cell_to_boundary(cell))
    shrink = math.cos(math.radians(lat))
    flat = np.column_stack([(corners[:, 1] - lon) * shrink, corners[:, 0] - lat])
    after = np.roll(flat, -1, axis=0)
    along = after - flat
    heights = np.abs(flat[:, 0] * along[:, 1] - flat[:, 1] * along[:, 0])
    return _INSIDE * float((heights / np.hypot(along[:, 0], along[:, 1])).min())
