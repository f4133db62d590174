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


Say = Callable[[str], None]
"""Told what a person should know of a stage's result."""


def unsaid(text: str) -> None:
    """Drop the text; the default where nobody listens."""


_listener: ContextVar[Report] = ContextVar("geofm_progress", default=silent)
_speaker: ContextVar[Say] = ContextVar("geofm_said", default=unsaid)


@contextmanager
def listening(report: Report, speak: Say = unsaid) -> Iterator[None]:
    """Send what `notify` and `say` are told to listeners, within this context."""
    token, spoken = _listener.set(report), _speaker.set(speak)
    try:
        yield
    finally:
        _listener.reset(token)
        _speaker.reset(spoken)


@contextmanager
def speaking(speak: Say) -> Iterator[None]:
    """Send what `say` is told to one more listener, within this context."""
    before = _speaker.get()

    def both(text: str) -> None:
        before(text)
        speak(text)

    token = _speaker.set(both)
    try:
        yield
    finally:
        _speaker.reset(token)


def notify(done: int, total: int, note: str) -> None:
    """Tell whoever listens in this context (the command line's progress bar)."""
    _listener.get()(done, total, note)


def say(text: str) -> None:
    """Tell whoever listens in this context what a person should know, such as data set aside."""
    _speaker.get()(text)
