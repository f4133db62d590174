"""From a geometry to the one point that stands for it."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import shapely

from geofm_assets.labels import refusals as why
from geofm_assets.labels.refusals import Refusals
from geofm_assets.labels.schema import LOCATED_RULES
from geofm_assets.labels.wkb import LEFT_TO_GEOS, PLAIN_POLYGON, plain_points

_POINT, _POLYGON, _MULTIPOLYGON = 0, 3, 6  # shapely.GeometryType
_MAX_WIDTH_DEG = 180.0
_RULE_POINT, _RULE_CENTROID, _RULE_REPRESENTATIVE = range(len(LOCATED_RULES))


@dataclass(frozen=True)
class Located:
    """A point for each row of a batch.

    Attributes:
        lon: degrees EPSG:4326, float64, shape (n,); NaN where the row was refused without one.
        lat: likewise.
        rule: index into `LOCATED_RULES`, int8, shape (n,).
    """

    lon: np.ndarray
    lat: np.ndarray
    rule: np.ndarray

    def rule_names(self) -> pa.DictionaryArray:
        """`point_rule`, dictionary-coded."""
        return pa.DictionaryArray.from_arrays(
            pa.array(self.rule.astype(np.int32)), pa.array(LOCATED_RULES, pa.string())
        )


def locate(wkb: pa.Array, refusals: Refusals) -> Located:
    """The point that stands for each geometry.

    A point is taken as it is. A polygon gives its centroid, planar in degrees as rslearn_projects
    and WorldCereal's RDM do it, if the centroid lies inside; else a point GEOS guarantees to lie
    inside. (WorldCereal drops such polygons; we keep them and say so in `point_rule`.)

    Rows with a missing, unreadable, empty or flat geometry, of another type, with coordinates that
    are not finite, or with a polygon wider than 180 degrees are added to `refusals`. Coordinates
    outside the globe are left in: `check_range` refuses them after swapped axes were looked for.

    Args:
        wkb: binary, plain or as an extension type; WKB or EWKB in degrees, n values.
        refusals: of this batch; added to.
    """
    if isinstance(wkb, pa.ExtensionArray):  # geoarrow.wkb
        wkb = wkb.storage
    if not (pa.types.is_binary(wkb.type) or pa.types.is_large_binary(wkb.type)):
        wkb = wkb.cast(pa.large_binary())
    lon, lat, kind = plain_points(wkb)
    rule = np.where(kind == PLAIN_POLYGON, _RULE_CENTROID, _RULE_POINT).astype(np.int8)
    left = np.flatnonzero((kind == LEFT_TO_GEOS) & ~refusals.refused)
    if len(left):
        apart = Refusals(len(left))
        located = locate_with_geos(wkb.take(pa.array(left)), apart)
        lon[left], lat[left], rule[left] = located.lon, located.lat, located.rule
        refusals.merge(apart, left)
    return Located(lon, lat, rule)


def locate_with_geos(wkb: pa.Array, refusals: Refusals) -> Located:
    """`locate` for whatever `labels.wkb` leaves, geometry by geometry.

    Args:
        wkb: binary, n values.
        refusals: of these geometries; added to.
    """
    size = len(wkb)
    missing = np.asarray(wkb.is_null())
    geometries = shapely.from_wkb(wkb.to_numpy(zero_copy_only=False), on_invalid="ignore")
    kinds = shapely.get_type_id(geometries)
    refusals.add(missing, why.MISSING_GEOMETRY, "the geometry is null")
    refusals.add(kinds < 0, why.UNREADABLE_GEOMETRY, "the bytes are not WKB")
    empty = shapely.is_empty(geometries)
    refusals.add(
        empty & (kinds == _POINT),
        why.BAD_COORDINATES,
        "the point has no finite coordinates (WKB also writes an empty point so)",
    )
    refusals.add(empty, why.EMPTY_GEOMETRY, "the geometry is empty")
    supported = (kinds == _POINT) | (kinds == _POLYGON) | (kinds == _MULTIPOLYGON)
    refusals.add(
        ~supported,
        why.UNSUPPORTED_GEOMETRY,
        lambda i: f"{geometries[i].geom_type} is neither a point nor a polygon",
    )
    lon, lat = np.full(size, np.nan), np.full(size, np.nan)
    rule = np.full(size, _RULE_POINT, dtype=np.int8)
    points = (kinds == _POINT) & ~refusals.refused  # GEOS raises on the x of an empty point
    lon[points] = shapely.get_x(geometries[points])
    lat[points] = shapely.get_y(geometries[points])
    refusals.add(
        points & ~(np.isfinite(lon) & np.isfinite(lat)),
        why.BAD_COORDINATES,
        lambda i: f"lon {lon[i]}, lat {lat[i]} are not finite",
    )
    areal = np.flatnonzero(supported & (kinds != _POINT) & ~refusals.refused)
    if len(areal):
        _locate_polygons(geometries[areal], areal, lon, lat, rule, refusals)
    return Located(lon, lat, rule)


def _locate_polygons(
    polygons: np.ndarray,
    rows: np.ndarray,
    lon: np.ndarray,
    lat: np.ndarray,
    rule: np.ndarray,
    refusals: Refusals,
) -> None:
    """Fill lon, lat and rule at `rows`, and refuse what has no inside."""
    size = len(lon)
    bounds = shapely.bounds(polygons)
    finite = np.isfinite(bounds).all(axis=1)
    refusals.add(_at(size, rows[~finite]), why.BAD_COORDINATES, "a vertex is not finite")
    wide = finite & (bounds[:, 2] - bounds[:, 0] > _MAX_WIDTH_DEG)
    refusals.add(
        _at(size, rows[wide]),
        why.BAD_COORDINATES,
        "the polygon is wider than 180 degrees; split it at the antimeridian",
    )
    keep = finite & ~wide
    flat = np.zeros_like(keep)
    flat[keep] = shapely.area(polygons[keep]) == 0
    refusals.add(_at(size, rows[flat]), why.DEGENERATE_GEOMETRY, "the polygon has no area")
    keep &= ~flat
    polygons, rows = polygons[keep], rows[keep]
    centroids = shapely.centroid(polygons)
    x, y = shapely.get_x(centroids), shapely.get_y(centroids)
    inside = shapely.contains_xy(polygons, x, y)
    rule[rows] = _RULE_CENTROID
    lost = np.zeros(len(rows), dtype=bool)
    if not inside.all():
        x[~inside], y[~inside] = _points_inside(polygons[~inside])
        lost[~inside] = np.isnan(x[~inside])
        rule[rows[~inside]] = _RULE_REPRESENTATIVE
    refusals.add(
        _at(size, rows[lost]), why.DEGENERATE_GEOMETRY, "GEOS finds no point inside the polygon"
    )
    lon[rows], lat[rows] = x, y


def _points_inside(polygons: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """X and y that GEOS guarantees to lie inside; NaN for shapes it cannot repair."""
    try:
        sound = polygons.copy()
        broken = ~shapely.is_valid(sound)
        sound[broken] = shapely.make_valid(sound[broken])
        points = shapely.point_on_surface(sound)
    except shapely.errors.GEOSException:
        if len(polygons) == 1:
            return np.array([np.nan]), np.array([np.nan])
        half = len(polygons) // 2  # one of them stops all: narrow it down
        parts = [_points_inside(polygons[:half]), _points_inside(polygons[half:])]
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
    points[shapely.is_empty(points)] = None
    return shapely.get_x(points), shapely.get_y(points)


def _at(size: int, rows: np.ndarray) -> np.ndarray:
    mask = np.zeros(size, dtype=bool)
    mask[rows] = True
    return mask


def check_range(lon: np.ndarray, lat: np.ndarray, refusals: Refusals) -> None:
    """Refuse coordinates that are not finite or not on the globe."""

    def detail(i: int) -> str:
        text = f"lon {lon[i]}, lat {lat[i]} are not degrees on the globe"
        swapped = abs(lon[i]) <= 90 < abs(lat[i]) <= 180
        return f"{text}; they would be if the axes were swapped" if swapped else text

    with np.errstate(invalid="ignore"):
        good = (np.abs(lon) <= 180) & (np.abs(lat) <= 90)
    refusals.add(~good, why.BAD_COORDINATES, detail)
