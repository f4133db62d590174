"""Which rows of a batch are refused, and why."""

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import shapely

from geofm_assets.labels.schema import QUARANTINED_ROW

MISSING_SAMPLE_ID = "missing_sample_id"
MISSING_GEOMETRY = "missing_geometry"
EMPTY_GEOMETRY = "empty_geometry"
UNREADABLE_GEOMETRY = "unreadable_geometry"
UNSUPPORTED_GEOMETRY = "unsupported_geometry"
DEGENERATE_GEOMETRY = "degenerate_geometry"
BAD_COORDINATES = "bad_coordinates"
SWAPPED_COORDINATES = "swapped_coordinates"
MISSING_LABEL = "missing_label"
UNKNOWN_CODE = "unknown_code"
BAD_DATE = "bad_date"
DUPLICATE_SAMPLE_ID = "duplicate_sample_id"
MALFORMED_ROW = "malformed_row"

_GEOMETRY_CHARACTERS = 300  # of a refused geometry's WKT kept in row_json


class Refusals:
    """The refused rows of one batch; the first reason found is the one kept.

    Args:
        size: rows in the batch.
    """

    def __init__(self, size: int) -> None:
        self.refused = np.zeros(size, dtype=bool)
        self._why: dict[int, tuple[str, str]] = {}

    def add(self, rows: np.ndarray, reason: str, detail: str | Callable[[int], str]) -> None:
        """Refuse rows that no earlier reason refused.

        Args:
            rows: bool, shape (size,).
            reason: snake_case code.
            detail: what is wrong with the row, as text or as a function of the row's index.
        """
        new = rows & ~self.refused
        for index in np.flatnonzero(new).tolist():
            self._why[index] = (reason, detail if isinstance(detail, str) else detail(index))
        self.refused |= new

    def merge(self, part: "Refusals", rows: np.ndarray) -> None:
        """Take over the refusals of some rows, none of them refused before.

        Args:
            part: refusals of those rows alone.
            rows: their numbers here, shape (n,).
        """
        for index, why in part._why.items():
            self._why[int(rows[index])] = why
        self.refused[rows] |= part.refused

    def to_table(
        self,
        batch: pa.RecordBatch,
        collection_id: str,
        first_row: int,
        sample_ids: pa.Array | None,
        geometry_column: str | None,
    ) -> pa.Table:
        """QUARANTINED_ROW of this batch, in row order.

        Args:
            batch: the source rows.
            collection_id: of the collection they belong to.
            first_row: row number of the batch's first row in its file.
            sample_ids: ids where they could be read.
            geometry_column: shown as WKT in `row_json`.
        """
        rows = []
        for index in sorted(self._why):
            reason, detail = self._why[index]
            sample_id = sample_ids[index].as_py() if sample_ids is not None else None
            rows.append(
                {
                    "collection_id": collection_id,
                    "source_row": first_row + index,
                    "sample_id": sample_id,
                    "reason": reason,
                    "detail": detail,
                    "row_json": row_json(batch, index, geometry_column),
                }
            )
        return pa.Table.from_pylist(rows, schema=QUARANTINED_ROW)


def row_json(batch: pa.RecordBatch | pa.Table, index: int, geometry_column: str | None) -> str:
    """One row's attributes as strict JSON (no NaN), its geometry as WKT."""
    values = {}
    for name in batch.schema.names:
        value = batch.column(name)[index].as_py()
        values[name] = _wkt(value) if name == geometry_column else _plain(value)
    return json.dumps(values, ensure_ascii=False, default=str, allow_nan=False, sort_keys=True)


def _wkt(value: bytes | None) -> str | None:
    if value is None:
        return None
    try:
        text: str = shapely.from_wkb(value).wkt
    except (shapely.errors.GEOSException, AttributeError, TypeError):
        text = f"{len(value)} bytes: {bytes(value[:32]).hex()}"
    return text[:_GEOMETRY_CHARACTERS]


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, bytes):
        return value[:_GEOMETRY_CHARACTERS].hex()
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value
