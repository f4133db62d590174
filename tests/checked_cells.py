"""A code location of one asset with checks of its cells, and what the UI is told of them."""

import asyncio
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationPlanned,
)
from dagster._core.definitions.partitions.subset import DefaultPartitionsSubset
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.instance.ref import InstanceRef
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.test_utils import create_run_for_test
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster_graphql.schema import create_schema

from benchmarks.ui_queries import ui_query
from geofm_assets.core.assets import check_specs, emit_partitions
from geofm_assets.core.events import latest_materialization
from geofm_assets.core.outcome import CheckOutcome, Outcome

warnings.filterwarnings("ignore", category=dg.BetaWarning)
KEY = dg.AssetKey(["t", "cells"])
PARTITION_SET = "checked_cells"
CHECKS = ("schema", "inside")
CELLS = dg.DynamicPartitionsDefinition(name=PARTITION_SET)
_RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


def _make(cell: str) -> Outcome:
    checks = [
        CheckOutcome(name, not cell.startswith(f"no_{name}"), blocking=False) for name in CHECKS
    ]
    return Outcome(cell, "inputs", {}, checks)


@dg.asset(
    key=KEY,
    partitions_def=CELLS,
    output_required=False,
    check_specs=check_specs(KEY, *CHECKS, partitions_def=CELLS),
)
def cells(context: dg.AssetExecutionContext) -> Iterator[Any]:
    """Cells of which those named after a check fail it."""
    yield from emit_partitions(context, _make, code_version="1")


defs = dg.Definitions(assets=[cells])


def make_range(instance: dg.DagsterInstance, keys: list[str]) -> None:
    """Make cells in one run, as a range."""
    instance.add_dynamic_partitions(PARTITION_SET, keys)
    job = defs.resolve_implicit_global_asset_job_def()
    tags = dict(zip(_RANGE, (keys[0], keys[-1]), strict=True))
    assert job.execute_in_process(instance=instance, tags=tags).success


def plain_instance(home: Path, empty: Path) -> dg.DagsterInstance:
    """The SQLite instance of a folder with Dagster's own storages, whatever dagster.yaml says."""
    return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home), config_dir=str(empty)))


def plain_postgres(url: str, folder: Path) -> dg.DagsterInstance:
    """A PostgreSQL instance with Dagster's own storages."""
    storage = {"storage": {"postgres": {"postgres_url": url}}}
    return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(folder), overrides=storage))


def evaluate(
    instance: dg.DagsterInstance, key: dg.AssetKey, check: str, cell: str, *, passed: bool, run: str
) -> None:
    """Record, in a run, a check of what a cell is now."""
    done = dg.AssetCheckEvaluation(
        *(key, check, passed, {}, latest_materialization(instance, key, cell)), partition=cell
    )
    _report(instance, DagsterEventType.ASSET_CHECK_EVALUATION, run, done)


def plan(instance: dg.DagsterInstance, key: dg.AssetKey, cells: list[str]) -> dg.DagsterRun:
    """A run that goes on and means to check cells."""
    run = create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED)
    for check in CHECKS:
        planned = AssetCheckEvaluationPlanned(
            asset_key=key, check_name=check, partitions_subset=DefaultPartitionsSubset({*cells})
        )
        _report(instance, DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED, run.run_id, planned)
    return run


def _report(instance: dg.DagsterInstance, kind: DagsterEventType, run: str, data: Any) -> None:
    event = DagsterEvent(kind.value, "checked", event_specific_data=data)
    instance.report_dagster_event(event, run_id=run)


class Ui:
    """Asks an instance what the page of the asset asks a web server."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        target = LoadableTargetOrigin(
            executable_path=sys.executable, python_file=__file__, attribute="defs"
        )
        origin = InProcessCodeLocationOrigin(target)
        self._context = WorkspaceProcessContext(instance, InProcessWorkspaceLoadTarget(origin))
        self._schema, self._query = create_schema(), ui_query("AssetGraphLiveQuery")

    def close(self) -> None:
        """End the workspace."""
        self._context.__exit__(None, None, None)

    def node(self) -> dict[str, Any]:
        """The asset's state; cells of a check are sorted."""
        variables = {"assetKeys": [{"path": KEY.path}]}
        with self._context.create_request_context() as request:
            answer = asyncio.run(
                self._schema.execute_async(
                    self._query, context_value=request, variable_values=variables
                )
            )
        assert answer.data is not None
        assert not answer.errors, answer.errors
        (node,) = answer.data["assetNodes"]
        for check in node["assetChecksOrError"]["checks"]:
            for found in check["partitionStatuses"].values():
                found.sort()
        return dict(node)

    def cells(self, check: str) -> dict[str, list[str]]:
        """Cells of a check by their state."""
        found = {one["name"]: one for one in self.node()["assetChecksOrError"]["checks"]}
        shown = found[check]["partitionStatuses"].items()
        return {name.removesuffix("Partitions"): cells for name, cells in shown if cells}


@contextmanager
def counted_statements() -> Iterator[list[str]]:
    """Statements that this process sends to any database, meanwhile."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", note)
