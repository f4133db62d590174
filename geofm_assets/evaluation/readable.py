"""Scores as people read them."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


def readable(scores: pa.Table, split: str = "test") -> pa.Table:
    """Scores of one split as people read them: value with its interval."""
    rows = scores.filter(pc.equal(scores["split"], split)).to_pylist()
    return pa.Table.from_pylist(
        [
            {
                "experiment": r["experiment"],
                "metric": r["metric"],
                "value": f"{r['value']:.3f}",
                "95 % interval": f"{r['low']:.3f} to {r['high']:.3f}",
                "windows": r["n"],
                "groups": "" if r["groups"] is None else str(r["groups"]),
                "data": "SIMULATED" if r["simulated"] else "real",
            }
            for r in rows
        ]
        or [{"experiment": "none yet", "metric": "", "value": "", "windows": 0, "data": ""}]
    )


def readable_parts(parts: pa.Table, metrics: tuple[str, ...], split: str = "test") -> pa.Table:
    """Some metrics of the parts of one split, or why a part has none."""
    chosen = parts.filter(pc.equal(parts["split"], split)).to_pylist()
    return pa.Table.from_pylist(
        [
            {
                "by": r["dimension"],
                "part": r["part"],
                "metric": r["metric"],
                "value": f"none: {r['reason']}" if r["value"] is None else f"{r['value']:.3f}",
                "95 % interval": _spread(r),
                "windows": r["windows"],
                "groups": r["groups"],
                "data": "SIMULATED" if r["simulated"] else "real",
            }
            for r in chosen
            if r["metric"] in metrics
        ]
        or [{"by": "none yet", "part": "", "metric": "", "value": ""}]
    )


def _spread(row: dict[str, Any]) -> str:
    """The interval of a part's metric."""
    if row["low"] is not None:
        return f"{row['low']:.3f} to {row['high']:.3f}"
    return "" if row["value"] is None else "one group"
