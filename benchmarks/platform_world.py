"""What measurements of the platform's orchestration share: environment, database, code location."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.harness import REPOSITORY, cpu_of, descendants

if TYPE_CHECKING:
    import dagster as dg

    from tests.servers.postgres import PostgresServer

LOCATION = REPOSITORY / "benchmarks" / "location"
PATHS = os.pathsep.join([str(LOCATION), str(REPOSITORY)])
BATCH = "DAGSTER_EVENT_BATCH_SIZE"
ALONE = "BENCH_LOCATION_ALONE"
"""Variable that leaves the platform's own assets out of the code location."""


@contextmanager
def environment(home: Path, url: str = "", **variables: str) -> Iterator[None]:
    """Variables of one instance, and none of another, until the block ends.

    Args:
        home: folder of the instance.
        url: of its PostgreSQL database; empty for SQLite.
        variables: besides.
    """
    before = dict(os.environ)
    for name in [name for name in before if name.startswith(("GEOFM_", "DAGSTER_"))]:
        del os.environ[name]
    os.environ.update(DAGSTER_HOME=str(home), DAGSTER_DISABLE_TELEMETRY="1", **variables)
    if url:
        os.environ["GEOFM_POSTGRES_URL"] = url
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def postgres() -> "Iterator[PostgresServer | None]":
    """A PostgreSQL server that syncs every commit, as an installed one does; None without one."""
    from tests.servers.postgres import NoPostgresError, PostgresServer

    with ExitStack() as stack:
        server: PostgresServer | None = None
        with suppress(NoPostgresError):
            server = stack.enter_context(PostgresServer("fsync=on"))
        yield server


def cpu_of_tree(pid: int) -> float:
    """User and system seconds of a process and all it started; 0 for no process."""
    return sum(cpu_of(one) for one in [pid, *descendants(pid)]) if pid else 0.0


def load_location() -> "dg.Definitions":
    """The code location of the benchmarks, in this process."""
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("bench_location", LOCATION / "definitions.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.defs


def free_port() -> int:
    """A TCP port nobody listened on a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
