"""From the perimeters of a fire year to its samples: burnt, ring and far.

Everything is a function of perimeters, settings and seed; the order of rows has no say.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import shapely

from geofm_assets.core.hashing import keyed_hashes
from geofm_assets.labels.calfire.apart import stand_apart
from geofm_assets.labels.calfire.around import fire_windows
from geofm_assets.labels.calfire.fires import Fires, read_fires
from geofm_assets.labels.calfire.grid import (
    NO_PLACES,
    Grids,
    Places,
    points_wanted,
    quota,
    single_places,
    together,
)
from geofm_assets.labels.calfire.negatives import far_places, ring_places
from geofm_assets.labels.calfire.sample_schema import (
    BURNT,
    FAR,
    KINDS,
    NO_ROOM,
    NO_UTM,
    RING,
    TOO_SMALL,
    TOO_WIDE,
    UNDATED,
)
from geofm_assets.labels.calfire.sample_tables import (
    Kind,
    point_table,
    quarantine_table,
    sample_table,
)
from geofm_assets.labels.calfire.samples_config import SamplesConfig
from geofm_assets.labels.calfire.utm import polygons_to_utm, to_utm, utm_epsgs, zones_of

_NO_UTM_DETAIL = "beyond 84 N or 80 S, or on the edge of a zone"
_NO_ROOM_DETAIL = "its windows would overlap those of other fires"
_MAX_WIDTH_DEG = 6.0  # of a UTM zone; what is wider crosses the antimeridian, or is no fire


@dataclass(frozen=True)
class SamplesResult:
    """The samples of a fire year.

    Attributes:
        points: REFERENCE_POINT rows; `source_row` is the row in `samples`.
        samples: SAMPLE rows, sorted by sample_id.
        quarantine: QUARANTINED_ROW, one a fire without a sample.
        counts: fires of the year, samples by kind, and how many ring and far samples were asked
            for.
    """

    points: pa.Table
    samples: pa.Table
    quarantine: pa.Table
    counts: dict[str, int]


def make_samples(
    perimeters: pa.Table, year: int, config: SamplesConfig, seed: int
) -> SamplesResult:
    """Samples of the fires of one year.

    Prescribed burns are no source of samples; what is unburnt keeps away from them as from fires.

    Args:
        perimeters: PERIMETER rows of all years, in any order.
        year: fire year.
        config: how many samples, and where.
        seed: key of every random choice.

    Raises:
        LabelFileError: a file of `config.far` cannot be read.
    """
    everyone = read_fires(perimeters)
    fires = everyone.take((everyone.year == year) & ~everyone.prescribed)
    refused = _refusals(fires, config)
    sound = fires.take(np.array([f not in refused for f in fires.fire_id.tolist()], dtype=bool))
    grids = Grids(config, year, seed)
    counts = {"fires": len(fires), "ring_wanted": 0, "far_wanted": 0}
    kinds: list[Kind] = []
    if len(sound):
        if config.around is None:
            burnt = _burnt(sound, grids, config, seed, refused)
        else:
            burnt = _around(sound, config, year, seed, refused, counts)
        kinds.append(burnt)
        kinds.append(_ring(sound, everyone, burnt.places, grids, config, seed, counts))
        taken = together([k.places for k in kinds])
        kinds.append(_far(everyone, burnt, taken, grids, config, year, seed, counts))
    samples = sample_table(kinds, sound, year, bool(fires.simulated.any()))
    for name in KINDS:
        counts[name] = sum(len(k.places) for k in kinds if k.kind == name)
    return SamplesResult(
        point_table(samples, kinds, year),
        samples,
        quarantine_table(perimeters, refused, year),
        counts,
    )


def _refusals(fires: Fires, config: SamplesConfig) -> dict[str, tuple[str, str]]:
    """Fires that no sample can be taken of: reason and detail by fire_id."""
    west, _, east, _ = shapely.bounds(fires.geometry).T
    width, area = east - west, fires.area_ha
    rules: list[tuple[np.ndarray, str, Callable[[int], str]]] = [
        (~fires.dated, UNDATED, lambda i: "the day it was contained is not known"),
        (
            area < config.min_area_ha,
            TOO_SMALL,
            lambda i: f"{area[i]:g} ha, min_area_ha is {config.min_area_ha:g}",
        ),
        (
            width > _MAX_WIDTH_DEG,
            TOO_WIDE,
            lambda i: f"{width[i]:g} degrees wide; does it cross 180 E?",
        ),
    ]
    refused: dict[str, tuple[str, str]] = {}
    for wrong, reason, detail in rules:
        for i in np.flatnonzero(wrong).tolist():
            refused.setdefault(fires.fire_id[i], (reason, detail(i)))
    return refused


def _burnt(
    fires: Fires,
    grids: Grids,
    config: SamplesConfig,
    seed: int,
    refused: dict[str, tuple[str, str]],
) -> Kind:
    """Grid points inside the fires; the smallest give a point that is surely inside."""
    wanted = points_wanted(fires.area_ha, config)
    several = np.flatnonzero(wanted > 1)
    on_grid = _grid_inside(fires, several, grids, seed)
    bare = np.ones(len(fires), dtype=bool)
    bare[on_grid.fire] = False
    single = _inside_points(fires, np.flatnonzero(bare), seed)
    for name in set(fires.fire_id[bare].tolist()) - set(fires.fire_id[single.fire].tolist()):
        refused[name] = (NO_UTM, _NO_UTM_DETAIL)
    places = together([single, on_grid])
    # a fire with one point has nowhere else to go
    later = (np.arange(len(places)) >= len(single)).astype(np.uint64)
    rank = (places.key >> np.uint64(1)) | (later << np.uint64(63))
    standing = stand_apart(places, rank, config.window_extent_m)
    rules = np.array(["grid" if late else "representative_point" for late in later], dtype=object)
    places, rules = places.take(standing), rules[standing]
    chosen = quota(places, wanted)
    places, rules = places.take(chosen), rules[chosen]
    for name in set(fires.fire_id.tolist()) - set(fires.fire_id[places.fire].tolist()):
        refused.setdefault(name, (NO_ROOM, _NO_ROOM_DETAIL))
    return Kind(BURNT, places, fires.end[places.fire], rules.tolist(), [None] * len(places))


def _around(
    fires: Fires,
    config: SamplesConfig,
    year: int,
    seed: int,
    refused: dict[str, tuple[str, str]],
    counts: dict[str, int],
) -> Kind:
    """Windows around the fires, each burnt somewhere."""
    assert config.around is not None
    laid = fire_windows(fires, config.around, config, year, seed)
    counts["windows_crowded_out"] = laid.crowded_out
    for name in set(fires.fire_id.tolist()) - set(fires.fire_id[laid.found].tolist()):
        refused[name] = (NO_UTM, _NO_UTM_DETAIL)
    places = laid.places
    for name in set(fires.fire_id.tolist()) - set(fires.fire_id[places.fire].tolist()):
        refused.setdefault(name, (NO_ROOM, _NO_ROOM_DETAIL))
    size = len(places)
    return Kind(BURNT, places, fires.end[places.fire], ["polygon"] * size, [None] * size)


def _grid_inside(fires: Fires, rows: np.ndarray, grids: Grids, seed: int) -> Places:
    found = []
    for epsg, numbers in zones_of(shapely.bounds(fires.geometry[rows])):
        mine = rows[numbers]
        polygons = polygons_to_utm(epsg, fires.geometry[mine])

        def inside(
            box: np.ndarray, x: np.ndarray, y: np.ndarray, polygons: np.ndarray = polygons
        ) -> np.ndarray:
            result: np.ndarray = shapely.contains_xy(polygons[box], x, y)
            return result

        ids = [f"{name}_burnt" for name in fires.fire_id[mine].tolist()]
        places = grids[epsg].nodes(ids, shapely.bounds(polygons), inside, seed)
        found.append(replace(places, fire=mine[places.fire]))
    return together(found)


def _inside_points(fires: Fires, rows: np.ndarray, seed: int) -> Places:
    """A point inside each fire; none where there is no UTM zone."""
    points = shapely.point_on_surface(fires.geometry[rows])
    lon, lat = shapely.get_x(points), shapely.get_y(points)
    epsg = utm_epsgs(lon, lat)
    rows, lon, lat, epsg = (a[epsg > 0] for a in (rows, lon, lat, epsg))
    x, y = np.zeros(len(rows)), np.zeros(len(rows))
    for code in np.unique(epsg).tolist():
        here = epsg == code
        x[here], y[here] = to_utm(code, lon[here], lat[here])
    ids = [f"{name}_burnt" for name in fires.fire_id[rows].tolist()]
    return single_places(ids, rows, epsg, (x, y), (lon, lat), seed)


def _ring(
    fires: Fires,
    everyone: Fires,
    burnt: Places,
    grids: Grids,
    config: SamplesConfig,
    seed: int,
    counts: dict[str, int],
) -> Kind:
    per_fire = np.bincount(burnt.fire, minlength=len(fires))
    wanted = _times(per_fire, config.ring.ratio, fires.fire_id.tolist(), seed)
    counts["ring_wanted"] = int(wanted.sum())
    rows = np.flatnonzero(wanted > 0)
    places = ring_places(fires.take(rows), everyone, grids, config, seed)
    places = replace(places, fire=rows[places.fire])
    places = places.take(stand_apart(places, places.key, config.window_extent_m, burnt))
    places = places.take(quota(places, wanted))
    size = len(places)
    return Kind(RING, places, fires.end[places.fire], ["grid"] * size, [None] * size)


def _far(
    everyone: Fires,
    burnt: Kind,
    taken: Places,
    grids: Grids,
    config: SamplesConfig,
    year: int,
    seed: int,
    counts: dict[str, int],
) -> Kind:
    wanted = int(_times(np.array([len(burnt.places)]), config.far.ratio, [str(year)], seed)[0])
    counts["far_wanted"] = wanted
    if wanted == 0:
        return Kind(FAR, NO_PLACES, NO_PLACES.fire, [], [])
    days = np.sort(burnt.day)
    places, stratum = far_places(everyone, int(days[0]), grids, wanted, config, year, seed)
    standing = stand_apart(places, places.key, config.window_extent_m, taken)
    places, stratum = places.take(standing), stratum[standing]
    chosen = _evenly(stratum, places.key, wanted)
    places, stratum = places.take(chosen), stratum[chosen]
    drawn = keyed_hashes([f"{name}:day" for name in places.id.tolist()], seed) % np.uint64(
        len(days)
    )
    return Kind(FAR, places, days[drawn.astype(np.int64)], ["grid"] * len(places), stratum.tolist())


def _times(numbers: np.ndarray, ratio: float, names: list[str], seed: int) -> np.ndarray:
    """Numbers times a ratio, rounded up or down by a hash of the name, so that sums hold."""
    share = keyed_hashes([f"{name}:ratio" for name in names], seed).astype(np.float64) / 2.0**64
    return np.floor(numbers * ratio + share).astype(np.int64)


def _evenly(stratum: np.ndarray, key: np.ndarray, wanted: int) -> np.ndarray:
    """Rows of at most so many, as many of each stratum as it has or needs."""
    names, number = np.unique(stratum.astype(str), return_inverse=True)
    order = np.lexsort((key, number))
    turn = np.empty(len(order), dtype=np.int64)
    turn[order] = (
        np.arange(len(order)) - np.searchsorted(number[order], np.arange(len(names)))[number[order]]
    )
    return np.lexsort((key, turn))[:wanted]
