"""Progress a person can follow, without tying plain functions to a terminal or to Dagster."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

Report = Callable[[int, int, str], None]
"""Told of steps done, steps in all, and a short note."""


def silent(done: int, total: int, note: str) -> None:
    """Drop the report; the default where nobody listens."""


@dataclass
class Progress:
    """Counts steps and tells a listener.

    Args:
        total: how many steps there are.
        report: called with steps done, steps in all and a short note.
    """

    total: int
    report: Report = silent
    done: int = field(default=0, init=False)

    def step(self, note: str = "") -> None:
        """One step more is done."""
        self.done += 1
        self.report(self.done, self.total, note)


_listener: ContextVar[Report] = ContextVar("geofm_progress", default=silent)


@contextmanager
def listening(report: Report) -> Iterator[None]:
    """Send what `notify` is told to a listener, within this context."""
    token = _listener.set(report)
    try:
        yield
    finally:
        _listener.reset(token)


def notify(done: int, total: int, note: str) -> None:
    """Tell whoever listens in this context (the command line's progress bar)."""
    _listener.get()(done, total, note)
