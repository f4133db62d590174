"""A pod's container as a local process in a session of its own, with its output and its limit."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.servers.forks import ForkedProcess, Template

_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Line:
    """One line of output with its line end, and when it came (seconds since 1970)."""

    time: float
    text: bytes

    def stamped(self) -> bytes:
        """The line as `timestamps=true` shows it."""
        moment = datetime.fromtimestamp(self.time, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
        return f"{moment}000Z ".encode() + self.text


class _Own(subprocess.Popen[bytes]):
    def await_end(self) -> None:
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)


class Container:
    """One process; `on_exit(container)` is called once when it and its children are gone.

    Attributes:
        output: lines so far; `grown` is notified when there are more, or when it has ended.
        exit_code: as a container runtime gives it, 128 + signal for a killed one; None before.
        finished: whether it and its children are gone and all their output has been read.
        verdict: why it was ended from outside (OOMKilled, Evicted, DeadlineExceeded), or empty.
        started: time.time() of its start.
    """

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        memory_limit: int | None,
        on_exit: Callable[["Container"], None],
        on_line: Callable[["Container", bytes], None],
        template: Template | None = None,
    ) -> None:
        self.output: list[Line] = []
        self.grown = threading.Condition()
        self.exit_code: int | None = None
        self.finished = False
        self.verdict = ""
        self.memory_limit = memory_limit
        self.kill_at: float | None = None
        self._weighed = 0.0
        self._on_exit, self._on_line = on_exit, on_line
        self.started = time.time()
        reading, writing = os.pipe()
        self._stdout = os.fdopen(reading, "rb")
        try:
            self._process = _start(argv, environment, folder, writing, template)
        except BaseException:
            self._stdout.close()
            raise
        finally:
            os.close(writing)
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._waiter = threading.Thread(target=self._wait, daemon=True)
        self._reader.start()
        self._waiter.start()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole session, as long as it runs."""
        with self.grown:
            if self.exit_code is None:
                os.killpg(self.pid, number)

    def end(self, verdict: str = "") -> None:
        """Kill it at once, unless it is over."""
        with self.grown:
            if self.exit_code is None:
                self.verdict = self.verdict or verdict
        self.signal(signal.SIGKILL)

    def join(self, timeout_s: float) -> None:
        """Wait until `on_exit` has returned."""
        self._waiter.join(timeout_s)

    def exceeds_memory(self) -> bool:
        """Whether its session holds more memory than its limit (Linux; False elsewhere).

        Looked at twice a second: it means reading about all processes of the machine.
        """
        if self.memory_limit is None or self.exit_code is not None:
            return False
        if time.monotonic() - self._weighed < 0.5:
            return False
        self._weighed = time.monotonic()
        members = _session_members(self.pid)
        if sum(_resident_bytes(pid) for pid in members) <= self.memory_limit:
            return False
        # Resident pages that forked workers share count once in a container.
        return sum(_proportional_bytes(pid) for pid in members) > self.memory_limit

    def _read(self) -> None:
        for text in self._stdout:
            with self.grown:
                self.output.append(Line(time.time(), text))
                self.grown.notify_all()
            self._on_line(self, text)

    def _wait(self) -> None:
        # Unreaped, the leader keeps its number, so that no other session can be meant.
        self._process.await_end()
        os.killpg(self.pid, signal.SIGKILL)
        with self.grown:
            code = self._process.wait()
            self.exit_code = code if code >= 0 else 128 - code
        self._reader.join()
        self._stdout.close()
        with self.grown:
            self.finished = True
            self.grown.notify_all()
        self._on_exit(self)


def _start(
    argv: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    output: int,
    template: Template | None,
) -> _Own | ForkedProcess:
    if template is not None:
        return template.start(argv, environment, folder, output)
    return _Own(
        list(argv),
        env=dict(environment),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _session_members(session: int) -> list[int]:
    members = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if int(fields[3]) == session:
            members.append(int(entry.parent.name))
    return members


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0


def _proportional_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
