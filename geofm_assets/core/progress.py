"""Progress a person can follow, without tying plain functions to a terminal or to Dagster."""

from collections.abc import Callable
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
