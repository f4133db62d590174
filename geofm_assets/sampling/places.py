"""Points at one place and date or of one sample_id, and the H3 cells of places."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.labels.cells import cell_ids, cell_strings
from geofm_assets.labels.schema import QUARANTINED_ROW
from geofm_assets.sampling import quarantine as q
from geofm_assets.sampling.bottom_k import repeats, run_starts, value_ranks

_ODD = np.uint64(0x9E3779B97F4A7C15)


def one_per_place(points: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Keep one point per (cell, lat, lon, valid_time): the lowest by hash, id, collection.

    Args:
        points: CANDIDATE rows, in any order.

    Returns:
        The kept rows, in no promised order, and the others as QUARANTINED_ROW rows.
    """
    if not _any_place_twice(points):
        return points, q.quarantined(points.slice(0, 0), q.DUPLICATE_LOCATION, "")
    keys = points["sample_key"].to_numpy()
    place = [
        points["valid_time"].cast(pa.int32()).to_numpy(),
        points["lon"].to_numpy(),
        points["lat"].to_numpy(),
        value_ranks(points["h3_cell"]),
    ]
    order = np.lexsort((keys, *place))
    starts = run_starts(*(column[order] for column in place))
    if len(starts) == points.num_rows:
        return points, q.quarantined(points.slice(0, 0), q.DUPLICATE_LOCATION, "")
    # somewhere a place holds two points, whose hashes may be equal: order them in full
    names = ("collection_id", "sample_id")
    order = np.lexsort((*(value_ranks(points[n]) for n in names), keys, *place))
    first = np.zeros(points.num_rows, dtype=bool)
    first[starts] = True
    winner = np.repeat(order[starts], np.diff(np.append(starts, len(order))))
    losers = points.take(pa.array(order[~first]))
    detail = pc.binary_join_element_wise(
        "same place and date as ", q.describe_rows(points, winner[~first]), ", which was kept", ""
    )
    return (
        points.take(pa.array(order[first])),
        q.quarantined(losers, q.DUPLICATE_LOCATION, detail),
    )


def one_per_sample(rows: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Keep one row per `sample_id`, that of the first collection by name.

    Args:
        rows: CANDIDATE rows, in any order.

    Returns:
        The kept rows, in no promised order, and the others as QUARANTINED_ROW rows.
    """
    if not repeats(rows["sample_key"].to_numpy()).any():
        return rows, QUARANTINED_ROW.empty_table()
    names = ("h3_cell", "collection_id", "sample_id")
    ranks = [value_ranks(rows[n]) for n in names]
    order = np.lexsort(ranks)
    starts = run_starts(ranks[-1][order]) if rows.num_rows else np.array([], dtype=np.int64)
    first = np.zeros(rows.num_rows, dtype=bool)
    first[starts] = True
    winner = np.repeat(order[starts], np.diff(np.append(starts, len(order))))
    detail = pc.binary_join_element_wise(
        "sample_id is also that of ", q.describe_rows(rows, winner[~first]), ", which was kept", ""
    )
    losers = q.quarantined(rows.take(pa.array(order[~first])), q.DUPLICATE_SAMPLE_ID, detail)
    return rows.take(pa.array(order[first])), losers


def _any_place_twice(points: pa.Table) -> bool:
    """Whether two rows may be of one place and date: whether hashes of the place repeat."""
    mixed = points["lon"].to_numpy().view(np.uint64) * _ODD
    mixed = (mixed ^ (mixed >> np.uint64(29))) + points["lat"].to_numpy().view(np.uint64)
    days = points["valid_time"].cast(pa.int32()).to_numpy().astype(np.uint64)
    mixed = (mixed * _ODD ^ (mixed >> np.uint64(32))) + days
    mixed *= _ODD
    mixed.sort()
    return bool((mixed[1:] == mixed[:-1]).any())


def h3_cells(points: pa.Table, resolution: int) -> pa.Array:
    """H3 cell of each point at a resolution, from its lon and lat."""
    return cell_strings(cell_ids(points["lon"].to_numpy(), points["lat"].to_numpy(), resolution))
