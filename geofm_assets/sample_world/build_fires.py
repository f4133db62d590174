"""Build the sample world of fires: perimeters, scenes before and after, land cover. SIMULATED."""

import datetime as dt
import itertools
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine

from geofm_assets.core.errors import ConfigError
from geofm_assets.core.hashing import sha256_file
from geofm_assets.sample_world.classes import CLASSES
from geofm_assets.sample_world.files import remove_parts, write_atomically
from geofm_assets.sample_world.fire_perimeters import write_perimeters
from geofm_assets.sample_world.fires import (
    FIRST_MONTH,
    LAST_MONTH,
    YEARS,
    Fire,
    get_fire_preset,
    imaged_years,
    make_fires,
)
from geofm_assets.sample_world.pixels import land
from geofm_assets.sample_world.presets import PIXEL_M, WINDOW_PX
from geofm_assets.sample_world.scenes import write_visits
from geofm_assets.sample_world.terrain import EPSG, District, make_districts, to_degrees

CODE_VERSION = "2"
"""Changes whenever the same seed and preset would give other files."""
MARKER = "sample_fires.json"
PERIMETERS, LAND_COVER, SCENES = "perimeters.gpkg", "land_cover.tif", "scenes"
IMAGED = "imaged.geojson"
COVER_M = 100.0
_STARTED, _README = "sample_fires.started.json", "README.txt"
_OURS = frozenset({MARKER, _STARTED, _README, PERIMETERS, LAND_COVER, IMAGED, SCENES})
_README_TEXT = """This folder is SIMULATED. Nothing in it was measured, no fire in it ever burnt.

geofm_assets.sample_world made it from preset {preset!r} and seed {seed}; the same two give the same
bytes. The places are on the map, what is said and shown of them is invented.

perimeters.gpkg   fire perimeters and prescribed burns with the field names of California's FRAP
scenes/           Sentinel-2 and Sentinel-1 scenes of June to September of each place's fire year,
                  of all years where nothing burns, in the shape --scenes takes
land_cover.tif    class of land every {cover:.0f} m, 0 where there are no scenes
imaged.geojson    where windows have scenes of all years
"""


@dataclass(frozen=True)
class FireWorld:
    """Where a world of fires lies.

    Attributes:
        perimeters: GeoPackage of fires and prescribed burns.
        scenes: folder of scenes with items.json.
        land_cover: raster of land classes, EPSG:32632, 0 where nothing was imaged.
        imaged: squares, EPSG:4326, in which a window has scenes of every year.
    """

    perimeters: Path
    scenes: Path
    land_cover: Path
    imaged: Path


def fires_of(preset: str = "fires", seed: int = 0) -> tuple[tuple[District, ...], tuple[Fire, ...]]:
    """Districts and fires of a world, the truth behind its files.

    Raises:
        ConfigError: there is no such preset.
    """
    districts = make_districts(get_fire_preset(preset), seed)
    return districts, make_fires(districts, seed)


def build_fires(folder: Path, *, seed: int = 0, preset: str = "fires") -> FireWorld:
    """Write a world of fires, unless the folder holds it already.

    A build that was broken off goes on where it stopped.

    Args:
        folder: where; nothing but such a world may be in it.
        seed: another seed gives another world, from 0.
        preset: `fires` or `tiny_fires`.

    Raises:
        ConfigError: there is no such preset, the seed is negative, or other things are in the
            folder.
    """
    if seed < 0:
        raise ConfigError("A seed is not negative", where=f"seed={seed}")
    folder = Path(folder)
    world = FireWorld(folder / PERIMETERS, folder / SCENES, folder / LAND_COVER, folder / IMAGED)
    get_fire_preset(preset)
    wanted = {"code": CODE_VERSION, "preset": preset, "seed": seed, "simulated": True}
    if _is_finished(world, folder, wanted):
        return world
    _make_room(folder, wanted)
    text = _README_TEXT.format(preset=preset, seed=seed, cover=COVER_M)
    write_atomically(folder / _README, lambda part: part.write_text(text, "utf-8"))
    districts, fires = fires_of(preset, seed)
    write_visits(world.scenes, _visits(districts, fires, seed))
    write_perimeters(world.perimeters, fires)
    _write_cover(world.land_cover, districts)
    _write_imaged(world.imaged, districts)
    files = [world.perimeters, world.land_cover, world.imaged, *sorted(world.scenes.iterdir())]
    _write_json(folder / MARKER, {**wanted, "files": {p.name: sha256_file(p) for p in files}})
    (folder / _STARTED).unlink(missing_ok=True)
    return world


def _visits(
    districts: tuple[District, ...], fires: tuple[Fire, ...], seed: int
) -> list[tuple[Any, dt.date, dt.date]]:
    """Every district in the months of the years it is imaged in."""
    found = []
    for district in districts:
        scars = tuple(fire.scar for fire in fires if fire.district == district.number)
        place = land(district, seed, scars)
        for year in imaged_years(district):
            months = [dt.date(year, month, 1) for month in range(FIRST_MONTH, LAST_MONTH + 2)]
            found += [(place, start, end) for start, end in itertools.pairwise(months)]
    return found


def _write_imaged(path: Path, districts: tuple[District, ...]) -> None:
    """Squares that hold the centres of windows with scenes of every year, longitude first."""
    inset = (WINDOW_PX / 2 + 1) * PIXEL_M
    features = []
    for district in districts:
        if imaged_years(district) != YEARS:
            continue
        near, far = inset, district.labels.shape[0] * PIXEL_M - inset
        lon, lat = to_degrees(
            district.left + np.array([near, far, far, near, near]),
            district.top - np.array([far, far, near, near, far]),
        )
        ring = np.column_stack((lon, lat)).tolist()
        features.append(
            {
                "type": "Feature",
                "geometry": {"type": "Polygon", "coordinates": [ring]},
                "properties": {"district": district.name, "simulated": True},
            }
        )
    text = json.dumps({"type": "FeatureCollection", "features": features}, indent=1) + "\n"
    write_atomically(path, lambda part: part.write_text(text, "utf-8"))


def _write_cover(path: Path, districts: tuple[District, ...]) -> None:
    """Class of land (index into CLASSES, plus 1) at the middle of every cell of `COVER_M`."""
    step = round(COVER_M / PIXEL_M)
    side = districts[0].labels.shape[0] // step * COVER_M
    left = np.floor(min(d.left for d in districts) / COVER_M) * COVER_M
    top = np.ceil(max(d.top for d in districts) / COVER_M) * COVER_M
    columns = round((max(d.left for d in districts) + side - left) / COVER_M) + 1
    rows = round((top - min(d.top for d in districts) + side) / COVER_M) + 1
    cover = np.zeros((rows, columns), np.uint8)
    for district in districts:
        classes = (district.classes[district.labels] + 1).astype(np.uint8)
        inner = classes[step // 2 :: step, step // 2 :: step]
        row = int(np.ceil((top - district.top) / COVER_M))
        column = int(np.ceil((district.left - left) / COVER_M))
        cover[row : row + inner.shape[0] - 1, column : column + inner.shape[1] - 1] = inner[
            :-1, :-1
        ]

    def write(part: Path) -> None:
        with rasterio.open(
            part, "w", driver="GTiff", width=columns, height=rows, count=1, dtype="uint8",
            crs=f"EPSG:{EPSG}", transform=Affine(COVER_M, 0, left, 0, -COVER_M, top), nodata=0,
            compress="deflate", tiled=True,
        ) as raster:  # fmt: skip
            raster.write(cover, 1)
            names = {str(i + 1): land_class.name for i, land_class in enumerate(CLASSES)}
            raster.update_tags(SIMULATED="YES", classes=json.dumps(names))

    write_atomically(path, write)


def _is_finished(world: FireWorld, folder: Path, wanted: dict[str, Any]) -> bool:
    made = _read(folder / MARKER)
    if made is None or any(made.get(key) != value for key, value in wanted.items()):
        return False
    scenes = sorted(world.scenes.iterdir()) if world.scenes.is_dir() else []
    named = (world.perimeters, world.land_cover, world.imaged)
    there = [p for p in (*named, *scenes) if p.is_file()]
    return {p.name for p in there} == set(made["files"])


def _make_room(folder: Path, wanted: dict[str, Any]) -> None:
    """Keep the scenes of this very world that a broken-off build left; remove another world."""
    folder.mkdir(parents=True, exist_ok=True)
    there = {path.name for path in folder.iterdir()}
    strange = sorted(there - _OURS - {f".{name}.part" for name in _OURS})
    known = (folder / MARKER).is_file() or (folder / _STARTED).is_file()
    if strange or (there and not known):
        raise ConfigError(
            "The folder holds other things than a sample world of fires",
            where=f"{folder}: {', '.join(strange or sorted(there))}",
            fix="Give a new or empty folder",
        )
    if _read(folder / _STARTED) == wanted and not (folder / MARKER).exists():
        remove_parts(folder)
        return
    (folder / MARKER).unlink(missing_ok=True)
    _write_json(folder / _STARTED, {**wanted, "clearing": True})
    shutil.rmtree(folder / SCENES, ignore_errors=True)
    _write_json(folder / _STARTED, wanted)


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    value: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return value


def _write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=1, sort_keys=True) + "\n"
    write_atomically(path, lambda part: part.write_text(text, "utf-8"))
