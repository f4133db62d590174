"""Tables of the sampling plan, cell by cell: whoever makes many cells reads each table once."""

import numpy as np
import pyarrow as pa

from geofm_assets.core.stage import content_of
from geofm_assets.core.store import Store
from geofm_assets.sampling.bottom_k import run_starts, value_ranks

_TABLES_KEPT = 4


class CellTable:
    """A table cell by cell.

    Args:
        table: sorted by h3_cell.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table.combine_chunks()
        starts = run_starts(value_ranks(table["h3_cell"]))
        ends = np.append(starts[1:], table.num_rows).astype(np.int64)
        cells = table["h3_cell"].take(pa.array(starts)).to_pylist()
        self._place = dict(
            zip(cells, zip(starts.tolist(), ends.tolist(), strict=True), strict=True)
        )

    def rows(self, cell: str) -> pa.Table:
        """The cell's rows."""
        start, end = self._place.get(cell, (0, 0))
        return self.table.slice(start, end - start)

    def digest(self, cell: str) -> str | None:
        """The cell's digest, None if the table has none."""
        rows = self.rows(cell)
        return str(rows["digest"][0].as_py()) if rows.num_rows else None


_read_by_cell: dict[tuple[str, str], tuple[str, CellTable]] = {}


def by_cell(store: Store, key: str) -> CellTable:
    """A table of the plan; read again only when its content has changed.

    Args:
        store: that holds it.
        key: of the table, sorted by h3_cell.

    Raises:
        MissingUpstreamError: it was never made.
    """
    content = content_of(store, key)
    known = _read_by_cell.get((store.url, key))
    if known is None or known[0] != content:
        known = (content, CellTable(store.read_table(key)))
        if len(_read_by_cell) >= _TABLES_KEPT:
            _read_by_cell.clear()
        _read_by_cell[store.url, key] = known
    return known[1]
