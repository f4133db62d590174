"""Distances between points of different splits, and keeping them apart.

Distances are great-circle metres on a sphere of mean Earth radius, found by nearest-neighbour
search on chords of the unit sphere (the chord grows with the arc, so the nearest is the same).
Against the WGS84 ellipsoid the sphere errs by at most about 0.6 %.
"""

from itertools import combinations

import numpy as np
from scipy.spatial import cKDTree

from geofm_assets.core.errors import SchemaError

EARTH_RADIUS_M = 6_371_008.8
"""Mean radius of the WGS84 ellipsoid, (2a + b) / 3 (Moritz 2000, IUGG)."""

SPLITS = ("train", "val", "test")
BUFFER = "buffer"
_SLACK = 1e-6  # metres; rounding of the chord at a metre is about 1e-9


def unit_vectors(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Points of the unit sphere.

    Args:
        lon: (N,) degrees, EPSG:4326.
        lat: (N,) degrees, EPSG:4326.

    Returns:
        (N, 3) float64.

    Raises:
        SchemaError: a coordinate is not a finite number.
    """
    lam, phi = np.radians(np.asarray(lon, float)), np.radians(np.asarray(lat, float))
    if not (np.isfinite(lam).all() and np.isfinite(phi).all()):
        raise SchemaError("A coordinate is not a number", where="columns lon, lat")
    return np.column_stack((np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)))


def nearest_m(points: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Metres from each point to the nearest target; infinite where there is no target.

    Args:
        points: (N, 3) unit vectors.
        targets: (M, 3) unit vectors.

    Returns:
        (N,) float64.
    """
    if len(targets) == 0 or len(points) == 0:
        return np.full(len(points), np.inf)
    chord, _ = cKDTree(targets).query(points)
    metres: np.ndarray = 2 * EARTH_RADIUS_M * np.arcsin(np.clip(chord / 2, 0, 1))
    return metres


def min_split_distances(lon: np.ndarray, lat: np.ndarray, split: np.ndarray) -> dict[str, float]:
    """Least distance between each two splits, in metres.

    Args:
        lon: (N,) degrees, EPSG:4326.
        lat: (N,) degrees, EPSG:4326.
        split: (N,) of train, val, test; anything else (buffer) is left out.

    Returns:
        `train-val`, `train-test`, `val-test` to metres; a pair with an empty split is absent.
    """
    vectors = unit_vectors(lon, lat)
    split = np.asarray(split)
    distances = {}
    for first, second in combinations(SPLITS, 2):
        one, other = vectors[split == first], vectors[split == second]
        if len(one) and len(other):
            distances[f"{first}-{second}"] = float(nearest_m(one, other).min())
    return distances


def hold_out_near(
    lon: np.ndarray, lat: np.ndarray, split: np.ndarray, distance_m: float
) -> np.ndarray:
    """Move points to `buffer` until no two splits are nearer than promised.

    A val point too near a test point gives way; then a train point too near what is left of val
    or test gives way. Test points never move, so a score is always on the same test set. What
    moves does not depend on row order.

    Args:
        lon: (N,) degrees, EPSG:4326.
        lat: (N,) degrees, EPSG:4326.
        split: (N,) of train, val, test.
        distance_m: metres promised between points of different splits.

    Returns:
        (N,) of train, val, test, buffer.
    """
    vectors = unit_vectors(lon, lat)
    held = np.asarray(split, dtype=object).copy()
    for giving, keeping in (("val", ("test",)), ("train", ("val", "test"))):
        rows = np.flatnonzero(held == giving)
        targets = vectors[np.isin(held.astype(str), keeping)]
        near = nearest_m(vectors[rows], targets) < distance_m + (_SLACK if distance_m else 0.0)
        held[rows[near]] = BUFFER
    return held
