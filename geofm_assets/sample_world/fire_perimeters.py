"""The sample world's fires as a file of perimeters, in the shape FRAP publishes them.

A GeoPackage of two layers, wildfires and prescribed burns, with FRAP's field names and, as such
files have, some rows nobody can use.
"""

import datetime as dt
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import shapely

from geofm_assets.core.hashing import json_digest
from geofm_assets.sample_world.files import write_atomically
from geofm_assets.sample_world.fires import Fire
from geofm_assets.sample_world.terrain import EPSG

FIRE_LAYER, PRESCRIBED_LAYER = "firep_sim", "rxburn_sim"
# Of prescribed burns FRAP publishes other fields, and calls the dates otherwise.
_AS_TREATMENT = {
    "FIRE_NAME": "TREATMENT_NAME",
    "INC_NUM": "TREATMENT_ID",
    "ALARM_DATE": "START_DATE",
    "CONT_DATE": "END_DATE",
}
_OF_WILDFIRES = ["IRWINID", "CAUSE", "C_METHOD", "COMPLEX_NAME", "COMPLEX_ID", "FIRE_NUM"]
_CRS = "EPSG:3035"  # as an agency would: one equal-area projection, not the imagery's
_SQUARE_METRES_PER_ACRE = 4046.8564224
# GeoPackages hold the time of their last change; a fixed one keeps the bytes the same.
_STAMP = "2024-01-01T00:00:00.000Z"


def write_perimeters(path: Path, fires: Sequence[Fire]) -> None:
    """Write the file, the same bytes every time.

    Args:
        path: of the GeoPackage.
        fires: of the world.
    """
    rows = [_row(number, fire) for number, fire in enumerate(fires)]
    table = gpd.GeoDataFrame(rows, geometry="geometry", crs=f"EPSG:{EPSG}").to_crs(_CRS)
    prescribed = np.array([fire.kind == "prescribed" for fire in fires])
    wild = _with_flaws(table[~prescribed].reset_index(drop=True))
    lit = table[prescribed].drop(columns=_OF_WILDFIRES).rename(columns=_AS_TREATMENT)

    def write(part: Path) -> None:
        # GDAL minds the extension, so the layers are written under a name that has it
        with tempfile.TemporaryDirectory() as folder:
            whole = Path(folder) / path.name
            before = pyogrio.get_gdal_config_option("OGR_CURRENT_DATE")
            pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": _STAMP})
            try:
                for layer, frame in ((FIRE_LAYER, wild), (PRESCRIBED_LAYER, lit)):
                    pyogrio.write_dataframe(
                        frame.reset_index(drop=True),
                        whole,
                        layer=layer,
                        driver="GPKG",
                        append=layer != FIRE_LAYER,
                        promote_to_multi=True,
                    )
            finally:
                pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": before})
            part.write_bytes(whole.read_bytes())

    write_atomically(path, write)


def _row(number: int, fire: Fire) -> dict[str, Any]:
    key = json_digest([fire.name, fire.alarm.isoformat()])
    return {
        "YEAR_": fire.alarm.year,
        "STATE": "SIM",
        "AGENCY": "SIM",
        "UNIT_ID": f"D{fire.district:02d}",
        "FIRE_NAME": fire.name,
        "INC_NUM": f"{number:08d}",
        "IRWINID": None,
        "ALARM_DATE": _instant(fire.alarm),
        "CONT_DATE": _instant(fire.contained),
        "CAUSE": 14,
        "C_METHOD": 1,
        "OBJECTIVE": 1,
        "GIS_ACRES": fire.outline.area / _SQUARE_METRES_PER_ACRE,
        "COMMENTS": "SIMULATED",
        "COMPLEX_NAME": fire.complex_name,
        "COMPLEX_ID": None if fire.complex_name is None else json_digest(fire.complex_name)[:12],
        "FIRE_NUM": f"{number:05d}",
        "GlobalID": f"{{{key[:8]}-{key[8:12]}-{key[12:16]}-{key[16:20]}-{key[20:32]}}}".upper(),
        "simulated": True,
        "geometry": fire.outline,
    }


def _instant(day: dt.date) -> pd.Timestamp:
    return pd.Timestamp(day, tz="UTC")


def _with_flaws(table: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """The wildfires, and after them copies spoilt in the ways such files are.

    A date missing, a date of 1970, dates reversed, a row twice; one ring that crosses itself.
    """
    spoilt = table.iloc[np.arange(4) % len(table)].copy()
    columns = {name: spoilt.columns.get_loc(name) for name in ("CONT_DATE", "ALARM_DATE")}
    spoilt.iloc[0, columns["CONT_DATE"]] = pd.NaT
    spoilt.iloc[1, columns["CONT_DATE"]] = pd.Timestamp(0, tz="UTC")
    alarm = spoilt.iloc[2, columns["ALARM_DATE"]]
    spoilt.iloc[2, columns["CONT_DATE"]] = alarm - pd.Timedelta(days=30)
    for place in range(3):  # the fourth stays a true duplicate
        for name in ("GlobalID", "INC_NUM"):
            spoilt.iloc[place, spoilt.columns.get_loc(name)] = f"FLAW-{place}"
    whole = pd.concat([table, spoilt], ignore_index=True)
    geometry = whole.geometry.to_numpy().copy()
    geometry[0] = _crossed(geometry[0])
    frame: gpd.GeoDataFrame = whole.set_geometry(gpd.GeoSeries(geometry, crs=table.crs))
    return frame


def _crossed(outline: shapely.Polygon) -> shapely.Polygon:
    """The outline with a spike thinner than a metre that crosses the ring."""
    ring = shapely.get_coordinates(outline.exterior)
    x, y = ring[1]
    inner = shapely.get_coordinates(outline.centroid)[0]
    step = (inner - ring[1]) / np.hypot(*(inner - ring[1]))
    spike = [
        [x, y],
        [x + 5 * step[0] + 0.4, y + 5 * step[1]],
        [x + 5 * step[0], y + 5 * step[1] + 0.4],
    ]
    crossing = [x - 5 * step[0], y - 5 * step[1]]
    return shapely.Polygon(np.vstack([ring[:2], spike[1:], [crossing], [[x, y]], ring[2:]]))
