"""A process that has imported what most processes of tests need, and forks; see forks.py.

Run as `python -m tests.servers.template FD PID`: where it listens, and with whom it ends.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import selectors
import shutil
import signal
import socket
import sys
import threading
import traceback
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

IMPORTED = (
    "dagster._cli",
    "dagster_k8s",
    "dagster_postgres",
    "geofm_assets.cli",
    "geofm_assets.platform.definitions",
    "geofm_assets.platform.driver",
    "geofm_assets.platform.sqlite_events",
    "geofm_assets.training.fit",
    "lightning.pytorch",
    "olmoearth_pretrain_minimal",
    "pandera.backends.pandas.builtin_checks",
    "rslearn.config",
    "sqlglot.generators.duckdb",
    "torch._dynamo",
)
"""What a fork finds imported."""
MOST = 1 << 20  # bytes of a request
_REPOSITORY = Path(__file__).resolve().parents[2]


class _Forks:
    """What the template does: fork whenever asked, and tell who asked what became of it."""

    def __init__(self, listener: socket.socket, run: int) -> None:
        self._listener = listener
        self._watch = selectors.DefaultSelector()
        self._watch.register(listener, selectors.EVENT_READ, self._accept)
        self._live: set[int] = set()
        self._watch.register(os.pidfd_open(run), selectors.EVENT_READ, self._leave)

    def serve(self) -> dict[str, Any]:
        """Returns in the forks, with what was asked."""
        gc.freeze()  # else collections in forks copy all of it
        while True:
            for key, _ in self._watch.select():
                if (asked := key.data()) is not None:
                    return asked

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MOST)
        self._watch.register(
            connection, selectors.EVENT_READ, functools.partial(self._asked, connection)
        )

    def _asked(self, connection: socket.socket) -> dict[str, Any] | None:
        message, fds, *_ = socket.recv_fds(connection, MOST, 2)
        if not message:
            self._watch.unregister(connection)
            connection.close()
            return None
        request = json.loads(message)
        if "reap" in request:
            os.waitpid(request["reap"], 0)
            return None
        pid = os.fork()
        if pid == 0:
            os.setsid()
            connection.send(json.dumps({"started": os.getpid()}).encode())
            for key in list(self._watch.get_map().values()):
                _close(key.fileobj)
            self._watch.close()
            return {**request, "fds": fds}
        for fd in fds:
            os.close(fd)
        self._live.add(pid)
        fork = os.pidfd_open(pid)
        self._watch.register(
            fork, selectors.EVENT_READ, functools.partial(self._ended, fork, pid, connection)
        )
        return None

    def _ended(self, fork: int, pid: int, connection: socket.socket) -> None:
        self._watch.unregister(fork)
        os.close(fork)
        self._live.remove(pid)
        found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert found is not None
        code = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
        with contextlib.suppress(OSError):  # who asked may be gone
            connection.send(json.dumps({"ended": pid, "code": code}).encode())

    def _leave(self) -> None:
        for pid in self._live:  # of tests that failed
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        shutil.rmtree(Path(self._listener.getsockname()).parent)
        os._exit(0)


def _close(opened: Any) -> None:
    if isinstance(opened, int):
        os.close(opened)
    else:
        opened.close()


def _become(request: Mapping[str, Any]) -> None:
    """Have a folder, variables, arguments and an output of one's own."""
    output, *stdin = request["fds"]
    os.dup2(output, 1)
    os.dup2(output, 2)
    for fd in stdin:
        os.dup2(fd, 0)
    for fd in request["fds"]:
        os.close(fd)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    if os.environ.get("PYTHONUNBUFFERED"):
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sys.argv[:] = request["argv"]
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    first = [str(Path(sys.argv[0]).parent), *filter(None, given)]  # as Python starts a script
    sys.path[:] = [*first, *(path for path in sys.path if path not in first)]


def _main() -> None:
    gc.set_threshold(50_000)  # as in tests/conftest.py
    for name in IMPORTED:
        importlib.import_module(name)
    sys.path.remove(str(_REPOSITORY))  # as `-m` puts it first
    forks = _Forks(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
    request = forks.serve()
    _become(request)
    code = _run(request["argv"])
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as every exit does
    atexit._run_exitfuncs()
    sys.stdout.flush()
    # Freeing all that was imported would copy it first: 0.8 s of CPU time.
    os._exit(code)


def _run(argv: Sequence[str]) -> int:
    try:
        if argv[1:2] == ["-c"]:
            code = sys.argv.pop(2)
            sys.argv.pop(0)
            main = sys.modules["__main__"] = types.ModuleType("__main__")
            exec(compile(code, "<string>", "exec"), main.__dict__)
        else:
            runpy.run_path(argv[0], run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - what an interpreter does at its end
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    _main()
