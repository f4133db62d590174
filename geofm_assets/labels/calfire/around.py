"""Windows around whole fires: one a fire, several side by side around a larger one.

A window lies on the pixels of its UTM zone. Around a fire that fits into one it is centred on the
fire's box; larger fires share the tiles of their zone and year, so that no two of them overlap.
"""

from dataclasses import dataclass, replace

import numpy as np
import shapely

from geofm_assets.labels.calfire.apart import stand_apart
from geofm_assets.labels.calfire.fires import Fires
from geofm_assets.labels.calfire.grid import NO_PLACES, Grid, Places, single_places, together
from geofm_assets.labels.calfire.samples_config import PolygonWindows, SamplesConfig
from geofm_assets.labels.calfire.utm import (
    polygons_to_utm,
    to_degrees,
    utm_epsgs,
    zones_of,
)

_ROUNDING_PX = 1e-6  # ten micrometres: what is lost on the way from metres to degrees and back


@dataclass(frozen=True)
class FireWindows:
    """Windows of some fires.

    Attributes:
        found: `fire` of every window that was laid.
        places: points that windows of the task's size are cut around, none overlapping another.
        crowded_out: tiles and windows left out because they overlap another window.
    """

    found: np.ndarray
    places: Places
    crowded_out: int


def fire_windows(
    fires: Fires, around: PolygonWindows, config: SamplesConfig, year: int, seed: int
) -> FireWindows:
    """The windows that cover some fires of a year.

    Where two would overlap, a fire's only window goes before a tile, and among equals the lower
    hash. On the edge of a UTM zone, where tiles of two zones meet, a strip may be left out.

    Args:
        fires: (N,) of one year.
        around: size of a window.
        config: where the tiles' offset comes from.
        year: fire year.
        seed: key of the offset and of the places' hashes.
    """
    single = _whole(fires, around, seed)
    large = np.ones(len(fires), dtype=bool)
    large[single.fire] = False
    tiles = _tiles(fires, np.flatnonzero(large), around, config, year, seed)
    places = together([single, tiles])
    later = (np.arange(len(places)) >= len(single)).astype(np.uint64)
    rank = (places.key >> np.uint64(1)) | (later << np.uint64(63))
    # on whole pixels windows that touch are a side apart; across zones they are turned, and a
    # pixel more allows for the rounding of their middle
    pixel = around.resolution
    standing = stand_apart(places, rank, around.side_m + pixel, clearance_m=-1.5 * pixel)
    return FireWindows(places.fire, places.take(standing), int((~standing).sum()))


def pixel_boxes(polygons: np.ndarray, resolution: float) -> np.ndarray:
    """The pixels that hold polygons, int64 (N, 4): west, south, east, north.

    Args:
        polygons: metres of a UTM zone, (N,).
        resolution: metres a pixel. Pixel (i, j) reaches from i to i + 1 east and j to j + 1 north.
    """
    bounds = shapely.bounds(polygons) / resolution
    low = np.floor(bounds[:, :2] + _ROUNDING_PX)
    high = np.ceil(bounds[:, 2:] - _ROUNDING_PX)
    return np.column_stack((low, np.maximum(high, low + 1))).astype(np.int64)


def _whole(fires: Fires, around: PolygonWindows, seed: int) -> Places:
    """The middle of the window of each fire that fits into one.

    Left out are fires that are larger, lie where there is no UTM zone, or whose window's middle
    lies in another zone than that of their box.
    """
    west, south, east, north = shapely.bounds(fires.geometry).T
    epsg = utm_epsgs((west + east) / 2, (south + north) / 2)
    found = [NO_PLACES]
    for code in np.unique(epsg[epsg > 0]).tolist():
        rows = np.flatnonzero(epsg == code)
        box = pixel_boxes(polygons_to_utm(code, fires.geometry[rows]), around.resolution)
        extent = box[:, 2:] - box[:, :2]
        fits = (extent <= around.size).all(axis=1)
        rows, corner = rows[fits], box[fits, :2] - (around.size - extent[fits]) // 2
        x, y = ((corner + around.to_middle_px) * around.resolution).T
        lon, lat = to_degrees(code, x, y)
        here = utm_epsgs(lon, lat) == code
        rows, x, y, lon, lat = (a[here] for a in (rows, x, y, lon, lat))
        ids = [f"{name}_around" for name in fires.fire_id[rows].tolist()]
        zone = np.full(len(rows), code)
        found.append(single_places(ids, rows, zone, (x, y), (lon, lat), seed))
    return together(found)


class _Tiles(Grid):
    """A year's tiles in one UTM zone: their middles are the nodes."""

    def __init__(
        self, around: PolygonWindows, config: SamplesConfig, year: int, epsg: int, seed: int
    ) -> None:
        super().__init__(config, year, epsg, seed)
        self.spacing = around.side_m
        self.origin = (np.floor(self.origin / around.resolution) + 0.5) * around.resolution


def _tiles(
    fires: Fires,
    rows: np.ndarray,
    around: PolygonWindows,
    config: SamplesConfig,
    year: int,
    seed: int,
) -> Places:
    """The middle of every tile that holds as much as a pixel of some fires."""
    found = [NO_PLACES]
    side, to_corner = around.side_m, around.to_middle_px * around.resolution
    for epsg, numbers in zones_of(shapely.bounds(fires.geometry[rows])):
        mine = rows[numbers]
        polygons = polygons_to_utm(epsg, fires.geometry[mine])

        def holds_some(
            box: np.ndarray, x: np.ndarray, y: np.ndarray, polygons: np.ndarray = polygons
        ) -> np.ndarray:
            west, south = x - to_corner, y - to_corner
            squares = np.asarray(shapely.box(west, south, west + side, south + side))
            some = np.asarray(shapely.intersects(polygons[box], squares))
            part = ~shapely.contains(polygons[box], squares) & some
            held = shapely.intersection(polygons[box[part]], squares[part])
            some[part] = shapely.area(held) >= around.resolution**2
            return some

        ids = [f"{name}_around" for name in fires.fire_id[mine].tolist()]
        boxes = shapely.bounds(polygons) + np.array([-side, -side, side, side])
        places = _Tiles(around, config, year, epsg, seed).nodes(ids, boxes, holds_some, seed)
        found.append(replace(places, fire=mine[places.fire]))
    return together(found)
