"""The imagery a model is asked about: what a training chip at the same place and day would hold.

It is read in pieces of any size, so memory does not grow with the area. Which local scenes a
mosaic draws on is decided as for training chips: where every scene that touches a piece covers it
whole, all places in it have the same ones; elsewhere they are chosen leaf by leaf, a leaf having
the size of a training window. Leaves lie on a fixed grid, so a pixel does not depend on the piece
it is read with.
"""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import shapely
from rasterio.enums import Resampling
from rslearn.data_sources.direct_materialize_data_source import DirectMaterializeDataSource
from rslearn.dataset import Window
from rslearn.utils.geometry import PixelBounds, Projection

from geofm_assets.core.errors import ConfigError
from geofm_assets.imagery.acquisition import acquired, micros
from geofm_assets.imagery.matching import Groups, match_windows
from geofm_assets.imagery.scene_major import read_mosaics
from geofm_assets.imagery.scenes import LocalScenes
from geofm_assets.imagery.stored import ImageryLayer, open_dataset
from geofm_assets.prediction.catalogue import CatalogueLayer
from geofm_assets.prediction.pieces import LayerPixels, Pieces, Stamps, Steps
from geofm_assets.training.experiments import Experiment
from geofm_assets.windows.config import WindowsConfig


class MapImagery:
    """A dataset's imagery at any place and day.

    Args:
        dataset_dir: an rslearn dataset whose config.json names the layers and their sources.
        experiment: which layers and timesteps are read.
        windows: the task's windows, for their size and time range.
        frames: the model's frames, of which the latest are read; None for consecutive months,
            of which those about the day are.
        needed: which of the frames read a pixel must be seen in to be mapped; None for all.

    Raises:
        ConfigError: a layer's scenes cannot be read where they lie.
    """

    def __init__(
        self,
        dataset_dir: Path,
        experiment: Experiment,
        windows: WindowsConfig,
        frames: Sequence[int] | None = None,
        needed: Sequence[bool] | None = None,
    ) -> None:
        dataset, layers = open_dataset(dataset_dir)
        by_name = {layer.name: layer for layer in layers}
        steps = Steps(experiment.timesteps, latest=False)
        if frames is not None:
            required = (True,) * steps.count if needed is None else tuple(needed)
            steps = Steps(steps.count, True, required)
        pieces = Pieces(dataset, windows, steps)
        self._layers = {name: _open_layer(by_name[name], pieces) for name in experiment.layers}

    def read(
        self, projection: Projection, bounds: PixelBounds, day: dt.date
    ) -> dict[str, LayerPixels]:
        """The experiment's layers of a piece; see `Imagery.read`."""
        found = {name: lay.read(projection, bounds, day) for name, lay in self._layers.items()}
        return {name: pixels for name, pixels in found.items() if pixels is not None}

    def close(self) -> None:
        """Close every open scene."""
        for layer in self._layers.values():
            layer.close()


def _open_layer(layer: ImageryLayer, pieces: Pieces) -> "SceneLayer | CatalogueLayer":
    source = layer.config.instantiate_data_source(pieces.dataset.path)
    data_source = layer.config.data_source
    assert data_source is not None
    if data_source.ingest or not isinstance(source, DirectMaterializeDataSource):
        raise ConfigError(
            f"A map reads scenes where they lie, {layer.name} is to be ingested",
            where="imagery.ingest",
            fix="Set imagery.ingest: false",
        )
    if isinstance(source, LocalScenes):
        return SceneLayer(source, layer, pieces)
    return CatalogueLayer(source, layer, pieces)


class SceneLayer:
    """One layer of a folder of scenes.

    Args:
        source: the scenes.
        layer: what its arrays mean and which periods it has.
        pieces: how it is read.
    """

    def __init__(self, source: LocalScenes, layer: ImageryLayer, pieces: Pieces) -> None:
        self._source, self._layer, self._pieces = source, layer, pieces
        self._resampling: Resampling = layer.config.resampling_method.get_rasterio_resampling()

    def close(self) -> None:
        """Close every open scene."""
        self._source.close()

    def read(self, projection: Projection, bounds: PixelBounds, day: dt.date) -> LayerPixels | None:
        """Pixels of a piece, None where no chosen period has a scene.

        Raises:
            ImageryError: a scene cannot be read.
        """
        whole = self._pieces.window(projection, bounds, day)
        laid = np.array([micros(period) for period in self._layer.periods(whole)], dtype=np.int64)
        chosen = self._pieces.steps.of(laid, day)
        alike = self._alike(projection, bounds)
        windows = [whole] if alike else self._leaves(whole, day)
        matched = match_windows(self._source, self._layer, windows)
        groups: list[Groups] = [[g[step] for step in chosen] if g else [] for g in matched]
        items = {item.name: item for steps in groups for group in steps for item in group}
        if not items:
            return None
        spec = self._layer.spec
        stamps = []
        for window, steps in zip(windows, groups, strict=True):
            taken = [acquired([item.serialize() for item in group]) for group in steps]
            stamps.append(Stamps.of(window.bounds, laid[chosen], taken))
        shape = (len(chosen), len(spec.bands), bounds[3] - bounds[1], bounds[2] - bounds[0])
        values = np.full(shape, spec.nodata, dtype=np.dtype(spec.dtype))
        if alike:
            self._fill(windows, groups, values[None])
        else:
            held = [row for row, steps in enumerate(groups) if any(steps)]
            side = self._pieces.windows.size
            leaves = np.full((len(held), *shape[:2], side, side), spec.nodata, dtype=values.dtype)
            self._fill([windows[r] for r in held], [groups[r] for r in held], leaves)
            for row, leaf in zip(held, leaves, strict=True):
                _paste(values, bounds, leaf, windows[row].bounds)
        simulated = any(item.simulated for item in items.values())
        needed = self._pieces.steps.needed
        return LayerPixels(values, tuple(stamps), tuple(sorted(items)), simulated, needed)

    def _fill(self, windows: Sequence[Window], groups: list[Groups], out: np.ndarray) -> None:
        read_mosaics(self._source, self._layer.spec, windows, groups, self._resampling, out)

    def _alike(self, projection: Projection, bounds: PixelBounds) -> bool:
        """Whether every scene that touches the piece covers it whole."""
        self._source.refresh()
        box = shapely.box(*bounds)
        found = self._source.candidates(projection)
        shapes = np.array([shape for _, _, shape in found], dtype=object)
        touching = shapes[shapely.intersects(shapes, box)]
        return bool(shapely.covers(touching, box).all())

    def _leaves(self, whole: Window, day: dt.date) -> list[Window]:
        """Windows of the training windows' size, on a fixed grid, that cover a piece."""
        side = self._pieces.windows.size
        left, top, right, bottom = whole.bounds
        return [
            self._pieces.window(whole.projection, (x, y, x + side, y + side), day)
            for y in range(top // side * side, bottom, side)
            for x in range(left // side * side, right, side)
        ]


def _paste(values: np.ndarray, bounds: PixelBounds, leaf: np.ndarray, place: PixelBounds) -> None:
    """Copy what of a leaf lies in the piece."""
    left, top = max(bounds[0], place[0]), max(bounds[1], place[1])
    right, bottom = min(bounds[2], place[2]), min(bounds[3], place[3])
    values[..., top - bounds[1] : bottom - bounds[1], left - bounds[0] : right - bounds[0]] = leaf[
        ..., top - place[1] : bottom - place[1], left - place[0] : right - place[0]
    ]
