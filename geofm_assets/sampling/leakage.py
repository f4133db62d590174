"""Distances between points of different splits, and keeping them apart.

Distances are great-circle metres on a sphere of mean Earth radius, found by nearest-neighbour
search on chords of the unit sphere (the chord grows with the arc, so the nearest is the same).
Against the WGS84 ellipsoid the sphere errs by at most about 0.6 %.
"""

from itertools import combinations

import numpy as np

from geofm_assets.core.errors import SchemaError

EARTH_RADIUS_M = 6_371_008.8
"""Mean radius of the WGS84 ellipsoid, (2a + b) / 3 (Moritz 2000, IUGG)."""

SPLITS = ("train", "val", "test")
BUFFER = "buffer"
_FIRST_ASKED = 200
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


def nearest_m(points: np.ndarray, targets: np.ndarray, within_m: float = np.inf) -> np.ndarray:
    """Metres from each point to the nearest target; infinite where there is none.

    Args:
        points: (N, 3) unit vectors.
        targets: (M, 3) unit vectors.
        within_m: targets farther than this need not be found, which is much faster.

    Returns:
        (N,) float64.
    """
    from scipy.spatial import cKDTree

    if len(targets) == 0 or len(points) == 0:
        return np.full(len(points), np.inf)
    half = min(within_m / (2 * EARTH_RADIUS_M), np.pi / 2)
    bound = 2 * np.sin(half) * (1 + 1e-9) + 1e-15 if np.isfinite(within_m) else np.inf
    chord, _ = cKDTree(targets).query(points, distance_upper_bound=bound)
    far = ~np.isfinite(chord)
    metres: np.ndarray = 2 * EARTH_RADIUS_M * np.arcsin(np.clip(chord / 2, 0, 1))
    metres[far] = np.inf
    return metres


def _least_m(points: np.ndarray, targets: np.ndarray) -> float:
    """Least of `nearest_m`: some points give a bound, within which the others are asked."""
    step = max(1, len(points) // _FIRST_ASKED)
    bound = float(nearest_m(points[::step], targets).min())
    return min(bound, float(nearest_m(points, targets, bound).min()))


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
            few, many = (one, other) if len(one) < len(other) else (other, one)
            distances[f"{first}-{second}"] = _least_m(few, many)
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
        promised = distance_m + (_SLACK if distance_m else 0.0)
        near = nearest_m(vectors[rows], targets, promised) < promised
        held[rows[near]] = BUFFER
    return held
