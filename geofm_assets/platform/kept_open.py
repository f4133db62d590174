"""Event storage in SQLite that keeps its files open, `KeptOpen`."""

import os
import sqlite3
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from dagster._core.storage.event_log.sqlite.sqlite_event_log import (
    SqliteEventLogStorage,
    SqliteEventLogStorageWatchdog,
)
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClassData
from sqlalchemy import create_engine
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import QueuePool, StaticPool
from watchdog.events import FileSystemEvent

# Each run has a file of its own; a web server reads many of them.
KEPT_FILES = 4


class KeptOpen(SqliteEventLogStorage):
    """Dagster's own storage, in its own files, that opens each of them once.

    Dagster 1.13 opens, prepares and closes a file up to nine times for every event: two thirds of
    the CPU time that recording a cell takes (benchmarks/platform). Closed by its last user, SQLite
    also copies the write-ahead log into the file. Every commit still reaches the disk.
    """

    _new_file = ""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._files: dict[str, tuple[int, int] | None] = {}
        self._tables: set[str] = set()
        self._process = os.getpid()
        self._close_at_end = weakref.finalize(self, _close, self._engines)
        super().__init__(base_dir, inst_data)

    def _initdb(self, engine: Engine, for_index_shard: bool = False) -> None:
        """Make a new file's tables as Dagster made them before, which is ten times quicker."""
        if not self._tables_made(engine):
            super()._initdb(engine, for_index_shard)

    def _tables_made(self, engine: Engine) -> bool:
        with closing(engine.raw_connection()) as borrowed:
            file: Any = borrowed.driver_connection
            try:
                if file.execute("SELECT count(*) FROM sqlite_master").fetchone() != (0,):
                    return False
                file.execute("PRAGMA journal_mode=WAL")
                file.executescript(self._script())
            except sqlite3.OperationalError:  # another process is making them
                file.rollback()
                return False
        return True

    def _script(self) -> str:
        """What Dagster does to a new file, as SQL."""
        if not KeptOpen._new_file:
            memory = create_engine("sqlite://", poolclass=StaticPool)
            super()._initdb(memory)
            with closing(memory.raw_connection()) as made:
                file: Any = made.driver_connection
                KeptOpen._new_file = "\n".join(file.iterdump())
            memory.dispose()
        return KeptOpen._new_file

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            engine = self._engine(shard)
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.connect() as connection, connection.begin():
                self._files.setdefault(shard, _identity(self.path_for_shard(shard)))
                yield connection

    def _engine(self, shard: str) -> Engine:
        if os.getpid() != self._process:
            # SQLite's connections cannot be used, nor closed, in a fork
            self._close_at_end.detach()
            self._engines, self._files, self._process = OrderedDict(), {}, os.getpid()
        engine = self._engines.pop(shard, None)
        if engine is not None and _identity(self.path_for_shard(shard)) != self._files.get(shard):
            # another process has deleted the run's events, or all of them
            engine.dispose()
            self._files.pop(shard, None)
            self._initialized_dbs.discard(shard)
            engine = None
        self._engines[shard] = engine or create_engine(
            self.conn_string_for_shard(shard),
            poolclass=QueuePool,
            pool_size=1,
            max_overflow=-1,  # to make tables Dagster takes a second one
            connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
        )
        if len(self._engines) > KEPT_FILES:
            oldest, unused = self._engines.popitem(last=False)
            unused.dispose()
            self._files.pop(oldest, None)
        return self._engines[shard]

    def has_table(self, table_name: str) -> bool:
        """Whether the index has a table; one that is there stays."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def wipe(self) -> None:
        """Delete all events."""
        with self._db_lock:
            _close(self._engines)
            self._files.clear()
        super().wipe()

    def watch(self, run_id: str, cursor: str | None, callback: Any) -> None:
        """Tell of a run's new events, which are in its write-ahead log while the file is open."""
        super().watch(run_id, cursor, callback)
        observer: Any = self._obs  # made by the line above
        watchdog, watched = self._watchers[run_id][callback]
        observer.remove_handler_for_watch(watchdog, watched)
        both = _Watchdog(self, run_id, callback, cursor)
        observer.add_handler_for_watch(both, watched)
        self._watchers[run_id][callback] = (both, watched)

    def dispose(self) -> None:
        """Close all files."""
        super().dispose()
        with self._db_lock:
            _close(self._engines)
            self._files.clear()


class _Watchdog(SqliteEventLogStorageWatchdog):
    """Reads a run's new events when its file or its write-ahead log has changed."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self._patterns = [self._log_path, f"{self._log_path}-wal"]

    def on_modified(self, event: FileSystemEvent) -> None:
        """Read them."""
        self._process_log()


def _close(engines: OrderedDict[str, Engine]) -> None:
    while engines:
        _, engine = engines.popitem()
        engine.dispose()


def _identity(path: str) -> tuple[int, int] | None:
    """Tells a file from another of its name; None if there is none."""
    try:
        found = Path(path).stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
