"""Small generated chips and manifests, as the imagery stage would write them."""

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from geofm_assets.imagery.bands import LAYERS
from geofm_assets.imagery.cell_file import LayerMosaics, checksums, write_cell_file
from geofm_assets.imagery.chips import pack_cell
from geofm_assets.training.schema import MANIFEST

CELLS = ("831e94fffffffff", "831f8afffffffff")
CLASSES = ("Cropland", "Non-Cropland")
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def month_periods(first: dt.date, months: int) -> np.ndarray:
    """(T, 2) microseconds of calendar months."""
    edges = []
    for k in range(months + 1):
        year, month = divmod(first.month - 1 + k, 12)
        moment = dt.datetime(first.year + year, month + 1, 1, tzinfo=dt.UTC)
        edges.append((moment - EPOCH) // dt.timedelta(microseconds=1))
    return np.array([edges[:-1], edges[1:]], dtype="<i8").T


def mosaics(name: str, values: np.ndarray, periods: np.ndarray) -> LayerMosaics:
    """A layer of generated pixels; absent months are those without any valid pixel."""
    spec = LAYERS[name]
    stored = values.astype(np.dtype(spec.dtype).newbyteorder("<"))
    times = np.broadcast_to(periods, (len(values), *periods.shape)).astype("<i8")
    present = (~spec.is_nodata(stored)).any(axis=(2, 3, 4))
    return LayerMosaics(stored, present, times, times, checksums(stored), [], [[]] * len(values))


def write_cell(
    folder: Path,
    cell: str,
    names: list[str],
    values: dict[str, np.ndarray],
    periods: np.ndarray,
    *,
    simulated: bool = True,
    refused: tuple[str, ...] = (),
) -> str:
    """Chips of a cell; returns the name of their packed file."""
    windows = [{"window_name": name} for name in names]
    layers = {name: mosaics(name, array, periods) for name, array in values.items()}
    file = write_cell_file(folder, cell, windows, layers, simulated=simulated)
    pack_cell(folder, file, refused, "inputs")
    return file


def manifest_row(index: int, cell: str, file: str, row: int, **other: Any) -> dict[str, Any]:
    """A row of the manifest for window `index`, of class index % 2."""
    return {
        "window_name": f"w{index:04d}",
        "sample_id": f"s{index:04d}",
        "collection_id": "2022simpoint110",
        "h3_cell": cell,
        "split": "train",
        "class_id": index % 2,
        "class_name": CLASSES[index % 2],
        "valid_time": dt.date(2022, 6, 1),
        "lon": 9.0 + 0.01 * index,
        "lat": 42.0,
        "chip_file": file,
        "chip_row": row,
        "s2_months": 3,
        "s1_months": 3,
        "simulated": True,
        **other,
    }


def make_world(
    root: Path,
    *,
    windows: int = 24,
    size: int = 4,
    months: int = 3,
    seed: int = 0,
    signal: float = 1.0,
    layers: tuple[str, ...] = ("sentinel2_l2a", "sentinel1"),
    blank: bool = False,
) -> pa.Table:
    """Chips below `root` and their manifest; near infrared is high in class 0.

    If `blank`, no pixel holds data.
    """
    rng = np.random.default_rng(seed)
    periods = month_periods(dt.date(2022, 5, 1), months)
    rows = []
    per_cell = np.array_split(np.arange(windows), len(CELLS))
    for cell, members in zip(CELLS, per_cell, strict=True):
        classes = np.array([int(i) % 2 for i in members])
        count = len(members)
        s2 = rng.normal(1500, 200, (count, months, 12, size, size))
        s2[:, :, 3] += signal * 2000 * (1 - classes)[:, None, None, None]
        s1 = (
            rng.normal(-12, 2, (count, months, 2, size, size))
            - signal * 4 * classes[:, None, None, None, None]
        )
        values = {
            "sentinel2_l2a": np.clip(s2, 1, 10000).astype(np.uint16),
            "sentinel1": s1.astype(np.float32),
        }
        if blank:
            values = {name: np.full_like(v, LAYERS[name].nodata) for name, v in values.items()}
        names = [f"w{i:04d}" for i in members]
        chosen = {layer: values[layer] for layer in layers}
        file = write_cell(root / f"h3_cell={cell}", cell, names, chosen, periods)
        for row, index in enumerate(members.tolist()):
            split = ("train", "train", "train", "train", "val", "val", "test", "test")[index % 8]
            has = {"split": split, "s2_months": months, "s1_months": months}
            rows.append(manifest_row(index, cell, file, row, **has))
    rows.sort(key=lambda r: str(r["window_name"]))
    return pa.Table.from_pylist(rows, schema=MANIFEST)
