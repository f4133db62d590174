"""Local scenes as an rslearn data source.

config.json names it by class path, so that plain rslearn prepares, ingests and materializes from
a folder of scenes as it does from any catalogue.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from rasterio.enums import Resampling
from rslearn.config import QueryConfig
from rslearn.data_sources.data_source import DataSourceContext, Item
from rslearn.data_sources.direct_materialize_data_source import DirectMaterializeDataSource
from rslearn.data_sources.utils import MatchedItemGroup, match_with_space_mode_mosaic
from rslearn.tile_stores import TileStoreWithLayer
from rslearn.utils.geometry import PixelBounds, Projection, STGeometry
from rslearn.utils.raster_array import RasterArray, RasterMetadata
from shapely.geometry.base import BaseGeometry
from upath import UPath

from geofm_assets.core.errors import ConfigError, ImageryError
from geofm_assets.imagery.bands import COLLECTIONS
from geofm_assets.imagery.footprints import footprint
from geofm_assets.imagery.index import Scene, SceneIndex, scenes_info
from geofm_assets.imagery.periods import PeriodRule, centre, period_of, periods
from geofm_assets.imagery.scene_item import SceneItem
from geofm_assets.imagery.scene_reader import SceneReader

__all__ = ["LocalScenes", "SceneIndex", "SceneItem", "scenes_info"]


class LocalScenes(DirectMaterializeDataSource[SceneItem]):
    """Scenes in a folder, matched to a window's periods by where and when they lie.

    A scene serves the period that holds its middle, and no other. Of several scenes of a period
    the least cloudy comes first (stated cover before unstated, then by start, then by name).
    Every period gets an item group, empty where there is no scene, so a group's index is its
    timestep; a window with no scene at all gets none.

    Args:
        folder: folder with items.json; if relative, relative to the dataset.
        collection: which scenes of it, "sentinel-2-l2a" or "sentinel-1-rtc".
        period_rule: see `periods`.
        max_cloud_cover: per cent; scenes that state more are left out.
        frames: the only periods wanted, see `periods`; None for all.
        context: given by rslearn.
    """

    revalidates = True
    """Items can be matched again at no cost, so a changed scene is noticed on the next run."""

    def __init__(
        self,
        folder: str,
        collection: str,
        period_rule: PeriodRule = "calendar_month",
        max_cloud_cover: float | None = None,
        frames: Sequence[int] | None = None,
        context: DataSourceContext = DataSourceContext(),
    ) -> None:
        if collection not in COLLECTIONS:
            raise ConfigError(
                f"Unknown collection {collection!r}",
                fix=f"Use one of {', '.join(sorted(COLLECTIONS))}",
            )
        super().__init__(asset_bands={})
        base = Path(str(context.ds_path)) if context.ds_path is not None else Path()
        self.folder = (base / Path(folder).expanduser()).resolve()
        self.layer = COLLECTIONS[collection]
        self.period_rule: PeriodRule = period_rule
        self.max_cloud_cover, self.frames = max_cloud_cover, frames
        self.reader = SceneReader(self.layer)
        self._digest = ""
        self._scenes: dict[str, Scene] = {}
        self._bounds: dict[tuple[str, Projection], PixelBounds] = {}
        self._footprints: dict[Projection, list[tuple[SceneItem, Scene, BaseGeometry]]] = {}

    def get_items(
        self, geometries: list[STGeometry], query_config: QueryConfig
    ) -> list[list[MatchedItemGroup[SceneItem]]]:
        """Item groups of each geometry, one a period, oldest first.

        Args:
            geometries: windows with the time range imagery is asked for.
            query_config: `max_matches` is the number of periods, unless there are frames;
                `mosaic_compositing_overlaps` how many scenes covering the window a mosaic may
                draw on.

        Raises:
            ImageryError: the folder is not what its index says.
        """
        self.refresh()
        return [self._groups(geometry, query_config) for geometry in geometries]

    def deserialize_item(self, serialized_item: dict[str, Any]) -> SceneItem:
        """Back from items.json of a window."""
        return SceneItem.deserialize(serialized_item)

    def ingest(
        self,
        tile_store: TileStoreWithLayer,
        items: list[SceneItem],
        geometries: list[list[STGeometry]],
    ) -> None:
        """Copy scenes into the tile store.

        Raises:
            ImageryError: a scene's nodata value is not the layer's, which a copy cannot change.
        """
        for item in items:
            scene = self.scene(item)
            if tile_store.is_raster_ready(item, list(scene.bands)):
                continue
            if scene.nodata != self.layer.nodata:
                raise ImageryError(
                    f"The scene's nodata value is {scene.nodata}, not {self.layer.nodata}",
                    where=str(scene.path),
                    fix="Read scenes in place (imagery.ingest: false)",
                )
            tile_store.write_raster_file(
                item, list(scene.bands), UPath(scene.path), time_range=scene.time
            )

    def close(self) -> None:
        """Close every open scene; they are opened again when needed."""
        self.reader.close()

    def get_asset_url(self, item: SceneItem, asset_key: str) -> str:
        """Path of the scene."""
        return str(self.scene(item).path)

    def get_raster_bands(self, layer_name: str, item: Item) -> list[list[str]]:
        """A scene is one raster with all its bands."""
        return [list(self.scene(item).bands)]

    def get_raster_bounds(
        self, layer_name: str, item: Item, bands: list[str], projection: Projection
    ) -> PixelBounds:
        """The scene's extent in pixels of a projection, rounded outward."""
        return self.scene_bounds(self.scene(item), projection)

    def scene_bounds(self, scene: Scene, projection: Projection) -> PixelBounds:
        """A scene's extent in pixels of a projection, rounded outward."""
        key = (scene.name, projection)
        if key not in self._bounds:
            self._bounds[key] = _outward(footprint(scene, projection))
        return self._bounds[key]

    def get_raster_metadata(self, layer_name: str, item: Item, bands: list[str]) -> RasterMetadata:
        """The layer's nodata value, to which every scene is brought."""
        return RasterMetadata(nodata_value=self.layer.nodata)

    def read_raster(
        self,
        layer_name: str,
        item: Item,
        bands: list[str],
        projection: Projection,
        bounds: PixelBounds,
        resampling: Resampling = Resampling.nearest,
    ) -> RasterArray:
        """Pixels of a scene on a window's grid, with the layer's nodata value.

        Raises:
            ImageryError: the scene cannot be read.
        """
        scene = self.scene(item)
        return RasterArray(
            chw_array=self.reader.read(scene, projection, bounds, resampling),
            time_range=scene.time,
            metadata=RasterMetadata(nodata_value=self.layer.nodata),
        )

    def refresh(self) -> None:
        """Take up what the folder holds now.

        Raises:
            ImageryError: the folder is not what its index says.
        """
        index = scenes_info(self.folder)
        if index.digest == self._digest:
            return
        self.close()
        self._footprints.clear()
        self._bounds.clear()
        self._scenes = {s.name: s for s in index.of(self.layer.collection)}
        self._digest = index.digest

    def scene(self, item: Item) -> Scene:
        """The scene of an item.

        Raises:
            ImageryError: it is gone or has changed since the item was matched.
        """
        if not self._digest:
            self.refresh()
        scene = self._scenes.get(item.name)
        if scene is None or (isinstance(item, SceneItem) and item.content != scene.content):
            raise ImageryError(
                "The scene is gone or has changed since the window was prepared",
                where=f"{self.folder}, scene {item.name}",
                fix="Prepare the window again (materializing with geofm_assets does so)",
            )
        return scene

    def _groups(
        self, geometry: STGeometry, query: QueryConfig
    ) -> list[MatchedItemGroup[SceneItem]]:
        if geometry.time_range is None:
            raise ImageryError("The window has no time range", where=str(geometry))
        laid = periods(self.period_rule, geometry.time_range, query.max_matches, self.frames)
        mosaic = QueryConfig(
            max_matches=1, mosaic_compositing_overlaps=query.mosaic_compositing_overlaps
        )
        chosen: list[list[tuple[SceneItem, BaseGeometry]]] = [[] for _ in laid]
        for item, scene, shape in self.candidates(geometry.projection):
            period = period_of(centre(*scene.time), laid)
            if period is not None and shape.intersects(geometry.shp):
                chosen[period].append((item, shape))
        groups = []
        for period_range, found in zip(laid, chosen, strict=True):
            matched = match_with_space_mode_mosaic(
                geometry, [item for item, _ in found], [shape for _, shape in found], mosaic
            )
            groups.append(MatchedItemGroup(matched[0] if matched else [], period_range))
        matches = sum(1 for group in groups if group.items)
        if matches == 0 or matches < query.min_matches:
            return []
        if query.per_period_mosaic_reverse_time_order:
            groups.reverse()
        return groups

    def candidates(self, projection: Projection) -> list[tuple[SceneItem, Scene, BaseGeometry]]:
        """Scenes with their footprint in pixels of a projection, best first."""
        if projection not in self._footprints:
            limit = self.max_cloud_cover
            usable = [
                s
                for s in self._scenes.values()
                if limit is None or s.cloud_cover is None or s.cloud_cover <= limit
            ]
            usable.sort(
                key=lambda s: (s.cloud_cover is None, s.cloud_cover or 0.0, s.time[0], s.name)
            )
            shapes = [(s, footprint(s, projection)) for s in usable]
            self._footprints[projection] = [(_item(s), s, f) for s, f in shapes if f is not None]
        return self._footprints[projection]


def _item(scene: Scene) -> SceneItem:
    x_res, left, y_res, top = scene.transform
    projection = Projection(scene.crs, x_res, y_res)
    column, row = left / x_res, top / y_res
    shape = shapely.box(column, row, column + scene.shape[1], row + scene.shape[0])
    geometry = STGeometry(projection, shape, scene.time)
    return SceneItem(scene.name, geometry, scene.file, scene.content, scene.simulated)


def _outward(shape: BaseGeometry | None) -> PixelBounds:
    """Bounds of a shape in whole pixels around it; nothing for no shape."""
    if shape is None:
        return (0, 0, 0, 0)
    low_x, low_y, high_x, high_y = np.round(shape.bounds, 6).tolist()
    return (
        int(np.floor(low_x)),
        int(np.floor(low_y)),
        int(np.ceil(high_x)),
        int(np.ceil(high_y)),
    )
