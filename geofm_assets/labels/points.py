"""What reading a label file gives, and how its parts become one table."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.labels import refusals as why
from geofm_assets.labels.refusals import row_json
from geofm_assets.labels.schema import POINT_BATCH, QUARANTINED_ROW, REFERENCE_POINT

CONTENT_ORDER = (
    "sample_id",
    "lon",
    "lat",
    "valid_time",
    "label_raw",
    "quality_score_lc",
    "quality_score_ct",
    "irrigation_status",
    "extract",
    "point_rule",
    "source_row",
)
"""Total order over rows of one collection. `source_row` decides only between rows that are equal
in everything else, where the choice shows nowhere but in `source_row` itself."""


@dataclass(frozen=True)
class PointsResult:
    """What one label file came to.

    Attributes:
        points: REFERENCE_POINT, sorted by sample_id.
        quarantine: QUARANTINED_ROW, sorted by source_row, reason.
        rows_read: rows in the file; every one is in `points` or in `quarantine`.
    """

    points: pa.Table
    quarantine: pa.Table
    rows_read: int

    @property
    def reasons(self) -> dict[str, int]:
        """Quarantined rows by reason."""
        counts = pc.value_counts(self.quarantine["reason"]).to_pylist()
        return {c["values"]: c["counts"] for c in sorted(counts, key=lambda c: str(c["values"]))}


def point_table(columns: dict[str, pa.Array | np.ndarray], keep: np.ndarray) -> pa.Table:
    """POINT_BATCH of the kept rows of a batch; absent optional columns become null.

    Args:
        columns: by name, n values each.
        keep: bool, shape (n,).
    """
    size, every = len(keep), bool(keep.all())
    mask = pa.array(keep)
    arrays = []
    for field in POINT_BATCH:
        values = columns.get(field.name)
        if values is None:
            arrays.append(pa.nulls(size if every else int(keep.sum()), field.type))
            continue
        array = values if isinstance(values, pa.Array) else pa.array(values)
        if pa.types.is_dictionary(field.type) and not pa.types.is_dictionary(array.type):
            array = array.cast(pa.string()).dictionary_encode()
        array = array if every else array.filter(mask)
        arrays.append(array.cast(field.type))
    return pa.Table.from_arrays(arrays, schema=POINT_BATCH)


def to_int64(column: pa.Array) -> pa.Array:
    """Whole numbers from integers, floats or text; null where there is none."""
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind):
        return column.cast(pa.int64())
    values = to_float64(column)
    whole = np.isfinite(values) & (values == np.floor(values)) & (np.abs(values) < 2**53)
    return pa.array(np.where(whole, values, 0).astype(np.int64), mask=~whole)


def to_float64(column: pa.Array) -> np.ndarray:
    """Numbers as float64, shape (n,); NaN where a value is null or not a number."""
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return np.asarray(pc.fill_null(column.cast(pa.float64(), safe=False), np.nan))
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    text = pc.utf8_trim_whitespace(column.cast(pa.string()))
    try:
        return np.asarray(pc.fill_null(text.cast(pa.float64()), np.nan))
    except pa.ArrowInvalid:  # at least one is not a number: find out which
        return np.array([_number(value) for value in text.to_pylist()], dtype=np.float64)


def _number(text: str | None) -> float:
    try:
        return float(text) if text else float("nan")
    except ValueError:
        return float("nan")


def blank_to_null(column: pa.Array) -> pa.Array:
    """Text, stripped; null where nothing is left."""
    if pa.types.is_floating(column.type):  # an id or label column that pandas turned to floats
        whole = to_int64(column)
        column = pc.if_else(whole.is_valid(), whole.cast(pa.string()), column.cast(pa.string()))
    text = pc.utf8_trim_whitespace(column.cast(pa.string()))
    return pc.if_else(pc.equal(pc.utf8_length(text), 0), pa.scalar(None, pa.string()), text)


def assemble(points: list[pa.Table], quarantine: list[pa.Table], rows_read: int) -> PointsResult:
    """One result from the batches of a file, duplicates of a sample_id moved to quarantine.

    Of rows that share a sample_id the first in `CONTENT_ORDER` is kept, so which one survives
    does not depend on the order of the file.

    Args:
        points: POINT_BATCH of each batch; emptied, so that memory is freed as it is copied.
        quarantine: QUARANTINED_ROW of each batch.
        rows_read: rows in the file.
    """
    plain = [part.cast(REFERENCE_POINT) for part in points]
    table = pa.concat_tables([REFERENCE_POINT.empty_table(), *plain])
    points.clear()
    refused = pa.concat_tables([QUARANTINED_ROW.empty_table(), *quarantine])
    order = pc.sort_indices(table.select(["sample_id"]), sort_keys=[("sample_id", "ascending")])
    if repeats(table["sample_id"].take(order)).any():
        order = pc.sort_indices(table, sort_keys=[(name, "ascending") for name in CONTENT_ORDER])
        repeated = repeats(table["sample_id"].take(order))
        refused = pa.concat_tables([refused, duplicate_rows(table.take(order), repeated)])
        order = order.filter(pa.array(~repeated))
    refused = refused.sort_by([("source_row", "ascending"), ("reason", "ascending")])
    columns = {name: table[name] for name in table.column_names}
    del table
    taken = [columns.pop(name).combine_chunks().take(order) for name in REFERENCE_POINT.names]
    return PointsResult(
        pa.Table.from_arrays(taken, schema=REFERENCE_POINT), refused.combine_chunks(), rows_read
    )


def repeats(sorted_ids: pa.ChunkedArray) -> np.ndarray:
    """Whether each id equals the one before it; bool, shape (n,)."""
    repeated = np.zeros(len(sorted_ids), dtype=bool)
    if len(sorted_ids) > 1:
        repeated[1:] = np.asarray(pc.equal(sorted_ids[1:], sorted_ids[:-1]))
    return repeated


def duplicate_rows(table: pa.Table, repeated: np.ndarray) -> pa.Table:
    """QUARANTINED_ROW of the repeated rows; `row_json` holds the reference point."""
    kept = np.maximum.accumulate(np.where(repeated, 0, np.arange(len(repeated))))
    indices = np.flatnonzero(repeated)
    dropped = table.take(pa.array(indices))
    kept_rows = table["source_row"].take(pa.array(kept[indices])).to_pylist()
    return pa.Table.from_arrays(
        [
            dropped["collection_id"],
            dropped["source_row"],
            dropped["sample_id"],
            pa.array([why.DUPLICATE_SAMPLE_ID] * len(indices), pa.string()),
            pa.array([f"row {row} has this sample_id and is kept" for row in kept_rows]),
            pa.array([row_json(dropped, i, None) for i in range(len(indices))], pa.string()),
        ],
        schema=QUARANTINED_ROW,
    )
