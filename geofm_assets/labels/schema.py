"""Tables of the label stage: collections, reference points, rows refused.

The `pa.schema` constants are what tables are built with; the pandera models are what they must
obey when they are written.
"""

import re
from collections.abc import Callable
from typing import Annotated

import numpy as np
import pandas as pd
import pandera.pandas as pp
import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.core.schema import TableModel
from geofm_assets.labels.cells import H3_SOURCE_RESOLUTION, cell_ids, near_centres, parse_cells
from geofm_assets.labels.worldcereal.legend import known_codes

_TIMES = (pd.Timestamp("1900-01-01").date(), pd.Timestamp("2100-12-31").date())
LOCATED_RULES = ("point", "centroid", "representative_point")
"""How the point that stands for a geometry is found."""
POINT_RULES = (*LOCATED_RULES, "grid", "polygon")
"""`grid`: no geometry of the source, but a node of a grid laid over its polygons. `polygon`: the
middle of a window around a polygon, or around a part of it."""

COLLECTION = pa.schema(
    [
        ("collection_id", pa.string()),
        ("rdm_id", pa.string()),
        ("title", pa.string()),
        ("feature_count", pa.int64()),
        ("type", pa.string()),
        ("access_type", pa.string()),
        ("observation_method", pa.string()),
        ("confidence_land_cover", pa.float64()),
        ("confidence_crop_type", pa.float64()),
        ("modified_at", pa.string()),
        ("west", pa.float64()),
        ("south", pa.float64()),
        ("east", pa.float64()),
        ("north", pa.float64()),
        ("simulated", pa.bool_()),
    ]
)

REFERENCE_POINT = pa.schema(
    [
        ("sample_id", pa.string()),
        ("collection_id", pa.string()),
        ("lon", pa.float64()),
        ("lat", pa.float64()),
        ("h3_l3_cell", pa.string()),
        ("valid_time", pa.date32()),
        ("label_raw", pa.string()),
        ("ewoc_code", pa.int64()),
        ("quality_score_lc", pa.int64()),
        ("quality_score_ct", pa.int64()),
        ("irrigation_status", pa.int64()),
        ("extract", pa.int64()),
        ("point_rule", pa.string()),
        ("simulated", pa.bool_()),
        ("source_row", pa.int64()),
    ]
)

CODED = pa.dictionary(pa.int32(), pa.string())
"""Strings of few different values, while they are streamed."""
CODED_COLUMNS = ("collection_id", "h3_l3_cell", "label_raw", "point_rule")
POINT_BATCH = pa.schema(
    [(f.name, CODED if f.name in CODED_COLUMNS else f.type) for f in REFERENCE_POINT]
)
"""REFERENCE_POINT while it is streamed."""
FEW_VALUES = (
    *("valid_time", "ewoc_code", "quality_score_lc", "quality_score_ct"),
    *("irrigation_status", "extract"),
)
"""Columns of REFERENCE_POINT that repeat a few values."""

QUARANTINED_ROW = pa.schema(
    [
        ("collection_id", pa.string()),
        ("source_row", pa.int64()),
        ("sample_id", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("row_json", pa.string()),
    ]
)

_String = Annotated[pd.ArrowDtype, pa.string()]
_Float = Annotated[pd.ArrowDtype, pa.float64()]
_Int = Annotated[pd.ArrowDtype, pa.int64()]
_Bool = Annotated[pd.ArrowDtype, pa.bool_()]
_Date = Annotated[pd.ArrowDtype, pa.date32()]


class Collection(TableModel):
    """One reference collection. Sorted by collection_id."""

    collection_id: _String = pp.Field(unique=True, str_matches=r"^[a-z0-9]+$")
    rdm_id: _String = pp.Field(str_length={"min_value": 1})
    title: _String
    feature_count: _Int = pp.Field(ge=0)
    type: _String
    access_type: _String
    observation_method: _String
    confidence_land_cover: _Float = pp.Field(nullable=True, ge=0, le=100)
    confidence_crop_type: _Float = pp.Field(nullable=True, ge=0, le=100)
    modified_at: _String
    west: _Float = pp.Field(nullable=True, ge=-180, le=180)
    south: _Float = pp.Field(nullable=True, ge=-90, le=90)
    east: _Float = pp.Field(nullable=True, ge=-180, le=180)
    north: _Float = pp.Field(nullable=True, ge=-90, le=90)
    simulated: _Bool


class PointColumns(TableModel):
    """What is said of a labelled location, degrees EPSG:4326."""

    sample_id: _String = pp.Field(unique=True, str_length={"min_value": 1})
    collection_id: _String = pp.Field(str_matches=r"^[a-z0-9]+$")
    lon: _Float = pp.Field(ge=-180, le=180)
    lat: _Float = pp.Field(ge=-90, le=90)
    h3_l3_cell: _String
    valid_time: _Date = pp.Field(in_range={"min_value": _TIMES[0], "max_value": _TIMES[1]})
    label_raw: _String = pp.Field(str_length={"min_value": 1})
    ewoc_code: _Int = pp.Field(nullable=True)
    quality_score_lc: _Int = pp.Field(nullable=True)
    quality_score_ct: _Int = pp.Field(nullable=True)
    irrigation_status: _Int = pp.Field(nullable=True)
    extract: _Int = pp.Field(nullable=True)
    point_rule: _String = pp.Field(isin=POINT_RULES)
    simulated: _Bool

    @pp.dataframe_check(name="h3_l3_cell recomputes from lon and lat")
    def _cell_recomputes(cls, frame: pd.DataFrame) -> pd.Series:
        lon = frame["lon"].to_numpy(dtype=np.float64, na_value=np.nan)
        lat = frame["lat"].to_numpy(dtype=np.float64, na_value=np.nan)
        stated = parse_cells(pa.array(frame["h3_l3_cell"], pa.string()))
        computed = cell_ids(lon, lat, H3_SOURCE_RESOLUTION)
        return pd.Series(stated == computed, index=frame.index)

    @pp.check("ewoc_code", name="ewoc_code is in the legend")
    def _code_in_legend(cls, codes: pd.Series) -> pd.Series:
        values = codes.to_numpy(dtype=np.int64, na_value=0)
        return pd.Series(known_codes(values), index=codes.index)


class ReferencePoint(PointColumns):
    """One labelled location and where it lay in its file."""

    source_row: _Int = pp.Field(ge=0)


_Coded = Annotated[pd.ArrowDtype, CODED]


def _each_value(column: pd.Series, rule: Callable[[str], bool]) -> bool:
    """Whether every value of a coded column obeys a rule."""
    chunks = pa.chunked_array(pa.array(column)).chunks
    return all(rule(value) for chunk in chunks for value in chunk.dictionary.to_pylist())


class PointBatch(TableModel):
    """Reference points while they are streamed: the rules of `ReferencePoint`, batch by batch.

    That no sample_id repeats is found out over the whole collection, see `labels.duplicates`. The
    cell has just been computed from lon and lat; instead of computing it twice, each point is
    checked to lie in the cell's circumscribed circle. Sampled rows are recomputed in full.
    """

    sample_id: _String = pp.Field(str_length={"min_value": 1})
    collection_id: _Coded
    lon: _Float = pp.Field(ge=-180, le=180)
    lat: _Float = pp.Field(ge=-90, le=90)
    h3_l3_cell: _Coded
    valid_time: _Date
    label_raw: _Coded
    ewoc_code: _Int = pp.Field(nullable=True)
    quality_score_lc: _Int = pp.Field(nullable=True)
    quality_score_ct: _Int = pp.Field(nullable=True)
    irrigation_status: _Int = pp.Field(nullable=True)
    extract: _Int = pp.Field(nullable=True)
    point_rule: _Coded
    simulated: _Bool
    source_row: _Int = pp.Field(ge=0)

    @pp.check("collection_id", name="collection_id is normalised")
    def _normalised(cls, column: pd.Series) -> bool:
        return _each_value(column, lambda v: re.fullmatch(r"[a-z0-9]+", v) is not None)

    @pp.check("point_rule", name="point_rule is known")
    def _known_rule(cls, column: pd.Series) -> bool:
        return _each_value(column, lambda v: v in POINT_RULES)

    @pp.check("label_raw", name="label_raw is not blank")
    def _labelled(cls, column: pd.Series) -> bool:
        return _each_value(column, bool)

    @pp.check("valid_time", name="valid_time is between 1900 and 2100")
    def _in_calendar(cls, column: pd.Series) -> bool:
        bounds = pc.min_max(pa.chunked_array(pa.array(column)))
        return bool(_TIMES[0] <= bounds["min"].as_py() and bounds["max"].as_py() <= _TIMES[1])

    @pp.dataframe_check(name="lon and lat lie in h3_l3_cell's circle")
    def _near_its_cell(cls, frame: pd.DataFrame) -> pd.Series:
        lon, lat = (frame[c].to_numpy(np.float64, na_value=np.nan) for c in ("lon", "lat"))
        near = near_centres(pa.array(frame["h3_l3_cell"]), lon, lat)
        return pd.Series(near, index=frame.index)

    @pp.check("ewoc_code", name="ewoc_code is in the legend")
    def _code_in_legend(cls, codes: pd.Series) -> pd.Series:
        values = codes.to_numpy(dtype=np.int64, na_value=0)
        return pd.Series(known_codes(values), index=codes.index)


class QuarantinedRow(TableModel):
    """One row that was refused, and why."""

    collection_id: _String
    source_row: _Int = pp.Field(ge=0, nullable=True)
    sample_id: _String = pp.Field(nullable=True)
    reason: _String = pp.Field(str_matches=r"^[a-z][a-z0-9_]*$")
    detail: _String
    row_json: _String
