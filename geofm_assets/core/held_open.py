"""SQLite databases kept open while others open, write and close them."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path


@contextmanager
def held_open(databases: Iterable[Path]) -> Iterator[None]:
    """Spare whoever writes row by row, with a connection each, the end of the last connection.

    SQLite copies its write-ahead log into the database whenever the last connection closes.
    Dagster opens one for every event: held open, an event takes a third of the disk writes (12
    against 36 MB for 180 events of a range of 60 partitions, dagster 1.13). Every commit still
    reaches the disk.

    Args:
        databases: files in WAL mode that exist.
    """
    with ExitStack() as stack:
        for path in databases:
            connection = stack.enter_context(closing(sqlite3.connect(path)))
            # the log is joined by the first read
            connection.execute("SELECT name FROM sqlite_master LIMIT 1").fetchall()
        yield
