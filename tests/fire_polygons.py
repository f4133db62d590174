"""Made-up fire perimeters, as PERIMETER rows."""

import datetime as dt
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from pyproj import Geod

from geofm_assets.labels.calfire.schema import PERIMETER

DAY = dt.date(2020, 8, 20)
_GEOD = Geod(ellps="WGS84")


def blob(
    lon: float, lat: float, radius_m: float, seed: int = 0, vertices: int = 60
) -> shapely.MultiPolygon:
    """A rough disc about a point, degrees EPSG:4326; radii from 0.7 to 1.3 of the one given."""
    generator = np.random.default_rng(seed)
    angle = np.linspace(0, 360, vertices, endpoint=False)
    waves = sum(
        generator.normal(0, 0.1 / k) * np.sin(np.radians(k * angle) + generator.uniform(0, 6))
        for k in range(1, 6)
    )
    radius = radius_m * np.clip(1 + waves, 0.7, 1.3)
    lons, lats, _ = _GEOD.fwd(np.full(vertices, lon), np.full(vertices, lat), angle, radius)
    return shapely.MultiPolygon([shapely.Polygon(np.column_stack((lons, lats)))])


def fire(name: str, geometry: shapely.Geometry, **given: Any) -> dict[str, Any]:
    """One row; what is not given is that of a fire contained on DAY after ten days."""
    contained = given.pop("contained_date", DAY)
    area = abs(_GEOD.geometry_area_perimeter(geometry)[0]) / 10_000
    row = {
        "fire_id": name,
        "fire_year": contained.year,
        "fire_name": name.upper(),
        "agency": "CDF",
        "unit_id": "BTU",
        "cause": 1,
        "group_id": name,
        "alarm_date": contained - dt.timedelta(days=10),
        "contained_date": contained,
        "acres_stated": None,
        "area_ha": area,
        "parts": len(geometry.geoms),
        "prescribed": False,
        "source_row": 0,
        "source_layer": "fires",
        "simulated": True,
        "geometry": shapely.to_wkb(geometry),
        "state": "CA",
        "dated": True,
    }
    return dict.fromkeys(PERIMETER.names) | row | given


def perimeters(rows: list[dict[str, Any]]) -> pa.Table:
    """PERIMETER rows, source_row in the order given."""
    numbered = [{**row, "source_row": i} for i, row in enumerate(rows)]
    return pa.Table.from_pylist(numbered, schema=PERIMETER).sort_by("fire_id")


def many_fires(
    count: int,
    seed: int,
    box: tuple[float, float, float, float] = (-122.5, 38, -119, 40.5),
    years: tuple[int, int] = (2018, 2021),
    largest_m: float = 6000,
    vertices: int = 60,
) -> pa.Table:
    """Fires of all sizes in a box that holds the edge of UTM zones 10 and 11."""
    generator = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        lon, lat = generator.uniform(box[0], box[2]), generator.uniform(box[1], box[3])
        radius = 60 * (largest_m / 60) ** generator.uniform()
        year = int(generator.integers(years[0], years[1] + 1))
        contained = dt.date(year, 5, 1) + dt.timedelta(days=int(generator.integers(0, 180)))
        given: dict[str, Any] = {"contained_date": contained}
        if i % 10 == 0:
            given["group_id"] = f"complex{i // 30}"
        if i % 15 == 1:
            given["prescribed"] = True
        if i % 7 == 0:
            given["alarm_date"] = None
        shape = blob(lon, lat, radius, seed * 100_000 + i, vertices)
        rows.append(fire(f"f{i:05d}", shape, **given))
    return perimeters(rows)
