"""A task's cells as an rslearn dataset that can be read, without a file more.

config.json of the dataset names these classes, so plain rslearn finds windows in
`windows/h3_cell=<cell>/windows.parquet`, labels in their classes, and rasters in the cell's packed
file, of a dataset in a bucket in a copy on this machine. Writing is refused:
`geofm export-dataset` makes a dataset that rslearn can write to.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
from rasterio.enums import Resampling
from rslearn.dataset import Window
from rslearn.dataset.storage.storage import WindowStorage, WindowStorageFactory
from rslearn.dataset.window import WindowLayerData
from rslearn.dataset.window_data_storage.storage import (
    LayerWriter,
    WindowDataStorage,
    WindowDataStorageFactory,
)
from rslearn.utils.feature import Feature
from rslearn.utils.geometry import PixelBounds, Projection
from rslearn.utils.raster_array import RasterArray, RasterMetadata
from rslearn.utils.raster_format import RasterFormat
from rslearn.utils.vector_format import VectorFormat
from upath import UPath

from geofm_assets.core.errors import WindowError
from geofm_assets.core.store import Store
from geofm_assets.imagery.acquisition import acquired, moments
from geofm_assets.imagery.cell_file import CellFile, open_cell_file
from geofm_assets.imagery.packed_header import missing
from geofm_assets.windows.write import LABEL_LAYER, label_features, rslearn_window

_OPEN_CELLS = 64


class CellWindowsFactory(WindowStorageFactory):
    """Window storage over the tables beside a dataset's folder."""

    def get_storage(self, ds_path: UPath) -> "CellWindows":
        """Storage of the dataset at a path."""
        return CellWindows(UPath(ds_path))


class CellWindows(WindowStorage):
    """Windows of every cell of a task; an rslearn group is a cell.

    Args:
        dataset_dir: the dataset; windows, rasters and chips lie beside it.
    """

    def __init__(self, dataset_dir: UPath) -> None:
        self.dataset_dir = dataset_dir
        self.store = _store_of(dataset_dir)
        self._file = functools.lru_cache(maxsize=_OPEN_CELLS)(self._open_file)

    def get_window_root(self, group: str, name: str) -> UPath:
        """Where a window would lie; nothing is there."""
        return UPath(self.dataset_dir / "windows" / group / name)

    def get_windows(
        self, groups: list[str] | None = None, names: list[str] | None = None
    ) -> list[Window]:
        """Windows of some cells, or of all, sorted by name."""
        wanted = None if names is None else set(names)
        if groups is None:
            groups = self.cells()
            if wanted is not None:  # a name begins with its cell
                cells = {name.split("_", 1)[0] for name in wanted}
                groups = [cell for cell in groups if cell in cells]
        windows = []
        for cell in groups:
            key = f"windows/h3_cell={cell}/windows.parquet"
            if not self.store.exists(key):
                continue
            for row in self.store.read_table(key).to_pylist():
                if wanted is None or row["window_name"] in wanted:
                    windows.append(rslearn_window(row, self, None))
        return windows

    def cells(self) -> list[str]:
        """Cells that have windows, sorted."""
        found = self.store.list_keys("windows", "/windows.parquet")
        return sorted(key.split("/")[1].removeprefix("h3_cell=") for key in found)

    def create_or_update_window(self, window: Window) -> None:
        """Refused."""
        self.refuse(window.group, window.name)

    def get_layer_datas(self, group: str, name: str) -> dict[str, WindowLayerData]:
        """Scenes of each period, of layers that have any."""
        opened, row = self.row(group, name)
        if opened is None:
            return {}
        datas = {}
        for layer, mosaics in opened.layers.items():
            steps = mosaics.groups[row]
            datas[layer] = WindowLayerData(
                layer_name=layer,
                serialized_item_groups=[[dict(mosaics.items[i]) for i in step] for step in steps],
                group_time_ranges=[moments(p) for p in mosaics.periods[row]] if steps else [],
                materialized=True,
            )
        return datas

    def save_layer_datas(
        self, group: str, name: str, layer_datas: dict[str, WindowLayerData]
    ) -> None:
        """Refused."""
        self.refuse(group, name)

    def list_completed_layers(self, group: str, name: str) -> list[tuple[str, int]]:
        """The label, and every period of layers that have a scene in any."""
        opened, row = self.row(group, name)
        done = [(LABEL_LAYER, 0)]
        for layer, mosaics in opened.layers.items() if opened is not None else ():
            done += [(layer, step) for step in range(len(mosaics.groups[row]))]
        return done

    def is_layer_completed(
        self, group: str, name: str, layer_name: str, group_idx: int = 0
    ) -> bool:
        """Whether an item group is there."""
        return (layer_name, group_idx) in self.list_completed_layers(group, name)

    def mark_layer_completed(
        self, group: str, name: str, layer_name: str, group_idx: int = 0
    ) -> None:
        """Refused."""
        self.refuse(group, name)

    def row(self, group: str, name: str) -> tuple[CellFile | None, int]:
        """The packed file of a cell and a window's row in it; None before rasters are made."""
        opened, rows = self._file(group)
        return (opened, rows[name]) if name in rows else (None, -1)

    def _open_file(self, cell: str) -> tuple[CellFile | None, dict[str, int]]:
        inventory = f"rasters/h3_cell={cell}/rasters.parquet"
        if not self.store.exists(inventory):
            return None, {}
        files = self.store.read_table(inventory, ["file"])["file"].unique().to_pylist()
        if not files:
            return None, {}
        key = f"chips/h3_cell={cell}/{files[0]}"
        try:
            opened = open_cell_file(self.store.fetch_file(key))
        except FileNotFoundError as error:
            raise missing(f"{self.store.url}/{key}") from error
        return opened, {window: i for i, window in enumerate(opened.window_names)}

    def refuse(self, group: str, name: str) -> NoReturn:
        """Say why nothing can be written."""
        raise WindowError(
            "This dataset is read from the cells' tables and cannot be written by rslearn",
            where=f"{self.dataset_dir}, window {group}/{name}",
            fix="Let geofm make it, or write to a copy: geofm export-dataset",
        )


class CellDataFactory(WindowDataStorageFactory):
    """Data of windows that `CellWindows` serves."""

    def create(self, window: Window) -> "CellData":
        """Data of one window."""
        return CellData(window)


class CellData(WindowDataStorage):
    """Label and rasters of one window."""

    def open_layer_writer(self, layer_name: str) -> LayerWriter:
        """Refused."""
        storage = self.window.storage
        assert isinstance(storage, CellWindows)
        storage.refuse(self.window.group, self.window.name)

    def read_raster(
        self,
        layer_name: str,
        bands: list[str],
        raster_format: RasterFormat,
        projection: Projection | None = None,
        bounds: PixelBounds | None = None,
        group_idx: int = 0,
        resampling: Resampling = Resampling.bilinear,
    ) -> RasterArray:
        """One period's mosaic (C, 1, H, W)."""
        return self.read_rasters(
            layer_name, bands, [group_idx], raster_format, projection, bounds, resampling
        )[0]

    def read_rasters(
        self,
        layer_name: str,
        bands: list[str],
        group_idxs: list[int],
        raster_format: RasterFormat,
        projection: Projection | None = None,
        bounds: PixelBounds | None = None,
        resampling: Resampling = Resampling.bilinear,
    ) -> list[RasterArray]:
        """Mosaics of some periods, each (C, 1, H, W) and its own copy.

        Pixels beyond the window are nodata. Timestamps are those of the scenes, the period where
        there is none.

        Raises:
            WindowError: there are no rasters yet, or another grid than the window's is asked for.
        """
        if projection is not None and projection != self.window.projection:
            raise self._cannot("Packed rasters are read on the window's own grid")
        storage = self.window.storage
        assert isinstance(storage, CellWindows)
        opened, row = storage.row(self.window.group, self.window.name)
        if opened is None or layer_name not in opened.layers:
            raise self._cannot(f"The window has no rasters of {layer_name} yet")
        mosaics, said = opened.layers[layer_name], opened.meta["layers"][layer_name]
        values = opened.row(layer_name, row)
        if list(bands) != said["bands"]:
            values = values[:, [said["bands"].index(band) for band in bands]]
        cropped = _crop(values, self.window.bounds, bounds or self.window.bounds, said["nodata"])
        found = []
        for step in group_idxs:
            items = [mosaics.items[i] for i in mosaics.groups[row][step]]
            time = acquired(items) or mosaics.periods[row, step]
            found.append(
                RasterArray(
                    array=cropped[step][:, None].copy(),
                    timestamps=[moments(time)],
                    metadata=RasterMetadata(nodata_value=said["nodata"]),
                )
            )
        return found

    def read_vector(
        self,
        layer_name: str,
        vector_format: VectorFormat,
        projection: Projection | None = None,
        bounds: PixelBounds | None = None,
        group_idx: int = 0,
    ) -> list[Feature]:
        """The window's box with its class."""
        if layer_name != LABEL_LAYER:
            raise self._cannot(f"There is no vector layer {layer_name}")
        features = label_features(self.window, self.window.options["class_name"])
        if projection is not None:
            features = [feature.to_projection(projection) for feature in features]
        return features

    def _cannot(self, what: str) -> WindowError:
        return WindowError(what, where=f"window {self.window.group}/{self.window.name}")


def _store_of(dataset_dir: UPath) -> Store:
    """The store whose keys begin at a dataset's task, so that other machines' writes are seen."""
    if dataset_dir.protocol in ("", "file", "local"):
        return Store(Path(dataset_dir.path).resolve().parent)
    return Store(str(dataset_dir.parent).rstrip("/"))


def _crop(
    values: np.ndarray, stored: Sequence[int], wanted: Sequence[int], nodata: float
) -> np.ndarray:
    """Part of (T, C, H, W) between pixel bounds, nodata beyond what is stored."""
    if tuple(stored) == tuple(wanted):
        return values
    left, top = max(stored[0], wanted[0]), max(stored[1], wanted[1])
    right, bottom = min(stored[2], wanted[2]), min(stored[3], wanted[3])
    shape = (*values.shape[:2], wanted[3] - wanted[1], wanted[2] - wanted[0])
    out = np.full(shape, nodata, dtype=values.dtype)
    if right > left and bottom > top:
        out[..., top - wanted[1] : bottom - wanted[1], left - wanted[0] : right - wanted[0]] = (
            values[..., top - stored[1] : bottom - stored[1], left - stored[0] : right - stored[0]]
        )
    return out
