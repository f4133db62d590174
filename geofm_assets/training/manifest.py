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

from geofm_assets.core.errors import ImageryError
from geofm_assets.core.plots import figure_markdown, new_figure
from geofm_assets.imagery.bands import SENTINEL1, SENTINEL2
from geofm_assets.imagery.contract import check_model_input
from geofm_assets.imagery.normalize import normalize, valid_pixels
from geofm_assets.sampling.leakage import min_split_distances
from geofm_assets.training.cell_chips import Chips
from geofm_assets.training.schema import MANIFEST

SPLITS = ("train", "val", "test")
_WINDOWS_LOOKED_AT = 4096
_WINDOWS_OF_A_CELL = 8
_COLOURS = {"train": "#4477aa", "val": "#ccbb44", "test": "#ee6677"}


@dataclass(frozen=True)
class ManifestCheck:
    """Result of one rule on the manifest."""

    name: str
    passed: bool
    description: str
    metadata: dict[str, Any]


def cell_manifest(windows: pa.Table, chips: Chips) -> pa.Table:
    """MANIFEST rows of one cell: one a window that has chips, sorted by `window_name`.

    Args:
        windows: the cell's WINDOW table.
        chips: the cell's chips.

    Raises:
        ImageryError: a chip's window is not in the table.
    """
    names, rows = pa.array(chips.window_names, pa.string()), np.array(chips.rows, dtype=np.int64)
    where = pc.index_in(names, windows["window_name"].combine_chunks())
    if where.null_count:
        lost = chips.window_names[where.is_null().to_pylist().index(True)]
        raise ImageryError(
            f"Window {lost!r} of the chips is not among the cell's windows",
            where=chips.file_name,
            fix="Materialize the cell's rasters and chips again",
        )
    columns = {"chip_file": pa.array([chips.file_name] * len(rows), pa.string()), "chip_row": rows}
    for column, layer in (("s2_months", SENTINEL2), ("s1_months", SENTINEL1)):
        found = chips.file.layers.get(layer)
        months = np.zeros(len(rows), np.int64) if found is None else found.present[rows].sum(axis=1)
        columns[column] = pa.array(months, pa.int64())
    table = windows.take(where)
    arrays = [columns[n] if n in columns else table[n].combine_chunks() for n in MANIFEST.names]
    return pa.table(arrays, schema=MANIFEST).sort_by("window_name")


def join_manifest(parts: Iterable[pa.Table]) -> pa.Table:
    """The MANIFEST table of cells, sorted by `window_name`."""
    return pa.concat_tables([MANIFEST.empty_table(), *parts]).sort_by("window_name")


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


class ModelInputs:
    """Whether normalised pixels are what an encoder expects, looked at in every cell.

    Of each window looked at, the middle 2 x 2 pixels of every month are kept.

    Args:
        cells: how many cells there will be; the more, the fewer windows of each are read.
    """

    def __init__(self, cells: int) -> None:
        share = _WINDOWS_LOOKED_AT // max(cells, 1)
        self._a_cell = min(max(share, 1), _WINDOWS_OF_A_CELL)
        self._looked: dict[str, list[np.ndarray]] = {}
        self._valid: dict[str, list[np.ndarray]] = {}

    def look(self, chips: Chips) -> None:
        """Look at windows of a cell, evenly spaced.

        Raises:
            ImageryError: their pixels are not what was written.
        """
        step = max(1, -(-len(chips.rows) // self._a_cell))
        for layer in chips.file.layers if chips.rows else ():
            parts = [_middle(chips.file.row(layer, row)) for row in chips.rows[::step]]
            centre = np.stack(parts)
            self._looked.setdefault(layer, []).append(normalize(centre, layer))
            self._valid.setdefault(layer, []).append(valid_pixels(centre, layer))

    def check(self) -> ManifestCheck:
        """What all of them say."""
        failures: list[str] = []
        absent: list[str] = []
        metadata: dict[str, Any] = {}
        for layer, parts in sorted(self._looked.items()):
            valid = np.concatenate(self._valid[layer])
            report = check_model_input(np.concatenate(parts), layer, valid)
            failures += report.failures
            absent += [f"{layer} {band}" for band in report.absent_bands]
            metadata |= report.metadata
        text = "; ".join(failures) or "every layer is normalised as the encoders expect"
        if absent:
            text += f" (filled with the band mean, as the source lacks them: {', '.join(absent)})"
        return ManifestCheck("model_input", not failures, text, metadata)


def _middle(values: np.ndarray) -> np.ndarray:
    """The middle 2 x 2 pixels of (T, C, H, W)."""
    height, width = (max(1, side // 2) for side in values.shape[-2:])
    return values[..., height - 1 : height + 1, width - 1 : width + 1]


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
