"""Bottom-k sampling per H3 cell, and the orderings it is made of."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.core.errors import ConfigError, DuplicateSampleError, SchemaError
from geofm_assets.core.hashing import keyed_hashes

_IDS_SHOWN = 3


def sample_per_cell(points: pa.Table, per_cell: int, seed: int) -> pa.Table:
    """Keep, in each H3 cell, the `per_cell` points whose ids hash lowest under a key.

    A point's rank depends on its own id and the seed, never on its neighbours or on row order.
    So the sample of a union is the sample of the parts' samples: a new collection changes only
    the cells it has points in, and there no more points than it wins places.

    Args:
        points: columns `sample_id` (string) and `h3_cell` (string); others are carried along.
        per_cell: at most this many rows per cell.
        seed: key of the hash (xxh3, 64 bit); the same seed gives the same rows on any machine.

    Returns:
        Rows of `points`, sorted by `h3_cell`, hash, `sample_id`. Equal hashes, which two ids in
        2**64 share, are ordered by `sample_id`.

    Raises:
        DuplicateSampleError: two rows share a `sample_id`.
        SchemaError: one of the two columns is missing or holds nulls.
        ConfigError: `per_cell` is less than 1.
    """
    if per_cell < 1:
        raise ConfigError("per_cell must be at least 1", where=f"per_cell={per_cell}")
    _require_filled(points, ("sample_id", "h3_cell"))
    require_unique_samples(points, ("sample_id",))
    keys = keyed_hashes(points["sample_id"].to_pylist(), seed)
    order = cell_order(points, keys, ties=("sample_id",))
    return points.take(pa.array(first_per_cell(points, order, per_cell)))


def cell_order(points: pa.Table, keys: np.ndarray, ties: Sequence[str]) -> np.ndarray:
    """Row numbers sorted by `h3_cell`, then key, then the columns of `ties`.

    Args:
        points: N rows with `h3_cell` and the columns of `ties`.
        keys: (N,) uint64.
        ties: columns, most significant first, that decide between equal keys.
    """
    cells = value_ranks(points["h3_cell"])
    order = np.lexsort((keys, cells))
    same = (np.diff(cells[order]) == 0) & (keys[order][1:] == keys[order][:-1])
    if same.any():  # ranking the tie columns costs more than everything else, and is rarely needed
        columns = [value_ranks(points[name]) for name in reversed(ties)]
        order = np.lexsort((*columns, keys, cells))
    return order


def first_per_cell(points: pa.Table, order: np.ndarray, limit: int) -> np.ndarray:
    """The first `limit` row numbers of each cell of an order that is sorted by cell."""
    cells = value_ranks(points["h3_cell"])[order]
    starts = run_starts(cells)
    place = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    return order[place < limit]


def run_starts(*columns: np.ndarray) -> np.ndarray:
    """Positions where a run of equal values begins, for columns sorted together."""
    length = len(columns[0])
    new = np.zeros(length, dtype=bool)
    new[:1] = True
    for column in columns:
        new[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(new)


def value_ranks(column: pa.ChunkedArray) -> np.ndarray:
    """Dense rank of each value among the column's distinct values (strings by UTF-8 bytes)."""
    values = column.combine_chunks()
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], column.type)
    encoded = values.dictionary_encode()
    order = pc.sort_indices(encoded.dictionary).to_numpy(zero_copy_only=False)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rank[encoded.indices.to_numpy(zero_copy_only=False)]


def repeats(keys: np.ndarray) -> np.ndarray:
    """Which of N keys occur more than once; bool (N,)."""
    order = np.argsort(keys, kind="stable")
    same = keys[order][1:] == keys[order][:-1]
    found = np.zeros(len(keys), dtype=bool)
    found[order[1:][same]] = True
    found[order[:-1][same]] = True
    return found


def require_unique_samples(points: pa.Table, columns: tuple[str, ...]) -> None:
    """Raise `DuplicateSampleError` if two rows agree in all `columns` (`sample_id` last)."""
    counted = points.select(list(columns)).group_by(list(columns)).aggregate([([], "count_all")])
    if counted.num_rows == points.num_rows:
        return
    twice = counted.filter(pc.greater(counted["count_all"], 1))
    ids = sorted(set(twice["sample_id"].to_pylist()))
    shown = ", ".join(ids[:_IDS_SHOWN]) + (", ..." if len(ids) > _IDS_SHOWN else "")
    raise DuplicateSampleError(
        f"{len(ids)} sample_id values occur more than once",
        where=f"sample_id {shown}",
        fix="Drop the repeated rows, or give the samples distinct ids",
    )


def _require_filled(points: pa.Table, columns: tuple[str, ...]) -> None:
    for name in columns:
        if name not in points.column_names:
            raise SchemaError("A column is missing", where=f"column {name}")
        if points[name].null_count:
            raise SchemaError(
                f"{points[name].null_count} rows have no value", where=f"column {name}"
            )
