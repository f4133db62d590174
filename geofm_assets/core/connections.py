"""Connections to the database of a Dagster instance, kept from one event to the next."""

from typing import Protocol
from weakref import WeakSet

# A connection that is older is not trusted any more: balancers end idle ones within minutes.
CONNECTION_SECONDS = 30
_kept: "WeakSet[KeepsConnection]" = WeakSet()


class KeepsConnection(Protocol):
    """Dagster's storages of events; those of a file do nothing."""

    def optimize_for_webserver(
        self, statement_timeout: int, pool_recycle: int, max_overflow: int
    ) -> None:
        """Keep one connection, and open so many more while it is taken."""


def keep_connected(storage: KeepsConnection) -> None:
    """Let a storage in PostgreSQL keep its connection from now on, as the web server's does.

    Else Dagster opens nine for every partition of a range, with a password check each: a third of
    the CPU time, and a quarter of the wall time, is left (dagster 1.13; docs/postgres.md). Without
    it a server may restart between two events; with it, what is being stored then fails.

    Args:
        storage: of a Dagster instance's events.
    """
    if storage not in _kept:
        storage.optimize_for_webserver(
            statement_timeout=0, pool_recycle=CONNECTION_SECONDS, max_overflow=5
        )
        _kept.add(storage)
