"""Imagery of a map from a catalogue (profile `planetary_computer`), read where it lies."""

import datetime as dt
from typing import Any

import numpy as np
import shapely
from rslearn.data_sources.direct_materialize_data_source import DirectMaterializeDataSource
from rslearn.dataset.materialize import build_composite
from rslearn.tile_stores import TileStoreWithLayer
from rslearn.utils.geometry import PixelBounds, Projection, STGeometry

from geofm_assets.core.errors import ImageryError
from geofm_assets.imagery.acquisition import micros
from geofm_assets.imagery.compositing import acquired
from geofm_assets.imagery.stored import ImageryLayer
from geofm_assets.prediction.pieces import LayerPixels, Pieces, Stamps


class CatalogueLayer:
    """One layer of a catalogue: rslearn's matching, reading and compositing, nothing stored.

    Scenes are matched piece by piece. Where scenes end inside a piece, a mosaic may draw on one
    more than a training chip there would; it fills only pixels the others have no data for.

    Args:
        source: rslearn's data source.
        layer: what its arrays mean and which periods it has.
        pieces: how it is read.
    """

    def __init__(
        self, source: DirectMaterializeDataSource[Any], layer: ImageryLayer, pieces: Pieces
    ) -> None:
        self._source, self._layer, self._pieces = source, layer, pieces
        self._store = TileStoreWithLayer(source, layer.name)
        self._compositor = layer.config.instantiate_compositor()

    def close(self) -> None:
        """Nothing stays open."""

    def read(self, projection: Projection, bounds: PixelBounds, day: dt.date) -> LayerPixels | None:
        """Pixels of a piece, None where no chosen period has a scene.

        Raises:
            ImageryError: a scene cannot be read.
            SourceUnavailableError: the catalogue did not answer.
        """
        window = self._pieces.window(projection, bounds, day)
        data_source = self._layer.config.data_source
        assert data_source is not None
        geometry = STGeometry(
            projection,
            shapely.box(*bounds),
            data_source.get_request_time_range(window.time_range),
        )
        (matched,) = self._source.get_items([geometry], data_source.query_config)
        periods = self._layer.periods(window)
        held = {group.request_time_range: group.items for group in matched}
        unknown = set(held) - set(periods)
        if unknown:
            raise ImageryError(
                f"A mosaic lies outside the periods asked for: {unknown.pop()}",
                where=f"layer {self._layer.name}, {window.name}",
            )
        laid = np.array([micros(period) for period in periods], dtype=np.int64)
        chosen = self._pieces.steps.of(laid, day)
        groups = [held.get(periods[step], []) for step in chosen]
        if not any(groups):
            return None
        spec = self._layer.spec
        shape = (len(chosen), len(spec.bands), bounds[3] - bounds[1], bounds[2] - bounds[0])
        values = np.full(shape, spec.nodata, dtype=np.dtype(spec.dtype))
        for row, (step, group) in enumerate(zip(chosen, groups, strict=True)):
            if group:
                mosaic = build_composite(
                    group,
                    self._compositor,
                    self._store,
                    self._layer.config,
                    self._layer.config.band_sets[0],
                    projection,
                    bounds,
                    None,
                    periods[step],
                )
                values[row] = mosaic.array[:, 0]
        taken = [acquired(group) for group in groups]
        times = [None if t is None else micros(t) for t in taken]
        names = sorted({str(item.name) for group in groups for item in group})
        stamps, needed = Stamps.of(bounds, laid[chosen], times), self._pieces.steps.needed
        return LayerPixels(values, (stamps,), tuple(names), simulated=False, needed=needed)
