"""What an asset's checks say of each cell, worked out for all its cells at once.

Open-source Dagster 1.13 asks the database for every cell whether it still exists, and copies the
set of cells for each one it adds: 10,000 cells take it half a minute (docs/execution.md). The
state here is the same, from the same rows, read anew whenever it is asked for: nothing is kept that
could be out of date.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter
from dagster._core.asset_graph_view.serializable_entity_subset import SerializableEntitySubset
from dagster._core.definitions.partitions.subset import DefaultPartitionsSubset
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecordStatus,
    AssetCheckExecutionResolvedStatus,
    AssetCheckPartitionInfo,
)
from dagster._core.storage.asset_check_state import AssetCheckState
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage

CheckOf = tuple[dg.AssetCheckKey, dg.PartitionsDefinition | None]
"""A check, and the partitions it has."""
_Recorded, _Shown = AssetCheckExecutionRecordStatus, AssetCheckExecutionResolvedStatus
_RESULT = {_Recorded.SUCCEEDED: _Shown.SUCCEEDED, _Recorded.FAILED: _Shown.FAILED}


class StatesAtOnce(SqlEventLogStorage):
    """A storage of events in SQL that answers for all cells of a check at once."""

    def get_asset_check_state(
        self, keys: Sequence[CheckOf]
    ) -> Mapping[dg.AssetCheckKey, AssetCheckState]:
        """The state of each check, as Dagster's web server and its automation ask for it.

        Args:
            keys: checks; those without dynamic partitions are left to Dagster.
        """
        ours = {
            key: cells for key, cells in keys if isinstance(cells, dg.DynamicPartitionsDefinition)
        }
        others = [(key, cells) for key, cells in keys if key not in ours]
        states = dict(super().get_asset_check_state(others)) if others else {}
        if ours:
            states |= self._states(ours)
        return states

    def _states(
        self, keys: Mapping[dg.AssetCheckKey, dg.DynamicPartitionsDefinition]
    ) -> dict[dg.AssetCheckKey, AssetCheckState]:
        rows: dict[dg.AssetCheckKey, list[AssetCheckPartitionInfo]] = defaultdict(list)
        for row in self.get_asset_check_partition_info(list(keys)):
            rows[row.check_key].append(row)
        ended = self._ended(row for found in rows.values() for row in found)
        existing = {cells: frozenset(cells.get_partition_keys()) for cells in set(keys.values())}
        return {
            key: check_state(key, existing[cells], rows[key], ended) for key, cells in keys.items()
        }

    def _ended(self, rows: Iterable[AssetCheckPartitionInfo]) -> dict[str, DagsterRunStatus]:
        """How runs ended that planned a check and have not recorded it."""
        planned = {row.latest_planned_run_id for row in rows if _is_planned(row)}
        if not planned:
            return {}
        wanted = RunsFilter(run_ids=sorted(planned), statuses=FINISHED_STATUSES)
        return {run.run_id: run.status for run in self._instance.get_runs(filters=wanted)}


def check_state(
    key: dg.AssetCheckKey,
    existing: frozenset[str],
    rows: Sequence[AssetCheckPartitionInfo],
    ended: Mapping[str, DagsterRunStatus],
) -> AssetCheckState:
    """The state of a check, as `AssetCheckState.with_updates` comes to it from nothing.

    Args:
        key: of the check.
        existing: its cells that have not been deleted.
        rows: the newest record of each cell that has one.
        ended: runs that are over, and how they ended.
    """
    shown: dict[AssetCheckExecutionResolvedStatus, set[str]] = {status: set() for status in _Shown}
    going_on: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        cell, run = row.partition_key, row.latest_planned_run_id
        if cell is None or cell not in existing:
            continue
        if not _is_planned(row):
            # of an earlier materialization, it says nothing of the cell as it is now
            if row.is_current:
                shown[_RESULT[row.latest_execution_status]].add(cell)
        elif run not in ended:
            shown[_Shown.IN_PROGRESS].add(cell)
            going_on[run].add(cell)
        elif ended[run] == DagsterRunStatus.FAILURE:
            shown[_Shown.EXECUTION_FAILED].add(cell)
        else:
            shown[_Shown.SKIPPED].add(cell)
    return AssetCheckState(
        latest_storage_id=max(map(_newest_event, rows), default=0),
        subsets={status: _subset(key, cells) for status, cells in shown.items()},
        in_progress_runs={run: _subset(key, cells) for run, cells in going_on.items()},
    )


def _is_planned(row: AssetCheckPartitionInfo) -> bool:
    return row.latest_execution_status == _Recorded.PLANNED


def _newest_event(row: AssetCheckPartitionInfo) -> int:
    return max(row.latest_check_event_storage_id, row.latest_materialization_storage_id or 0)


def _subset(key: dg.AssetCheckKey, cells: set[str]) -> SerializableEntitySubset[dg.AssetCheckKey]:
    return SerializableEntitySubset(key, DefaultPartitionsSubset(cells))
