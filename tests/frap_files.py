"""Made-up fire perimeters as FRAP publishes them, in files."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd
import pyarrow as pa
import shapely

from geofm_assets.labels.calfire.columns import REQUIRED, find_columns, to_records
from geofm_assets.labels.calfire.config import PerimeterColumns
from geofm_assets.labels.calfire.read import to_wgs84

ALBERS = "EPSG:3310"  # NAD83 / California Albers, metres: FRAP's own
_DRIVERS = {
    ".gdb": "OpenFileGDB",
    ".gpkg": "GPKG",
    ".shp": "ESRI Shapefile",
    ".geojson": "GeoJSON",
}
COLUMNS = PerimeterColumns()


def square(x: float = 0.0, y: float = 0.0, side: float = 2000.0) -> shapely.Polygon:
    """A square by its lower left corner and side, metres of EPSG:3310."""
    return shapely.box(x, y, x + side, y + side)


def frap_row(name: str = "CREEK", geometry: Any = None, **given: Any) -> dict[str, Any]:
    """One row of `firep24_1`; a fire of 2020 where nothing else is given."""
    row = {
        "YEAR_": 2020,
        "STATE": "CA",
        "AGENCY": "USF",
        "UNIT_ID": "SNF",
        "FIRE_NAME": name,
        "INC_NUM": None,
        "ALARM_DATE": "2020-09-04",
        "CONT_DATE": "2020-12-24",
        "CAUSE": 14,
        "GIS_ACRES": 988.4,
        "COMPLEX_NAME": None,
        "COMPLEX_ID": None,
        "IRWINID": None,
        "GlobalID": "{" + name.upper() + "-0001}",
        "geometry": square() if geometry is None else geometry,
    }
    return row | given


def frap_frame(
    rows: Sequence[dict[str, Any]], crs: str | None = ALBERS, dates: bool = True
) -> gpd.GeoDataFrame:
    """Rows as a frame; dates as datetimes unless they shall stay text."""
    frame = gpd.GeoDataFrame(list(rows), geometry="geometry", crs=crs)
    for name in ("ALARM_DATE", "CONT_DATE", "START_DATE", "END_DATE"):
        if dates and name in frame:
            frame[name] = pd.to_datetime(frame[name]).astype("datetime64[ms]")
    return frame


def write_frap(path: Path, rows: Sequence[dict[str, Any]], layer: str | None = None) -> Path:
    """Rows in a file whose driver follows from its suffix; a layer beside those there are."""
    frame = frap_frame(rows)
    if path.suffix == ".shp":  # has days only, and short names
        frame = frame.rename(columns={"COMPLEX_NAME": "COMPLEX_NA"})
        for name in ("ALARM_DATE", "CONT_DATE"):
            frame[name] = frame[name].astype(pd.ArrowDtype(pa.date32()))
    with warnings.catch_warnings():  # a geodatabase of this kind has no 64-bit integers
        warnings.filterwarnings("ignore", message=".* will be written as a Float64")
        frame.to_file(
            path, layer=layer, engine="pyogrio", driver=_DRIVERS[path.suffix], use_arrow=True
        )
    return path


def records(rows: Sequence[dict[str, Any]], prescribed: bool = False) -> Any:
    """Rows as RECORD, without a file between."""
    frame = frap_frame(rows, dates=False)
    names = [str(name) for name in frame.columns if name != "geometry"]
    found, missing = find_columns(names, COLUMNS, prescribed)
    assert not missing, REQUIRED
    attributes = {name: pa.array(frame[name], from_pandas=True) for name in found.values()}
    wkb = to_wgs84(shapely.to_wkb(frame.geometry.to_numpy()), ALBERS, "rows")
    return to_records(attributes, wkb, found, layer="rows", prescribed=prescribed)
