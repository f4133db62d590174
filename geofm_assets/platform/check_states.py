"""What an asset's checks say of each cell, worked out for all its cells at once.

Open-source Dagster 1.13 asks the database for every cell whether it still exists, and copies the
set of cells for each one it adds: 10,000 cells take it half a minute (docs/execution.md). The
state here is the same, from the same rows, read anew whenever it is asked for: nothing is kept that
could be out of date.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import dagster as dg
import sqlalchemy as sql
from dagster import DagsterEventType, DagsterRunStatus, RunsFilter
from dagster._core.asset_graph_view.serializable_entity_subset import SerializableEntitySubset
from dagster._core.definitions.partitions.subset import DefaultPartitionsSubset
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecordStatus,
    AssetCheckExecutionResolvedStatus,
)
from dagster._core.storage.asset_check_state import AssetCheckState
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage

CheckOf = tuple[dg.AssetCheckKey, dg.PartitionsDefinition | None]
"""A check, and the partitions it has."""
_Shown = AssetCheckExecutionResolvedStatus
_PLANNED = AssetCheckExecutionRecordStatus.PLANNED.value
_RESULT = {
    AssetCheckExecutionRecordStatus.SUCCEEDED.value: _Shown.SUCCEEDED,
    AssetCheckExecutionRecordStatus.FAILED.value: _Shown.FAILED,
}


class StatesAtOnce(SqlEventLogStorage):
    """A storage of events in SQL that answers for all cells of a check at once."""

    def get_asset_check_state(
        self, keys: Sequence[CheckOf]
    ) -> Mapping[dg.AssetCheckKey, AssetCheckState]:
        """The state of each check, as Dagster's web server and its automation ask for it.

        Args:
            keys: checks; those without dynamic partitions are left to Dagster.
        """
        ours: dict[dg.AssetKey, dict[dg.AssetCheckKey, dg.DynamicPartitionsDefinition]] = {}
        others = []
        for key, cells in keys:
            if isinstance(cells, dg.DynamicPartitionsDefinition):
                ours.setdefault(key.asset_key, {})[key] = cells
            else:
                others.append((key, cells))
        states = dict(super().get_asset_check_state(others)) if others else {}
        for asset, checks in ours.items():
            states |= self._states(asset, checks)
        return states

    def _states(
        self, asset: dg.AssetKey, checks: Mapping[dg.AssetCheckKey, dg.DynamicPartitionsDefinition]
    ) -> dict[dg.AssetCheckKey, AssetCheckState]:
        # in this order: what is made meanwhile is then shown as not checked, never as checked
        records = self._newest_records(asset, {key.name for key in checks})
        made = Made(
            self.get_latest_storage_id_by_partition(asset, DagsterEventType.ASSET_MATERIALIZATION),
            self._get_latest_unpartitioned_materialization_storage_ids([asset]).get(asset, 0),
        )
        ended = self._ended({r.run for found in records.values() for r in found if r.planned})
        existing = {cells: frozenset(cells.get_partition_keys()) for cells in set(checks.values())}
        return {
            key: check_state(key, existing[cells], records[key.name], made, ended)
            for key, cells in checks.items()
        }

    def _newest_records(self, asset: dg.AssetKey, checks: set[str]) -> "dict[str, list[Record]]":
        """The newest record of each cell that has one, by check."""
        table = AssetCheckExecutionsTable.c
        newest = sql.select(sql.func.max(table.id)).where(
            table.asset_key == asset.to_string(),
            table.check_name.in_(sorted(checks)),
            table.evaluation_event_storage_id.is_not(None),  # planned by an old Dagster
        )
        query = sql.select(
            *(table.check_name, table.partition, table.execution_status, table.run_id),
            *(table.evaluation_event_storage_id, table.materialization_event_storage_id),
        ).where(table.id.in_(newest.group_by(table.check_name, table.partition)))
        found: dict[str, list[Record]] = defaultdict(list)
        with self.index_connection() as connection:
            for check, *record in connection.execute(query):
                found[check].append(Record(*record))
        return found

    def _ended(self, planned: set[str]) -> dict[str, DagsterRunStatus]:
        """How runs ended that planned a check and have not recorded it."""
        if not planned:
            return {}
        wanted = RunsFilter(run_ids=sorted(planned), statuses=FINISHED_STATUSES)
        return {run.run_id: run.status for run in self._instance.get_runs(filters=wanted)}


class Record(NamedTuple):
    """A check of a cell, planned or done.

    Attributes:
        cell: None for a check of no cell.
        status: as stored.
        run: that planned or recorded it.
        event: number of its event.
        of: number of the materialization that was checked, if it says so.
    """

    cell: str | None
    status: str
    run: str
    event: int
    of: int | None

    @property
    def planned(self) -> bool:
        """Whether it has no result."""
        return self.status == _PLANNED


class Made(NamedTuple):
    """Numbers of an asset's newest materializations.

    Attributes:
        cells: of each cell.
        whole: of the asset without a cell; 0 if there is none.
    """

    cells: Mapping[str, int]
    whole: int

    def newest(self, cell: str | None) -> int:
        """Of a cell, or of the whole asset if that is newer; 0 if there is none."""
        return max(self.cells.get(cell, 0) if cell else 0, self.whole)


def check_state(
    key: dg.AssetCheckKey,
    existing: frozenset[str],
    records: Sequence[Record],
    made: Made,
    ended: Mapping[str, DagsterRunStatus],
) -> AssetCheckState:
    """The state of a check, as `AssetCheckState.with_updates` comes to it from nothing.

    Args:
        key: of the check.
        existing: its cells that have not been deleted.
        records: the newest of each cell that has one.
        made: what the asset's cells are now.
        ended: runs that are over, and how they ended.
    """
    shown: dict[AssetCheckExecutionResolvedStatus, set[str]] = {status: set() for status in _Shown}
    going_on: dict[str, set[str]] = defaultdict(set)
    last = 0
    for record in records:
        cell, status, run, event, of = record
        newest = made.newest(cell)
        last = max(last, event, newest)
        if cell is None or cell not in existing:
            continue
        if status != _PLANNED:
            # of an earlier materialization, it says nothing of the cell as it is now
            if newest in (0, of):
                shown[_RESULT[status]].add(cell)
        elif run not in ended:
            shown[_Shown.IN_PROGRESS].add(cell)
            going_on[run].add(cell)
        elif ended[run] == DagsterRunStatus.FAILURE:
            shown[_Shown.EXECUTION_FAILED].add(cell)
        else:
            shown[_Shown.SKIPPED].add(cell)
    return AssetCheckState(
        latest_storage_id=last,
        subsets={status: _subset(key, cells) for status, cells in shown.items()},
        in_progress_runs={run: _subset(key, cells) for run, cells in going_on.items()},
    )


def _subset(key: dg.AssetCheckKey, cells: set[str]) -> SerializableEntitySubset[dg.AssetCheckKey]:
    return SerializableEntitySubset(key, DefaultPartitionsSubset(cells))
