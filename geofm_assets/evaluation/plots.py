"""Pictures of scores for asset metadata."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.core.plots import figure_markdown, new_figure


def score_plot(scores: pa.Table, metric: str = "macro_f1", split: str = "test") -> str:
    """One bar an experiment with its bootstrap interval, as a Markdown image."""
    mask = pc.and_(pc.equal(scores["metric"], metric), pc.equal(scores["split"], split))
    rows = sorted(scores.filter(mask).to_pylist(), key=lambda r: (r["value"], r["experiment"]))
    figure = new_figure(7, 0.6 + 0.4 * max(len(rows), 1))
    axes = figure.subplots()
    for position, row in enumerate(rows):
        baseline = row["experiment"].startswith("baseline_")
        axes.barh(position, row["value"], color="#bbbbbb" if baseline else "#4477aa")
        axes.plot([row["low"], row["high"]], [position, position], color="black", linewidth=1)
    axes.set_yticks(range(len(rows)), [r["experiment"] for r in rows], fontsize=8)
    groups = max((r["groups"] for r in rows if r["groups"] is not None), default=None)
    over = "" if groups is None else f"; of pixels over {groups} group{'' if groups == 1 else 's'}"
    axes.set(xlim=(0, 1), xlabel=f"{metric} on {split} (95 % bootstrap interval{over})")
    if any(r["simulated"] for r in rows):
        axes.set_title("SIMULATED DATA", color="#aa3377", fontsize=10)
    return figure_markdown(figure, f"{metric} on {split}")


def confusion_plot(predictions: pa.Table, classes: tuple[str, ...], split: str = "test") -> str:
    """Truth by prediction, in windows, as a Markdown image."""
    part = predictions.filter(pc.equal(predictions["split"], split))
    counts = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(counts, (part["class_id"].to_numpy(), part["predicted_id"].to_numpy()), 1)
    figure = new_figure(4, 3.6)
    axes = figure.subplots()
    axes.imshow(counts, cmap="Blues")
    axes.set_xticks(range(len(classes)), classes, rotation=30, ha="right", fontsize=8)
    axes.set_yticks(range(len(classes)), classes, fontsize=8)
    axes.set(xlabel="predicted", ylabel="truth", title=f"{split}, windows")
    for (row, column), count in np.ndenumerate(counts):
        dark = count > counts.max() / 2
        axes.text(column, row, str(count), ha="center", va="center", color="w" if dark else "k")
    return figure_markdown(figure, f"confusion on {split}")
