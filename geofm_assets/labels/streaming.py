"""Reference points written as they are read, in memory that does not grow with the collection."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.core.store import MadeFrom, Store, TableRef
from geofm_assets.core.table_writer import TableWriter, table_writer
from geofm_assets.labels.duplicates import IdHashes, id_hashes
from geofm_assets.labels.points import CONTENT_ORDER, PointsResult, duplicate_rows, repeats
from geofm_assets.labels.schema import (
    FEW_VALUES,
    POINT_BATCH,
    QUARANTINED_ROW,
    REFERENCE_POINT,
    PointBatch,
    QuarantinedRow,
)

_SUSPECTS_AT_ONCE = 200_000  # repeated ids held at a time; each costs a pass over the points


@dataclass(frozen=True)
class WrittenPoints:
    """What a collection came to.

    Attributes:
        points: the table of points.
        preview: its first rows.
        rows_read: rows of the label file.
        reasons: quarantined rows by reason.
    """

    points: TableRef
    preview: pa.Table
    rows_read: int
    reasons: dict[str, int]

    @property
    def quarantined(self) -> int:
        """Rows in quarantine."""
        return sum(self.reasons.values())


def write_points(
    store: Store,
    points_key: str,
    quarantine_key: str,
    batches: Iterable[PointsResult],
    expected: int,
    made: MadeFrom,
) -> WrittenPoints:
    """Write points and quarantine of one collection.

    Of rows that share a sample_id the first in `points.CONTENT_ORDER` is kept and the others go to
    quarantine, so which one survives does not depend on the order of the file. Only where there
    are such rows are the points read a second time.

    Args:
        store: where to.
        points_key: of the points, in the order of the file.
        quarantine_key: of the refused rows, in the order of the file, repeated ids last.
        batches: POINT_BATCH and QUARANTINED_ROW, batch by batch.
        expected: about how many rows there will be.
        made: what the tables are made from.

    Raises:
        SchemaError: a row breaks the schema; neither table is written then.
    """
    reasons: dict[str, int] = {}
    rows = 0
    scratch = store.working_folder(points_key).parent
    with (
        # points appear last: where they are, their quarantine is
        table_writer(store, points_key, POINT_BATCH, PointBatch, few_values=FEW_VALUES, **made) as (
            good,
            finished,
        ),
        table_writer(store, quarantine_key, QUARANTINED_ROW, QuarantinedRow, **made) as (bad, _),
        IdHashes(expected, scratch) as ids,
    ):

        def refuse(table: pa.Table) -> None:
            bad.write(table)
            for entry in pc.value_counts(table["reason"]).to_pylist():
                reasons[entry["values"]] = reasons.get(entry["values"], 0) + entry["counts"]

        for part in batches:
            rows += part.rows_read
            refuse(part.quarantine)
            hashes = id_hashes(part.points["sample_id"])
            good.write(part.points, {"sample_id": hashes})
            ids.add(hashes)
        suspects = ids.repeated()
        if len(suspects):
            rows_gone: list[pa.ChunkedArray] = []
            for start in range(0, len(suspects), _SUSPECTS_AT_ONCE):
                losers = _losers(good, suspects[start : start + _SUSPECTS_AT_ONCE])
                refuse(losers)
                rows_gone.append(losers["source_row"])
            gone = pa.concat_arrays([chunk for rows in rows_gone for chunk in rows.chunks])
            good.rewrite(
                lambda batch: batch.filter(pc.invert(pc.is_in(batch["source_row"], value_set=gone)))
            )
    return WrittenPoints(finished.ref, good.first, rows, dict(sorted(reasons.items())))


def _losers(written: TableWriter, suspects: np.ndarray) -> pa.Table:
    """QUARANTINED_ROW of rows whose sample_id another row has that goes before them."""
    found: list[pa.Table] = []
    for batch in written.written():
        hashes = id_hashes(batch["sample_id"])
        at = np.minimum(np.searchsorted(suspects, hashes), len(suspects) - 1)
        found.append(batch.filter(pa.array(suspects[at] == hashes)).cast(REFERENCE_POINT))
    table = pa.concat_tables(found)
    order = pc.sort_indices(table, sort_keys=[(name, "ascending") for name in CONTENT_ORDER])
    table = table.take(order).combine_chunks()
    losers = duplicate_rows(table, repeats(table["sample_id"]))
    return losers.sort_by([("source_row", "ascending")])
