"""What a person sees in the terminal while a task runs, and the score table at the end."""

from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table


class Reporter:
    """Prints stages as they start, move and end.

    Args:
        console: where to print; a terminal gets a moving line, a file gets whole lines.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._status: Any = None
        self._printed = 0.0

    def stage_started(
        self, place: tuple[int, int], name: str, todo: int, current: int, partitioned: bool
    ) -> None:
        """Announce a stage and how much of it there is to do."""
        if partitioned:
            text = f"{todo} to make, {current} current"
        else:
            text = "to make" if todo else "current"
        self.console.print(f"[bold]\\[{place[0]:>2}/{place[1]}][/bold] {name}: {text}")
        self._printed = 0.0
        if self.console.is_terminal and todo:
            self._status = self.console.status(f"{name} ...")
            self._status.start()

    def say(self, text: str) -> None:
        """Print a line about the stage that is about to start."""
        self.console.print(f"        {text}", highlight=False)

    def progress(self, done: int, total: int, note: str) -> None:
        """Show how far the stage has come."""
        if self._status is not None:
            self._status.update(f"{done}/{total} {note}")
            return
        share = done / max(total, 1)
        if done == total or share - self._printed >= 0.2:
            self._printed = share
            self.console.print(f"        {done}/{total} {note}", highlight=False)

    def stage_ended(self, place: tuple[int, int], name: str, seconds: float) -> None:
        """Say how long it took."""
        if self._status is not None:
            self._status.stop()
            self._status = None
        if seconds >= 1:
            self.console.print(f"        {seconds:.1f} s", style="dim")


def print_scores(console: Console, scores: pa.Table, split: str = "test") -> None:
    """Metrics of every experiment and baseline on one split, each with its interval."""
    rows = [r for r in scores.to_pylist() if r["split"] == split]
    if not rows:
        console.print(f"No scores on {split} yet.")
        return
    experiments = sorted({r["experiment"] for r in rows}, key=lambda e: (e.startswith("base"), e))
    metrics = list(dict.fromkeys(r["metric"] for r in rows))
    metrics.sort(key=lambda m: (m not in ("accuracy", "macro_f1"), m.split("_", 1)[-1], m))
    simulated = any(r["simulated"] for r in rows)
    n = max(r["n"] for r in rows)
    title = f"{split}: {n} windows, 95 % bootstrap intervals"
    title += "   SIMULATED DATA" if simulated else ""
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.add_column("metric", no_wrap=True)
    for name in experiments:
        table.add_column(name.replace("-", " "))
    by_key = {(r["experiment"], r["metric"]): r for r in rows}
    for metric in metrics:
        cells = []
        for name in experiments:
            row = by_key.get((name, metric))
            cells.append(f"{row['value']:.3f} ({row['low']:.3f}-{row['high']:.3f})" if row else "-")
        table.add_row(metric, *cells)
    console.print(table)
    if simulated:
        console.print(
            "These scores are of SIMULATED data (a sample world made by this package). "
            "They say that the platform works, not how good the model is.",
            style="bold magenta",
        )
