"""A small packed file, and ways to spoil it."""

import datetime as dt
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from geofm_assets.core.hashing import json_digest
from geofm_assets.imagery.cell_file import write_cell_file
from tests.training_world import CELLS, month_periods, mosaics

S2, S1 = "sentinel2_l2a", "sentinel1"
NAMES = ("w0", "w1", "w2")


def pixels() -> dict[str, np.ndarray]:
    """Three windows of 4 x 4 pixels and three months; no Sentinel-2 of the first in month 1."""
    rng = np.random.default_rng(0)
    s2 = rng.integers(1, 9000, (3, 3, 12, 4, 4)).astype(np.uint16)
    s2[0, 1] = 0
    return {S2: s2, S1: rng.normal(-12, 3, (3, 3, 2, 4, 4)).astype(np.float32)}


def write(folder: Path) -> Path:
    """A packed file of `pixels`."""
    periods = month_periods(dt.date(2022, 5, 1), 3)
    layers = {name: mosaics(name, array, periods) for name, array in pixels().items()}
    windows = [{"window_name": name} for name in NAMES]
    return folder / write_cell_file(folder, CELLS[0], windows, layers, simulated=True)


def header_of(path: Path) -> tuple[dict[str, Any], int]:
    """The safetensors header, and where the tensors begin."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), 8 + length


def flip_bit(path: Path, tensor: str, at: int = 0) -> None:
    """Turn one bit of a tensor."""
    header, start = header_of(path)
    data = bytearray(path.read_bytes())
    data[start + header[tensor]["data_offsets"][0] + at] ^= 1
    path.write_bytes(data)


def rewrite(path: Path, change: Callable[[dict[str, Any]], None], *, digest: bool = True) -> None:
    """Change what the header says, with a right digest if asked."""
    header, start = header_of(path)
    meta = json.loads(header["__metadata__"]["geofm"])
    change(meta)
    if digest:
        meta["content_digest"] = json_digest(
            {k: v for k, v in meta.items() if k != "content_digest"}
        )
    header["__metadata__"]["geofm"] = json.dumps(meta)
    replace_header(path, header, start)


def replace_header(path: Path, header: dict[str, Any], start: int) -> None:
    """Put another header in front of the tensors."""
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + path.read_bytes()[start:])
