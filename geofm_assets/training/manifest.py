"""The split manifest: every window a model may see, with its split and its place in the chips.

It is the one unpartitioned table between the cells and training, so that training does not
depend on a thousand partitions.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.core.plots import figure_markdown, new_figure
from geofm_assets.imagery.chips import CellChips
from geofm_assets.imagery.contract import check_model_input
from geofm_assets.imagery.normalize import normalize, valid_pixels
from geofm_assets.sampling.leakage import min_split_distances
from geofm_assets.training.schema import MANIFEST

SPLITS = ("train", "val", "test")
_WINDOWS_LOOKED_AT = 8
_COLOURS = {"train": "#4477aa", "val": "#ccbb44", "test": "#ee6677"}


@dataclass(frozen=True)
class ManifestCheck:
    """Result of one rule on the manifest."""

    name: str
    passed: bool
    description: str
    metadata: dict[str, Any]


def make_manifest(cells: Iterable[tuple[pa.Table, CellChips]]) -> pa.Table:
    """One row a window that has chips.

    Args:
        cells: per H3 cell its WINDOW table and its chips.

    Returns:
        MANIFEST table sorted by `window_name`.
    """
    rows: list[dict[str, Any]] = []
    carried = [n for n in MANIFEST.names if n not in ("chip_row", "s2_months", "s1_months")]
    for windows, chips in cells:
        by_name = {row["window_name"]: row for row in windows.to_pylist()}
        for index, name in enumerate(chips.window_names):
            months = {layer: int(mask[index].sum()) for layer, mask in chips.present.items()}
            rows.append(
                {
                    **{column: by_name[name][column] for column in carried},
                    "chip_row": index,
                    "s2_months": months.get("sentinel2_l2a", 0),
                    "s1_months": months.get("sentinel1", 0),
                }
            )
    rows.sort(key=lambda row: row["window_name"])
    return pa.Table.from_pylist(rows, schema=MANIFEST)


def class_counts(manifest: pa.Table) -> dict[str, dict[str, int]]:
    """Windows per split and class name."""
    counts: dict[str, dict[str, int]] = {}
    grouped = manifest.group_by(["split", "class_name"]).aggregate([("window_name", "count")])
    for row in grouped.to_pylist():
        counts.setdefault(row["split"], {})[row["class_name"]] = row["window_name_count"]
    return {split: dict(sorted(counts[split].items())) for split in sorted(counts)}


def check_classes(manifest: pa.Table, needed: tuple[str, ...] = SPLITS) -> ManifestCheck:
    """Whether every needed split has every class that occurs at all."""
    counts = class_counts(manifest)
    classes = sorted(set(manifest["class_name"].to_pylist()))
    lacking = [f"{s} lacks {c}" for s in needed for c in classes if not counts.get(s, {}).get(c)]
    if len(classes) < 2:
        lacking.append(f"only {len(classes)} class in all")
    text = "; ".join(lacking) if lacking else "every split has every class"
    return ManifestCheck("class_coverage", not lacking, text, {"counts": counts})


def check_leakage(manifest: pa.Table, promised_m: float) -> ManifestCheck:
    """Whether windows of two splits lie at least the promised distance apart, in metres."""
    distances = min_split_distances(
        manifest["lon"].to_numpy(), manifest["lat"].to_numpy(), manifest["split"].to_pylist()
    )
    finite = {pair: d for pair, d in distances.items() if d is not None}
    near = {pair: d for pair, d in finite.items() if d < promised_m}
    nearest = min(finite.values(), default=float("inf"))
    text = f"nearest windows of two splits are {nearest:.0f} m apart, promised {promised_m:.0f} m"
    metadata = {"distances_m": {str(k): float(v) for k, v in finite.items()}}
    return ManifestCheck("leakage", not near, text, metadata)


def check_model_inputs(cells: Iterable[CellChips]) -> ManifestCheck:
    """Whether normalised pixels are what an encoder expects, looked at in every cell.

    At most `_WINDOWS_LOOKED_AT` windows of a cell are read, evenly spaced.
    """
    looked: dict[str, list[np.ndarray]] = {}
    valid: dict[str, list[np.ndarray]] = {}
    for chips in cells:
        step = max(1, -(-len(chips.window_names) // _WINDOWS_LOOKED_AT))
        for layer, array in chips.arrays.items():
            values = np.asarray(array[::step])
            height, width = (max(1, side // 2) for side in values.shape[-2:])
            centre = values[..., height - 1 : height + 1, width - 1 : width + 1]
            looked.setdefault(layer, []).append(normalize(centre, layer))
            valid.setdefault(layer, []).append(valid_pixels(centre, layer))
    failures: list[str] = []
    absent: list[str] = []
    metadata: dict[str, Any] = {}
    for layer, parts in looked.items():
        report = check_model_input(np.concatenate(parts), layer, np.concatenate(valid[layer]))
        failures += report.failures
        absent += [f"{layer} {band}" for band in report.absent_bands]
        metadata |= report.metadata
    text = "; ".join(failures) or "every layer is normalised as the encoders expect"
    if absent:
        text += f" (filled with the band mean, as the source lacks them: {', '.join(absent)})"
    return ManifestCheck("model_input", not failures, text, metadata)


def split_map(manifest: pa.Table) -> str:
    """A map of the windows by split (lon/lat, EPSG:4326) beside the class balance, as Markdown."""
    simulated = bool(pc.any(manifest["simulated"]).as_py())
    figure = new_figure(9, 3.6)
    where, balance = figure.subplots(1, 2)
    for split in SPLITS:
        part = manifest.filter(pc.equal(manifest["split"], split))
        where.scatter(
            part["lon"].to_numpy(), part["lat"].to_numpy(), s=8, color=_COLOURS[split], label=split
        )
    where.set(xlabel="longitude (degrees)", ylabel="latitude (degrees)")
    where.legend(fontsize=8)
    counts = class_counts(manifest)
    classes = sorted(set(manifest["class_name"].to_pylist()))
    bottom = [0.0] * len(SPLITS)
    for name in classes:
        heights = [float(counts.get(split, {}).get(name, 0)) for split in SPLITS]
        balance.bar(SPLITS, heights, bottom=bottom, label=name)
        bottom = [b + h for b, h in zip(bottom, heights, strict=True)]
    balance.set_ylabel("windows")
    balance.legend(fontsize=8)
    if simulated:
        figure.suptitle("SIMULATED DATA", color="#aa3377", fontsize=10)
    return figure_markdown(figure, "windows by split")
