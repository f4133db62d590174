"""Class polygons of a map as a GeoPackage, written as they are found."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import rasterio
import shapely

from geofm_assets.prediction.ground import WGS84, hectares, to_degrees
from geofm_assets.prediction.legend import Legend
from geofm_assets.prediction.mosaic import Mosaic
from geofm_assets.prediction.regions import BLOCK_PX, Region, regions
from geofm_assets.prediction.request import Area

MIN_AREA_HA = 0.5
LAYER = "classes"
_BATCH = 2_000
_M2_PER_HA = 10_000
_SMALLEST = 0.99  # of the wanted area a UTM pixel count may say: its scale is off by up to 0.2 %
_EPOCH = "1970-01-01T00:00:00.000Z"  # the file's own date, so that the same map gives its bytes


@dataclass(frozen=True)
class PolygonSummary:
    """What was written.

    Attributes:
        polygons: how many.
        area_ha: of all of them, equal-area.
        min_area_ha: smaller ones were left out.
    """

    polygons: int
    area_ha: float
    min_area_ha: float


def vectorize(
    mosaics: Sequence[Mosaic],
    out: Path,
    legend: Legend,
    areas: Sequence[Area],
    *,
    model_id: str,
    simulated: bool,
    min_area_ha: float = MIN_AREA_HA,
    block_px: int = BLOCK_PX,
) -> PolygonSummary:
    """Polygons of the legend's shown classes, EPSG:4326, in layer `classes`.

    A polygon is what hangs together by pixel sides in one UTM zone; where two zones meet it ends.
    Its times are those of the request's areas it touches, from the first start to the last end.

    Args:
        mosaics: one a zone.
        out: GeoPackage, replaced whole.
        legend: of the classes.
        areas: of the request.
        model_id: of the model that made the map.
        simulated: whether any input was simulated.
        min_area_ha: smaller polygons are left out.
        block_px: side of what is read at once.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.stem}.tmp.gpkg")
    part.unlink(missing_ok=True)
    tree = shapely.STRtree([area.geometry for area in areas])
    said = {"model_id": model_id, "simulated": simulated}
    count, total = 0, 0.0
    before = pyogrio.get_gdal_config_option("OGR_CURRENT_DATE")
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": _EPOCH})
    try:
        empty = _frame([], np.empty(0), np.empty(0, object), 0, legend, areas, tree, 0, said)
        pyogrio.write_dataframe(empty, part, layer=LAYER, driver="GPKG", geometry_type=_KIND)
        for epsg, batch in _batches(mosaics, legend, min_area_ha, block_px):
            shapes = np.array([region.geometry for region in batch], dtype=object)
            sizes = hectares(shapes, epsg)
            large = sizes >= min_area_ha
            kept = [region for region, keep in zip(batch, large.tolist(), strict=True) if keep]
            if not kept:
                continue
            frame = _frame(
                kept, sizes[large], shapes[large], epsg, legend, areas, tree, count + 1, said
            )
            pyogrio.write_dataframe(
                frame, part, layer=LAYER, driver="GPKG", geometry_type=_KIND, append=True
            )
            count, total = count + len(kept), total + float(sizes[large].sum())
        part.replace(out)
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": before})
        part.unlink(missing_ok=True)
    return PolygonSummary(count, round(total, 4), min_area_ha)


_KIND = "MultiPolygon"


def _batches(
    mosaics: Sequence[Mosaic], legend: Legend, min_area_ha: float, block_px: int
) -> Iterator[tuple[int, list[Region]]]:
    for mosaic in sorted(mosaics, key=lambda m: m.epsg):
        with rasterio.open(mosaic.path) as dataset:
            pixel_ha = dataset.transform.a**2 / _M2_PER_HA
            fewest = max(1, int(_SMALLEST * min_area_ha / pixel_ha))
            batch: list[Region] = []
            for region in regions(dataset, legend.shown, fewest, block_px):
                batch.append(region)
                if len(batch) == _BATCH:
                    yield mosaic.epsg, batch
                    batch = []
            if batch:
                yield mosaic.epsg, batch


def _frame(
    batch: Sequence[Region],
    sizes: np.ndarray,
    shapes: np.ndarray,
    epsg: int,
    legend: Legend,
    areas: Sequence[Area],
    tree: shapely.STRtree,
    first: int,
    said: dict[str, Any],
) -> gpd.GeoDataFrame:
    """Rows of the layer."""
    degrees = to_degrees(shapes, epsg) if len(shapes) else shapes
    touched = [_touched(tree, geometry) for geometry in degrees]
    columns = {
        "polygon_id": pd.Series(range(first, first + len(batch)), dtype="int64"),
        "class_id": pd.Series([r.class_id for r in batch], dtype="int64"),
        "class_name": pd.Series([legend.classes[r.class_id] for r in batch], dtype="object"),
        "area_ha": pd.Series(np.round(sizes, 4), dtype="float64"),
        "pixels": pd.Series([r.pixels for r in batch], dtype="int64"),
        "mean_confidence": pd.Series([round(r.confidence / 255, 4) for r in batch], dtype=float),
        "utm_epsg": pd.Series([epsg] * len(batch), dtype="int64"),
        "areas": pd.Series(
            [", ".join(areas[i].name for i in found) for found in touched], dtype="object"
        ),
        "oe_start_time": _times([min(areas[i].start for i in found) for found in touched]),
        "oe_end_time": _times([max(areas[i].end for i in found) for found in touched]),
        "model_id": pd.Series([said["model_id"]] * len(batch), dtype="object"),
        "simulated": pd.Series([said["simulated"]] * len(batch), dtype="bool"),
    }
    many = [g if g.geom_type == _KIND else shapely.MultiPolygon([g]) for g in degrees]
    return gpd.GeoDataFrame(columns, geometry=many, crs=WGS84)


def _times(values: list[Any]) -> pd.Series:
    return pd.Series(pd.to_datetime(values, utc=True))


def _touched(tree: shapely.STRtree, geometry: Any) -> list[int]:
    """Areas a polygon lies in; the nearest if a rounding put it beside all of them."""
    found = sorted(tree.query(geometry, predicate="intersects").tolist())
    return found or [int(tree.nearest(geometry))]
