"""How the window group of a cell is made.

Plain Python: a stage can be made from a notebook with a `Store`.
"""

from dataclasses import dataclass

import pyarrow.compute as pc

from geofm_assets.core.outcome import (
    Location,
    Outcome,
    kept_check,
    schema_check,
    table_metadata,
)
from geofm_assets.core.stage import content_of, inputs_digest
from geofm_assets.core.store import Store
from geofm_assets.sampling.stages import FilteredPointsStage, SamplingTask
from geofm_assets.windows.config import WindowsConfig
from geofm_assets.windows.geometry import windows_for_points
from geofm_assets.windows.schema import Window
from geofm_assets.windows.write import write_window_group


def dataset_key(task: str) -> str:
    """Store key of a task's rslearn dataset."""
    return f"tasks/{task}/dataset"


@dataclass(frozen=True)
class WindowGroupStage:
    """The rslearn windows and label layer of one H3 cell."""

    task: SamplingTask
    windows: WindowsConfig
    code_version: str = "1"

    def key(self, cell: str) -> str:
        """Store key of the table of windows."""
        return f"tasks/{self.task.name}/windows/h3_cell={cell}/windows.parquet"

    def inputs(self, store: Store, cell: str) -> str:
        """The cell's points and the window settings."""
        points = FilteredPointsStage(self.task).key(cell)
        return inputs_digest(self, content_of(store, points), self.windows.model_dump())

    def make(self, store: Store, cell: str, force: bool) -> Outcome:
        """Write the windows with their label layer, then the table that says so."""
        inputs = self.inputs(store, cell)
        found = store.provenance(self.key(cell))
        skipped = found is not None and found.inputs == inputs and not force
        if found is not None and skipped:
            table, content = store.read_table(self.key(cell)), found.content
            schema = kept_check(table)
        else:
            points = store.read_table(FilteredPointsStage(self.task).key(cell))
            table = windows_for_points(points, self.windows)
            write_window_group(store.local_path(dataset_key(self.task.name)), cell, table, points)
            ref = store.write_table(
                self.key(cell),
                table,
                Window,
                inputs=inputs,
                code_version=self.code_version,
                simulated=table.num_rows > 0 and bool(pc.any(table["simulated"]).as_py()),
            )
            content, schema = ref.provenance.content, schema_check(ref.report)
        metadata = {
            **table_metadata(table),
            "rslearn_group": cell,
            "dataset": Location(str(store.path(dataset_key(self.task.name)))),
        }
        return Outcome(content, inputs, metadata, [schema], skipped)
