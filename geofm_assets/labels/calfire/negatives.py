"""Where unburnt samples may lie: in a ring around each fire, and far from all of them."""

from dataclasses import replace
from pathlib import Path

import geopandas
import h3.api.numpy_int as h3_int
import numpy as np
import pyogrio.errors
import shapely

from geofm_assets.core.errors import LabelFileError
from geofm_assets.core.hashing import keyed_hashes
from geofm_assets.labels.calfire.fires import Fires
from geofm_assets.labels.calfire.grid import Grids, Places, together
from geofm_assets.labels.calfire.land_cover import cover_at, tries_on_cover
from geofm_assets.labels.calfire.samples_config import FarConfig, SamplesConfig
from geofm_assets.labels.calfire.utm import (
    degrees_around,
    polygons_to_utm,
    to_utm,
    utm_epsgs,
    zones_of,
)
from geofm_assets.labels.cells import cell_ids

_DAYS_A_YEAR = 365.25
_LEAST_TRIES, _TRIES_PER_SAMPLE = 256, 16


def ring_places(
    fires: Fires, everyone: Fires, grids: Grids, config: SamplesConfig, seed: int
) -> Places:
    """Grid nodes in the rings of some fires, no nearer than the gap to any fire that counts.

    What counts is every fire and prescribed burn, of any year, that began at the latest
    `exclude_after_days` after the fire was contained; with `scar_years`, only those contained at
    most so long before.

    Args:
        fires: (N,) those the rings are of.
        everyone: all perimeters.
        grids: of the fire year.
        config: ring, gap, time limits.
        seed: key of the places' hashes.

    Returns:
        Places whose `fire` is the row of `fires`.
    """
    reach = config.ring.gap_m + config.ring.width_m
    bounds = degrees_around(shapely.bounds(fires.geometry), reach)
    found = []
    for epsg, rows in zones_of(bounds):
        polygons = polygons_to_utm(epsg, fires.geometry[rows])

        def in_ring(
            box: np.ndarray, x: np.ndarray, y: np.ndarray, polygons: np.ndarray = polygons
        ) -> np.ndarray:
            points, mine = np.asarray(shapely.points(x, y)), polygons[box]
            ring = shapely.dwithin(mine, points, reach)
            ring[ring] = ~shapely.dwithin(mine[ring], points[ring], config.ring.gap_m)
            return ring

        boxes = shapely.bounds(polygons) + np.array([-reach, -reach, reach, reach])
        ids = [f"{name}_ring" for name in fires.fire_id[rows].tolist()]
        places = grids[epsg].nodes(ids, boxes, in_ring, seed)
        places = replace(places, fire=rows[places.fire])
        found.append(places.take(~_near_any(places, fires, everyone, epsg, config)))
    return together(found)


def _near_any(
    places: Places, fires: Fires, everyone: Fires, epsg: int, config: SamplesConfig
) -> np.ndarray:
    """Which places of a zone lie in the gap of a fire that counts, or in the fire."""
    near = np.zeros(len(places), dtype=bool)
    if not len(places):
        return near
    gap = config.ring.gap_m
    hull = np.column_stack((places.lon, places.lat, places.lon, places.lat))
    boxes = shapely.STRtree(shapely.box(*degrees_around(hull, gap).T))
    outlines = shapely.box(*shapely.bounds(everyone.geometry).T)
    others = np.unique(boxes.query(outlines)[0])
    if not len(others):
        return near
    polygons = polygons_to_utm(epsg, everyone.geometry[others])
    points = shapely.STRtree(np.asarray(shapely.points(places.x, places.y)))
    other, place = points.query(polygons, predicate="dwithin", distance=gap)
    other = others[other]
    contained = fires.end[places.fire[place]]
    counts = everyone.start[other] <= contained + config.exclude_after_days
    if config.scar_years is not None:
        counts &= everyone.end[other] >= contained - config.scar_years * _DAYS_A_YEAR
    near[place[counts]] = True
    return near


def far_places(
    everyone: Fires,
    first_day: int,
    grids: Grids,
    wanted: int,
    config: SamplesConfig,
    year: int,
    seed: int,
) -> tuple[Places, np.ndarray]:
    """Grid nodes far from perimeters, in the H3 cells that hold any.

    Args:
        everyone: all perimeters, those of later years too: a place that burns again and again is
            not the far side of anything. With `scar_years`, those contained longer before
            `first_day` do not count.
        first_day: the earliest date a far sample may get, days since 1970.
        grids: of the fire year.
        wanted: samples asked for.
        config: settings of far samples.
        year: fire year.
        seed: key of every choice.

    Returns:
        Places without a fire, and the stratum of each, (N,) object.

    Raises:
        LabelFileError: `land_cover` or `within` cannot be read.
    """
    far = config.far
    centres = shapely.centroid(everyone.geometry)
    cells = cell_ids(shapely.get_x(centres), shapely.get_y(centres), far.h3_resolution)
    cells = np.unique(cells[cells > 0])
    tries = _LEAST_TRIES
    while (
        tries * max(1, len(cells)) < _TRIES_PER_SAMPLE * wanted
    ):  # doubled, so that it seldom changes
        tries *= 2
    if far.land_cover is None:
        ids, lon, lat = _tries(cells, tries, year, seed)
    else:
        ids, lon, lat = tries_on_cover(cells, tries, year, seed, far)
    epsg = utm_epsgs(lon, lat)
    found = []
    for code in np.unique(epsg[epsg > 0]).tolist():
        rows = np.flatnonzero(epsg == code)
        names = [ids[i] for i in rows.tolist()]
        places = grids[code].snap(names, *to_utm(code, lon[rows], lat[rows]), seed)
        found.append(replace(places, fire=np.full(len(places), -1)))
    places = together(found)
    cell = cell_ids(places.lon, places.lat, far.h3_resolution)
    places = places.take(np.isin(cell, cells))
    oldest = -np.inf
    if config.scar_years is not None:
        oldest = first_day - config.scar_years * _DAYS_A_YEAR
    places = places.take(_clear(places, everyone.geometry[everyone.end >= oldest], far.min_km))
    if far.within is not None:
        places = places.take(_inside(places, Path(far.within)))
    if far.land_cover is None:
        cell = cell_ids(places.lon, places.lat, far.h3_resolution)
        return places, np.array([f"h3 {c:x}" for c in cell.tolist()], dtype=object)
    return _by_land_cover(places, far)


def _tries(
    cells: np.ndarray, tries: int, year: int, seed: int
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Points spread evenly over the boxes of H3 cells: names, lon, lat."""
    ids, boxes = [], []
    for cell in cells.tolist():
        lat, lon = np.array(h3_int.cell_to_boundary(cell)).T
        if lon.max() - lon.min() > 180:  # a cell across the antimeridian
            continue
        ids += [f"frap{year}_far_{cell:x}_{n}" for n in range(tries)]
        boxes.append((lon.min(), lat.min(), lon.max(), lat.max()))
    west, south, east, north = np.repeat(np.array(boxes).reshape(-1, 4), tries, axis=0).T
    u, v = (
        keyed_hashes([f"{i}:{axis}" for i in ids], seed).astype(np.float64) / 2.0**64
        for axis in "xy"
    )
    return ids, west + u * (east - west), south + v * (north - south)


def _by_land_cover(places: Places, far: FarConfig) -> tuple[Places, np.ndarray]:
    """Places on a class that is sampled, and `land cover` with its value."""
    values, known = cover_at(far, places.lon, places.lat)
    strata = [f"land cover {value}" for value in values[known].tolist()]
    return places.take(known), np.array(strata, dtype=object)


def _clear(places: Places, perimeters: np.ndarray, km: float) -> np.ndarray:
    """Which places have no perimeter within so many kilometres; some farther ones are refused.

    The box about a place that holds its circle must be clear, so no distance is measured.
    """
    points = np.column_stack((places.lon, places.lat, places.lon, places.lat))
    boxes = shapely.box(*degrees_around(points, km * 1000).T)
    shapely.prepare(perimeters)
    hit = shapely.STRtree(boxes).query(perimeters, predicate="intersects")[1]
    clear = np.ones(len(places), dtype=bool)
    clear[hit] = False
    return clear


def _inside(places: Places, path: Path) -> np.ndarray:
    try:
        area = geopandas.read_file(path)
    except (pyogrio.errors.DataSourceError, OSError) as error:
        raise LabelFileError(
            f"The area of far samples cannot be read: {error}",
            where=f"samples.far.within = {path}",
            fix="Give a file of polygons that GeoPandas reads",
        ) from error
    if area.crs is None:
        raise LabelFileError(
            "The area of far samples has no CRS",
            where=f"samples.far.within = {path}",
            fix="Write the file with its CRS",
        )
    whole = area.to_crs(4326).union_all()
    shapely.prepare(whole)
    inside: np.ndarray = shapely.contains_xy(whole, places.lon, places.lat)
    return inside
