"""Processes of Python's commands, forked from one that has imported what most of them need.

Half of what a short process costs are its imports. A fork of the template has its own environment,
session, folder, arguments and output, and runs the command's own script from its first line.

Run as `python -m tests.servers.template FD MODULE ...` it is the template itself.
"""

import atexit
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
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_REPOSITORY = Path(__file__).resolve().parents[2]
_MOST = 1 << 20  # bytes of a request


@functools.cache
def template_for(environment: frozenset[tuple[str, str]], modules: tuple[str, ...]) -> "Template":
    """A template that is kept until the tests end."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    made = Template(kept | dict(environment), modules)
    atexit.register(made.close)
    return made


class Template:
    """A process that has imported modules and waits to be forked.

    Args:
        environment: of the template; forks have theirs, but a library may read some as it loads.
        modules: to import.
    """

    def __init__(self, environment: Mapping[str, str], modules: Sequence[str]) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self._socket, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MOST)
        paths = [str(_REPOSITORY), *environment.get("PYTHONPATH", "").split(os.pathsep)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.servers.template", str(theirs.fileno()), *modules],
            env={**environment, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
            cwd=_REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        self._starting = threading.Lock()
        self._news = threading.Condition()
        self._started: list[int] = []
        self._ended: dict[int, int] = {}
        self._gone = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def start(
        self, argv: Sequence[str], environment: Mapping[str, str], folder: Path, output: int
    ) -> "ForkedProcess":
        """Fork a process.

        Args:
            argv: the first is a script of Python, found on the environment's PATH.
            environment: all its variables.
            folder: it starts in.
            output: descriptor of its standard output and errors.

        Raises:
            OSError: there is no such script, or the template is gone.
        """
        script = shutil.which(argv[0], path=environment.get("PATH"))
        if script is None:
            raise FileNotFoundError(2, "No such file or directory", argv[0])
        request = {
            "argv": [script, *argv[1:]],
            "environment": dict(environment),
            "folder": str(folder),
        }
        with self._starting:
            socket.send_fds(self._socket, [json.dumps(request).encode()], [output])
            with self._news:
                self._news.wait_for(lambda: self._started or self._gone)
                if self._gone:
                    raise BrokenPipeError(f"The template of {argv[0]} is gone")
                return ForkedProcess(self, self._started.pop())

    def ended(self, pid: int) -> int:
        """Wait until a fork has ended; its exit code, negative for a signal."""
        with self._news:
            self._news.wait_for(lambda: pid in self._ended or self._gone)
            return self._ended.get(pid, -signal.SIGKILL)

    def reap(self, pid: int) -> None:
        """Let the number of a fork that has ended be used again."""
        with self._news:
            self._ended.pop(pid, None)
        if not self._gone:
            self._socket.send(json.dumps({"reap": pid}).encode())

    def close(self) -> None:
        """End the template; forks go on."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._process.wait()
        self._reader.join()
        self._socket.close()

    def _read(self) -> None:
        while message := self._socket.recv(_MOST):
            said = json.loads(message)
            with self._news:
                if "started" in said:
                    self._started.append(said["started"])
                else:
                    self._ended[said["ended"]] = said["code"]
                self._news.notify_all()
        with self._news:
            self._gone = True
            self._news.notify_all()


class ForkedProcess:
    """A fork of a template.

    Attributes:
        pid: of it and of its session.
    """

    def __init__(self, template: Template, pid: int) -> None:
        self._template, self.pid = template, pid

    def await_end(self) -> None:
        """Wait until it has ended; until `wait` its number is not used again."""
        self._template.ended(self.pid)

    def wait(self) -> int:
        """Its exit code, negative for a signal; called once."""
        code = self._template.ended(self.pid)
        self._template.reap(self.pid)
        return code


def _serve(fd: int) -> dict[str, Any]:
    """Fork whenever asked; returns in the forks, with what was asked."""
    server = socket.socket(fileno=fd)
    watch = selectors.DefaultSelector()
    watch.register(server, selectors.EVENT_READ)
    gc.freeze()  # else collections in forks copy all of it
    while True:
        for key, _ in watch.select():
            if key.data is not None:
                watch.unregister(key.fd)
                os.close(key.fd)
                found = os.waitid(os.P_PID, key.data, os.WEXITED | os.WNOWAIT)
                assert found is not None
                code = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
                server.send(json.dumps({"ended": key.data, "code": code}).encode())
                continue
            message, fds, *_ = socket.recv_fds(server, _MOST, 1)
            if not message:
                os._exit(0)  # whoever asks is gone
            request = json.loads(message)
            if "reap" in request:
                os.waitpid(request["reap"], 0)
                continue
            pid = os.fork()
            if pid == 0:
                os.setsid()
                server.send(json.dumps({"started": os.getpid()}).encode())
                watch.close()
                server.close()
                return {**request, "output": fds[0]}
            os.close(fds[0])
            watch.register(os.pidfd_open(pid), selectors.EVENT_READ, pid)


def _become(request: Mapping[str, Any]) -> None:
    """Have a folder, variables, arguments and an output of one's own."""
    os.dup2(request["output"], 1)
    os.dup2(request["output"], 2)
    os.close(request["output"])
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
    for name in sys.argv[2:]:
        importlib.import_module(name)
    sys.path.remove(str(_REPOSITORY))  # as `-m` puts it first
    request = _serve(int(sys.argv[1]))
    _become(request)
    runpy.run_path(request["argv"][0], run_name="__main__")


if __name__ == "__main__":
    _main()
