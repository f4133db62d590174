"""Tiles, mosaics and records of maps, written as the prediction stage writes them."""

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.warp
import shapely
from affine import Affine
from rasterio.crs import CRS

from geofm_assets.prediction.legend import NODATA, Legend, legend
from geofm_assets.prediction.mosaic import Mosaic, build_mosaic
from geofm_assets.prediction.request import Area, Request

FIRE: Legend = legend(["unburnt", "burnt"])
START = dt.datetime(2022, 6, 1, tzinfo=dt.UTC)
END = dt.datetime(2022, 7, 1, tzinfo=dt.UTC)
NORTH, SOUTH = 32610, 32756
ORIGINS = {NORTH: (50_176, -400_384), SOUTH: (40_960, -620_544), 32611: (40_960, -400_384)}
"""Column and row of a corner in each zone, multiples of 1,024."""


def write_tile(
    folder: Path,
    classes: np.ndarray,
    epsg: int = NORTH,
    at: tuple[int, int] = ORIGINS[NORTH],
    confidence: int = 204,
) -> Path:
    """A tile with its upper left pixel at a column and row of the zone's grid."""
    path = folder / f"{epsg}_{at[0]}_{at[1]}.tif"
    folder.mkdir(parents=True, exist_ok=True)
    sure = np.where(classes == NODATA, NODATA, confidence).astype(np.uint8)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=2,
        height=classes.shape[0],
        width=classes.shape[1],
        dtype="uint8",
        nodata=NODATA,
        crs=CRS.from_epsg(epsg),
        transform=Affine(10, 0, at[0] * 10, 0, -10, -at[1] * 10),
    ) as target:
        target.write(np.stack([classes.astype(np.uint8), sure]))
    return path


def write_mosaic(folder: Path, classes: np.ndarray, epsg: int = NORTH, **options: Any) -> Mosaic:
    """A mosaic of one tile."""
    tile = write_tile(folder, classes, epsg, options.pop("at", ORIGINS[epsg]), **options)
    return build_mosaic([tile], folder / f"EPSG{epsg}.tif", epsg, FIRE, {"simulated": True})


def ground_box(epsg: int, left: float, top: float, right: float, bottom: float) -> Any:
    """A polygon in degrees over pixels counted from the zone's corner, its edges in the grid."""
    column, row = ORIGINS[epsg]
    box = shapely.box(
        *(10 * (column + left), -10 * (row + bottom)), *(10 * (column + right), -10 * (row + top))
    )

    def degrees(points: np.ndarray) -> np.ndarray:
        crs = CRS.from_epsg(epsg), CRS.from_epsg(4326)
        return np.column_stack(rasterio.warp.transform(*crs, points[:, 0], points[:, 1]))

    return shapely.transform(box, degrees)


def area(
    geometry: Any, name: str = "here", start: dt.datetime = START, end: dt.datetime = END
) -> Area:
    """An area of a request."""
    return Area(name, geometry, start, end, {})


def record(areas: list[Area], simulated: bool = True) -> dict[str, Any]:
    """request.json of a map of these areas."""
    return {
        "request_id": "fires-0123456789ab",
        "task": "burned_area",
        "request": Request(tuple(areas)).as_geojson(),
        "days": [{"valid_time": "2022-06-16"}],
        "experiment": "olmoearth_v1_2_nano-s2-ps4-ws32-t2-seg",
        "head": "segmentation",
        "model_id": "f" * 64,
        "encoder_start": "random initialisation, seed 0",
        "classes": list(FIRE.classes),
        "positive": None,
        "label_rule": "identity@1",
        "terms": {
            "labels": [{"collection": "frap2022", "licence": "ours", "attribution": "us"}],
            "imagery": [{"modality": "sentinel2_l2a", "source": "local scenes"}],
            "notes": [],
        },
        "modalities": ["sentinel2_l2a"],
        "frames_needed": [-1, 1],
        "imagery": {"profile": "local_scenes", "modalities": ["sentinel2_l2a", "sentinel1"]},
        "simulated": simulated,
    }
