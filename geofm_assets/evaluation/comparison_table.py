"""A comparison of set-ups as people read it."""

from typing import Any

import pyarrow as pa

ROW = dict[str, Any]


def readable_comparison(rows: pa.Table) -> pa.Table:
    """The experiments with scores, those that are not compared with the reason."""
    return pa.Table.from_pylist([_line(row) for row in rows.to_pylist()])


def readable_differences(differences: pa.Table) -> pa.Table:
    """What each axis is worth, in sentences."""
    return pa.Table.from_pylist(
        [
            {
                "axis": row["axis"],
                "what": row["statement"],
                "data": _data(row) if row["pairs"] else "",
            }
            for row in differences.to_pylist()
        ]
    )


def _line(row: ROW) -> ROW:
    of = f"{row['metric']} of {row['level']}s"
    number = f"{of} {row['value']:.3f}" if row["value"] is not None else of
    spread = f"{row['low']:.3f} to {row['high']:.3f}" if row["low"] is not None else ""
    return {
        "experiment": row["experiment"],
        "score": number,
        "95 % interval": spread,
        "windows": _windows(row),
        "start of weights": _start(row),
        "epochs": "" if row["epochs"] is None else str(row["epochs"]),
        "training": _seconds(row["training_seconds"]),
        "state": f"{row['state']}: {row['reason']}" if row["reason"] else row["state"],
        "data": _data(row),
    }


def _windows(row: ROW) -> str:
    """How many windows a score rests on, and of how many groups they are if groups are drawn."""
    if row["n"] is None:
        return ""
    return str(row["n"]) if row["groups"] is None else f"{row['n']} of {row['groups']} groups"


def _start(row: ROW) -> str:
    if row["encoder_start"] is None:
        return ""
    share = row["parameters_loaded"] / row["parameters_total"]
    return f"{row['encoder_start']} ({share:.0%} loaded)"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:,.0f} s"


def _data(row: ROW) -> str:
    return "SIMULATED" if row["simulated"] else "real"
