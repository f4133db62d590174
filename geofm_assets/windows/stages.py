"""How the window group of a cell is made.

Plain Python: a stage can be made from a notebook with a `Store`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.core.errors import GeofmError
from geofm_assets.core.outcome import Outcome, kept_rows, schema_check, table_metadata
from geofm_assets.core.schema import ValidationReport, validate
from geofm_assets.core.stage import content_of, inputs_digest
from geofm_assets.core.store import Store
from geofm_assets.sampling.stages import FilteredPointsStage
from geofm_assets.sampling.task import SamplingTask
from geofm_assets.windows.config import WindowsConfig
from geofm_assets.windows.schema import Window

_CELLS_AT_ONCE = 64


def dataset_key(task: str) -> str:
    """Store key of a task's rslearn dataset."""
    return f"tasks/{task}/dataset"


@dataclass(frozen=True)
class WindowGroupStage:
    """The rslearn windows and label layer of one H3 cell."""

    task: SamplingTask
    windows: WindowsConfig
    code_version: str = "2"

    def key(self, cell: str) -> str:
        """Store key of the table of windows."""
        return f"tasks/{self.task.name}/windows/h3_cell={cell}/windows.parquet"

    def inputs(self, store: Store, cell: str) -> str:
        """The cell's points and the window settings."""
        points = FilteredPointsStage(self.task).key(cell)
        return inputs_digest(self, content_of(store, points), self.windows.model_dump())

    def make(self, store: Store, cell: str, force: bool) -> Outcome:
        """Write the table of windows, which is all an rslearn window and its label consist of."""
        return self.maker(store, [cell], force)(cell)

    def maker(self, store: Store, cells: Sequence[str], force: bool) -> Callable[[str], Outcome]:
        """`make` for many cells, which are laid and checked `_CELLS_AT_ONCE` at a time.

        Args:
            store: where points are and windows go.
            cells: every cell that will be asked for.
            force: make them again even if nothing changed.

        Returns:
            Makes one cell. Asked in the order of `cells` each is laid once; what is wrong with a
            cell is raised when it is asked for.
        """
        laid: dict[str, tuple[pa.Table, ValidationReport] | GeofmError] = {}
        place = {cell: i for i, cell in enumerate(cells)}

        def make(cell: str) -> Outcome:
            inputs = self.inputs(store, cell)
            found = store.provenance(self.key(cell))
            if found is not None and found.inputs == inputs and not force:
                rows = store.rows(self.key(cell))
                return Outcome(found.content, inputs, self._metadata(cell), [kept_rows(rows)], True)
            if cell not in laid:
                laid.clear()
                start = place[cell]
                laid.update(self._lay(store, cells[start : start + _CELLS_AT_ONCE]))
            ready = laid.pop(cell)  # `inputs` has made sure that its points are there
            if isinstance(ready, GeofmError):
                raise ready
            table, report = ready
            ref = store.write_table(
                self.key(cell),
                table,
                Window,
                inputs=inputs,
                code_version=self.code_version,
                simulated=table.num_rows > 0 and bool(pc.any(table["simulated"]).as_py()),
                report=report,
            )
            metadata = {**table_metadata(table, ref), **self._metadata(cell)}
            return Outcome(ref.provenance.content, inputs, metadata, [schema_check(ref.report)])

        return make

    def _lay(
        self, store: Store, cells: Sequence[str]
    ) -> dict[str, tuple[pa.Table, ValidationReport] | GeofmError]:
        """Windows of some cells, validated together if all is well, apart if not."""
        from geofm_assets.windows.geometry import POINT_COLUMNS, windows_for_points

        points: dict[str, pa.Table] = {}
        for cell in cells:
            key = FilteredPointsStage(self.task).key(cell)
            if store.exists(key):
                points[cell] = store.read_table(key, POINT_COLUMNS)
        try:
            together = windows_for_points(pa.concat_tables(points.values()), self.windows)
            report = validate(together, Window)
        except GeofmError:
            report = None
        if report is None or not report.passed:  # find out which cell it is
            return {cell: self._lay_one(table) for cell, table in points.items()}
        # names begin with the cell, so the cells' tables follow each other
        names = together["h3_cell"].to_numpy()
        laid: dict[str, tuple[pa.Table, ValidationReport] | GeofmError] = {}
        for cell in points:
            start, end = np.searchsorted(names, [cell, f"{cell}~"])
            table = together.slice(start, end - start)
            laid[cell] = (table, ValidationReport(report.schema, table.num_rows))
        return laid

    def _lay_one(self, points: pa.Table) -> tuple[pa.Table, ValidationReport] | GeofmError:
        from geofm_assets.windows.geometry import windows_for_points

        try:
            table = windows_for_points(points, self.windows)
        except GeofmError as error:
            return error
        return table, validate(table, Window)

    def _metadata(self, cell: str) -> dict[str, Any]:
        return {"rslearn_group": cell}
