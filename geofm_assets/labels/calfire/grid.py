"""The grid that samples of a fire year lie on, and which of its nodes are taken.

Every UTM zone has one grid a year, of `SamplesConfig.grid_m` metres and a seeded offset, for
samples of every kind. So two samples at nodes never share a window, and a node keeps its name as
long as the settings stay.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.core.hashing import keyed_hashes
from geofm_assets.core.xxh3 import xxh3_64
from geofm_assets.labels.calfire.samples_config import SamplesConfig
from geofm_assets.labels.calfire.utm import to_degrees, utm_epsgs

CLEARANCE_M = 0.01
"""Metres by which windows stand apart, so that rounding in a projection cannot make two of them
share a row of pixels."""

_LEVELS = 12  # the coarsest sub-grid has 2**12 times the spacing
_NODES_AT_ONCE = 500_000


@dataclass(frozen=True)
class Places:
    """N places that may become samples.

    Attributes:
        fire: (N,) row of the fire, int64; -1 where there is none.
        epsg: (N,) int64, of the place's own UTM zone.
        x: (N,) easting, metres.
        y: (N,) northing, metres.
        lon: (N,) degrees EPSG:4326.
        lat: (N,) likewise.
        level: (N,) int64, how coarse a sub-grid the node is still part of.
        id: (N,) object, sample_id.
        key: (N,) uint64, the keyed hash of `id`.
    """

    fire: np.ndarray
    epsg: np.ndarray
    x: np.ndarray
    y: np.ndarray
    lon: np.ndarray
    lat: np.ndarray
    level: np.ndarray
    id: np.ndarray
    key: np.ndarray

    def __len__(self) -> int:
        return len(self.fire)

    def take(self, rows: np.ndarray) -> Self:
        """The places of some rows, by number or by mask."""
        return type(self)(*(getattr(self, f.name)[rows] for f in fields(self)))


_INT, _FLOAT = np.zeros(0, np.int64), np.zeros(0)
NO_PLACES = Places(
    *(_INT, _INT, _FLOAT, _FLOAT, _FLOAT, _FLOAT, _INT),
    id=np.zeros(0, object),
    key=np.zeros(0, np.uint64),
)


def together(parts: list[Places]) -> Places:
    """All places of some parts."""
    several = [NO_PLACES, *parts]
    return Places(*(np.concatenate([getattr(p, f.name) for p in several]) for f in fields(Places)))


def single_places(
    names: list[str],
    fire: np.ndarray,
    epsg: np.ndarray,
    xy: tuple[np.ndarray, np.ndarray],
    lon_lat: tuple[np.ndarray, np.ndarray],
    seed: int,
) -> Places:
    """Places that are no nodes of a grid, N of them.

    Args:
        names: their sample_ids.
        fire: row of each one's fire.
        epsg: of each one's UTM zone.
        xy: eastings and northings, metres of it.
        lon_lat: the same in degrees EPSG:4326.
        seed: key of the places' hashes.
    """
    return Places(
        fire=fire,
        epsg=epsg,
        x=xy[0],
        y=xy[1],
        lon=lon_lat[0],
        lat=lon_lat[1],
        level=np.zeros(len(names), np.int64),
        id=np.array(names, dtype=object),
        key=xxh3_64(pa.array(names, pa.string()), seed),
    )


Keep = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Box numbers, x and y (N,) to bool (N,)."""


class Grid:
    """The grid of a fire year in one UTM zone.

    Args:
        config: spacing.
        year: fire year.
        epsg: of the zone.
        seed: key of the offset.
    """

    def __init__(self, config: SamplesConfig, year: int, epsg: int, seed: int) -> None:
        self.epsg = epsg
        self.spacing = max(config.grid_m, config.window_extent_m + CLEARANCE_M)
        keys = keyed_hashes([f"{year}:{epsg}:{axis}" for axis in "xy"], seed)
        share = keys.astype(np.float64) / 2.0**64
        self.origin = share * self.spacing * 2**_LEVELS

    def nodes(self, ids: list[str], boxes: np.ndarray, keep: Keep, seed: int) -> Places:
        """The nodes in some boxes that a rule keeps and that lie in this zone.

        Args:
            ids: what each box's sample_ids begin with.
            boxes: west, south, east, north in metres, (N, 4).
            keep: which nodes stay, asked with box numbers, x and y.
            seed: key of the places' hashes.
        """
        low = np.ceil((boxes[:, :2] - self.origin) / self.spacing).astype(np.int64)
        high = np.floor((boxes[:, 2:] - self.origin) / self.spacing).astype(np.int64)
        wide, tall = np.maximum(high - low + 1, 0).T
        size = wide * tall
        bins = np.cumsum(size) // _NODES_AT_ONCE
        parts = []
        for number in np.unique(bins).tolist():
            rows = np.flatnonzero(bins == number)
            box = np.repeat(rows, size[rows])
            within = np.arange(len(box)) - np.repeat(np.cumsum(size[rows]) - size[rows], size[rows])
            col, row = low[box, 0] + within % wide[box], low[box, 1] + within // wide[box]
            kept = keep(box, *self._xy(col, row))
            parts.append(self._place(ids, box[kept], col[kept], row[kept], seed))
        return together(parts)

    def snap(self, ids: list[str], x: np.ndarray, y: np.ndarray, seed: int) -> Places:
        """The node nearest to each point, where that lies in this zone; `fire` is its number.

        Args:
            ids: what each point's sample_id begins with.
            x: metres, (N,).
            y: metres, (N,).
            seed: key of the places' hashes.
        """
        nearest = np.round((np.column_stack((x, y)) - self.origin) / self.spacing)
        col, row = nearest.astype(np.int64).T
        return self._place(ids, np.arange(len(x)), col, row, seed)

    def _xy(self, col: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.origin[0] + col * self.spacing, self.origin[1] + row * self.spacing

    def _place(
        self, ids: list[str], box: np.ndarray, col: np.ndarray, row: np.ndarray, seed: int
    ) -> Places:
        x, y = self._xy(col, row)
        lon, lat = to_degrees(self.epsg, x, y)
        here = utm_epsgs(lon, lat) == self.epsg
        box, col, row, x, y, lon, lat = (a[here] for a in (box, col, row, x, y, lon, lat))
        bits = (col | row) & (2**_LEVELS - 1)
        lowest = np.where(bits == 0, 2**_LEVELS, bits & -bits)
        names = pc.binary_join_element_wise(
            pa.array(ids, pa.string()).take(pa.array(box)),
            pa.repeat(pa.scalar(str(self.epsg)), len(box)),
            pa.array(col).cast(pa.string()),
            pa.array(row).cast(pa.string()),
            "_",
        )
        return Places(
            fire=box,
            epsg=np.full(len(box), self.epsg),
            x=x,
            y=y,
            lon=lon,
            lat=lat,
            level=np.log2(lowest).astype(np.int64),
            id=names.to_numpy(zero_copy_only=False).astype(object),
            key=xxh3_64(names, seed),
        )


class Grids:
    """The grids of a fire year by EPSG code, made as they are asked for."""

    def __init__(self, config: SamplesConfig, year: int, seed: int) -> None:
        self._settings = (config, year, seed)
        self._known: dict[int, Grid] = {}

    def __getitem__(self, epsg: int) -> Grid:
        if epsg not in self._known:
            config, year, seed = self._settings
            self._known[epsg] = Grid(config, year, epsg, seed)
        return self._known[epsg]


def points_wanted(area_ha: np.ndarray, config: SamplesConfig) -> np.ndarray:
    """How many burnt points a fire of this area gets, int64 (N,); one at least."""
    grown = (area_ha / config.hectares_per_point) ** config.points.growth
    return np.clip(np.floor(grown + 0.5), 1, config.max_points_per_fire).astype(np.int64)


def quota(places: Places, wanted: np.ndarray) -> np.ndarray:
    """Which places fill each fire's number: nodes of its coarsest sub-grids first, then by hash.

    So a few points lie spread over a fire, and more fill in between them.

    Args:
        places: N of them, each of a fire.
        wanted: places that each fire gets at most, (fires,) int64.

    Returns:
        bool (N,).
    """
    order = np.lexsort((places.key, -places.level, places.fire))
    fire = places.fire[order]
    first = np.searchsorted(fire, fire)
    chosen = np.zeros(len(places), dtype=bool)
    chosen[order[np.arange(len(order)) - first < wanted[fire]]] = True
    return chosen
