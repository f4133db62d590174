"""Build the sample world: a SIMULATED Earth in a folder, the same bytes every time."""

import datetime as dt
import json
from dataclasses import dataclass
from pathlib import Path

from geofm_assets.core.errors import ConfigError
from geofm_assets.sample_world.collections import samples, write_collection
from geofm_assets.sample_world.scenes import months, write_scenes
from geofm_assets.sample_world.terrain import District, districts

VERSION = "1"
_MARKER = "sample_world.json"
_README = """This folder is SIMULATED. geofm_assets made it from a seed; nothing in it was measured.

mirror/  reference collections in the shape of an RDM mirror
scenes/  monthly Sentinel-1 and Sentinel-2 scenes with items.json
"""


@dataclass(frozen=True)
class Preset:
    """The size of a world.

    Attributes:
        cells: H3 cells at resolution 3.
        districts_per_cell: one to three.
        points_per_district: one to nine.
        first: first month of imagery.
        months: how many months.
    """

    cells: int
    districts_per_cell: int
    points_per_district: int
    first: dt.date
    months: int


PRESETS = {
    "demo": Preset(8, 3, 9, dt.date(2021, 11, 1), 14),
    "tiny": Preset(2, 3, 6, dt.date(2022, 2, 1), 8),
    "many_cells": Preset(26, 1, 5, dt.date(2022, 4, 1), 4),
}


@dataclass(frozen=True)
class SampleWorld:
    """Where a world lies.

    Attributes:
        mirror: RDM mirror folder.
        scenes: folder of scenes with items.json.
    """

    mirror: Path
    scenes: Path


def world_districts(preset: str = "demo", seed: int = 0) -> list[District]:
    """The districts of a preset's world, to sample more labels from.

    Raises:
        ConfigError: there is no such preset.
    """
    size = _preset(preset)
    return districts(size.cells, size.districts_per_cell, seed)


def build(folder: Path, *, seed: int = 0, preset: str = "demo") -> SampleWorld:
    """Write a world, unless the folder holds the very same one.

    Args:
        folder: where; `mirror/` and `scenes/` go below it.
        seed: another seed gives another world.
        preset: `demo`, `tiny` or `many_cells`.

    Raises:
        ConfigError: there is no such preset.
    """
    size = _preset(preset)
    world = SampleWorld(folder / "mirror", folder / "scenes")
    wanted = {"preset": preset, "seed": seed, "simulated": True, "version": VERSION}
    marker = folder / _MARKER
    if marker.exists() and json.loads(marker.read_text()) == wanted:
        return world
    marker.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.txt").write_text(_README)
    places = world_districts(preset, seed)
    write_scenes(world.scenes, places, months(size.first, size.months), seed)
    rows = samples(places, size.points_per_district, seed)
    write_collection(
        world.mirror, "2022_SIM_SURVEY_POINT_110", rows[0::2], confidence=97, polygons=False
    )
    write_collection(
        world.mirror, "2022_SIM_LPIS_POLY_110", rows[1::2], confidence=95, polygons=True
    )
    doubtful = samples(places[:3], 3, seed, offset=15)
    write_collection(
        world.mirror, "2022_SIM_CROWD_POINT_100", doubtful, confidence=60, polygons=False
    )
    marker.write_text(json.dumps(wanted, sort_keys=True) + "\n")
    return world


def add_collection(
    world: SampleWorld, title: str, *, seed: int = 0, preset: str = "demo", cells: int = 1
) -> str:
    """Add a collection of new samples in the first cells of a world; returns its id."""
    size = _preset(preset)
    places = world_districts(preset, seed)[: cells * size.districts_per_cell]
    rows = samples(places, 2, seed, offset=10)
    return write_collection(world.mirror, title, rows, confidence=96, polygons=False)


def _preset(name: str) -> Preset:
    if name not in PRESETS:
        known = ", ".join(PRESETS)
        raise ConfigError("There is no such preset", where=name, fix=f"Choose one of {known}")
    return PRESETS[name]
