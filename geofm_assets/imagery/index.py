"""Read and verify a folder of scenes described by items.json.

items.json is a list; each entry has `file` (path inside the folder), `collection`
("sentinel-2-l2a" or "sentinel-1-rtc"), `bands` (in file order), `start` and `end` (ISO times with
zone), and may have `cloud_cover` (per cent), `simulated` (true or false), `sha256`, `licence` and
`attribution` (texts). Other keys are ignored.
"""

import datetime as dt
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import rasterio
from rasterio.crs import CRS
from rasterio.env import ensure_env
from rasterio.errors import RasterioError

from geofm_assets.core.errors import ImageryError
from geofm_assets.core.hashing import json_digest, sha256_file
from geofm_assets.imagery.bands import COLLECTIONS
from geofm_assets.imagery.periods import Period
from geofm_assets.imagery.scene_entry import Terms, band_names, cloud_cover, flag, moment, terms

INDEX_FILE = "items.json"
WHOLE_FILE_LIMIT = 64 << 20
_PROBE = 64 << 10
_PROBES = 64
_FIX = f"Correct {INDEX_FILE}, or take the entry out of it"
_FileState = tuple[int, int]


@dataclass(frozen=True)
class Scene:
    """One raster file and what items.json says of it.

    Attributes:
        name: unique name without odd characters, made from the path.
        file: path inside the folder.
        path: the file.
        collection: key of `bands.COLLECTIONS`.
        bands: names in file order.
        time: start and end of what it shows, UTC.
        cloud_cover: per cent, None if not stated.
        simulated: whether it was simulated.
        terms: its licence and attribution; no part of the digest.
        content: digest of the file, see `file_content`.
        crs: of the raster.
        transform: x resolution, left, y resolution (negative), top; in CRS units.
        shape: rows, columns.
        dtype: numpy dtype of the file.
        nodata: the file's nodata value, None if it declares none.
    """

    name: str
    file: str
    path: Path
    collection: str
    bands: tuple[str, ...]
    time: Period
    cloud_cover: float | None
    simulated: bool
    terms: Terms
    content: str
    crs: CRS
    transform: tuple[float, float, float, float]
    shape: tuple[int, int]
    dtype: str
    nodata: float | None

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """left, bottom, right, top in CRS units."""
        x_res, left, y_res, top = self.transform
        return (left, top + self.shape[0] * y_res, left + self.shape[1] * x_res, top)


@dataclass(frozen=True)
class SceneIndex:
    """A verified folder of scenes.

    Attributes:
        folder: where they lie.
        scenes: sorted by name.
        simulated: whether any scene is simulated.
        digest: digest of what every scene is and holds, wherever the folder lies.
        modalities: names of the layers the scenes serve, sorted.
        start: earliest start of a scene.
        end: latest end of a scene.
    """

    folder: Path
    scenes: tuple[Scene, ...]
    simulated: bool
    digest: str
    modalities: tuple[str, ...]
    start: dt.datetime
    end: dt.datetime

    def of(self, collection: str) -> tuple[Scene, ...]:
        """Scenes of one collection."""
        return tuple(s for s in self.scenes if s.collection == collection)


_indexes: dict[Path, tuple[tuple[tuple[str, _FileState], ...], SceneIndex]] = {}
_contents: dict[tuple[Path, _FileState], str] = {}


@ensure_env  # one for all scenes: with keys of a bucket about, each makes a session of boto3
def scenes_info(folder: str | Path) -> SceneIndex:
    """Read items.json and verify every scene it names.

    A folder whose files have not changed since they were last read in this process is not read
    again.

    Raises:
        ImageryError: the index or a scene is missing, unreadable or not what the index says; the
            message names the file.
    """
    root = Path(folder).expanduser().resolve()
    entries = _entries(root)
    paths = [_path(root, entry, number) for number, entry in enumerate(entries)]
    state = tuple((str(p), _file_state(p)) for p in [root / INDEX_FILE, *paths])
    known = _indexes.get(root)
    if known is not None and known[0] == state:
        return known[1]
    names = _names([str(entry["file"]) for entry in entries])
    scenes = [
        _scene(root, entry, path, name, number)
        for number, (entry, path, name) in enumerate(zip(entries, paths, names, strict=True))
    ]
    scenes.sort(key=lambda scene: scene.name)
    index = SceneIndex(
        folder=root,
        scenes=tuple(scenes),
        simulated=any(scene.simulated for scene in scenes),
        digest=json_digest([_said(scene) for scene in scenes]),
        modalities=tuple(sorted({COLLECTIONS[scene.collection].name for scene in scenes})),
        start=min(scene.time[0] for scene in scenes),
        end=max(scene.time[1] for scene in scenes),
    )
    _indexes[root] = (state, index)
    return index


def file_content(path: Path) -> str:
    """Digest of a scene's bytes: all of them up to 64 MiB, beyond that a fixed sample.

    Larger files are read at 64 evenly spaced places of 64 KiB, head and tail among them, and their
    size goes in. An edit in between goes unseen; state `sha256` in items.json where that matters.
    Digests are kept in memory for files whose size and modification time stay the same.
    """
    state = _file_state(path)
    key = (path, state)
    if key not in _contents:
        size = state[0]
        _contents[key] = sha256_file(path) if size <= WHOLE_FILE_LIMIT else _sampled(path, size)
    return _contents[key]


def _sampled(path: Path, size: int) -> str:
    digest = hashlib.sha256(f"sampled:{size}:".encode())
    with path.open("rb") as stream:
        for probe in range(_PROBES):
            stream.seek((size - _PROBE) * probe // (_PROBES - 1))
            digest.update(stream.read(_PROBE))
    return digest.hexdigest()


def _entries(root: Path) -> list[dict[str, Any]]:
    path = root / INDEX_FILE
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ImageryError(
            f"The scenes folder has no {INDEX_FILE}",
            where=str(root),
            fix="Point at a scenes folder",
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ImageryError(f"Not JSON: {error}", where=str(path)) from error
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise ImageryError("Not a list of scenes", where=str(path), fix="Write a list of objects")
    if not entries:
        raise ImageryError("There are no scenes", where=str(path), fix="List at least one scene")
    return entries


def _path(root: Path, entry: Mapping[str, Any], number: int) -> Path:
    where = f"{root / INDEX_FILE}, entry {number}"
    name = entry.get("file")
    if not isinstance(name, str) or not name:
        raise ImageryError("The entry names no file", where=f"{where}, field file", fix=_FIX)
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts:
        raise ImageryError("The file lies outside the folder", where=f"{where}, {name}", fix=_FIX)
    return root / pure


def _file_state(path: Path) -> _FileState:
    try:
        stat = path.stat()
    except OSError as error:
        raise ImageryError("The scene is missing", where=str(path), fix=_FIX) from error
    return (stat.st_size, stat.st_mtime_ns)


def _names(files: list[str]) -> list[str]:
    """A safe unique name for each file: its path without suffix, odd characters as `_`."""
    plain = [
        re.sub(r"[^A-Za-z0-9_-]", "_", str(PurePosixPath(file).with_suffix(""))) for file in files
    ]
    return [
        name
        if plain.count(name) == 1
        else f"{name}-{hashlib.sha256(file.encode()).hexdigest()[:8]}"
        for name, file in zip(plain, files, strict=True)
    ]


def _scene(root: Path, entry: Mapping[str, Any], path: Path, name: str, number: int) -> Scene:
    where = f"{path} ({INDEX_FILE}, entry {number})"
    collection = entry.get("collection")
    if collection not in COLLECTIONS:
        raise ImageryError(
            f"Unknown collection {collection!r}; known are {', '.join(sorted(COLLECTIONS))}",
            where=where,
            fix=_FIX,
        )
    bands = band_names(entry, str(collection), where)
    time = (moment(entry, "start", where), moment(entry, "end", where))
    if time[0] > time[1]:
        raise ImageryError("The scene ends before it starts", where=where, fix=_FIX)
    try:
        with rasterio.open(path) as source:
            crs, affine, count = source.crs, source.transform, source.count
            shape, dtype, nodata = source.shape, source.dtypes[0], source.nodata
    except RasterioError as error:
        raise ImageryError(
            "The scene is not a raster that can be read",
            where=where,
            fix="Replace the file, or take the entry out of items.json",
        ) from error
    if count != len(bands):
        raise ImageryError(
            f"The file has {count} bands, {INDEX_FILE} names {len(bands)}", where=where, fix=_FIX
        )
    if crs is None or affine.b or affine.d or affine.a <= 0 or affine.e >= 0:
        raise ImageryError(
            "The scene has no CRS or is not north up", where=where, fix="Reproject it first"
        )
    return Scene(
        name=name,
        file=str(entry["file"]),
        path=path,
        collection=str(collection),
        bands=bands,
        time=time,
        cloud_cover=cloud_cover(entry, where),
        simulated=flag(entry, "simulated", where),
        terms=terms(entry, where),
        content=_content(entry, path, where),
        crs=crs,
        transform=(affine.a, affine.c, affine.e, affine.f),
        shape=shape,
        dtype=dtype,
        nodata=nodata,
    )


def _content(entry: Mapping[str, Any], path: Path, where: str) -> str:
    stated = entry.get("sha256")
    large = path.stat().st_size > WHOLE_FILE_LIMIT
    if stated is None:
        return file_content(path)
    if not isinstance(stated, str) or not re.fullmatch(r"[0-9a-f]{64}", stated):
        raise ImageryError(f"sha256 is not a digest: {stated!r}", where=where, fix=_FIX)
    if not large and file_content(path) != stated:
        raise ImageryError(
            "The file's content is not what items.json states", where=where, fix="Copy it again"
        )
    return stated


def _said(scene: Scene) -> list[Any]:
    """What a scene is, wherever it lies."""
    return [
        scene.name,
        scene.collection,
        scene.bands,
        [time.isoformat() for time in scene.time],
        scene.cloud_cover,
        scene.simulated,
        scene.content,
    ]
