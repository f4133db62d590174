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
_WGS84 = CRS.from_epsg(4326)
_EDGE_DEGREES = 1e-6


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
    lon = points["lon"].to_numpy()
    lat = points["lat"].to_numpy()
    epsg = _zones(points, lon, lat)
    columns, rows = _pixels(lon, lat, epsg, config.resolution)
    bounds = np.array(
        [pixel_bounds(c, r, config.size) for c, r in zip(columns, rows, strict=True)],
        dtype=np.int64,
    )
    days = points["valid_time"].to_pylist()
    times = [time_range(day, config) for day in days]
    names = [
        window_name(cell, float(y), float(x), day)
        for cell, y, x, day in zip(points["h3_cell"].to_pylist(), lat, lon, days, strict=True)
    ]
    _require_unique(names, points["sample_id"].to_pylist())
    stamp = pa.timestamp("us", "UTC")
    made = {
        "window_name": pa.array(names, pa.string()),
        "crs": pa.array([f"EPSG:{code}" for code in epsg], pa.string()),
        "resolution": pa.array(np.full(len(names), config.resolution)),
        "col_min": pa.array(bounds[:, 0]),
        "row_min": pa.array(bounds[:, 1]),
        "col_max": pa.array(bounds[:, 2]),
        "row_max": pa.array(bounds[:, 3]),
        "time_start": pa.array([start for start, _ in times], stamp),
        "time_end": pa.array([end for _, end in times], stamp),
    }
    table = pa.table(
        [made[f.name] if f.name in made else points[f.name] for f in WINDOW], schema=WINDOW
    )
    return table.sort_by("window_name").combine_chunks()


def _zones(points: pa.Table, lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    samples = points["sample_id"]
    codes = np.empty(len(lon), dtype=np.int64)
    for i, (x, y) in enumerate(zip(lon.tolist(), lat.tolist(), strict=True)):
        try:
            codes[i] = utm_epsg(x, y)
        except WindowError as error:
            raise WindowError(
                error.what, where=f"sample {samples[i]}, {error.where}", fix=error.fix
            ) from error
    return codes


def _pixels(
    lon: np.ndarray, lat: np.ndarray, epsg: np.ndarray, resolution: float
) -> tuple[list[float], list[float]]:
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
    return columns.tolist(), rows.tolist()


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
