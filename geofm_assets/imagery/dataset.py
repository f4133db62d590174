"""The rslearn dataset of a task: its config.json.

Every layer has twelve (or `months`) item groups, oldest first, in model band order. Three layouts:

`packed`, a task's own: windows, labels and rasters are read from the cells' tables and packed
files beside it (`imagery.rslearn_view`); nothing is kept twice.
`files`, for imagery that rslearn must fetch itself: one numpy array a window and layer.
`classic`, what `geofm export-dataset` writes: rslearn's defaults, a GeoTIFF a month.

No layout keeps windows in SQLite: cells are written side by side, also on a network file system.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from upath import UPath

from geofm_assets.core.errors import ConfigError
from geofm_assets.core.hashing import json_digest
from geofm_assets.core.temporary import temporary_beside
from geofm_assets.imagery.bands import LAYERS, SENTINEL1, LayerSpec
from geofm_assets.imagery.config import ImageryConfig
from geofm_assets.imagery.dataset_sources import (
    DAYS_BEFORE,
    PLANETARY_COMPUTER,
    local_source,
    stac_source,
)

__all__ = [
    "PLANETARY_COMPUTER",
    "Layout",
    "copy_config",
    "dataset_config",
    "ensure_dataset",
    "source_digest",
]

Layout = Literal["packed", "files", "classic"]

_LOCATIONS = ("folder", "base_url")
_PACKAGE = "geofm_assets.imagery"
_NUMPY_FORMAT = "rslearn.utils.raster_format.NumpyRasterFormat"
_RSLEARN = "rslearn.dataset"
_STORAGE: dict[Layout, tuple[str, str]] = {
    "packed": (
        f"{_PACKAGE}.rslearn_view.CellWindowsFactory",
        f"{_PACKAGE}.rslearn_view.CellDataFactory",
    ),
    "files": (
        f"{_RSLEARN}.storage.file.FileWindowStorageFactory",
        f"{_RSLEARN}.window_data_storage.per_layer.PerLayerStorageFactory",
    ),
    "classic": (
        f"{_RSLEARN}.storage.file.FileWindowStorageFactory",
        f"{_RSLEARN}.window_data_storage.per_item_group.PerItemGroupStorageFactory",
    ),
}


def ensure_dataset(
    dataset_dir: Path,
    imagery: ImageryConfig,
    scenes: str | None,
    stac_url: str | None,
    layout: Layout = "packed",
    days_before: int = DAYS_BEFORE,
) -> dict[str, Any]:
    """Write the dataset's config.json, or leave it if it says the same.

    Args:
        dataset_dir: the rslearn dataset; made if missing.
        imagery: the task's imagery settings.
        scenes: folder of scenes, for profile `local_scenes`.
        stac_url: base URL of the STAC API, for profile `planetary_computer`; None for Planetary
            Computer itself.
        layout: how windows and rasters are stored.
        days_before: days from the start of a window's time range to its valid_time, from which
            frames are counted.

    Returns:
        The configuration as written.

    Raises:
        ConfigError: the profile's source is not given, or windows were made under another
            configuration. Only where the source lies may change under existing windows: scenes
            are recognised by their content.
    """
    config = dataset_config(imagery, scenes, stac_url, layout, days_before)
    path = dataset_dir / "config.json"
    found = _read(path)
    if found == config:
        return config
    if found is not None and _has_windows(dataset_dir) and _placeless(found) != _placeless(config):
        raise ConfigError(
            "The dataset's windows were made with other imagery settings: "
            + _difference(found, config),
            where=str(path),
            fix="Use another store, or remove the dataset folder to make it anew",
        )
    _write(path, config)
    return config


def copy_config(
    source: Path | UPath, target: Path, layout: Layout, layers: Sequence[str] = ()
) -> None:
    """Give another folder the configuration of a dataset, laid out differently.

    Args:
        source: the rslearn dataset.
        target: folder of the other; made if missing.
        layout: its layout.
        layers: imagery layers it has; all if none are named.
    """
    config = _read(source / "config.json")
    if config is None:
        raise ConfigError("Not an rslearn dataset", where=str(source))
    kept = {
        name: layer
        for name, layer in config["layers"].items()
        if name == "label" or not layers or name in layers
    }
    for name, layer in kept.items():
        for band_set in layer.get("band_sets", ()):
            band_set.pop("format", None)
            if layout != "classic":
                band_set["format"] = {"class_path": _NUMPY_FORMAT}
        assert name == "label" or layer["data_source"]
    _write(target / "config.json", {**config, "layers": kept, **_storage(layout)})


def source_digest(dataset_dir: Path, layer: str) -> str:
    """Digest of a layer's configuration, wherever its source lies.

    Raises:
        ConfigError: there is no dataset.
    """
    config = _read(dataset_dir / "config.json")
    if config is None:
        raise ConfigError("Not an rslearn dataset", where=str(dataset_dir))
    return json_digest(_placeless(config["layers"][layer]))


def _storage(layout: Layout) -> dict[str, Any]:
    windows, data = _STORAGE[layout]
    return {"storage": {"class_path": windows}, "window_data_storage": {"class_path": data}}


def _write(path: Path, config: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(json.dumps(config, indent=1) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def dataset_config(
    imagery: ImageryConfig,
    scenes: str | None,
    stac_url: str | None,
    layout: Layout = "packed",
    days_before: int = DAYS_BEFORE,
) -> dict[str, Any]:
    """Rslearn's configuration of a dataset with the label layer and the imagery layers.

    Raises:
        ConfigError: the profile's source is not given.
    """
    layers: dict[str, Any] = {"label": {"type": "vector"}}
    for name in imagery.modalities:
        layer = LAYERS[name]
        source = (
            local_source(layer, imagery, scenes, days_before)
            if imagery.profile == "local_scenes"
            else stac_source(layer, imagery, stac_url or PLANETARY_COMPUTER, days_before)
        )
        layers[name] = _raster_layer(layer, imagery, source)
    return {
        "layers": layers,
        "tile_store": {"class_path": "rslearn.tile_stores.default.DefaultTileStore"},
        **_storage(layout),
    }


def _raster_layer(
    layer: LayerSpec, imagery: ImageryConfig, source: dict[str, Any]
) -> dict[str, Any]:
    linear = imagery.profile == "planetary_computer" and layer.name == SENTINEL1
    return {
        "type": "raster",
        "band_sets": [
            {
                "dtype": layer.dtype,
                "bands": list(layer.band_names),
                "nodata_value": layer.nodata,
                "format": {"class_path": _NUMPY_FORMAT},
            }
        ],
        # values stored are values measured: 20 and 60 m bands are repeated, as in pretraining
        "resampling_method": "nearest",
        "compositing_method": {
            "class_path": f"{_PACKAGE}.compositing.PeriodMosaic",
            "init_args": {"linear_to_decibels": linear},
        },
        "data_source": source,
    }


def _read(path: Path | UPath) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"Not JSON: {error}", where=str(path), fix="Remove it and run again"
        ) from error
    if not isinstance(value, dict):
        raise ConfigError("Not an rslearn configuration", where=str(path), fix="Remove it")
    return value


def _has_windows(dataset_dir: Path) -> bool:
    """Whether there are window files; packed windows are simply made again."""
    folder = dataset_dir / "windows"
    return folder.is_dir() and any(True for group in folder.iterdir() for _ in group.iterdir())


def _placeless(config: Any) -> Any:
    """A configuration without the places its sources lie at."""
    if isinstance(config, dict):
        return {k: _placeless(v) for k, v in config.items() if k not in _LOCATIONS}
    if isinstance(config, list):
        return [_placeless(value) for value in config]
    return config


def _difference(old: Any, new: Any, path: str = "") -> str:
    """The first place two configurations differ at."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            if key not in _LOCATIONS and old.get(key) != new.get(key):
                return _difference(old.get(key), new.get(key), f"{path}.{key}" if path else key)
    return f"{path} is {json.dumps(old)}, now {json.dumps(new)}"
