"""The images of a window: one series in time per modality, dated by what was really acquired."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rasterio.enums import Resampling
from rslearn.config import BandSetConfig, LayerConfig
from rslearn.dataset import Window
from rslearn.dataset.window import WindowLayerData
from rslearn.utils.raster_array import RasterArray
from rslearn.utils.raster_format import get_bandset_dirname

from geofm_assets.core.errors import DatasetError
from geofm_assets.evaluation.ingest.modalities import ModalityPlan
from geofm_assets.evaluation.ingest.options import IngestOptions
from geofm_assets.evaluation.ingest.source import UNREADABLE, reading_failed, window_side
from geofm_assets.evaluation.samples.packing import SourceImages
from geofm_assets.imagery.acquisition import acquired, micros

_MOSTLY = 0.5


@dataclass(frozen=True)
class Image:
    """One image (C, H, W) with the microseconds it was acquired between."""

    time: tuple[int, int]
    values: np.ndarray


def read_images(
    window: Window,
    layers: Mapping[str, LayerConfig],
    plan: ModalityPlan,
    options: IngestOptions,
) -> SourceImages:
    """Images of one modality of a window, oldest first, those without a valid pixel left out.

    Args:
        window: of the source.
        layers: of its configuration.
        plan: how the modality is read.
        options: `temporal_range` leaves images out.

    Raises:
        DatasetError: a raster is missing or unreadable, or its date is not known.
    """
    completed = window.list_completed_layers()
    datas: dict[str, WindowLayerData] | None = None
    found: list[Image] = []
    for name in plan.layers:
        steps = sorted(step for layer, step in completed if layer == name)
        if not steps:
            continue
        if datas is None:
            datas = window.load_layer_datas()
        alone = len(plan.layers) == 1 and len(steps) == 1
        found += _layer_images(window, name, layers[name], steps, datas.get(name), plan, alone)
    return as_series(found, window, plan, options)


def as_series(
    found: Sequence[Image], window: Window, plan: ModalityPlan, options: IngestOptions
) -> SourceImages:
    """Images in order of time, those without a valid pixel or outside `temporal_range` left out."""
    if options.temporal_range is not None:
        first, last = micros(options.temporal_range)
        found = [i for i in found if i.time[0] >= first and i.time[1] <= last]
    held = [i for i in found if not plan.layout.is_nodata(i.values).all()]
    held.sort(key=lambda image: image.time)  # stable: layers of one time stay in their order
    if not held:
        height, width = window_side(window)
        shape = (0, len(plan.layout.bands), height, width)
        return SourceImages(plan.layout.empty(shape), np.zeros((0, 2), np.int64))
    return SourceImages(
        np.stack([image.values for image in held]),
        np.array([image.time for image in held], np.int64),
    )


def _layer_images(
    window: Window,
    name: str,
    layer: LayerConfig,
    steps: Sequence[int],
    data: WindowLayerData | None,
    plan: ModalityPlan,
    alone: bool,
) -> list[Image]:
    where = f"layer {name}"
    try:
        sets = [_read(window, name, band_set, steps) for band_set in layer.band_sets]
    except UNREADABLE as error:
        raise DatasetError(
            f"The rasters of {name} cannot be read",
            where=_first_unreadable(window, name, layer, steps, error),
            fix="Materialize the window again, or leave it out",
        ) from error
    images = []
    for number, step in enumerate(steps):
        rasters = [held[number] for held in sets]
        declared = [s.nodata_value for s in layer.band_sets]
        values = np.concatenate(
            [_stored(r, nodata, plan) for r, nodata in zip(rasters, declared, strict=True)]
        )[list(plan.picks[name])]
        times = _times(rasters, step, data, window, alone and values.shape[1] == 1)
        if times is None or len(times) != values.shape[1]:
            raise DatasetError(
                f"The date of an image of {name} is not known",
                where=where,
                fix="Keep items.json or the rasters' timestamps with the window",
            )
        images += [Image(time, values[:, t]) for t, time in enumerate(times)]
    return images


def _read(
    window: Window, name: str, band_set: BandSetConfig, steps: Sequence[int]
) -> list[RasterArray]:
    found: list[RasterArray] = window.data.read_rasters(
        name,
        band_set.bands,
        list(steps),
        band_set.instantiate_raster_format(),
        resampling=Resampling.nearest,  # values stored are values measured
    )
    return found


def _first_unreadable(
    window: Window, name: str, layer: LayerConfig, steps: Sequence[int], failed: Exception
) -> str:
    """Folder and message of the first raster of a layer that cannot be read by itself."""
    for step in steps:
        folder = f"{window.window_root}/layers/{name}{f'.{step}' if step else ''}"
        for band_set in layer.band_sets:
            try:
                _read(window, name, band_set, [step])
            except UNREADABLE as error:
                return reading_failed(f"{folder}/{get_bandset_dirname(band_set.bands)}", error)
    return reading_failed(f"{window.window_root}/layers/{name}", failed)


def _stored(raster: RasterArray, declared: float | None, plan: ModalityPlan) -> np.ndarray:
    nodata = declared if declared is not None else raster.metadata.nodata_value
    return stored_pixels(np.asarray(raster.array), nodata, plan)


def stored_pixels(raw: np.ndarray, nodata: float | None, plan: ModalityPlan) -> np.ndarray:
    """Pixels (C, T, H, W) of a source in the plan's dtype and nodata.

    Args:
        raw: as the source has them.
        nodata: value of a pixel without data in the source, None if it declares none.
        plan: how the modality is stored; `linear` turns power into dB.

    Raises:
        DatasetError: they were said to be linear power, but most are negative.
    """
    missing = plan.layout.is_nodata(raw)
    if nodata is not None and np.isfinite(nodata):
        missing = raw == nodata
        if raw.dtype.kind == "f":
            missing |= ~np.isfinite(raw)
    if plan.linear:
        raw, missing = _decibels(raw, missing)
    out = plan.layout.empty(raw.shape)
    out[~missing] = raw[~missing]
    return out


def _decibels(raw: np.ndarray, missing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    valid = raw[~missing]
    if valid.size and float((valid < 0).mean()) > _MOSTLY:
        raise DatasetError(
            "Sentinel-1 was said to be linear power, but most of it is negative",
            fix="Leave --sentinel1-unit out: these are dB",
        )
    missing = missing | (raw <= 0)  # no echo has no decibels
    safe = np.where(missing, 1.0, raw.astype(np.float64))
    return (10.0 * np.log10(safe)).astype(np.float32), missing


def _times(
    rasters: Sequence[RasterArray],
    step: int,
    data: WindowLayerData | None,
    window: Window,
    alone: bool,
) -> list[tuple[int, int]] | None:
    """When the images of an item group were acquired, from the best that is said of it."""
    for raster in rasters:
        if raster.timestamps is not None:
            return [micros((as_utc(start), as_utc(end))) for start, end in raster.timestamps]
    if data is not None and step < len(data.serialized_item_groups):
        shown = _acquired(data.serialized_item_groups[step])
        if shown is not None:
            return [shown]
        period = data.group_time_ranges[step] if data.group_time_ranges is not None else None
        if period is not None:
            return [micros((as_utc(period[0]), as_utc(period[1])))]
    if alone and window.time_range is not None:
        return [micros((as_utc(window.time_range[0]), as_utc(window.time_range[1])))]
    return None


def _acquired(items: Sequence[Any]) -> tuple[int, int] | None:
    try:
        return acquired(items)
    except (KeyError, TypeError, ValueError):
        return None  # items of a source that says no time; the period may be known


def as_utc(moment: dt.datetime) -> dt.datetime:
    """A time in UTC; one without a zone is taken to be."""
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)
