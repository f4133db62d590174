"""The leaderboard as one HTML file that needs nothing else to be looked at."""

import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any
from urllib.parse import quote

from geofm_assets.evaluation.backbones.names import CHECKPOINT

_TITLES = {"linear": "Linear probe", "knn": "k nearest neighbours"}
_SIMULATED = '<span class="sim">SIMULATED</span>'
_SHOWN = 12  # characters of an id
Row = dict[str, Any]


def render(rows: Sequence[Row], left_out: int) -> str:
    """The page.

    Args:
        rows: of LEADERBOARD, in its order.
        left_out: score files of datasets that are no longer what the registry says.
    """
    numbered = list(enumerate(rows))
    first = [(n, row) for n, row in numbered if row["first"]]
    tables = "\n".join(
        _table(probe, [(n, r) for n, r in first if r["probe"] == probe]) for probe in _TITLES
    )
    others = [(n, row) for n, row in numbered if not row["first"]]
    models = len({r["model_id"] for r in rows})
    datasets = len({r["dataset_id"] for r in rows})
    summary = f"{_counted(models, 'model')}, {_counted(datasets, 'task')}."
    simulated = sum(1 for r in rows if r["simulated"])
    if simulated:
        share = "All" if simulated == len(rows) else f"{simulated} of {len(rows)}"
        summary += f" {share} numbers rest on {_SIMULATED} data."
    note = ""
    if left_out:
        note = (
            f"{_counted(left_out, 'earlier result')} not shown: the dataset was removed or has "
            "changed since, or an earlier version scored it."
        )
    text = files(__package__).joinpath("leaderboard.html").read_text("utf-8")
    return Template(text).substitute(
        summary=summary,
        tables=tables,
        details=_details(first),
        others=_folded(others),
        left_out=note,
    )


def setting(row: Row) -> str:
    """A row's settings in words."""
    said = [row["normalization"], row["pooling"], f"patch {row['patch_size']}"]
    if row["rate"] is not None:
        said += [f"rate {row['rate']:g}", f"epoch {row['best_epoch']}"]
    if row["subset"] < 100:
        said.append(f"{row['subset']:g} % of train")
    if row["precision"] != "float":
        lost = f"cosine to float mean {row['cosine_mean']:.6g}, least {row['cosine_min']:.6g}"
        said.append(f"{row['precision']} ({lost})")
    return ", ".join(said)


def training(row: Row) -> str:
    """How a row's probe was trained and its interval drawn, in words."""
    said = [f"seed {row['seed']}"]
    if row["probe"] == "linear":
        said.append(
            f"{row['epochs']} epochs, validated every {row['eval_every']}, "
            f"batches of {row['batch_size']}"
        )
    return ", ".join([*said, f"{row['resamples']:,} resamples"])


def seen(row: Row) -> str:
    """What to say of test samples in a checkpoint's training windows; empty if nothing."""
    if not row["model"].startswith(CHECKPOINT) or row["seen_in_training"] == 0:
        return ""
    if row["seen_in_training"] is None:
        return "Whether test samples lie in the checkpoint's training windows is no longer known"
    return (
        f"{row['seen_in_training']:,} of {row['test_samples']:,} test samples lie in the "
        "checkpoint's training windows"
    )


def number(value: float | None) -> str:
    """Three significant digits, three decimals for what lies between 0 and 1."""
    if value is None:
        return "–"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.4g}"


def _table(probe: str, rows: Sequence[tuple[int, Row]]) -> str:
    """Models by tasks."""
    if not rows:
        return ""
    columns = {_column(row): row for _, row in reversed(rows)}
    order = sorted(columns)
    found = {(_model(row), _column(row)): (n, row) for n, row in rows}
    heads = [_head("model", "", "ascending")]
    for column in order:
        row = columns[column]
        arrow = "↓" if row["lower_is_better"] else "↑"
        below = f"{row['metric']} {arrow}" + _variant(row)
        first = "ascending" if row["lower_is_better"] else "descending"
        heads.append(_head(row["display_name"], below, first))
    lines = []
    for model in _best_first([row for _, row in rows]):
        some = next(row for _, row in rows if _model(row) == model)
        cells = [_model_cell(some)]
        for column in order:
            at = found.get((model, column))
            rivals = [row for _, row in rows if _column(row) == column]
            cells.append(_score_cell(at, rivals))
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f'<h2>{_TITLES[probe]}</h2>\n<div class="scroll"><table>\n'
        f"<thead><tr>{''.join(heads)}</tr></thead>\n<tbody>\n" + "\n".join(lines) + "\n</tbody>"
        "</table></div>"
    )


def _column(row: Row) -> tuple[str, str, float]:
    return row["dataset"], row["precision"], -row["subset"]


def _model(row: Row) -> tuple[str, str]:
    return row["model"], row["model_id"]


def _best_first(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Models by their mean place over the tasks they have a number for, then by name."""
    places: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        rivals = [r["value"] for r in rows if _column(r) == _column(row)]
        sign = 1 if row["lower_is_better"] else -1
        place = sum(sign * value < sign * row["value"] for value in rivals)
        places.setdefault(_model(row), []).append(place)
    return sorted(places, key=lambda model: (sum(places[model]) / len(places[model]), model))


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _variant(row: Row) -> str:
    parts = [f"{row['subset']:g} % of train"] if row["subset"] < 100 else []
    parts += [row["precision"]] if row["precision"] != "float" else []
    return "".join(f", {part}" for part in parts)


def _head(text: str, below: str, first: str) -> str:
    small = f"<small>{escape(below)}</small>" if below else ""
    return f'<th data-first="{first}"><button>{_breakable(text)}</button>{small}</th>'


def _breakable(text: str) -> str:
    """Text of a cell that may be broken where paths and names have their joints."""
    return re.sub(r"([/:@_])", r"\1<wbr>", escape(text))


def _model_cell(row: Row) -> str:
    start = f"{row['start']} · {row['model_id'][:_SHOWN]}"
    return (
        f'<td class="model" data-value="{escape(row["model"])}">{_breakable(row["model"])}'
        f"<small>{_breakable(start)}</small></td>"
    )


def _score_cell(at: tuple[int, Row] | None, rivals: Sequence[Row]) -> str:
    if at is None:
        return '<td class="score" data-value="">–</td>'
    n, row = at
    values = [rival["value"] for rival in rivals]
    best = min(values) if row["lower_is_better"] else max(values)
    reaches = row["low"] is not None and row["low"] <= best <= row["high"]
    mark = " best" if row["value"] == best else " near" if reaches else ""
    interval = f"{number(row['low'])} to {number(row['high'])}" if row["low"] is not None else ""
    badge = f"<small>{_SIMULATED}</small>" if row["simulated"] else ""
    badge += f'<small class="seen">{escape(seen(row))}</small>' if seen(row) else ""
    return (
        f'<td class="score{mark}" data-value="{row["value"]!r}" title="{escape(setting(row))}">'
        f'<a href="#n{n}"><b>{number(row["value"])}</b></a><small>{interval}</small>{badge}</td>'
    )


def _details(rows: Sequence[tuple[int, Row]]) -> str:
    """Every number with its settings, ids and files."""
    if not rows:
        return "<p>Nothing has been scored yet.</p>"
    names = ("model", "task", "probe", "test", "95 % interval", "samples", "validation", "chosen",
             "sweep", "training", "weights", "ids", "files")  # fmt: skip
    heads = "".join(_head(name, "", "ascending") for name in names)
    lines = [f'<tr id="n{n}">{"".join(_detail_cells(row))}</tr>' for n, row in rows]
    return (
        f"<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n" + "\n".join(lines) + "\n</tbody>"
        "</table>"
    )


def _folded(rows: Sequence[tuple[int, Row]]) -> str:
    """Numbers of other settings, to be unfolded."""
    if not rows:
        return ""
    what = f"{_counted(len(rows), 'number')} of other seeds, patch sizes or training"
    return (
        f'<details>\n<summary>{what}</summary>\n<div class="scroll">\n{_details(rows)}\n</div>\n'
        "</details>"
    )


def _detail_cells(row: Row) -> list[str]:
    badge = f" {_SIMULATED}" if row["simulated"] else ""
    warning = f'<small class="seen">{escape(seen(row))}</small>' if seen(row) else ""
    interval = f"{number(row['low'])} to {number(row['high'])}" if row["low"] is not None else "–"
    ids = f"<code>{row['model_id'][:_SHOWN]}</code><small>{escape(row['dataset_id'])}</small>"
    links = " ".join(
        f'<a href="{quote(_relative(row[name]))}">{name}</a>' for name in ("embeddings", "scores")
    )
    width = "" if row["low"] is None else repr(row["high"] - row["low"])
    return [
        _cell(row["model"], _breakable(row["model"]), "model"),
        _cell(row["dataset"], f"{escape(row['display_name'])}{badge}"),
        _cell(row["probe"], escape(row["probe"])),
        _cell(repr(row["value"]), f"{number(row['value'])} <small>{escape(row['metric'])}</small>"),
        _cell(width, interval),
        _cell(str(row["n"]), f"{row['n']:,}{warning}"),
        _cell(repr(row["val"]), number(row["val"])),
        _cell(setting(row), escape(setting(row)), "words"),
        _cell(row["sweep"], escape(row["sweep"])),
        _cell(str(row["seed"]), escape(training(row)), "words"),
        _cell(row["start"], escape(row["start"]), "words"),
        _cell(row["model_id"], ids),
        _cell(row["scores"], links),
    ]


def _cell(value: str, shown: str, kind: str = "") -> str:
    kind = f' class="{kind}"' if kind else ""
    return f'<td{kind} data-value="{escape(value)}">{shown}</td>'


def _relative(key: str) -> str:
    """A store key as seen from the page, which lies in `evaluation/`."""
    return key.removeprefix("evaluation/")
