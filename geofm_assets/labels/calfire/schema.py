"""Tables of fire perimeters: rows as read, fire years, cleaned perimeters.

The `pa.schema` constants are what tables are built with; the pandera models are what they must
obey when they are written.
"""

import json
from typing import Annotated, Any

import pandas as pd
import pandera.pandas as pp
import pyarrow as pa

from geofm_assets.core.schema import TableModel

FIRST_FIRE_YEAR, LAST_FIRE_YEAR = 1800, 2100
"""Years outside are typing errors; FRAP's oldest fire is of 1878."""
_COLLECTION = "frap"

RECORD = pa.schema(
    [
        ("source_layer", pa.string()),
        ("source_row", pa.int64()),
        ("prescribed", pa.bool_()),
        ("global_id", pa.string()),
        ("irwin_id", pa.string()),
        ("inc_num", pa.string()),
        ("year", pa.string()),
        ("state", pa.string()),
        ("agency", pa.string()),
        ("unit_id", pa.string()),
        ("fire_name", pa.string()),
        ("cause", pa.string()),
        ("alarm_date", pa.string()),
        ("contained_date", pa.string()),
        ("acres", pa.string()),
        ("complex_id", pa.string()),
        ("complex_name", pa.string()),
        ("simulated", pa.bool_()),
        ("fire_year", pa.int64()),
        ("geometry", pa.binary()),
    ]
)
"""A source's rows as read: attributes as text, WKB in EPSG:4326, no row left out."""

FIRE_YEAR = pa.schema(
    [
        ("fire_year", pa.int64()),
        ("rows", pa.int64()),
        ("prescribed_rows", pa.int64()),
        ("sampled", pa.bool_()),
        ("digest", pa.string()),
        ("simulated", pa.bool_()),
    ]
)

PERIMETER = pa.schema(
    [
        ("fire_id", pa.string()),
        ("fire_year", pa.int64()),
        ("fire_name", pa.string()),
        ("agency", pa.string()),
        ("unit_id", pa.string()),
        ("cause", pa.int64()),
        ("complex_id", pa.string()),
        ("complex_name", pa.string()),
        ("group_id", pa.string()),
        ("alarm_date", pa.date32()),
        ("contained_date", pa.date32()),
        ("acres_stated", pa.float64()),
        ("area_ha", pa.float64()),
        ("parts", pa.int64()),
        ("prescribed", pa.bool_()),
        ("source_row", pa.int64()),
        ("source_layer", pa.string()),
        ("simulated", pa.bool_()),
        ("geometry", pa.binary()),
        ("state", pa.string()),
        ("dated", pa.bool_()),
    ]
)
"""See `Perimeter`."""

GEO_METADATA = {
    "geo": json.dumps(
        {
            "version": "1.1.0",
            "primary_column": "geometry",
            # no crs: OGC:CRS84, which is EPSG:4326 in the order longitude, latitude
            "columns": {"geometry": {"encoding": "WKB", "geometry_types": ["MultiPolygon"]}},
        },
        sort_keys=True,
    )
}
"""What makes a Parquet file of perimeters a GeoParquet 1.1 file."""

_String = Annotated[pd.ArrowDtype, pa.string()]
_Float = Annotated[pd.ArrowDtype, pa.float64()]
_Int = Annotated[pd.ArrowDtype, pa.int64()]
_Bool = Annotated[pd.ArrowDtype, pa.bool_()]
_Date = Annotated[pd.ArrowDtype, pa.date32()]
_Binary = Annotated[pd.ArrowDtype, pa.binary()]
_YEARS: dict[str, Any] = {"ge": FIRST_FIRE_YEAR, "le": LAST_FIRE_YEAR}


class Record(TableModel):
    """One row of a source, as read. In the order of the source.

    `fire_year` is the stated year, else that of the alarm, else of the containment; null if none
    of them can be read. `geometry` is empty bytes where the source held something unreadable.
    """

    source_layer: _String
    source_row: _Int = pp.Field(ge=0)
    prescribed: _Bool
    global_id: _String = pp.Field(nullable=True)
    irwin_id: _String = pp.Field(nullable=True)
    inc_num: _String = pp.Field(nullable=True)
    year: _String = pp.Field(nullable=True)
    state: _String = pp.Field(nullable=True)
    agency: _String = pp.Field(nullable=True)
    unit_id: _String = pp.Field(nullable=True)
    fire_name: _String = pp.Field(nullable=True)
    cause: _String = pp.Field(nullable=True)
    alarm_date: _String = pp.Field(nullable=True)
    contained_date: _String = pp.Field(nullable=True)
    acres: _String = pp.Field(nullable=True)
    complex_id: _String = pp.Field(nullable=True)
    complex_name: _String = pp.Field(nullable=True)
    simulated: _Bool
    fire_year: _Int = pp.Field(nullable=True, **_YEARS)
    geometry: _Binary = pp.Field(nullable=True)


class FireYear(TableModel):
    """One year a source has rows of. Sorted by fire_year.

    `digest` changes with any of the year's rows; `sampled` says whether points are drawn from its
    fires or they are only removed from the negatives of later ones.
    """

    fire_year: _Int = pp.Field(unique=True, **_YEARS)
    rows: _Int = pp.Field(ge=1)
    prescribed_rows: _Int = pp.Field(ge=0)
    sampled: _Bool
    digest: _String
    simulated: _Bool


class Perimeter(TableModel):
    """One fire perimeter or prescribed burn. Sorted by fire_id.

    `geometry` is WKB of a valid 2-D MultiPolygon in EPSG:4326, `area_ha` its equal-area hectares.
    `group_id` is shared by the perimeters of a complex and of an incident. Where `dated` is false
    the containment date is missing or wrong and the last day of the fire year stands in: such a
    perimeter burnt and is removed from negatives, but no sample is drawn from it.
    """

    fire_id: _String = pp.Field(unique=True, str_length={"min_value": 1})
    fire_year: _Int = pp.Field(**_YEARS)
    fire_name: _String = pp.Field(nullable=True)
    agency: _String = pp.Field(nullable=True)
    unit_id: _String = pp.Field(nullable=True)
    cause: _Int = pp.Field(nullable=True, ge=1)
    complex_id: _String = pp.Field(nullable=True)
    complex_name: _String = pp.Field(nullable=True)
    group_id: _String = pp.Field(str_length={"min_value": 1})
    alarm_date: _Date = pp.Field(nullable=True)
    contained_date: _Date
    acres_stated: _Float = pp.Field(nullable=True, ge=0)
    area_ha: _Float = pp.Field(gt=0)
    parts: _Int = pp.Field(ge=1)
    prescribed: _Bool
    source_row: _Int = pp.Field(ge=0)
    source_layer: _String
    simulated: _Bool
    geometry: _Binary
    state: _String = pp.Field(nullable=True)
    dated: _Bool

    @pp.dataframe_check(name="alarm_date is not after contained_date")
    def _in_order(cls, frame: pd.DataFrame) -> pd.Series:
        return (frame["alarm_date"] <= frame["contained_date"]).fillna(True)


def collection_id(year: int) -> str:
    """The reference collection that a fire year's points are, such as frap2020."""
    return f"{_COLLECTION}{year}"


def fire_year(collection: str) -> int:
    """The fire year of a collection id."""
    return int(collection.removeprefix(_COLLECTION))
