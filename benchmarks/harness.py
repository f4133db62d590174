"""Run one side of a comparison in a process of its own and measure what it took.

A side is a function of a module; `side_main` makes the module runnable as
`python -m benchmarks.<module> SIDE ARGUMENTS.json RESULT.json`. The side does its preparations,
then what is measured inside `measured()`. Memory is looked at from outside, by the parent.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
MIB = 1 << 20
_TICK = os.sysconf("SC_CLK_TCK")
_SAMPLE_S = 0.1
_LAST_LINES = 4000  # characters of a failed side's output that are shown
# one thread a process, as a Dagster step has it where several run beside each other
_THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

Arguments = Mapping[str, Any]


class SideFailedError(RuntimeError):
    """A side of a comparison ended with an error."""


@dataclass
class Measured:
    """What a stretch of work took.

    Attributes:
        cpu_s: user and system seconds, of this process and all its children.
        wall_s: seconds on the clock.
        start_mb: MiB this process alone held when it began: what imports and preparations took.
    """

    cpu_s: float = 0.0
    wall_s: float = 0.0
    start_mb: float = 0.0


@dataclass
class Side:
    """What one side of a comparison came to.

    Attributes:
        cpu_s: user and system seconds of what is measured, children included.
        wall_s: seconds on the clock of the same.
        peak_mb: MiB: the largest private memory of the process tree while the side ran, imports
            and preparations included (see private_mb); the process's largest resident set if it
            ended before it could be looked at three times.
        rows: how many rows, windows or samples were worked on.
        said: what else the side reports.
    """

    cpu_s: float
    wall_s: float
    peak_mb: float
    rows: int
    said: dict[str, Any] = field(default_factory=dict)


@contextmanager
def measured() -> Iterator[Measured]:
    """Measure the block; children that still run count with what they have used so far."""
    taken = Measured(start_mb=private_mb(os.getpid()))
    cpu, wall = tree_cpu(), time.perf_counter()
    yield taken
    taken.wall_s = time.perf_counter() - wall
    taken.cpu_s = tree_cpu() - cpu


def tree_cpu() -> float:
    """User and system seconds of this process, ended children and living descendants."""
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        used = resource.getrusage(who)
        total += used.ru_utime + used.ru_stime
    return total + sum(cpu_of(pid) for pid in descendants(os.getpid()))


def cpu_of(pid: int) -> float:
    """User and system seconds of a process and its ended children; 0 if it has ended."""
    fields = _stat(pid)  # utime, stime, cutime, cstime
    return 0.0 if fields is None else sum(int(ticks) for ticks in fields[11:15]) / _TICK


def descendants(pid: int) -> list[int]:
    """Living processes started by a process, theirs included."""
    found: list[int] = []
    queue = [pid]
    while queue:
        parent = queue.pop()
        try:
            paths = list(Path(f"/proc/{parent}/task").glob("*/children"))
        except OSError:  # ended meanwhile
            continue
        for path in paths:
            try:
                children = [int(word) for word in path.read_text().split()]
            except OSError:
                continue
            found += children
            queue += children
    return found


def private_mb(pid: int) -> float:
    """MiB that only this process holds and has written; 0 if it has ended.

    Pages of libraries and mapped files that were only read are left out: whether they count as
    private depends on which other programs happen to run.
    """
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    kb = sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty"))
    return kb / 1024


def run_side(
    module: str, side: str, arguments: Arguments, *, repeat: int = 1, timeout_s: float = 3 * 3600
) -> Side:
    """Run a side in its own process; of several runs, the one with the least CPU.

    Args:
        module: below `benchmarks`, e.g. `ours` or `peers.points_seed`.
        side: which function of its `SIDES`.
        arguments: passed as JSON.
        repeat: how often to run it.
        timeout_s: seconds after which a run is given up.

    Raises:
        SideFailedError: it ended with an error; its last output is in the message.
    """
    runs = [_run_once(module, side, arguments, timeout_s) for _ in range(max(1, repeat))]
    return min(runs, key=lambda run: run.cpu_s)


def side_main(sides: Mapping[str, Callable[[Arguments], Side]]) -> None:
    """Entry point of a module with sides."""
    name, arguments_file, result_file = sys.argv[1:4]
    side = sides[name](json.loads(Path(arguments_file).read_text("utf-8")))
    Path(result_file).write_text(json.dumps(asdict(side)), "utf-8")


def done(taken: Measured, rows: int, **said: Any) -> Side:
    """A side's result, memory to be filled in by the parent."""
    return Side(taken.cpu_s, taken.wall_s, 0.0, rows, {"start_mb": taken.start_mb, **said})


def _run_once(module: str, side: str, arguments: Arguments, timeout_s: float) -> Side:
    with tempfile.TemporaryDirectory(prefix="geofm-bench-") as folder:
        asked, answer = Path(folder) / "arguments.json", Path(folder) / "result.json"
        asked.write_text(json.dumps(dict(arguments)), "utf-8")
        command = [sys.executable, "-m", f"benchmarks.{module}", side, str(asked), str(answer)]
        output = Path(folder) / "output.txt"
        with output.open("wb") as stream:
            child = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env=side_environment(),
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
            watch = _MemoryWatch(child.pid)
            watch.start()
            try:
                _, status, usage = _wait(child, timeout_s)
            finally:
                watch.stop()
        if status != 0 or not answer.exists():
            text = output.read_text("utf-8", errors="replace")[-_LAST_LINES:]
            raise SideFailedError(f"{module} {side} ended with {status}:\n{text}")
        result = Side(**json.loads(answer.read_text("utf-8")))
    enough = watch.samples >= 3
    result.peak_mb = watch.peak_mb if enough else usage.ru_maxrss / 1024
    result.said["memory"] = "private, process tree" if enough else "largest resident set"
    return result


def side_environment() -> dict[str, str]:
    """Environment of a side: this one without the platform's own settings."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GEOFM_", "DAGSTER_"))}
    path = os.pathsep.join(filter(None, [str(REPOSITORY), kept.get("PYTHONPATH")]))
    return {**kept, **_THREADS, "PYTHONPATH": path, "TQDM_DISABLE": "1"}


def _wait(child: "subprocess.Popen[bytes]", timeout_s: float) -> tuple[int, int, Any]:
    """Wait for a child by hand: only wait4 tells its largest resident set."""
    limit = time.monotonic() + timeout_s
    while True:
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return pid, child.returncode, usage
        if time.monotonic() > limit:
            child.kill()
            _, _, usage = os.wait4(child.pid, 0)
            child.returncode = -9
            return child.pid, -9, usage
        time.sleep(0.02)


class _MemoryWatch(threading.Thread):
    """Looks at the private memory of a process tree until told to stop."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.peak_mb, self.samples = pid, 0.0, 0
        self._stop_it = threading.Event()

    def run(self) -> None:
        """Sample until stopped."""
        while not self._stop_it.wait(_SAMPLE_S):
            now = sum(private_mb(pid) for pid in [self.pid, *descendants(self.pid)])
            if now > 0:
                self.samples += 1
                self.peak_mb = max(self.peak_mb, now)

    def stop(self) -> None:
        """End the thread."""
        self._stop_it.set()
        self.join()


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/<pid>/stat after the command; None if the process has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()
