"""Prepare, ingest and materialize the windows of one H3 cell with rslearn's own handlers.

Everything runs in this process, a batch of windows at a time, so memory does not grow with the
cell. A window that is finished is not touched again, except where its scenes have changed.
"""

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import requests
from rasterio.errors import RasterioError
from rslearn.dataset import Dataset, Window
from rslearn.main import IngestHandler, MaterializeHandler, PrepareHandler

from geofm_assets.core.errors import GeofmError, ImageryError
from geofm_assets.core.progress import Progress
from geofm_assets.imagery.stored import (
    ImageryLayer,
    load_windows,
    open_dataset,
    read_mosaics,
)

_BATCH = 32
_TILE_PX = 256


def materialize_windows(dataset_dir: Path, cell: str, progress: Progress | None = None) -> None:
    """Bring every window of a cell to its mosaics.

    Safe to run again after a kill at any moment: what is finished stays, the rest is made.

    Args:
        dataset_dir: the rslearn dataset.
        cell: the H3 cell, which is the rslearn group.
        progress: told of every window done.

    Raises:
        ImageryError: a scene or a stored raster cannot be used; names window and scene. Windows
            finished before it are kept.
        SourceUnavailableError: the catalogue did not answer.
    """
    dataset, layers = open_dataset(dataset_dir)
    windows = load_windows(dataset, cell)
    with _quiet_rslearn():
        try:
            for batch in _batches(windows):
                _invalidate_changed(dataset, layers, batch)
                _run(dataset, layers, batch)
                for window in batch:
                    datas = window.load_layer_datas()
                    for layer in layers:
                        read_mosaics(window, layer, datas)
                    if progress is not None:
                        progress.step(window.name)
        finally:
            _close_sources(dataset, layers)


def _batches(windows: list[Window]) -> Iterator[list[Window]]:
    """Windows that lie together come together, so that scene blocks stay in memory."""

    def place(window: Window) -> tuple[str, int, int, str]:
        column, row = window.bounds[0] // _TILE_PX, window.bounds[1] // _TILE_PX
        return (window.projection.crs.to_string(), row, column, window.name)

    ordered = sorted(windows, key=place)
    for start in range(0, len(ordered), _BATCH):
        yield ordered[start : start + _BATCH]


def _run(dataset: Dataset, layers: Sequence[ImageryLayer], batch: list[Window]) -> None:
    """Run rslearn's three stages on a batch; what fails is tried window by window to name it."""
    prepare = PrepareHandler(force=False)
    ingest = IngestHandler()
    materialize = MaterializeHandler()
    for handler in (prepare, ingest, materialize):
        handler.set_dataset(dataset)

    def stages(windows: list[Window]) -> None:
        prepare(windows)
        if any(layer.config.data_source and layer.config.data_source.ingest for layer in layers):
            jobs = ingest.get_jobs(windows, 0)
            if jobs:
                ingest(jobs)
        materialize(windows)

    try:
        stages(batch)
    except (GeofmError, RasterioError, requests.RequestException, OSError, ValueError):
        for window in batch:
            _named(stages, window)
    for window in batch:
        _finish_marks(window, layers)


def _named(stages: Callable[[list[Window]], None], window: Window) -> None:
    """Run one window and say which it was if it fails."""
    where = f"window {window.group}/{window.name}"
    try:
        stages([window])
    except GeofmError as error:
        place = f"{error.where}, {where}" if error.where else where
        raise type(error)(error.what, where=place, fix=error.fix) from error
    except (RasterioError, requests.RequestException, OSError, ValueError) as error:
        raise ImageryError(
            f"The window could not be materialized: {error}",
            where=where,
            fix="Run again when the cause is gone; finished windows are kept",
        ) from error


def _finish_marks(window: Window, layers: Sequence[ImageryLayer]) -> None:
    """Complete marks a kill has cut short.

    rslearn writes a layer's data first and then marks its groups in order, so a marked first group
    means the data of all of them is there.
    """
    datas = window.load_layer_datas()
    done = set(window.list_completed_layers())
    for layer in layers:
        if layer.name in datas and (layer.name, 0) in done:
            for group in range(1, len(datas[layer.name].serialized_item_groups)):
                if (layer.name, group) not in done:
                    window.mark_layer_completed(layer.name, group)


def _invalidate_changed(
    dataset: Dataset, layers: Sequence[ImageryLayer], batch: list[Window]
) -> None:
    """Drop the layers of windows whose scenes are no longer those they were made from."""
    for layer in layers:
        source = layer.config.instantiate_data_source(dataset.path)
        if not getattr(source, "revalidates", False) or layer.config.data_source is None:
            continue
        kept = [(window, window.load_layer_datas()) for window in batch]
        kept = [(window, datas) for window, datas in kept if layer.name in datas]
        geometries = []
        for window, _ in kept:
            geometry = window.get_geometry()
            geometry.time_range = layer.config.data_source.get_request_time_range(window.time_range)
            geometries.append(geometry)
        matched = source.get_items(geometries, layer.config.data_source.query_config)
        for (window, datas), groups in zip(kept, matched, strict=True):
            before = datas[layer.name]
            items = [[item.serialize() for item in group.items] for group in groups]
            ranges = [group.request_time_range for group in groups]
            if (items, ranges) != (before.serialized_item_groups, before.group_time_ranges):
                drop_layer(window, layer.name)


def drop_layer(window: Window, name: str) -> None:
    """Remove a layer's data, its marks and its items, in an order a kill cannot harm."""
    folder = Path(str(window.window_root)) / "layers"
    for path in sorted(folder.glob(f"{name}*")):
        if path.name == name or path.name.startswith(f"{name}."):
            (path / "completed").unlink(missing_ok=True)
            shutil.rmtree(path)
    datas = window.load_layer_datas()
    datas.pop(name, None)
    window.save_layer_datas(datas)


def _close_sources(dataset: Dataset, layers: Sequence[ImageryLayer]) -> None:
    for layer in layers:
        close = getattr(layer.config.instantiate_data_source(dataset.path), "close", None)
        if close is not None:
            close()


@contextmanager
def _quiet_rslearn() -> Iterator[None]:
    """Keep rslearn's line per window and layer out of the log."""
    loggers = [
        logger
        for name, logger in list(logging.root.manager.loggerDict.items())
        if isinstance(logger, logging.Logger) and name.split(".")[0] in ("rslearn", "__name__")
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
