"""Polygons of a GeoJSON feature, checked, and cut where they cross the antimeridian (RFC 7946)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import shapely
import shapely.affinity
from shapely.geometry.base import BaseGeometry

from geofm_assets.core.errors import RequestError

_WGS84_NAMES = ("crs84", "ogc:1.3:crs84", "epsg:4326", "epsg::4326")
_HALF_TURN, _TURN = 180.0, 360.0


def require_wgs84(document: Mapping[str, Any], where: str) -> None:
    """Refuse a `crs` member that names anything but WGS 84 degrees.

    Raises:
        RequestError: it does; RFC 7946 knows no other CRS, older GeoJSON did.
    """
    crs = document.get("crs")
    if crs is None:
        return
    properties = crs.get("properties") if isinstance(crs, Mapping) else None
    name = properties.get("name") if isinstance(properties, Mapping) else None
    if not isinstance(name, str) or not name.lower().endswith(_WGS84_NAMES):
        raise RequestError(
            f"The crs member says {name or crs!r}, a request is in degrees of WGS 84",
            where=where,
            fix="Reproject to EPSG:4326 and leave the crs member out",
        )


def polygons(geometry: Any, where: str) -> BaseGeometry:
    """The area of a feature's geometry.

    An edge longer than 180 degrees, or one to a longitude beyond 180, goes the short way across
    the antimeridian; what lies beyond is moved to the other side, as RFC 7946 section 3.1.9 asks.

    Args:
        geometry: a GeoJSON Polygon or MultiPolygon in degrees (longitude, latitude).
        where: the feature, for errors.

    Returns:
        A valid polygon or multipolygon within -180..180 degrees.

    Raises:
        RequestError: another type, coordinates that are not degrees, rings that are not closed or
            cross themselves, an area of nothing, or a place outside of UTM.
    """
    if not isinstance(geometry, Mapping) or geometry.get("type") not in ("Polygon", "MultiPolygon"):
        kind = geometry.get("type") if isinstance(geometry, Mapping) else geometry
        raise RequestError(
            f"The geometry is {kind!r}, not a Polygon or MultiPolygon", where=where, fix="Draw one"
        )
    require_wgs84(geometry, where)
    listed = geometry.get("coordinates")
    if not isinstance(listed, list) or not listed:
        raise RequestError("The geometry has no coordinates", where=where, fix="Draw an area")
    parts = [listed] if geometry["type"] == "Polygon" else listed
    cut = [piece for part in parts for piece in _in_range(_polygon(part, where))]
    return shapely.normalize(shapely.union_all(cut))


def _polygon(rings: Any, where: str) -> BaseGeometry:
    """One polygon, its longitudes running on beyond 180 where it crosses the antimeridian."""
    if not isinstance(rings, list) or not rings:
        raise RequestError("A polygon has no rings", where=where, fix="Draw an area")
    shell, *holes = [_ring(ring, where) for ring in rings]
    middle = (shell[:, 0].min() + shell[:, 0].max()) / 2
    for hole in holes:  # a hole is unrolled by itself and may have ended a turn away
        off = (hole[:, 0].min() + hole[:, 0].max()) / 2 - middle
        hole[:, 0] -= np.round(off / _TURN) * _TURN
    polygon = shapely.Polygon(shell, holes)
    if not polygon.is_valid:
        raise RequestError(
            f"A ring is not valid: {shapely.is_valid_reason(polygon)}",
            where=where,
            fix="Draw it without crossing lines, holes inside",
        )
    if polygon.area == 0:
        raise RequestError("The polygon has no area", where=where, fix="Draw an area")
    return polygon


def _ring(ring: Any, where: str) -> np.ndarray:
    """Positions (n, 2), each at most half a turn east or west of the one before."""
    from rslearn.utils.get_utm_ups_crs import UPS_NORTH_THRESHOLD, UPS_SOUTH_THRESHOLD

    try:
        positions = np.array([position[:2] for position in ring], dtype=np.float64)
    except (TypeError, ValueError, IndexError) as error:
        raise RequestError("A ring is not a list of positions", where=where) from error
    if positions.ndim != 2 or positions.shape[1] != 2 or len(positions) < 4:
        raise RequestError("A ring has fewer than four positions", where=where, fix="Close it")
    low, high = positions.min(axis=0).tolist(), positions.max(axis=0).tolist()
    finite = bool(np.isfinite(positions).all())
    if not finite or low[0] < -_TURN or high[0] > _TURN or low[1] < -90 or high[1] > 90:
        raise RequestError(
            f"Coordinates are not degrees of longitude and latitude: {low} to {high}",
            where=where,
            fix="Reproject to EPSG:4326, longitude first",
        )
    if low[1] < UPS_SOUTH_THRESHOLD or high[1] > UPS_NORTH_THRESHOLD:
        raise RequestError(
            f"The area reaches latitude {low[1]:g} to {high[1]:g}, where there are no UTM zones",
            where=where,
            fix=f"Stay between {UPS_SOUTH_THRESHOLD:g} and {UPS_NORTH_THRESHOLD:g} degrees",
        )
    if not np.array_equal(positions[0], positions[-1]):
        raise RequestError(
            "A ring is not closed", where=where, fix="Repeat its first position at its end"
        )
    steps = np.diff(positions[:, 0])
    far = np.abs(steps) > _HALF_TURN
    if far.any():
        steps -= np.where(far, np.sign(steps) * _TURN, 0.0)
        positions[1:, 0] = positions[0, 0] + np.cumsum(steps)
    if positions[0, 0] != positions[-1, 0] and abs(positions[0, 0] - positions[-1, 0]) > _HALF_TURN:
        raise RequestError(
            "A ring goes round the pole", where=where, fix="Divide the area at the antimeridian"
        )
    positions[-1] = positions[0]
    return positions


def _in_range(polygon: BaseGeometry) -> list[BaseGeometry]:
    """The polygon in pieces within -180..180 degrees."""
    west, _, east, _ = polygon.bounds
    if west >= -_HALF_TURN and east <= _HALF_TURN:
        return [polygon]
    pieces = []
    for turn in (-1, 0, 1):
        offset = turn * _TURN
        strip = shapely.box(offset - _HALF_TURN, -90, offset + _HALF_TURN, 90)
        piece = shapely.intersection(polygon, strip)
        if piece.area > 0:
            pieces.append(shapely.affinity.translate(piece, xoff=-offset))
    return pieces
