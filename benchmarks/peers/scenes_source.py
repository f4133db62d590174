"""An rslearn data source of scenes listed in items.json, as plain as rslearn's own LocalFiles.

LocalFiles knows no times, which monthly mosaics need; otherwise this does what it does: list all
items, look them up in rslearn's GridIndex, let rslearn match them, ingest whole files. The
periods are calendar months and the least cloudy scene comes first, as in the platform's source.
"""

import datetime as dt
import functools
import json
from pathlib import Path
from typing import Any

import rasterio
import shapely
from rslearn.config import QueryConfig
from rslearn.data_sources.data_source import DataSource, DataSourceContext, Item
from rslearn.data_sources.utils import MatchedItemGroup, match_candidate_items_to_window
from rslearn.tile_stores import TileStoreWithLayer
from rslearn.utils.geometry import Projection, STGeometry
from rslearn.utils.grid_index import GridIndex
from upath import UPath


class SceneItem(Item):
    """A scene: its file, bands and cloud cover beside what rslearn knows of an item."""

    def __init__(
        self, name: str, geometry: STGeometry, file: str, bands: list[str], cloud_cover: float
    ) -> None:
        super().__init__(name, geometry)
        self.file, self.bands, self.cloud_cover = file, bands, cloud_cover

    def serialize(self) -> dict[str, Any]:
        more = {"file": self.file, "bands": self.bands, "cloud_cover": self.cloud_cover}
        return {**super().serialize(), **more}

    @staticmethod
    def deserialize(d: dict[str, Any]) -> "SceneItem":
        geometry = STGeometry.deserialize(d["geometry"])
        return SceneItem(d["name"], geometry, d["file"], d["bands"], d["cloud_cover"])


class MonthlyScenes(DataSource[SceneItem]):
    """Monthly mosaics of scenes in a folder.

    Args:
        folder: folder with items.json.
        collection: which scenes of it.
        context: given by rslearn.
    """

    def __init__(
        self, folder: str, collection: str, context: DataSourceContext = DataSourceContext()
    ) -> None:
        self.folder, self.collection = Path(folder), collection

    @functools.cache  # noqa: B019  rslearn's own data sources do so; one source a process
    def list_items(self) -> list[SceneItem]:
        """Every scene of the collection, the least cloudy first."""
        items = []
        for entry in json.loads((self.folder / "items.json").read_text("utf-8")):
            if entry["collection"] != self.collection:
                continue
            with rasterio.open(self.folder / entry["file"]) as scene:
                transform, crs = scene.transform, scene.crs
                width, height = scene.width, scene.height
            column, row = transform.c / transform.a, transform.f / transform.e
            box = shapely.box(column, row, column + width, row + height)
            time = (_moment(entry["start"]), _moment(entry["end"]))
            geometry = STGeometry(Projection(crs, transform.a, transform.e), box, time)
            name, cloud = Path(entry["file"]).stem, float(entry.get("cloud_cover", 0.0))
            items.append(SceneItem(name, geometry, entry["file"], entry["bands"], cloud))
        items.sort(key=lambda item: (item.cloud_cover, str(item.geometry.time_range), item.name))
        return items

    @functools.cache  # noqa: B019
    def _index(self) -> GridIndex:
        index = GridIndex(1.0)
        for rank, item in enumerate(self.list_items()):
            index.insert(_bounds(item.geometry), (rank, item))
        return index

    def get_items(
        self, geometries: list[STGeometry], query_config: QueryConfig
    ) -> list[list[MatchedItemGroup[SceneItem]]]:
        """For each geometry a mosaic of each calendar month, oldest first."""
        monthly = QueryConfig(max_matches=1, per_period_mosaic_reverse_time_order=False)
        groups = []
        for geometry in geometries:
            found = sorted(self._index().query(_bounds(geometry)), key=lambda f: f[0])
            near = [item for _, item in found if item.geometry.intersects(geometry)]
            mosaics = []
            assert geometry.time_range is not None
            for period in months(geometry.time_range[0], query_config.max_matches):
                here = STGeometry(geometry.projection, geometry.shp, period)
                inside = [item for item in near if item.geometry.time_range == period]
                matched = match_candidate_items_to_window(here, inside, monthly)
                mosaics.append(MatchedItemGroup(matched[0].items if matched else [], period))
            groups.append(mosaics)
        return groups

    def deserialize_item(self, serialized_item: dict[str, Any]) -> SceneItem:
        return SceneItem.deserialize(serialized_item)

    def ingest(
        self,
        tile_store: TileStoreWithLayer,
        items: list[SceneItem],
        geometries: list[list[STGeometry]],
    ) -> None:
        """Copy scenes into the tile store."""
        for item in items:
            if not tile_store.is_raster_ready(item, item.bands):
                path = UPath(self.folder / item.file)
                tile_store.write_raster_file(
                    item, item.bands, path, time_range=item.geometry.time_range
                )


def months(start: dt.datetime, count: int) -> list[tuple[dt.datetime, dt.datetime]]:
    """Calendar months, the first beginning nearest to `start`."""
    this = dt.datetime(start.year, start.month, 1, tzinfo=dt.UTC)
    following = _next(this)
    first = this if start - this <= following - start else following
    found = []
    for _ in range(count):
        found.append((first, _next(first)))
        first = _next(first)
    return found


def _bounds(geometry: STGeometry) -> tuple[float, float, float, float]:
    """West, south, east, north in degrees."""
    west, south, east, north = shapely.bounds(geometry.to_wgs84().shp).tolist()
    return west, south, east, north


def _moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).astimezone(dt.UTC)


def _next(month: dt.datetime) -> dt.datetime:
    return (month + dt.timedelta(days=32)).replace(day=1)
