"""Perimeter geometries made valid, and what they measure."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyproj
import shapely
import xxhash

from geofm_assets.labels import refusals as why
from geofm_assets.labels.refusals import Refusals

_POLYGON, _MULTIPOLYGON, _COLLECTION = 3, 6, 7  # shapely.GeometryType
_MAX_WIDTH_DEG = 180.0
_MIN_AREA_HA = 1e-4  # 1 m2; FRAP's smallest perimeter has 4 m2
_EQUAL_AREA = "EPSG:6933"  # EASE-Grid 2.0, cylindrical equal area on WGS 84, to 86 degrees
_M2_PER_HA = 10_000.0
_DECIMALS = 7  # of a degree, 1 cm: versions of PROJ agree to that


@dataclass(frozen=True)
class Shapes:
    """Geometries of a batch, cleaned.

    Attributes:
        geometries: valid 2-D MultiPolygon in EPSG:4326, in GEOS's normal form, or None where the
            row was refused, shape (n,).
        area_ha: equal-area hectares, float64, shape (n,); NaN where refused.
        made_valid: how many had invalid rings.
        height_dropped: how many were 3-D.
        polygons_kept: of how many the lines and points were dropped.
    """

    geometries: np.ndarray
    area_ha: np.ndarray
    made_valid: int
    height_dropped: int
    polygons_kept: int


def clean_shapes(wkb: pa.Array, refusals: Refusals) -> Shapes:
    """Valid polygons of every row that has any.

    Rows are refused whose geometry is missing, unreadable, empty, without a polygon, off the
    globe, wider than 180 degrees or smaller than 1 m2.

    Args:
        wkb: degrees EPSG:4326, binary, n values; empty bytes for what could not be read.
        refusals: of these rows; added to.
    """
    geometries = shapely.from_wkb(wkb.to_numpy(zero_copy_only=False), on_invalid="ignore")
    missing = np.asarray(wkb.is_null())
    refusals.add(missing, why.MISSING_GEOMETRY, "the geometry is null")
    refusals.add(
        shapely.is_missing(geometries), why.UNREADABLE_GEOMETRY, "the geometry cannot be read"
    )
    refusals.add(shapely.is_empty(geometries), why.EMPTY_GEOMETRY, "the geometry is empty")
    kinds = shapely.get_type_id(geometries)
    refusals.add(
        ~np.isin(kinds, (_POLYGON, _MULTIPOLYGON, _COLLECTION)),
        why.UNSUPPORTED_GEOMETRY,
        lambda i: f"{geometries[i].geom_type} is no polygon",
    )
    high = shapely.has_z(geometries) & ~refusals.refused
    geometries = shapely.force_2d(geometries)
    refusals.add(_off_globe(geometries), why.BAD_COORDINATES, "a coordinate is not on the globe")
    west, _, east, _ = shapely.bounds(geometries).T
    refusals.add(
        east - west > _MAX_WIDTH_DEG,
        why.BAD_COORDINATES,
        lambda i: f"{east[i] - west[i]:.0f} degrees wide: it crosses the antimeridian",
    )
    geometries[refusals.refused] = None
    invalid = ~shapely.is_valid(geometries) & ~refusals.refused
    geometries[invalid] = shapely.make_valid(
        geometries[invalid], method="structure", keep_collapsed=False
    )
    mixed = (shapely.get_type_id(geometries) == _COLLECTION) & ~invalid
    rows = np.flatnonzero(~refusals.refused)
    geometries[rows] = [_multipolygon(geometry) for geometry in geometries[rows]]
    area_ha = areas_ha(geometries)
    refusals.add(
        ~(area_ha >= _MIN_AREA_HA),
        why.DEGENERATE_GEOMETRY,
        lambda i: f"its polygons cover {area_ha[i] * _M2_PER_HA:.2g} m2",
    )
    geometries[refusals.refused] = None
    area_ha[refusals.refused] = np.nan
    kept = ~refusals.refused
    return Shapes(
        shapely.normalize(geometries),
        area_ha,
        made_valid=int((invalid & kept).sum()),
        height_dropped=int((high & kept).sum()),
        polygons_kept=int((mixed & kept).sum()),
    )


def areas_ha(geometries: np.ndarray) -> np.ndarray:
    """Hectares of geometries in degrees EPSG:4326, float64, shape (n,); NaN for None."""
    flat = reproject(geometries, pyproj.CRS("EPSG:4326"), _EQUAL_AREA)
    return np.asarray(shapely.area(flat), dtype=np.float64) / _M2_PER_HA


def reproject(geometries: np.ndarray, source: pyproj.CRS, target: str) -> np.ndarray:
    """Geometries in another CRS, x (longitude) first; heights stay as they are.

    Args:
        geometries: object, shape (n,); None stays.
        source: their CRS.
        target: the other one, as PROJ reads it.

    Raises:
        pyproj.exceptions.ProjError: there is no way from one to the other.
    """
    to_target = pyproj.Transformer.from_crs(source, target, always_xy=True)

    def moved(xyz: np.ndarray) -> np.ndarray:
        x, y = to_target.transform(xyz[:, 0], xyz[:, 1])
        return np.column_stack([x, y, xyz[:, 2:]])

    out = geometries.copy()
    for has_z in (False, True):
        rows = shapely.has_z(geometries) == has_z
        out[rows] = shapely.transform(geometries[rows], moved, include_z=has_z)
    return out


def shape_hash(geometry: shapely.MultiPolygon) -> str:
    """16 hexadecimal digits that follow from a geometry in normal form, to a centimetre."""
    corners = np.round(shapely.get_coordinates(geometry), _DECIMALS) + 0.0  # no negative zero
    return str(xxhash.xxh3_64_hexdigest(corners.astype("<f8").tobytes()))


def _off_globe(geometries: np.ndarray) -> np.ndarray:
    """Whether any coordinate is not finite or no longitude and latitude; bool, shape (n,)."""
    corners, rows = shapely.get_coordinates(geometries, return_index=True)
    good = np.isfinite(corners).all(axis=1)
    good &= (np.abs(corners[:, 0]) <= 180) & (np.abs(corners[:, 1]) <= 90)
    found = np.zeros(len(geometries), dtype=bool)
    found[rows[~good]] = True
    return found


def _multipolygon(geometry: Any) -> Any:
    """The polygonal part of a valid geometry; empty if it has none."""
    kind = shapely.get_type_id(geometry)
    if kind == _MULTIPOLYGON:
        return geometry
    if kind == _COLLECTION and not shapely.is_empty(geometry):
        return _multipolygon(shapely.union_all(_polygons(geometry)))
    is_areal = kind == _POLYGON and not shapely.is_empty(geometry)
    return shapely.MultiPolygon([geometry] if is_areal else [])


def _polygons(collection: Any) -> list[Any]:
    """Polygons of a collection, and of collections in it."""
    found: list[Any] = []
    for part in shapely.get_parts(collection):
        kind = shapely.get_type_id(part)
        if kind == _COLLECTION:
            found += _polygons(part)
        elif kind in (_POLYGON, _MULTIPOLYGON):
            found.append(part)
    return found
