"""The picture of a comparison: every experiment with its interval, then axis by axis."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from geofm_assets.core.plots import new_figure
from geofm_assets.evaluation.comparison_schema import LEVELS
from geofm_assets.training.experiments import AXES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = dict[str, Any]

_COLOUR, _BASELINE, _LINK, _SIMULATED = "#4477aa", "#bbbbbb", "#dddddd", "#aa3377"
_ROW, _PANEL, _WIDTH = 0.24, 2.8, 11.0  # inches of a row, of a row of panels, of the figure
_PANELS_A_ROW = 4
_SPREAD = 0.25  # share of the room between two values that their points are spread over


def comparison_figure(rows: pa.Table, differences: pa.Table) -> "Figure":
    """All experiments, then a panel an axis with several values, then the paired differences.

    Windows and pixels never share a panel. A grey line joins experiments that are equal in every
    other axis.

    Args:
        rows: COMPARISON table.
        differences: DIFFERENCE table.
    """
    shown = [r for r in rows.to_pylist() if r["state"] in ("compared", "baseline")]
    between = [r for r in differences.to_pylist() if r["low"] is not None]
    levels = [level for level in LEVELS if any(r["level"] == level for r in shown)]
    lines = [(level, line) for level in levels for line in _lines(_varied(shown, level))]
    bands = [0.9 + _ROW * sum(r["level"] == level for r in shown) for level in levels]
    bands += [_PANEL] * len(lines)
    bands += [0.9 + _ROW * len(between)] if between else []
    figure = new_figure(_WIDTH, sum(bands) + 0.5 if bands else 1.5)
    _title(figure, shown)
    if not bands:
        return figure
    parts = list(figure.subfigures(len(bands), 1, height_ratios=bands, squeeze=False)[:, 0])
    for level in levels:
        _forest(parts.pop(0).subplots(), [r for r in shown if r["level"] == level])
    for level, line in lines:
        drawn = parts.pop(0).subplots(1, _PANELS_A_ROW, squeeze=False)[0]
        for axes, axis in zip(drawn, line, strict=False):
            _panel(axes, axis, _experiments(shown, level))
        for axes in drawn[len(line) :]:
            axes.set_axis_off()
    if between:
        _differences(parts.pop(0).subplots(), between)
    return figure


def _title(figure: "Figure", shown: Sequence[Row]) -> None:
    if not shown:
        figure.suptitle("No experiment of today's data has been scored", fontsize=10)
        return
    simulated = sum(r["simulated"] for r in shown)
    if simulated:
        some = "" if simulated == len(shown) else f" in {simulated} of {len(shown)} rows"
        figure.suptitle(f"SIMULATED DATA{some}", color=_SIMULATED, fontsize=11)


def _forest(axes: "Axes", rows: Sequence[Row]) -> None:
    """Experiments and baselines of a level with their intervals, grouped by their axes."""
    ordered = sorted(rows, key=_grouped, reverse=True)
    for position, row in enumerate(ordered):
        _whisker(axes, row, position, _BASELINE if row["state"] == "baseline" else _COLOUR)
    some = any(not r["simulated"] for r in rows)
    names = [r["experiment"] + (" SIMULATED" if r["simulated"] and some else "") for r in ordered]
    axes.set_yticks(range(len(ordered)), names, fontsize=8)
    axes.set(ylim=(-0.7, len(ordered) - 0.3), xlim=(0, 1))
    axes.set_xlabel(f"{_what(rows[0])} (95 % bootstrap interval{_over(rows)})", fontsize=9)
    axes.grid(axis="x", color="#eeeeee")
    axes.set_axisbelow(True)


def _grouped(row: Row) -> tuple[Any, ...]:
    """Baselines last; experiments by encoder, modality and so on, numbers as numbers."""
    if row["state"] == "baseline":
        return (1, row["experiment"])
    return (0, *(row[axis] for axis in AXES))


def _whisker(axes: "Axes", row: Row, position: float, colour: str) -> None:
    ends = [row["low"], row["high"]]
    axes.plot(ends, [position, position], color=colour, linewidth=2, clip_on=False)
    axes.plot(row["value"], position, "o", color=colour, markersize=5, clip_on=False)


def _panel(axes: "Axes", axis: str, rows: Sequence[Row]) -> None:
    """Experiments by their value of one axis."""
    values = sorted({r[axis] for r in rows})
    others = [a for a in AXES if a != axis]
    families = sorted({tuple(r[a] for a in others) for r in rows})
    for number, family in enumerate(families):
        members = [r for r in rows if tuple(r[a] for a in others) == family]
        members.sort(key=lambda r: values.index(r[axis]))
        aside = 0.0 if len(families) == 1 else _SPREAD * (2 * number / (len(families) - 1) - 1)
        places = [values.index(r[axis]) + aside for r in members]
        axes.plot(places, [r["value"] for r in members], color=_LINK, linewidth=1, zorder=1)
        for place, row in zip(places, members, strict=True):
            axes.plot([place, place], [row["low"], row["high"]], color=_COLOUR, linewidth=1)
            axes.plot(place, row["value"], "o", color=_COLOUR, markersize=4)
    axes.set_xticks(range(len(values)), [str(v) for v in values], fontsize=8)
    if isinstance(values[0], str) and max(map(len, values)) > 8:
        axes.tick_params(axis="x", rotation=20)
    axes.set_xlim(-0.6, len(values) - 0.4)
    axes.set_title(axis, fontsize=9)
    axes.set_ylabel(_what(rows[0]), fontsize=8)
    axes.tick_params(axis="y", labelsize=8)


def _differences(axes: "Axes", rows: Sequence[Row]) -> None:
    """Paired differences about zero, those that leave it out in full colour."""
    for position, row in enumerate(reversed(rows)):
        clear = row["low"] > 0 or row["high"] < 0
        _whisker(axes, {**row, "value": row["difference"]}, position, _COLOUR if clear else "#99b")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [_label(r) for r in reversed(rows)], fontsize=8)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    text = f"difference in {rows[0]['metric']}, all else equal (95 % bootstrap interval, paired)"
    axes.set_xlabel(text, fontsize=9)
    axes.grid(axis="x", color="#eeeeee")
    axes.set_axisbelow(True)


def _label(row: Row) -> str:
    pairs = f"{row['pairs']} pair{'' if row['pairs'] == 1 else 's'}"
    return f"{row['axis']}: {row['value_b']} - {row['value_a']} ({row['level']}s, {pairs})"


def _varied(rows: Sequence[Row], level: str) -> list[str]:
    """Axes of which experiments of a level have several values."""
    compared = _experiments(rows, level)
    return [axis for axis in AXES if len({r[axis] for r in compared}) > 1]


def _lines(axes: Sequence[str]) -> list[Sequence[str]]:
    """Axes in lines of as many as stand side by side."""
    return [axes[i : i + _PANELS_A_ROW] for i in range(0, len(axes), _PANELS_A_ROW)]


def _experiments(rows: Sequence[Row], level: str) -> list[Row]:
    return [r for r in rows if r["state"] == "compared" and r["level"] == level]


def _over(rows: Sequence[Row]) -> str:
    """How many groups the intervals are over."""
    groups = max((r["groups"] for r in rows if r["groups"] is not None), default=None)
    return "" if groups is None else f" over {groups} group{'' if groups == 1 else 's'}"


def _what(row: Row) -> str:
    return f"{row['metric']} of {row['level']}s, {row['split']}"
