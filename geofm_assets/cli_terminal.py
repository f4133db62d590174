"""What commands share: options, the console, a line of progress, and how a process is ended."""

import signal
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Self

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

# a pipe has no width of its own; tables need more than the usual 80 columns
console = Console(width=None if sys.stdout.isatty() else 140)

StoreOption = Annotated[
    str | None,
    typer.Option("--store", help="Folder or URL of the store; if not given, GEOFM_STORE."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def heed_signals() -> None:
    """Let SIGTERM and SIGINT end this process and those it starts, whoever started it.

    The shell has a background job of a script ignore SIGINT. Dagster gives SIGTERM whatever SIGINT
    has, so SIGTERM would be ignored too, by the UI's servers and by runs between two steps; those
    it starts inherit it. (Within a step Dagster heeds SIGINT in any case.)
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def split_commas(texts: Sequence[str] | None) -> list[str] | None:
    """Values given with commas, by repeating the flag, or both."""
    if texts is None:
        return None
    return [part.strip() for text in texts for part in text.split(",") if part.strip()]


def print_rows(rows: Sequence[dict[str, str]]) -> None:
    """Records of the same fields as a table; nothing if there are none."""
    if not rows:
        return
    table = Table()
    for column in rows[0]:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(value) for value in row.values()))  # not read as markup
    console.print(table)


class Progress:
    """A moving line on a terminal; whole lines, five a step, in a file or pipe.

    Args:
        quiet: print nothing at all, because the output is for a program.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._status: Any = console.status("...") if console.is_terminal and not quiet else None
        self._printed = 0.0

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def __call__(self, done: int, total: int, note: str) -> None:
        """Take a report of steps done, steps in all and what they are."""
        if self._quiet:
            return
        if self._status is not None:
            self._status.update(f"{note} {done}/{total}")
            return
        share = done / max(total, 1)
        if share < self._printed:
            self._printed = 0.0  # the next step has begun
        if done >= total or share - self._printed >= 0.2:
            self._printed = share
            console.print(f"    {done}/{total} {note}", highlight=False, markup=False)
