"""Small generated chips and manifests, as the imagery stage would write them."""

import datetime as dt
import json
from pathlib import Path

import numpy as np
import pyarrow as pa

from geofm_assets.core.hashing import json_digest
from geofm_assets.imagery.bands import LAYERS
from geofm_assets.imagery.chip_files import write_array
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


def write_cell(
    folder: Path,
    cell: str,
    names: list[str],
    values: dict[str, np.ndarray],
    periods: np.ndarray,
    *,
    simulated: bool = True,
) -> None:
    """Chips of a cell; absent months are those without any valid pixel."""
    folder.mkdir(parents=True, exist_ok=True)
    layers = {}
    for name, array in values.items():
        spec = LAYERS[name]
        present = (~spec.is_nodata(array)).any(axis=(2, 3, 4))
        times = np.broadcast_to(periods, (len(names), *periods.shape)).astype("<i8")
        parts = {
            "values": array.astype(np.dtype(spec.dtype).newbyteorder("<")),
            "present": present,
            "timestamps": times,
            "periods": times,
        }
        layers[name] = {
            "bands": list(spec.band_names),
            "dtype": spec.dtype,
            "unit": spec.unit,
            "scale": spec.scale,
            "nodata": spec.nodata,
            "axes": ["window", "timestep", "band", "row", "column"],
            "files": {part: write_array(folder, f"{name}.{part}", a) for part, a in parts.items()},
        }
    header = {
        "format": "geofm-chips",
        "version": 1,
        "h3_cell": cell,
        "simulated": simulated,
        "timesteps": "oldest first",
        "windows": [{"window_name": name} for name in names],
        "layers": layers,
    }
    header["content_digest"] = json_digest(header)
    (folder / "header.json").write_text(json.dumps(header))


def make_world(
    root: Path,
    *,
    windows: int = 24,
    size: int = 4,
    months: int = 3,
    seed: int = 0,
    signal: float = 1.0,
    layers: tuple[str, ...] = ("sentinel2_l2a", "sentinel1"),
) -> pa.Table:
    """Chips below `root` and their manifest; near infrared is high in class 0."""
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
        names = [f"w{i:04d}" for i in members]
        chosen = {layer: values[layer] for layer in layers}
        write_cell(root / f"h3_cell={cell}", cell, names, chosen, periods)
        for row, index in enumerate(members):
            split = ("train", "train", "train", "train", "val", "val", "test", "test")[index % 8]
            rows.append(
                {
                    "window_name": names[row],
                    "sample_id": f"s{index:04d}",
                    "collection_id": "2022simpoint110",
                    "h3_cell": cell,
                    "split": split,
                    "class_id": int(classes[row]),
                    "class_name": CLASSES[int(classes[row])],
                    "valid_time": dt.date(2022, 6, 1),
                    "lon": 9.0 + 0.01 * int(index),
                    "lat": 42.0,
                    "chip_row": row,
                    "s2_months": months,
                    "s1_months": months,
                    "simulated": True,
                }
            )
    rows.sort(key=lambda r: str(r["window_name"]))
    return pa.Table.from_pylist(rows, schema=MANIFEST)
