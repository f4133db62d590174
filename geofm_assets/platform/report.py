"""What a person sees in the terminal while a task runs, and the score table at the end."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table

from geofm_assets.core.store import Store
from geofm_assets.evaluation.bootstrap import LEAST_BLOCKS

Row = Mapping[str, Any]
_OF_PARTS = ("f1_", "iou_", "false_alarm_rate_")


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

    def progress(self, done: int, total: int, note: str) -> None:
        """Show how far the stage has come."""
        if self._status is not None:
            self._status.update(f"{done}/{total} {note}")
            return
        share = done / max(total, 1)
        if share - self._printed >= 0.2 or (done == total and self._printed < 1):
            self._printed = 1.0 if done == total else share
            self.console.print(f"        {done}/{total} {note}", highlight=False)

    def say(self, text: str) -> None:
        """Print what a person should know of the stage that starts, or of its result."""
        self.console.print(f"        {text}", highlight=False, markup=False)

    def stage_ended(self, place: tuple[int, int], name: str, seconds: float) -> None:
        """Say how long it took."""
        if self._status is not None:
            self._status.stop()
            self._status = None
        if seconds >= 1:
            self.console.print(f"        {seconds:.1f} s", style="dim")


def print_results(console: Console, store: Store, task: str, experiments: Sequence[str]) -> None:
    """Scores of a task on validation and test, then what parts of them some experiments have.

    Args:
        console: where to print.
        store: that holds the scores.
        task: name of the task.
        experiments: names of those whose scores by part are printed, where there are any.
    """
    table = store.read_table(f"tasks/{task}/scores.parquet")
    for split in ("val", "test"):
        print_scores(console, table, split)
    for name in experiments:
        key = f"tasks/{task}/experiments/{name}/metrics_by_part.parquet"
        if store.exists(key):
            print_parts(console, store.read_table(key))


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
    title = f"{split}: {_counted(rows)}, 95 % bootstrap intervals"
    title += "   SIMULATED DATA" if simulated else ""
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.add_column("metric", no_wrap=True)
    for name in experiments:
        # on a narrow terminal names break between words, or anywhere: cut short they are alike
        words = name.replace("_" if name.startswith("baseline_") else "-", " ")
        table.add_column(words, overflow="fold")
    by_key = {(r["experiment"], r["metric"]): r for r in rows}
    for metric in metrics:
        cells = []
        for name in experiments:
            row = by_key.get((name, metric))
            cells.append(f"{row['value']:.3f} ({row['low']:.3f}-{row['high']:.3f})" if row else "-")
        table.add_row(metric, *cells)
    console.print(table)
    _say_what_is_drawn(console, rows)
    if simulated:
        console.print(
            "These scores are of SIMULATED data (a sample world made by this package). "
            "They say that the platform works, not how good the model is.",
            style="bold magenta",
        )


def print_parts(console: Console, parts: pa.Table, split: str = "test") -> None:
    """One class by fire size, fire year and kind of sample, or why it has no score there.

    Args:
        console: where to print.
        parts: SEGMENTATION_PART table of one experiment.
        split: of the rows printed.
    """
    rows = [r for r in parts.to_pylist() if r["split"] == split]
    if not rows:
        return
    title = f"{split} by part: {rows[0]['experiment']}"
    title += "   SIMULATED DATA" if any(r["simulated"] for r in rows) else ""
    table = Table(title=title, title_justify="left")
    for name in ("by", "part", "groups"):
        table.add_column(name, overflow="fold")
    metrics = sorted(m for m in {r["metric"] for r in rows} if m.startswith(_OF_PARTS))
    for metric in metrics:
        table.add_column(metric.replace("_", " "), overflow="fold")
    by_key = {(r["dimension"], r["part"], r["metric"]): r for r in rows}
    for dimension, part in sorted({key[:2] for key in by_key}):
        found = [by_key[dimension, part, metric] for metric in metrics]
        groups = str(found[0]["groups"]) if found else ""
        table.add_row(dimension, part, groups, *(_number(row) for row in found))
    console.print(table)


def _number(row: Row) -> str:
    """A metric of a part with its interval, or why there is none."""
    if row["value"] is None:
        return f"none: {row['reason']}"
    if row["low"] is None:
        return f"{row['value']:.3f} (one group)"
    return f"{row['value']:.3f} ({row['low']:.3f}-{row['high']:.3f})"


def _counted(rows: Sequence[Row]) -> str:
    """How many windows a split's scores rest on, and of how many groups they are."""
    windows = f"{max(r['n'] for r in rows)} windows"
    groups = max((r["groups"] for r in rows if r.get("groups") is not None), default=None)
    if groups is None:
        return windows
    fewest, name = _fewest(rows)
    return f"{windows} of {groups} groups ({fewest} with {name})"


def _fewest(rows: Sequence[Row]) -> tuple[int, str]:
    """How many groups hold the class that the fewest do, and its name."""
    held = [
        (r["groups"], r["metric"].removeprefix("recall_"))
        for r in rows
        if r.get("groups") is not None and r["metric"].startswith("recall_")
    ]
    return min(held)


def _say_what_is_drawn(console: Console, rows: Sequence[Row]) -> None:
    """What the intervals of pixels are over, and that few groups say little."""
    if all(r.get("groups") is None for r in rows):
        return
    console.print(
        "A group is a fire with its ring and complex, or a far sample. Intervals of pixels (names "
        "that end in seg) are over groups, those of windows over windows.",
        style="dim",
    )
    fewest, name = _fewest(rows)
    if fewest < LEAST_BLOCKS:
        console.print(
            f"Only {fewest} group{'' if fewest == 1 else 's'} with {name}: too few to say which "
            "score is better.",
            style="bold",
        )
