"""Read what rslearn stored for a window, mapped to the window's periods."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rslearn.config import LayerConfig
from rslearn.dataset import Dataset, Window, WindowLayerData
from upath import UPath

from geofm_assets.core.errors import ImageryError
from geofm_assets.imagery.bands import LAYERS, LayerSpec
from geofm_assets.imagery.periods import Period, PeriodRule, periods

_FIX = "Remove the window's folder and materialize again"


@dataclass(frozen=True)
class ImageryLayer:
    """One imagery layer of a dataset.

    Attributes:
        spec: what its arrays mean.
        config: rslearn's configuration of it.
        months: how many periods.
        rule: how the periods are laid.
        frames: which months they are, if they are not consecutive.
    """

    spec: LayerSpec
    config: LayerConfig
    months: int
    rule: PeriodRule
    frames: tuple[int, ...] | None = None

    @property
    def name(self) -> str:
        """Name of the layer in rslearn."""
        return self.spec.name

    def periods(self, window: Window) -> list[Period]:
        """The window's periods, oldest first."""
        if self.config.data_source is None or window.time_range is None:
            raise ImageryError("The window has no time range", where=f"window {window.name}")
        request = self.config.data_source.get_request_time_range(window.time_range)
        assert request is not None
        return periods(self.rule, request, self.months, self.frames)


@dataclass(frozen=True)
class StoredMosaics:
    """The mosaics of one layer of one window.

    Attributes:
        values: (T, C, H, W) in stored band order, nodata where a period has nothing.
        periods: T periods, oldest first.
        items: per period, the scenes it was made from, as rslearn keeps them; none at all where
            no period has a scene.
    """

    values: np.ndarray
    periods: tuple[Period, ...]
    items: tuple[tuple[dict[str, Any], ...], ...]


def open_dataset(dataset_dir: Path) -> tuple[Dataset, list[ImageryLayer]]:
    """The rslearn dataset and its imagery layers, sorted by name.

    Raises:
        ImageryError: there is no dataset.
    """
    try:
        dataset = Dataset(UPath(dataset_dir))
    except FileNotFoundError as error:
        raise ImageryError(
            "Not an rslearn dataset: config.json is missing",
            where=str(dataset_dir),
            fix="Make the dataset before its rasters",
        ) from error
    layers = []
    for name, config in sorted(dataset.layers.items()):
        if name in LAYERS and config.data_source is not None:
            query = config.data_source.query_config
            rule: PeriodRule = "fixed" if query.period_duration else "calendar_month"
            frames = config.data_source.init_args.get("frames")
            chosen = None if frames is None else tuple(frames)
            months = query.max_matches if chosen is None else len(chosen)
            layers.append(ImageryLayer(LAYERS[name], config, months, rule, chosen))
    return dataset, layers


def load_windows(dataset: Dataset, cell: str) -> list[Window]:
    """The cell's written windows, sorted by name; those without a finished label are left out."""
    if not (Path(str(dataset.path)) / "windows" / cell).is_dir():
        return []
    windows = dataset.load_windows(groups=[cell])
    return sorted((w for w in windows if w.is_layer_completed("label")), key=lambda w: str(w.name))


def read_mosaics(
    window: Window, layer: ImageryLayer, datas: dict[str, WindowLayerData] | None = None
) -> StoredMosaics:
    """What is stored of a layer, with every period in its own place.

    Item groups are placed by their time range, never by their index alone.

    Args:
        window: of the dataset.
        layer: which layer.
        datas: the window's layer datas if they were read already.

    Raises:
        ImageryError: the layer is not finished, or does not fit its configuration.
    """
    spec, laid = layer.spec, tuple(layer.periods(window))
    where = f"window {window.name}, layer {layer.name}"
    data = (window.load_layer_datas() if datas is None else datas).get(layer.name)
    if data is None:
        raise ImageryError("The window is not prepared", where=where, fix="Materialize the cell")
    height = window.bounds[3] - window.bounds[1]
    width = window.bounds[2] - window.bounds[0]
    values = np.full(
        (len(laid), len(spec.bands), height, width), spec.nodata, dtype=np.dtype(spec.dtype)
    )
    items: list[tuple[dict[str, Any], ...]] = []
    groups = data.serialized_item_groups
    if groups:
        if not window.is_layer_completed(layer.name):
            raise ImageryError("The layer is not finished", where=where, fix="Materialize the cell")
        steps = _steps(data, laid, where)
        items = [()] * len(laid)
        for step, group in zip(steps, groups, strict=True):
            items[step] = tuple(group)
        _fill(values, steps, window, layer, where)
    return StoredMosaics(values, laid, tuple(items))


def _steps(data: WindowLayerData, laid: Sequence[Period], where: str) -> list[int]:
    """The timestep of each item group."""
    index = {period: step for step, period in enumerate(laid)}
    ranges = data.group_time_ranges or []
    steps = [index.get(r, -1) if r is not None else -1 for r in ranges]
    if len(steps) != len(data.serialized_item_groups) or -1 in steps:
        raise ImageryError(
            "The window was prepared for other periods than the dataset's", where=where, fix=_FIX
        )
    return steps


def _fill(
    values: np.ndarray, steps: list[int], window: Window, layer: ImageryLayer, where: str
) -> None:
    band_set = layer.config.band_sets[0]
    try:
        rasters = window.data.read_rasters(
            layer.name,
            band_set.bands,
            list(range(len(steps))),
            band_set.instantiate_raster_format(),
        )
    except (OSError, ValueError, EOFError) as error:
        raise ImageryError(
            f"The stored raster cannot be read: {error}", where=where, fix=_FIX
        ) from error
    for step, raster in zip(steps, rasters, strict=True):
        pixels = raster.array[:, 0]
        if pixels.shape != values.shape[1:] or pixels.dtype != values.dtype:
            raise ImageryError(
                f"The stored raster is {pixels.dtype} {pixels.shape}, not "
                f"{values.dtype} {values.shape[1:]}",
                where=where,
                fix=_FIX,
            )
        values[step] = pixels
