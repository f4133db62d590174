"""Scenes as files: a GeoTIFF per district, month and sensor, and items.json, which lists them."""

import datetime as dt
import itertools
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine

from geofm_assets.core.progress import notify
from geofm_assets.sample_world.files import write_atomically
from geofm_assets.sample_world.pixels import S1_NODATA, S2_NODATA, Land, land, optical, radar
from geofm_assets.sample_world.presets import PIXEL_M
from geofm_assets.sample_world.spectra import S1_BANDS, S2_BANDS
from geofm_assets.sample_world.terrain import EPSG, District

INDEX_FILE = "items.json"
_COLLECTIONS = {"S2": ("sentinel-2-l2a", S2_BANDS), "S1": ("sentinel-1-rtc", S1_BANDS)}


def write_scenes(
    folder: Path, districts: Sequence[District], month_starts: Sequence[dt.date], seed: int
) -> None:
    """Write every scene that is not there yet and, last, items.json.

    Args:
        folder: made if absent. Scenes in it are taken to be of this very world.
        districts: what to image.
        month_starts: first days of the months, and of the month after the last.
        seed: of the world.
    """
    places = [land(district, seed) for district in districts]
    write_visits(
        folder,
        [
            (place, start, end)
            for start, end in itertools.pairwise(month_starts)
            for place in places
        ],
    )


def write_visits(folder: Path, visits: Sequence[tuple[Land, dt.date, dt.date]]) -> None:
    """Write the scenes of places and months, those that are not there yet, and items.json.

    Args:
        folder: made if absent. Scenes in it are taken to be of these very places.
        visits: a place, the first day of a month, and of the month after it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    entries: list[dict[str, Any]] = []
    tenth = max(1, len(visits) // 10)
    # Drawing and compressing mostly run outside Python's lock.
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for number, found in enumerate(pool.map(lambda job: _month(folder, *job), visits), start=1):
            entries += found
            if number % tenth == 0:
                notify(number, len(visits), "months of places, SIMULATED scenes")
    text = json.dumps(entries, indent=1) + "\n"
    write_atomically(folder / INDEX_FILE, lambda path: path.write_text(text, "utf-8"))


def _month(folder: Path, place: Land, start: dt.date, end: dt.date) -> list[dict[str, Any]]:
    """Both sensors' scenes of a district and month; their entries of items.json."""
    entries = []
    for sensor, (collection, bands) in _COLLECTIONS.items():
        name = f"{sensor}_{start:%Y-%m}_{place.district.name}.tif"
        path = folder / name
        entry: dict[str, Any] = {
            "file": name,
            "collection": collection,
            "bands": list(bands),
            "start": f"{start.isoformat()}T00:00:00Z",
            "end": f"{end.isoformat()}T00:00:00Z",
            "simulated": True,
        }
        pixels = optical(place, start) if sensor == "S2" else radar(place, start)
        if pixels is None:
            continue
        if sensor == "S2":
            entry["cloud_cover"] = round(100.0 * float((pixels[0] == S2_NODATA).mean()), 1)
        if not path.exists():
            _write(path, pixels, bands, place.district)
        entries.append(entry)
    return entries


def _write(path: Path, pixels: np.ndarray, bands: Sequence[str], district: District) -> None:
    count, side, _ = pixels.shape
    optic = pixels.dtype == np.uint16
    profile = {
        "driver": "GTiff",
        "width": side,
        "height": side,
        "count": count,
        "dtype": pixels.dtype.name,
        "crs": f"EPSG:{EPSG}",
        "transform": Affine(PIXEL_M, 0, district.left, 0, -PIXEL_M, district.top),
        "nodata": S2_NODATA if optic else S1_NODATA,
        "tiled": True,
        "blockxsize": side,
        "blockysize": side,
        "interleave": "band",
        "compress": "deflate",
        "zlevel": 6,
        "predictor": 2 if optic else 3,
    }

    def write(temporary: Path) -> None:
        with rasterio.open(temporary, "w", **profile) as scene:
            scene.write(pixels)
            scene.descriptions = tuple(bands)
            scene.update_tags(SIMULATED="YES")

    write_atomically(path, write)
