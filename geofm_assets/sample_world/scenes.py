"""Monthly scenes as GeoTIFFs with items.json, in the shape `--scenes` takes.

One scene covers one H3 cell's districts; everything else in it is nodata and takes no space. Some
pixels are clouded (nodata, as a producer masks them) and some months of a cell are missing.
"""

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import from_origin
from rasterio.windows import Window
from scipy.ndimage import gaussian_filter

from geofm_assets.sample_world.phenology import greenness
from geofm_assets.sample_world.spectra import (
    S1_BANDS,
    S1_NODATA,
    S2_BANDS,
    S2_NODATA,
    backscatter_db,
    reflectance,
    to_digital_numbers,
    with_speckle,
)
from geofm_assets.sample_world.terrain import (
    COVERS,
    CRS,
    DISTRICT_PIXELS,
    PIXEL_M,
    SCENE_PIXELS,
    District,
    scene_corner,
)

_CLEAR_SHARE = 0.75  # of district-months without any cloud
_MISSING_SHARE = 0.03  # of cell-months without a Sentinel-2 scene


def months(first: dt.date, count: int) -> list[tuple[dt.date, dt.date]]:
    """Calendar months as (first day, first day of the next)."""
    found = []
    year, month = first.year, first.month
    for _ in range(count):
        start = dt.date(year, month, 1)
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
        found.append((start, dt.date(year, month, 1)))
    return found


def write_scenes(
    folder: Path, places: list[District], spans: list[tuple[dt.date, dt.date]], seed: int
) -> None:
    """Write every scene and, last, items.json."""
    folder.mkdir(parents=True, exist_ok=True)
    items = list(_write_all(folder, places, spans, seed))
    (folder / "items.json").write_text(json.dumps(items, indent=1) + "\n")


def _write_all(
    folder: Path, places: list[District], spans: list[tuple[dt.date, dt.date]], seed: int
) -> Iterator[dict[str, Any]]:
    by_scene: dict[int, list[District]] = {}
    for place in places:
        by_scene.setdefault(place.scene, []).append(place)
    for start, end in spans:
        for scene, members in sorted(by_scene.items()):
            rng = np.random.default_rng([seed, 1, scene, start.year, start.month])
            missing = rng.random() < _MISSING_SHARE
            optical = [_optical(place, start, seed) for place in members]
            radar = [_radar(place, start, seed) for place in members]
            if not missing:
                yield _write(folder, "S2", members, optical, (start, end))
            yield _write(folder, "S1", members, radar, (start, end))


def _fields(place: District, start: dt.date) -> tuple[np.ndarray, np.ndarray]:
    """Reflectance (n, 12) and backscatter (n, 2) of a district's fields in mid-month."""
    day = float((start + dt.timedelta(days=14)).timetuple().tm_yday)
    count = len(place.covers)
    bright, dark = np.zeros((count, len(S2_BANDS))), np.zeros((count, len(S1_BANDS)))
    for index, cover in enumerate(COVERS):
        of = place.covers == index
        green = greenness(cover.name, day, place.vigour[of], place.shift_days[of])
        bright[of] = reflectance(cover.name, green)
        dark[of] = backscatter_db(cover.name, green)
    return bright, dark


def _optical(place: District, start: dt.date, seed: int) -> np.ndarray:
    """Sentinel-2 of a district, uint16 (12, 112, 112), clouds as nodata."""
    rng = np.random.default_rng([seed, 2, place.index, start.year, start.month])
    bright, _ = _fields(place, start)
    values = to_digital_numbers(bright[place.fields], rng)
    if rng.random() > _CLEAR_SHARE:
        thickness = gaussian_filter(rng.normal(size=place.fields.shape), 10.0)
        cloudy = thickness > np.quantile(thickness, 1.0 - rng.uniform(0.1, 0.7))
        values[cloudy] = S2_NODATA
    return np.moveaxis(values, -1, 0)


def _radar(place: District, start: dt.date, seed: int) -> np.ndarray:
    """Sentinel-1 of a district, float32 dB (2, 112, 112)."""
    rng = np.random.default_rng([seed, 3, place.index, start.year, start.month])
    _, dark = _fields(place, start)
    return np.moveaxis(with_speckle(dark[place.fields], rng), -1, 0)


def _write(
    folder: Path,
    sensor: str,
    members: list[District],
    arrays: list[np.ndarray],
    span: tuple[dt.date, dt.date],
) -> dict[str, Any]:
    """Write one scene; returns its entry of items.json."""
    start, end = span
    optical = sensor == "S2"
    bands = S2_BANDS if optical else S1_BANDS
    easting, northing = scene_corner(members[0].cell)
    name = f"{sensor}_{members[0].cell}_{start:%Y-%m}.tif"
    with rasterio.open(
        folder / name,
        "w",
        driver="GTiff",
        width=SCENE_PIXELS,
        height=SCENE_PIXELS,
        count=len(bands),
        dtype="uint16" if optical else "float32",
        crs=CRS,
        transform=from_origin(easting, northing, PIXEL_M, PIXEL_M),
        nodata=S2_NODATA if optical else S1_NODATA,
        tiled=True,
        blockxsize=DISTRICT_PIXELS,
        blockysize=DISTRICT_PIXELS,
        compress="deflate",
        zlevel=3,
        sparse_ok=True,
    ) as scene:
        scene.descriptions = bands
        scene.update_tags(SIMULATED="YES")
        for place, values in zip(members, arrays, strict=True):
            window = Window(place.column, place.row, DISTRICT_PIXELS, DISTRICT_PIXELS)
            scene.write(values, window=window)
    return {
        "file": name,
        "collection": "sentinel-2-l2a" if optical else "sentinel-1-rtc",
        "bands": list(bands),
        "start": f"{start}T00:00:00Z",
        "end": f"{end}T00:00:00Z",
        "simulated": True,
    }
