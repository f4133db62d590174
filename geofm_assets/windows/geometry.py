"""Where and when a window lies, by the rules of the reference pipeline.

The rules are those of rslearn_projects (create_windows_for_cropland and
rslp.utils.windows.calculate_bounds): the point's own UTM zone, pixels of 10 m with rows growing
southward, coordinates truncated toward zero, and time about valid_time.
"""

import datetime as dt
import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import rasterio.warp
from rasterio.crs import CRS
from rslearn.utils.get_utm_ups_crs import (
    UPS_NORTH_THRESHOLD,
    UPS_SOUTH_THRESHOLD,
    get_utm_ups_crs,
)

from geofm_assets.core.errors import WindowError
from geofm_assets.sampling.naming import window_name
from geofm_assets.windows.config import WindowsConfig
from geofm_assets.windows.schema import WINDOW

SPLITS = ("train", "val", "test")
POINT_COLUMNS = [
    "sample_id", "collection_id", "h3_cell", "split", "class_id", "class_name", "ewoc_code",
    "h3_l3_cell", "quality_score_lc", "quality_score_ct", "valid_time", "lon", "lat", "simulated",
]  # fmt: skip
"""Columns of SAMPLED_POINT that windows are made from."""

_WGS84 = CRS.from_epsg(4326)
_EDGE_DEGREES = 1e-6
_DAY_MICROS = 86_400_000_000


def utm_epsg(lon: float, lat: float) -> int:
    """EPSG code of the UTM zone rslearn takes for a point.

    rslearn asks PROJ's database for UTM zones whose area of use holds the point and takes the
    first. Inside a zone that is plain arithmetic (six degrees each, no exceptions for Norway and
    Svalbard: those are MGRS cells, not areas of use of the CRSs). On an edge the database's order
    decides, so rslearn itself is asked there; it takes 65 ms a point.

    Args:
        lon: degrees, EPSG:4326.
        lat: degrees, EPSG:4326.

    Raises:
        WindowError: the point lies where UTM ends (north of 84 N or south of 80 S).
    """
    if not (-180 <= lon <= 180 and UPS_SOUTH_THRESHOLD <= lat <= UPS_NORTH_THRESHOLD):
        raise WindowError(
            "No UTM zone covers the point",
            where=f"lon={lon}, lat={lat}",
            fix="Leave out points north of 84 N and south of 80 S, and check for swapped "
            "coordinates",
        )
    to_edge = abs(lon / 6 - round(lon / 6)) * 6
    if to_edge < _EDGE_DEGREES or abs(lat) < _EDGE_DEGREES:
        return int(get_utm_ups_crs(lon, lat).to_epsg())
    zone = math.floor((lon + 180) / 6) + 1
    return (32600 if lat > 0 else 32700) + zone


def pixel_bounds(column: float, row: float, size: int) -> tuple[int, int, int, int]:
    """Bounds of the window about a point, in pixels.

    Coordinates are truncated toward zero. An odd window reaches one row further up: with rows
    negative in the northern hemisphere truncation rounds toward the equator, and the extra row
    makes a window of one pixel hold its point there.

    Args:
        column: x in pixels.
        row: y in pixels, growing southward.
        size: side of the window in pixels.

    Returns:
        column and row of the upper left pixel, column and row past the lower right one.
    """
    x, y, half = int(column), int(row), size // 2
    if size % 2 == 0:
        return (x - half, y - half, x + half, y + half)
    return (x - half, y - half - 1, x + half + 1, y + half)


def time_range(day: dt.date, config: WindowsConfig) -> tuple[dt.datetime, dt.datetime]:
    """Time range of a window about midnight UTC of its valid_time.

    Raises:
        WindowError: the range leaves the calendar.
    """
    midnight = dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC)
    try:
        return (
            midnight - dt.timedelta(days=config.days_before),
            midnight + dt.timedelta(days=config.days_after),
        )
    except OverflowError as error:
        raise WindowError(
            "The window's time range leaves the calendar", where=f"valid_time={day}"
        ) from error


def windows_for_points(points: pa.Table, config: WindowsConfig) -> pa.Table:
    """Windows of the sampled points that are in a split.

    Points held out as `buffer` get no window.

    Args:
        points: SAMPLED_POINT rows; lon and lat in degrees, EPSG:4326.
        config: size, resolution and time range.

    Returns:
        WINDOW rows, sorted by window_name.

    Raises:
        WindowError: a point lies at a pole, a date leaves the calendar, or two points would make
            windows of one name (same cell, place and date).
    """
    points = points.filter(pc.is_in(points["split"], value_set=pa.array(SPLITS))).combine_chunks()
    if points.num_rows == 0:
        return WINDOW.empty_table()
    lon, lat = points["lon"].to_numpy(), points["lat"].to_numpy()
    epsg = utm_epsgs(points, lon, lat)
    bounds = _bounds(*_pixels(lon, lat, epsg, config.resolution), config.size)
    days = points["valid_time"].combine_chunks()
    names = [
        window_name(*parts)
        for parts in zip(
            points["h3_cell"].to_pylist(), lat.tolist(), lon.tolist(), days.to_pylist(), strict=True
        )
    ]
    _require_unique(names, points["sample_id"].to_pylist())
    start, end = _time_ranges(days, config)
    crs, inverse = np.unique(epsg, return_inverse=True)
    made = {
        "window_name": pa.array(names, pa.string()),
        "crs": pa.array([f"EPSG:{code}" for code in crs.tolist()]).take(pa.array(inverse)),
        "resolution": pa.array(np.full(len(names), config.resolution)),
        "col_min": pa.array(bounds[0]),
        "row_min": pa.array(bounds[1]),
        "col_max": pa.array(bounds[2]),
        "row_max": pa.array(bounds[3]),
        "time_start": start,
        "time_end": end,
    }
    table = pa.table(
        [made[f.name] if f.name in made else points[f.name] for f in WINDOW], schema=WINDOW
    )
    return table.sort_by("window_name").combine_chunks()


def utm_epsgs(points: pa.Table, lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """`utm_epsg` of many points, int64 (n,); errors name the sample."""
    zone = np.floor((lon + 180) / 6).astype(np.int64) + 1
    codes = np.where(lat > 0, 32600, 32700) + zone
    to_edge = np.abs(lon / 6 - np.round(lon / 6)) * 6
    inside = (np.abs(lon) <= 180) & (lat >= UPS_SOUTH_THRESHOLD) & (lat <= UPS_NORTH_THRESHOLD)
    plain = inside & (to_edge >= _EDGE_DEGREES) & (np.abs(lat) >= _EDGE_DEGREES)
    for i in np.flatnonzero(~plain).tolist():
        try:
            codes[i] = utm_epsg(float(lon[i]), float(lat[i]))
        except WindowError as error:
            raise WindowError(
                error.what,
                where=f"sample {points['sample_id'][i]}, {error.where}",
                fix=error.fix,
            ) from error
    return codes


def _bounds(columns: np.ndarray, rows: np.ndarray, size: int) -> tuple[np.ndarray, ...]:
    """`pixel_bounds` of many points: four int64 arrays (n,)."""
    x, y = np.trunc(columns).astype(np.int64), np.trunc(rows).astype(np.int64)
    half, odd = size // 2, size % 2
    return (x - half, y - half - odd, x + half + odd, y + half)


def _time_ranges(days: pa.Array, config: WindowsConfig) -> tuple[pa.Array, pa.Array]:
    """`time_range` of many days."""
    if len(days):
        for day in pc.min_max(days).as_py().values():  # names the day that leaves the calendar
            time_range(day, config)
    midnight = days.cast(pa.int32()).cast(pa.int64()).to_numpy() * _DAY_MICROS
    stamp = pa.timestamp("us", "UTC")
    start = midnight - config.days_before * _DAY_MICROS
    end = midnight + config.days_after * _DAY_MICROS
    return pa.array(start).cast(stamp), pa.array(end).cast(stamp)


def _pixels(
    lon: np.ndarray, lat: np.ndarray, epsg: np.ndarray, resolution: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pixel coordinates of points, each in its own zone.

    rasterio's transform, not pyproj's: it is the one rslearn's geometries use, and the two carry
    different builds of PROJ that differ in the last bits.
    """
    columns = np.empty(len(lon))
    rows = np.empty(len(lon))
    for code in np.unique(epsg):
        here = epsg == code
        xs, ys = rasterio.warp.transform(
            _WGS84, CRS.from_epsg(int(code)), lon[here].tolist(), lat[here].tolist()
        )
        columns[here] = np.asarray(xs) / resolution
        rows[here] = np.asarray(ys) / -resolution
    return columns, rows


def _require_unique(names: list[str], samples: list[str]) -> None:
    first: dict[str, str] = {}
    for name, sample in zip(names, samples, strict=True):
        if name in first:
            raise WindowError(
                f"Samples {first[name]} and {sample} have the same place and date",
                where=f"window {name}",
                fix="Keep one sample a place and date",
            )
        first[name] = sample
