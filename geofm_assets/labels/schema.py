"""Tables of the label stage: collections, reference points, rows refused.

The `pa.schema` constants are what tables are built with; the pandera models are what they must
obey when they are written.
"""

from typing import Annotated

import numpy as np
import pandas as pd
import pandera.pandas as pp
import pyarrow as pa

from geofm_assets.core.schema import TableModel
from geofm_assets.labels.cells import H3_SOURCE_RESOLUTION, cell_ids, parse_cells
from geofm_assets.labels.worldcereal.legend import known_codes

_TIMES = (pd.Timestamp("1900-01-01").date(), pd.Timestamp("2100-12-31").date())
POINT_RULES = ("point", "centroid", "representative_point")

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


class ReferencePoint(TableModel):
    """One labelled location, degrees EPSG:4326. Sorted by sample_id."""

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
    source_row: _Int = pp.Field(ge=0)

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


class QuarantinedRow(TableModel):
    """One row that was refused, and why. Sorted by source_row, reason."""

    collection_id: _String
    source_row: _Int = pp.Field(ge=0)
    sample_id: _String = pp.Field(nullable=True)
    reason: _String = pp.Field(str_matches=r"^[a-z][a-z0-9_]*$")
    detail: _String
    row_json: _String
