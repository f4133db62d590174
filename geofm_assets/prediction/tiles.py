"""Work tiles in the store: a GeoTIFF and a note each, so that a killed run knows what is done."""

import datetime as dt
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.io import MemoryFile

from geofm_assets.core.store import Store
from geofm_assets.prediction.crops import CropGrid
from geofm_assets.prediction.infer import NODATA, TileMap, predict_tile
from geofm_assets.prediction.mask import Mask
from geofm_assets.prediction.model import CropModel
from geofm_assets.prediction.partition import Tile, Zone
from geofm_assets.prediction.pieces import Imagery
from geofm_assets.prediction.schema import DONE, MASKED, NO_DATA, OUTSIDE

BANDS = ("class", "confidence")
_BLOCK_PX = 256


class TileStore:
    """The tiles of one map.

    A tile's note is written after its file and names what both were made from.

    Args:
        store: where.
        folder: store prefix of the map.
        inputs: digest of what the map is made from.
    """

    def __init__(self, store: Store, folder: str, inputs: str) -> None:
        self.store, self.folder, self.inputs = store, folder, inputs

    def file_key(self, tile_id: str) -> str:
        """Store key of a tile's GeoTIFF."""
        return f"{self.folder}/tiles/{tile_id}.tif"

    def finished(self, tile: Tile) -> dict[str, Any] | None:
        """The TILE row of a tile that was made from the same inputs and is whole; else None."""
        key = f"{self.folder}/tiles/{tile.name}.json"
        if not self.store.exists(key):
            return None
        note = self.store.read_json(key)
        if note["inputs"] != self.inputs or not self._whole(note["tile"]):
            return None
        row: dict[str, Any] = note["tile"]
        return row

    def there(self, row: Mapping[str, Any]) -> bool:
        """Whether a TILE row's file exists, if it has one; its content is not looked at."""
        return row["status"] != DONE or self.store.exists(self.file_key(row["tile_id"]))

    def _whole(self, row: Mapping[str, Any]) -> bool:
        """Whether a TILE row's file, if it has one, is what was written."""
        if row["status"] != DONE:
            return True
        try:
            data = self.store.read_bytes(self.file_key(row["tile_id"]))
        except FileNotFoundError:
            return False
        return hashlib.sha256(data).hexdigest() == row["sha256"]

    def write(self, row: dict[str, Any], data: bytes | None) -> None:
        """Keep a tile: its file, then its note."""
        if data is not None:
            self.store.write_bytes(self.file_key(row["tile_id"]), data)
        key = f"{self.folder}/tiles/{row['tile_id']}.json"
        self.store.write_json(key, {"inputs": self.inputs, "tile": row})


def make_tile(
    zone: Zone,
    tile: Tile,
    model: CropModel,
    imagery: Imagery,
    grid: CropGrid,
    mask: Mask | None = None,
    threads: int = 1,
) -> tuple[dict[str, Any], bytes | None]:
    """Map one tile.

    Args:
        zone: the tile's.
        tile: which.
        model: what is asked.
        imagery: where pixels come from.
        grid: crops of the model's size.
        mask: where to map; everywhere if None.
        threads: see `predict_tile`.

    Returns:
        A TILE row, and the bytes of a GeoTIFF with bands class and confidence, None if nothing
        was mapped.

    Raises:
        ImageryError: a scene cannot be read.
        RequestError: the mask cannot be read.
    """
    began = time.monotonic()
    wanted = zone.inside(tile)
    if not wanted:
        return _row(tile, OUTSIDE, began), None
    if mask is not None:
        kept = mask.wanted(zone.projection, tile.bounds)
        wanted = {day: here & kept for day, here in wanted.items() if (here & kept).any()}
        if not wanted:
            return _row(tile, MASKED, began), None
    made = predict_tile(model, imagery, grid, zone.projection, tile.bounds, wanted, threads)
    counts = np.bincount(made.classes.ravel(), minlength=NODATA + 1)
    mapped = int(counts[:NODATA].sum())
    if not mapped:
        return _row(tile, NO_DATA, began, wanted, 0, made.missing_frame), None
    data = _geotiff(made, zone, tile)
    row = _row(tile, DONE, began, wanted, mapped, made.missing_frame)
    row["class_pixels"] = _json(model.classes, counts)
    row["timesteps_seen"] = made.timesteps_seen
    row["scenes"], row["simulated"] = sorted(made.scenes), made.simulated
    row["sha256"] = hashlib.sha256(data).hexdigest()
    row["seconds"] = round(time.monotonic() - began, 3)
    return row, data


def _row(
    tile: Tile,
    status: str,
    began: float,
    wanted: Mapping[dt.date, NDArray[np.bool_]] | None = None,
    mapped: int = 0,
    missing_frame: int = 0,
) -> dict[str, Any]:
    """A TILE row without what only a mapped tile has."""
    asked = sum(int(here.sum()) for here in (wanted or {}).values())
    left, top, right, bottom = tile.bounds
    return {
        "tile_id": tile.name,
        "epsg": tile.epsg,
        "col_min": left,
        "row_min": top,
        "col_max": right,
        "row_max": bottom,
        "status": status,
        "class_pixels": "{}",
        "nodata_share": 1 - mapped / asked if asked else 0.0,
        "seconds": round(time.monotonic() - began, 3),
        "scenes": [],
        "area_pixels": asked,
        "missing_frame_pixels": missing_frame,
        "timesteps_seen": 0,
        "sha256": None,
        "simulated": False,
    }


def _json(classes: Sequence[str], counts: NDArray[np.int64]) -> str:
    named = {name: int(count) for name, count in zip(classes, counts.tolist(), strict=False)}
    return json.dumps(named, sort_keys=True)


def _geotiff(made: TileMap, zone: Zone, tile: Tile) -> bytes:
    """Bands class and confidence as a tiled GeoTIFF; the same tile gives the same bytes."""
    side, (left, top, right, bottom) = zone.resolution, tile.bounds
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            count=len(BANDS),
            width=right - left,
            height=bottom - top,
            dtype="uint8",
            nodata=NODATA,
            crs=rasterio.CRS.from_epsg(zone.epsg),
            transform=Affine(side, 0, left * side, 0, -side, -top * side),
            tiled=True,
            blockxsize=_BLOCK_PX,
            blockysize=_BLOCK_PX,
            compress="deflate",
        ) as target:
            target.write(made.classes, 1)
            target.write(made.confidence, 2)
            target.descriptions = BANDS
            target.update_tags(simulated=str(made.simulated).lower())
        data: bytes = bytes(memory.read())
    return data
