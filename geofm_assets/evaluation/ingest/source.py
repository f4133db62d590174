"""An rslearn dataset as a source of samples: open it, find its windows, say where they are.

rslearn's own index of a dataset is never read: it goes stale when windows or splits change.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import shapely
from rasterio.errors import RasterioError
from rasterio.warp import transform
from rslearn.dataset import Dataset, Window
from upath import UPath

from geofm_assets.core.errors import DatasetError
from geofm_assets.evaluation.ingest.options import IngestOptions
from geofm_assets.evaluation.samples.split import ALIASES

EQUAL_AREA = "EPSG:6933"
"""Metres of equal area between 86 degrees south and north (EASE-Grid 2.0), for any zone alike."""
UNREADABLE = (RasterioError, OSError, ValueError, KeyError, NotImplementedError)
"""What rslearn and rasterio raise of a raster that cannot be read."""
_HALF_ROUND = 17367530.45  # metres from the middle of EQUAL_AREA to its edge
_SIDES = 9  # points a side of a footprint is made of
# Of what reading a dataset makes objects of; its data sources and compositors are never used.
_UNUSED = ("data_source", "compositing_method", "tile_store")
_TRUSTED = ("rslearn.", "geofm_assets.")


def source_path(source: str | Path | UPath) -> UPath:
    """Where a source lies; local paths absolute.

    Raises:
        DatasetError: nothing here can read such a URL.
    """
    try:
        path = UPath(str(source))
    except (ValueError, ImportError) as error:
        raise DatasetError(
            f"The source cannot be read: {error}",
            where=str(source),
            fix="Give --source a folder or a URL fsspec knows, and install what it needs",
        ) from error
    if path.protocol in ("", "file", "local"):
        return UPath(Path(path.path).expanduser().resolve())
    return path


def read_config(source: UPath) -> dict[str, Any]:
    """The dataset's config.json.

    Raises:
        DatasetError: the source is not there, or is no rslearn dataset.
    """
    where = str(source)
    try:
        text = (source / "config.json").read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        there = _exists(source)
        raise DatasetError(
            "Not an rslearn dataset: config.json is missing"
            if there
            else "The source is not there",
            where=where,
            fix="Point --source at the folder with config.json and windows/",
        ) from error
    except (OSError, ImportError, ValueError) as error:
        raise DatasetError(
            f"The source cannot be read: {error}", where=where, fix="Check --source and try again"
        ) from error
    try:
        config = json.loads(text)
    except ValueError as error:
        raise DatasetError("Not JSON", where=f"{where}/config.json", fix="Correct it") from error
    if not isinstance(config, dict) or not isinstance(config.get("layers"), dict):
        raise DatasetError("It has no layers", where=f"{where}/config.json", fix="Correct it")
    return config


def open_source(source: UPath) -> Dataset:
    """The rslearn dataset.

    Raises:
        DatasetError: the source is not there, its configuration is not one rslearn knows, or it
            names code of another package.
    """
    for class_path in _classes(read_config(source)):
        if not class_path.startswith(_TRUSTED):
            raise DatasetError(
                f"The dataset asks for the class {class_path}, and a dataset must not choose what "
                "code runs here",
                where=f"{source}/config.json",
                fix="Write it again with a class of rslearn",
            )
    try:
        return Dataset(source)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise DatasetError(
            f"{place}: {first['msg']}", where=f"{source}/config.json", fix="Correct it"
        ) from error
    except (ImportError, AttributeError, TypeError, ValueError, KeyError) as error:
        raise DatasetError(
            f"rslearn cannot open it: {error}",
            where=f"{source}/config.json",
            fix="Correct it, or install the package it names",
        ) from error


def _classes(config: Any) -> Iterator[str]:
    """Class paths that opening or reading a dataset makes objects of."""
    if isinstance(config, list):
        for value in config:
            yield from _classes(value)
    elif isinstance(config, dict):
        for key, value in config.items():
            if key == "class_path":
                yield str(value)
            elif key not in _UNUSED:
                yield from _classes(value)


def source_windows(dataset: Dataset, options: IngestOptions) -> list[Window]:
    """Windows of the groups and tags asked for, sorted by group and name.

    Raises:
        DatasetError: a window's metadata cannot be read, a group is missing, or there are none.
    """
    where = str(dataset.path)
    try:
        windows = dataset.load_windows()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"A window's metadata.json cannot be read: {type(error).__name__}: {error}",
            where=_damaged(dataset.path),
            fix="Make the window again, or remove it",
        ) from error
    groups = {str(w.group) for w in windows}
    missing = [g for g in options.groups or () if g not in groups]
    if missing:
        known = ", ".join(sorted(groups)[:10])
        raise DatasetError(
            f"There is no group {missing[0]}", where="--groups", fix=f"Groups are {known}"
        )
    chosen = [
        w
        for w in windows
        if (options.groups is None or w.group in options.groups) and _has_tags(w, options)
    ]
    if not chosen:
        fix = "Check --groups and --tags" if windows else "Point --source at a dataset with windows"
        raise DatasetError("The dataset has no windows to use", where=where, fix=fix)
    return sorted(chosen, key=lambda w: (str(w.group), str(w.name)))


def _damaged(source: UPath) -> str:
    """The first metadata.json that is not one, else the folder they lie in."""
    for path in sorted(source.glob("windows/*/*"), key=str):
        try:
            held = json.loads((path / "metadata.json").read_text(encoding="utf-8"))
            if {"projection", "bounds"} <= held.keys():
                continue
        except (OSError, ValueError, AttributeError):
            pass
        return f"{path}/metadata.json"
    return f"{source}/windows"


def reading_failed(path: str, error: BaseException) -> str:
    """A file or folder, and why it cannot be read: the message, and what it was caused by."""
    said = [f"{type(error).__name__}: {error}"]
    while (cause := error.__cause__) is not None:
        said.append(str(cause))
        error = cause
    text = "; ".join(dict.fromkeys(said))
    return text if path in text else f"{path} ({text})"


def sample_id(window: Window) -> str:
    """A window's sample id: its group and name."""
    return f"{window.group}/{window.name}"


def given_split(window: Window, options: IngestOptions) -> str | None:
    """The split the source says: of the window option, else of the group's name."""
    said = (window.options or {}).get(options.split_property)
    if said is None:
        return ALIASES.get(str(window.group).lower())
    return ALIASES.get(str(said).lower())


def unknown_split(window: Window, options: IngestOptions) -> str | None:
    """What the window option of splits says, if it is no split we know."""
    said = (window.options or {}).get(options.split_property)
    return None if said is None or str(said).lower() in ALIASES else str(said)


def window_side(window: Window) -> tuple[int, int]:
    """Height and width in pixels."""
    west, north, east, south = window.bounds
    return south - north, east - west


def footprint(window: Window) -> tuple[tuple[float, float, float, float], float, float]:
    """Bounding box in metres of EQUAL_AREA, and longitude and latitude of the middle."""
    left, top, right, bottom = window.bounds
    x, y = window.projection.x_resolution, window.projection.y_resolution
    along = np.linspace(0, 1, _SIDES)
    across, down = left + along * (right - left), top + along * (bottom - top)
    columns = np.concatenate([across, across, np.full(_SIDES, left), np.full(_SIDES, right)])
    rows = np.concatenate([np.full(_SIDES, top), np.full(_SIDES, bottom), down, down])
    crs = window.projection.crs
    xs, ys = transform(crs, EQUAL_AREA, (columns * x).tolist(), (rows * y).tolist())
    if max(xs) - min(xs) > _HALF_ROUND:  # across the antimeridian
        xs = [value + 2 * _HALF_ROUND if value < 0 else value for value in xs]
    middle = [(left + right) / 2 * x], [(top + bottom) / 2 * y]
    (lon,), (lat,) = transform(crs, "EPSG:4326", *middle)
    box = shapely.box(min(xs), min(ys), max(xs), max(ys)).bounds
    return (box[0], box[1], box[2], box[3]), float(lon), float(lat)


def _has_tags(window: Window, options: IngestOptions) -> bool:
    said = window.options or {}
    return all(
        key in said and (wanted is None or str(said[key]) == wanted)
        for key, wanted in (options.tags or {}).items()
    )


def _exists(source: UPath) -> bool:
    try:
        return bool(source.exists())
    except (OSError, ImportError, ValueError):
        return False
