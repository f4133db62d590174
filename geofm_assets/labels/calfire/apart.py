"""One sample a window: of places too near to each other the one of lower rank stays."""

import numpy as np

from geofm_assets.labels.calfire.grid import CLEARANCE_M, Places, together

_EARTH_RADIUS_M = 6_371_008.8
_DEGREE_M = 111_000.0
_DIAGONAL = np.sqrt(2) * 1.01
"""Diagonal of a square, and one per cent for the sphere against the map (see
`sampling.plan.promised_distance_m`)."""


def stand_apart(
    places: Places,
    rank: np.ndarray,
    extent_m: float,
    taken: Places | None = None,
    clearance_m: float = CLEARANCE_M / 2,
) -> np.ndarray:
    """Which places remain if windows may not overlap: those no place of lower rank is too near.

    In one UTM zone windows overlap where places differ by less than `extent_m` in x and in y.
    Windows of two zones are turned against each other; there the centres must be a diagonal apart.

    Args:
        places: N of them.
        rank: (N,) uint64; lower goes first. Equal ranks are told apart by `id`.
        extent_m: side of a window, metres.
        taken: places that stand already, and stand apart.
        clearance_m: metres more than `extent_m` that places of one zone must differ by; less than
            none where they lie on the pixels of their zone and windows may touch.

    Returns:
        bool (N,). It does not depend on the order of places.
    """
    order = np.argsort(rank, kind="stable")
    if (rank[order][1:] == rank[order][:-1]).any():
        order = np.lexsort((places.id.astype(str), rank))
    ranked = places.take(order)
    first = _first_at_each_spot(ranked)
    ranked, order = ranked.take(first), order[first]
    before = 0 if taken is None else len(taken)
    everyone = ranked if taken is None else together([taken, ranked])
    standing = _lowest_of_pairs(len(everyone), before, _overlaps(everyone, extent_m, clearance_m))
    result = np.zeros(len(places), dtype=bool)
    result[order[standing[before:]]] = True
    return result


def _first_at_each_spot(places: Places) -> np.ndarray:
    """Numbers of the first place at each spot, ascending."""
    order = np.lexsort((np.arange(len(places)), places.y, places.x, places.epsg))
    spot = np.column_stack((places.epsg, places.x, places.y))[order]
    new = np.ones(len(order), dtype=bool)
    new[1:] = (spot[1:] != spot[:-1]).any(axis=1)
    return np.sort(order[new])


def _overlaps(places: Places, extent_m: float, clearance_m: float) -> np.ndarray:
    """Pairs of places whose windows overlap, (M, 2), the lower number first."""
    from scipy.spatial import cKDTree

    pairs = [np.zeros((0, 2), dtype=np.int64)]
    for epsg in np.unique(places.epsg):
        rows = np.flatnonzero(places.epsg == epsg)
        tree = cKDTree(np.column_stack((places.x[rows], places.y[rows])))
        near = tree.query_pairs(extent_m + clearance_m, p=np.inf, output_type="ndarray")
        pairs.append(rows[near])
    edge = np.flatnonzero(_near_edge(places, 2 * extent_m))
    lam, phi = np.radians(places.lon[edge]), np.radians(places.lat[edge])
    vectors = np.column_stack((np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)))
    chord = 2 * np.sin(extent_m * _DIAGONAL / _EARTH_RADIUS_M / 2)
    near = edge[cKDTree(vectors).query_pairs(chord, output_type="ndarray")]
    pairs.append(near[places.epsg[near[:, 0]] != places.epsg[near[:, 1]]])
    return np.sort(np.concatenate(pairs), axis=1)


def _near_edge(places: Places, metres: float) -> np.ndarray:
    """Which places lie within so many metres of the edge of their zone."""
    to_side = np.abs(places.lon / 6 - np.round(places.lon / 6)) * 6
    to_side = to_side * _DEGREE_M * np.cos(np.radians(places.lat))
    near: np.ndarray = np.minimum(to_side, np.abs(places.lat) * _DEGREE_M) < metres
    return near


def _lowest_of_pairs(count: int, before: int, pairs: np.ndarray) -> np.ndarray:
    """Walk numbers upward and keep each that no kept one is paired with; all at once.

    Args:
        count: numbers.
        before: the first so many are kept whatever they are paired with.
        pairs: (M, 2), the lower number first.
    """
    kept = np.ones(count, dtype=bool)
    kept[pairs[(pairs[:, 0] < before) & (pairs[:, 1] >= before), 1]] = False
    pairs = pairs[kept[pairs[:, 0]] & kept[pairs[:, 1]] & (pairs[:, 1] >= before)]
    settled = np.zeros(count, dtype=bool)
    while len(pairs):
        waits = np.zeros(count, dtype=bool)
        waits[pairs[~settled[pairs[:, 0]], 1]] = True
        settled |= ~waits
        loses = pairs[settled[pairs[:, 0]] & kept[pairs[:, 0]], 1]
        kept[loses], settled[loses] = False, True
        pairs = pairs[~(settled[pairs[:, 0]] & settled[pairs[:, 1]])]
    return kept
