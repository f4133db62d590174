"""Window groups per H3 cell as Dagster assets."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import dagster as dg
import pyarrow.compute as pc

from geofm_assets.core.assets import (
    CheckOutcome,
    Outcome,
    PartitionConfig,
    check_specs,
    emit_partitions,
    schema_check,
    table_metadata,
)
from geofm_assets.core.resources import StoreResource
from geofm_assets.core.stage import content_of, inputs_digest
from geofm_assets.core.store import Store
from geofm_assets.sampling.assets import FilteredPointsStage, SamplingTask
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
            schema = CheckOutcome("schema", True, f"{table.num_rows} rows as written")
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
            "dataset": dg.MetadataValue.path(str(store.path(dataset_key(self.task.name)))),
        }
        return Outcome(content, inputs, metadata, [schema], skipped)


def build_window_assets(task: SamplingTask, windows: WindowsConfig) -> list[dg.AssetsDefinition]:
    """The window assets of a task."""
    stage = WindowGroupStage(task, windows)
    key = task.asset_key("window_group")

    @dg.asset(
        key=key,
        deps=[task.asset_key("filtered_points"), task.asset_key("dataset_config")],
        partitions_def=task.cells,
        backfill_policy=dg.BackfillPolicy.multi_run(64),
        group_name=task.name,
        kinds={"rslearn"},
        code_version=stage.code_version,
        output_required=False,
        check_specs=check_specs(key, "schema", partitions_def=task.cells),
        description="rslearn windows around the cell's points, with their label layer. The "
        "rslearn group is the cell.",
    )
    def window_group(
        context: dg.AssetExecutionContext, config: PartitionConfig, store: StoreResource
    ) -> Iterator[Any]:
        opened = store.open()
        yield from emit_partitions(
            context,
            lambda cell: stage.make(opened, cell, config.force),
            code_version=stage.code_version,
        )

    return [window_group]
