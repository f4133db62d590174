"""An asset's cells in a Dagster instance: a few that Dagster recorded, and copies of one."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
import sqlalchemy as sql
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetEventTagsTable,
    SqlEventLogStorageTable,
)
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
_AT_ONCE = 1_000  # cells
Row = dict[str, Any]


def record(
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    key: dg.AssetKey,
    partition_set: str,
    cells: Sequence[str],
) -> None:
    """Make a range of cells in one run of Dagster's."""
    instance.add_dynamic_partitions(partition_set, list(cells))
    tags = {ASSET_PARTITION_RANGE_START_TAG: cells[0], ASSET_PARTITION_RANGE_END_TAG: cells[-1]}
    job.execute_in_process(instance=instance, asset_selection=[key], tags=tags, run_config=QUIET)


def copy(
    instance: dg.DagsterInstance,
    key: dg.AssetKey,
    partition_set: str,
    cells: Sequence[str],
    of: str,
) -> None:
    """Record more cells as one is: what was planned, made and checked, its tags and its checks.

    Dagster takes 5 to 30 ms of CPU for a cell, and 50,000 of them more time than there is. Rows of
    the run's own log are not copied: an asset's page does not read them.

    Args:
        instance: in SQLite or PostgreSQL.
        key: of the asset.
        partition_set: of its cells.
        cells: new ones.
        of: the cell that is copied.
    """
    storage, asset = instance.event_log_storage, key.to_string()
    assert isinstance(storage, SqlEventLogStorage)
    parts = [list(cells[start : start + _AT_ONCE]) for start in range(0, len(cells), _AT_ONCE)]
    for part in parts:
        instance.add_dynamic_partitions(partition_set, part)
    with storage.index_transaction() as connection:
        events = _rows(connection, SqlEventLogStorageTable, asset, "partition", [of])
        ids = [row["id"] for row in events]
        tags = _rows(connection, AssetEventTagsTable, asset, "event_id", ids)
        checks = _rows(connection, AssetCheckExecutionsTable, asset, "partition", [of])
        for part in parts:
            first = _next(connection, SqlEventLogStorageTable)
            moved = [
                {old: first + number * len(ids) + place for place, old in enumerate(ids)}
                for number in range(len(part))
            ]
            for table, rows in (
                (SqlEventLogStorageTable, events),
                (AssetEventTagsTable, tags),
                (AssetCheckExecutionsTable, checks),
            ):
                copies = [
                    _copied(row, of, cell, new)
                    for cell, new in zip(part, moved, strict=True)
                    for row in rows
                ]
                first = _next(connection, table)
                numbered = [{**row, "id": first + place} for place, row in enumerate(copies)]
                if numbered:
                    connection.execute(sql.insert(table), numbered)
        if connection.dialect.name == "postgresql":
            connection.execute(sql.text("ANALYZE"))  # a server does by itself, within minutes


def _rows(
    connection: "Connection", table: sql.Table, asset: str, column: str, values: Sequence[Any]
) -> list[Row]:
    query = sql.select(table).where(table.c.asset_key == asset, table.c[column].in_(values))
    return [dict(row._mapping) for row in connection.execute(query.order_by(table.c.id))]


def _next(connection: "Connection", table: sql.Table) -> int:
    return int(connection.scalar(sql.select(sql.func.max(table.c.id))) or 0) + 1


def _copied(row: Row, of: str, cell: str, moved: Mapping[int, int]) -> Row:
    """A row of another cell, with the numbers that its events have now."""
    new: Row = {}
    for name, value in row.items():
        if isinstance(value, str):
            new[name] = value.replace(of, cell)
        elif name == "event_id" or name.endswith("_storage_id"):
            new[name] = moved.get(value, value)
        else:
            new[name] = value
    return new
