"""Where a scene lies, in the pixels of any projection."""

import numpy as np
import rasterio.warp
import shapely
from rasterio.crs import CRS
from rslearn.utils.geometry import Projection
from shapely.geometry.base import BaseGeometry

from geofm_assets.imagery.index import Scene

_WGS84 = CRS.from_epsg(4326)
_SIDE_POINTS = 21
_SAME_PLACE_DEGREES = 1e-6


def footprint(scene: Scene, projection: Projection) -> BaseGeometry | None:
    """The scene's outline in pixels of a projection, None where that has no meaning."""
    outline: BaseGeometry = shapely.box(*scene.bounds)
    if scene.crs != projection.crs:
        if not _representable(outline.centroid, scene.crs, projection.crs):
            return None
        dense = shapely.segmentize(outline, outline.length / (4 * _SIDE_POINTS))
        xs, ys = shapely.get_coordinates(dense).T.tolist()
        there = rasterio.warp.transform(scene.crs, projection.crs, xs, ys)
        if not np.isfinite(there).all():
            return None
        outline = shapely.make_valid(shapely.Polygon(np.column_stack(there)))
    scale = np.array([projection.x_resolution, projection.y_resolution])
    return shapely.transform(outline, lambda points: points / scale)


def offset_on_grid(scene: Scene, projection: Projection) -> tuple[int, int] | None:
    """Pixel coordinates of the scene's upper left corner if it lies on the projection's grid."""
    x_res, left, y_res, top = scene.transform
    if (x_res, y_res) != (projection.x_resolution, projection.y_resolution):
        return None
    column, row = left / x_res, top / y_res
    if abs(column - round(column)) > 1e-6 or abs(row - round(row)) > 1e-6:
        return None
    return (round(column), round(row)) if scene.crs == projection.crs else None


def _representable(point: shapely.Point, source: CRS, target: CRS) -> bool:
    """Whether a point survives the way into a CRS and back: far from its zone it does not."""
    xs, ys = rasterio.warp.transform(source, target, [point.x], [point.y])
    if not np.isfinite([*xs, *ys]).all():
        return False
    here = rasterio.warp.transform(source, _WGS84, [point.x], [point.y])
    back = rasterio.warp.transform(target, _WGS84, xs, ys)
    return bool(np.abs(np.array(here) - np.array(back)).max() < _SAME_PLACE_DEGREES)
