"""Python processes, forked from one that has imported what most of them need (template.py).

Half of what a short process costs are its imports. A fork of the template has its own environment,
session, folder, arguments and output, and runs the command's own script from its first line.

All workers of a test run share one template, which ends when the test run has.
"""

import contextlib
import fcntl
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.servers.template import MOST

_REPOSITORY = Path(__file__).resolve().parents[2]


@functools.cache
def shared_template() -> "Template":
    """The template of this test run, started by the first worker to need it."""
    run = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    folder = Path(tempfile.gettempdir()) / f"geofm-template-{run}"  # paths of sockets are short
    folder.mkdir(mode=0o700, exist_ok=True)
    ours = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            ours.connect(str(folder / "socket"))
        except (FileNotFoundError, ConnectionRefusedError):
            _launch(folder / "socket", run)
            ours.connect(str(folder / "socket"))
    return Template(ours)


def _launch(path: Path, run: int) -> None:
    path.unlink(missing_ok=True)  # of a process that had the same number
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    # a library may read some as it loads
    kept |= {"DAGSTER_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1"}
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen()
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.servers.template", str(listener.fileno()), str(run)],
            env={**kept, "PYTHONPATH": str(_REPOSITORY)},
            cwd=_REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )
    process.returncode = 0  # it ends after this process: nobody here waits for it


class Template:
    """A process that has imported modules and waits to be forked.

    Args:
        connection: to it.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MOST)
        self._starting = threading.Lock()
        self._news = threading.Condition()
        self._started: list[int] = []
        self._ended: dict[int, int] = {}
        self._gone = False
        threading.Thread(target=self._read, daemon=True).start()

    def start(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        output: int,
        stdin: int | None = None,
    ) -> "ForkedProcess":
        """Fork a process.

        Args:
            argv: the first is a script of Python, found on the environment's PATH; or
                `python -c CODE`.
            environment: all its variables.
            folder: it starts in.
            output: descriptor of its standard output and errors.
            stdin: descriptor of its standard input; None if it has none.

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
            given = [output] if stdin is None else [output, stdin]
            socket.send_fds(self._socket, [json.dumps(request).encode()], given)
            with self._news:
                self._news.wait_for(lambda: self._started or self._gone)
                if self._gone:
                    raise BrokenPipeError(f"The template of {argv[0]} is gone")
                return ForkedProcess(self, self._started.pop())

    def ended(self, pid: int, timeout_s: float | None = None) -> int | None:
        """Wait until a fork has ended; its exit code, negative for a signal, or None if it runs."""
        with self._news:
            self._news.wait_for(lambda: pid in self._ended or self._gone, timeout_s)
            return self._ended.get(pid, -signal.SIGKILL if self._gone else None)

    def reap(self, pid: int) -> None:
        """Let the number of a fork that has ended be used again."""
        with self._news:
            self._ended.pop(pid, None)
        if not self._gone:
            self._socket.send(json.dumps({"reap": pid}).encode())

    def _read(self) -> None:
        with contextlib.suppress(ConnectionResetError):
            while message := self._socket.recv(MOST):
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
        returncode: as `subprocess.Popen` has it.
    """

    def __init__(self, template: Template, pid: int) -> None:
        self._template, self.pid = template, pid
        self.returncode: int | None = None

    def await_end(self) -> None:
        """Wait until it has ended; until `wait` its number is not used again."""
        self._template.ended(self.pid)

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None if it still runs."""
        return self.wait(0)

    def wait(self, timeout_s: float | None = None) -> int | None:
        """The same, when it has ended or the time is over."""
        if self.returncode is None:
            self.returncode = self._template.ended(self.pid, timeout_s)
            if self.returncode is not None:
                self._template.reap(self.pid)
        return self.returncode

    def kill(self) -> None:
        """End its session, unless it has ended."""
        if self.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)


class ForkedPython(ForkedProcess):
    """A fork that runs some code, with pipes to talk to it.

    Attributes:
        stdin: what it reads, text in lines.
        stdout: what it writes, errors as well.
    """

    def __init__(self, code: str, *arguments: str, **variables: str) -> None:
        reading, output = os.pipe()
        stdin, writing = os.pipe()
        environment = {**os.environ, "PYTHONPATH": str(_REPOSITORY), **variables}
        command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
        template = shared_template()
        try:
            pid = template.start(command, environment, _REPOSITORY, output, stdin).pid
        finally:
            os.close(output)
            os.close(stdin)
        super().__init__(template, pid)
        self.stdout = os.fdopen(reading, "r")
        self.stdin = os.fdopen(writing, "w", buffering=1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.end()

    def end(self) -> str:
        """Wait for its end; what it wrote that nobody has read."""
        with contextlib.suppress(BrokenPipeError):  # nobody was left to read what it was told
            self.stdin.close()
        said = "" if self.stdout.closed else self.stdout.read()
        self.stdout.close()
        self.wait()
        return said
