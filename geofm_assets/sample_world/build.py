"""Build the sample world: a small SIMULATED Earth in a folder, the same bytes every time."""

import datetime as dt
import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geofm_assets.core.errors import ConfigError
from geofm_assets.core.hashing import sha256_file
from geofm_assets.sample_world.collections import LISTING, listed, write_collection
from geofm_assets.sample_world.files import remove_parts, write_atomically
from geofm_assets.sample_world.presets import get_preset
from geofm_assets.sample_world.samples import accepted_samples, doubtful_samples, spare_samples
from geofm_assets.sample_world.scenes import INDEX_FILE, write_scenes
from geofm_assets.sample_world.terrain import District, make_districts

CODE_VERSION = "2"
"""Changes whenever the same seed and preset would give other files."""
MARKER = "sample_world.json"
_STARTED = "sample_world.started.json"
_README = "README.txt"
_OURS = frozenset({MARKER, _STARTED, _README, "mirror", "scenes"})
_README_TEXT = """This folder is SIMULATED. Nothing in it was measured.

geofm_assets.sample_world made it from preset {preset!r} and seed {seed}; the same two give the same
bytes. The places are on the map, what is said and shown of them is invented.

mirror/             reference collections, in the shape of a mirror of WorldCereal's RDM:
                    collections.json, and a folder each with metadata_items.json and GeoParquet
scenes/             monthly Sentinel-2 and Sentinel-1 scenes, in the shape --scenes takes:
                    items.json and GeoTIFFs of {side} x {side} pixels of 10 m
{marker}   written last: what was built, and a digest of the scenes

Every record, scene and label says "simulated" too, and so does every score made from them.
"""


@dataclass(frozen=True)
class SampleWorld:
    """Where a world lies.

    Attributes:
        mirror: RDM mirror folder.
        scenes: folder of scenes with items.json.
    """

    mirror: Path
    scenes: Path

    @property
    def collections(self) -> tuple[str, ...]:
        """Ids of the collections that are listed now, sorted."""
        return tuple(sorted(str(r["collectionId"]) for r in listed(self.mirror)))

    @property
    def start(self) -> dt.date:
        """First day that has scenes."""
        return min(dt.datetime.fromisoformat(e["start"]).date() for e in self._entries())

    @property
    def end(self) -> dt.date:
        """First day after the last that has scenes."""
        return max(dt.datetime.fromisoformat(e["end"]).date() for e in self._entries())

    def _entries(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = json.loads((self.scenes / INDEX_FILE).read_text("utf-8"))
        return entries


def world_districts(preset: str = "demo", seed: int = 0) -> tuple[District, ...]:
    """The districts of a world, to draw more labels from.

    Raises:
        ConfigError: there is no such preset.
    """
    return make_districts(get_preset(preset), seed)


def build(folder: Path, *, seed: int = 0, preset: str = "demo") -> SampleWorld:
    """Write a world, unless the folder holds it already.

    A build that was broken off goes on where it stopped. Collections that were added, changed or
    withdrawn since a world was finished stay so; delete the folder to start afresh.

    Args:
        folder: where; nothing but a sample world may be in it.
        seed: another seed gives another world, from 0.
        preset: `demo`, `many_cells` or `tiny`, see `presets`.

    Raises:
        ConfigError: there is no such preset, the seed is negative, or other things are in the
            folder.
    """
    size = get_preset(preset)
    if seed < 0:
        raise ConfigError("A seed is not negative", where=f"seed={seed}")
    folder = Path(folder)
    world = SampleWorld(folder / "mirror", folder / "scenes")
    wanted = {"code": CODE_VERSION, "preset": preset, "seed": seed, "simulated": True}
    if _finished(folder, wanted):
        return world
    _make_room(folder, wanted)
    text = _README_TEXT.format(preset=preset, seed=seed, side=size.side_px, marker=MARKER)
    write_atomically(folder / _README, lambda part: part.write_text(text, "utf-8"))
    districts = make_districts(size, seed)
    write_scenes(world.scenes, districts, size.month_starts(), seed)
    seen, declared = accepted_samples(districts, size, seed)
    doubtful = doubtful_samples(districts, size, seed)
    write_collection(world.mirror, "2022_SIM_SURVEY_POINT_110", seen, confidence=97, polygons=False)
    write_collection(
        *(world.mirror, "2022_SIM_LPIS_POLY_110", declared),
        confidence=95,
        polygons=True,
        method="FormalDeclaration",
    )
    write_collection(
        *(world.mirror, "2022_SIM_CROWD_POINT_110", doubtful),
        confidence=60,
        polygons=False,
        method="ClassificationValidatedCrowd",
    )
    sizes = {path.name: path.stat().st_size for path in sorted(world.scenes.iterdir())}
    marker = {**wanted, "digest": _digest(world.scenes), "scenes": sizes}
    _write_json(folder / MARKER, marker)
    (folder / _STARTED).unlink(missing_ok=True)
    return world


def add_collection(
    world: SampleWorld,
    title: str,
    *,
    seed: int | None = None,
    preset: str | None = None,
    cells: int = 1,
    points: int = 8,
    confidence: int = 96,
) -> str:
    """Add one more simulated collection to a world's mirror, with points in some cells only.

    Args:
        world: a finished world; its mirror may be a copy elsewhere.
        title: its name, in the RDM's grammar; another name gives other fields.
        seed: of the world; None reads it from the world's marker, beside the scenes.
        preset: of the world; None likewise.
        cells: how many of the world's H3 cells get points.
        points: how many points at most, spread over those cells' districts.
        confidence: of land cover and crop type, 0..100.

    Returns:
        Its id in the listing.

    Raises:
        ConfigError: the world has no marker and seed or preset were not given.
    """
    if seed is None or preset is None:
        made = _read(world.scenes.parent / MARKER)
        if made is None:
            raise ConfigError(
                "There is no finished sample world",
                where=str(world.scenes.parent),
                fix="Build it first, or give its seed and preset",
            )
        seed = int(made["seed"]) if seed is None else seed
        preset = str(made["preset"]) if preset is None else preset
    size = get_preset(preset)
    districts = make_districts(size, seed)
    chosen = sorted({district.cell for district in districts})[:cells]
    there = [district for district in districts if district.cell in chosen]
    rows = spare_samples(there, points, size, title, seed)
    return write_collection(world.mirror, title, rows, confidence=confidence, polygons=False)


def _finished(folder: Path, wanted: dict[str, Any]) -> bool:
    made = _read(folder / MARKER)
    if made is None or any(made.get(key) != value for key, value in wanted.items()):
        return False
    scenes = folder / "scenes"
    there = {p.name: p.stat().st_size for p in scenes.iterdir()} if scenes.is_dir() else {}
    return there == made.get("scenes") and (folder / "mirror" / LISTING).is_file()


def _make_room(folder: Path, wanted: dict[str, Any]) -> None:
    """Keep the scenes of this very world that a broken-off build left; remove other worlds."""
    folder.mkdir(parents=True, exist_ok=True)
    there = {path.name for path in folder.iterdir()}
    known = (folder / MARKER).is_file() or (folder / _STARTED).is_file()
    if (there and not known) or not there <= _OURS | {f".{name}.part" for name in _OURS}:
        raise ConfigError(
            "The folder holds other things than a sample world",
            where=f"{folder}: {', '.join(sorted(there - _OURS) or sorted(there))}",
            fix="Give a new or empty folder",
        )
    if _read(folder / _STARTED) == wanted and not (folder / MARKER).exists():
        remove_parts(folder)
        return
    (folder / MARKER).unlink(missing_ok=True)
    _write_json(folder / _STARTED, {**wanted, "clearing": True})
    for name in ("mirror", "scenes"):
        shutil.rmtree(folder / name, ignore_errors=True)
    _write_json(folder / _STARTED, wanted)


def _digest(scenes: Path) -> str:
    """Of every scene's name and bytes."""
    digest = hashlib.sha256()
    for path in sorted(scenes.iterdir()):
        digest.update(f"{path.name}:{sha256_file(path)};".encode())
    return digest.hexdigest()


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    value: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return value


def _write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=1, sort_keys=True) + "\n"
    write_atomically(path, lambda part: part.write_text(text, "utf-8"))
