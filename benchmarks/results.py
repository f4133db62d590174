"""Results of benchmarks: one record a figure, a JSON file a benchmark, one table of all."""

import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.harness import Side

_PACKAGES = ("numpy", "pyarrow", "pandas", "geopandas", "rslearn", "torch", "dagster")
_FIELDS: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "value": (int, float, type(None)),
    "unit": (str,),
    "peer": (str,),
    "peer_value": (int, float, type(None)),
    "ratio": (int, float, type(None)),
    "at_least": (int, float, type(None)),
    "at_most": (int, float, type(None)),
    "cpu_s": (int, float, type(None)),
    "peak_mb": (int, float, type(None)),
    "rows": (int, type(None)),
    "verdict": (str,),
    "simulated": (bool,),
}
VERDICTS = ("met", "missed", "no target", "not measured")


@dataclass
class Result:
    """One figure beside its peer.

    Attributes:
        name: what was measured.
        value: ours; None if it was not measured.
        unit: of `value` and `peer_value`.
        peer: what it is compared with; empty if with nothing but `at_most`.
        peer_value: the peer's figure, measured in the same run.
        ratio: how many times better ours is: peer / ours where less is better, ours / peer where
            more is.
        at_least: the ratio aimed at; None where there is no such aim.
        at_most: the largest `value` aimed at; None where there is no such aim.
        cpu_s: CPU seconds of our side, children included.
        peak_mb: peak memory of our side, MiB; see harness.Side.
        rows: rows, windows or samples our side worked on.
        note: what a reader must know to read the figure rightly.
        more: the peer's seconds and memory, sizes, whether outputs were equal.
        simulated: whether the data was generated; always so here.
    """

    name: str
    value: float | None
    unit: str
    peer: str = ""
    peer_value: float | None = None
    ratio: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    cpu_s: float | None = None
    peak_mb: float | None = None
    rows: int | None = None
    note: str = ""
    more: dict[str, Any] = field(default_factory=dict)
    simulated: bool = True

    @property
    def verdict(self) -> str:
        """Whether what was aimed at was reached: one of `VERDICTS`."""
        if self.value is None:
            return "not measured"
        if self.more.get("equal") is False:
            return "missed"  # a faster way to something else
        aims = []
        if self.at_least is not None:
            aims.append(self.ratio is not None and self.ratio >= self.at_least)
        if self.at_most is not None:
            aims.append(self.value <= self.at_most)
        if not aims:
            return "no target"
        return "met" if all(aims) else "missed"

    def as_dict(self) -> dict[str, Any]:
        """As it is written to a results file."""
        return {**asdict(self), "verdict": self.verdict}


def compared(
    name: str,
    ours: Side,
    theirs: Side,
    peer: str,
    *,
    unit: str = "CPU s",
    per_row: float = 0.0,
    more_is_better: bool = False,
    **fields: Any,
) -> Result:
    """A figure of two sides: CPU seconds, or CPU per row of each side's own rows.

    Args:
        name: what was measured.
        ours: our side.
        theirs: the peer's.
        peer: its name.
        unit: of the figure.
        per_row: what one CPU second is in `unit` if the figure is per row (1e6 for microseconds);
            0 for CPU seconds as they are.
        more_is_better: the figure is rows per CPU second instead.
        fields: others of `Result`.
    """

    def figure(side: Side) -> float:
        if more_is_better:
            return side.rows / side.cpu_s
        return side.cpu_s * per_row / side.rows if per_row else side.cpu_s

    value, peer_value = figure(ours), figure(theirs)
    better = value / peer_value if more_is_better else peer_value / value
    more = {**two_sides(ours, theirs), **fields.pop("more", {})}
    return Result(
        name, value, unit, peer, peer_value, better,
        cpu_s=ours.cpu_s, peak_mb=ours.peak_mb, rows=ours.rows, more=more, **fields,
    )  # fmt: skip


def two_sides(ours: Side, theirs: Side) -> dict[str, Any]:
    """Wall times of both sides, and what the peer took."""
    return {
        "wall_s": ours.wall_s,
        "memory_measured_as": ours.said.get("memory"),
        "start_mb": ours.said.get("start_mb"),
        "peer_start_mb": theirs.said.get("start_mb"),
        "peer_cpu_s": theirs.cpu_s,
        "peer_wall_s": theirs.wall_s,
        "peer_peak_mb": theirs.peak_mb,
        "peer_rows": theirs.rows,
    }


def check_record(record: dict[str, Any]) -> None:
    """Refuse a record that is not what a results file holds.

    Raises:
        ValueError: names the field.
    """
    for name, kinds in _FIELDS.items():
        if name not in record:
            raise ValueError(f"{name} is missing in {record.get('name')!r}")
        value = record[name]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise ValueError(f"{name} of {record['name']!r} is {value!r}")
    if record["verdict"] not in VERDICTS:
        raise ValueError(f"verdict of {record['name']!r} is {record['verdict']!r}")
    if record["value"] is None and record["ratio"] is not None:
        raise ValueError(f"{record['name']!r} was not measured and has a ratio")


def environment() -> dict[str, Any]:
    """The machine and versions, as every record carries them; no names of hosts or people."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1),
        "machine": platform.machine(),
        "cpu": _cpu_model(),
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
    }


def write_results(path: Path, results: Iterable[Result], *, sizes: dict[str, Any]) -> None:
    """Write a benchmark's records, with machine, versions, seed and sizes."""
    here = environment()
    records = [{**r.as_dict(), "environment": here, "sizes": sizes} for r in results]
    for record in records:
        check_record(record)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(records, indent=1, sort_keys=True) + "\n", "utf-8")
    part.replace(path)


def read_results(path: Path) -> list[dict[str, Any]]:
    """Records of a results file."""
    records: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
    for record in records:
        check_record(record)
    return records


def table(records: Sequence[dict[str, Any]]) -> str:
    """Every record as a row of one Markdown table, with its notes below."""
    lines = [
        "All data is SIMULATED: it was generated for these measurements.",
        "",
        "| figure | ours | peer | peer's | ratio | aim | verdict | CPU s | peak MiB | rows |",
        "| --- | ---: | --- | ---: | ---: | --- | --- | ---: | ---: | ---: |",
    ]
    notes: list[str] = []
    for record in records:
        mark = ""
        if record.get("note"):
            if record["note"] not in notes:
                notes.append(record["note"])
            mark = f" [{notes.index(record['note']) + 1}]"
        cells = [
            record["name"] + mark,
            f"{number(record['value'])} {record['unit']}".strip(),
            record["peer"],
            number(record["peer_value"]),
            number(record["ratio"]),
            _aim(record),
            f"**{record['verdict']}**" if record["verdict"] == "missed" else record["verdict"],
            number(record["cpu_s"]),
            number(record["peak_mb"]),
            "-" if record["rows"] is None else f"{record['rows']:,}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", *(f"[{n}] {text}  " for n, text in enumerate(notes, start=1))]
    return "\n".join(lines).rstrip() + "\n"


def number(value: float | None) -> str:
    """Three significant digits, as people write them."""
    if value is None:
        return "-"
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _aim(record: dict[str, Any]) -> str:
    aims = []
    if record["at_least"] is not None:
        aims.append(f"ratio ≥ {number(record['at_least'])}")
    if record["at_most"] is not None:
        aims.append(f"≤ {number(record['at_most'])} {record['unit']}")
    return ", ".join(aims)


def _cpu_model() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), "")
