"""The table of samples of an evaluation dataset."""

from typing import Annotated

import pandas as pd
import pandera.pandas as pp
import pyarrow as pa

from geofm_assets.core.schema import TableModel

EVAL_SAMPLE = pa.schema(
    [
        ("sample_id", pa.string()),
        ("group", pa.string()),
        ("window_name", pa.string()),
        ("split", pa.string()),
        ("lon", pa.float64()),
        ("lat", pa.float64()),
        ("start_time", pa.timestamp("us", "UTC")),
        ("end_time", pa.timestamp("us", "UTC")),
        ("label_text", pa.string()),  # class name, joined names, number; null where label is dense
        ("subset_rank", pa.float64()),  # train only: kept by a subset of p % where rank < p / 100
        ("part", pa.int32()),
        ("row", pa.int32()),
    ]
)
_String = Annotated[pd.ArrowDtype, pa.string()]
_Float = Annotated[pd.ArrowDtype, pa.float64()]
_Int = Annotated[pd.ArrowDtype, pa.int32()]
_Time = Annotated[pd.ArrowDtype, pa.timestamp("us", "UTC")]


class EvalSampleRow(TableModel):
    """One sample: which window, which split, and where its packed arrays lie. Sorted by id."""

    sample_id: _String = pp.Field(unique=True, str_length={"min_value": 1})
    group: _String
    window_name: _String
    split: _String = pp.Field(isin=("train", "val", "test"))
    lon: _Float = pp.Field(ge=-180, le=180)
    lat: _Float = pp.Field(ge=-90, le=90)
    start_time: _Time
    end_time: _Time
    label_text: _String = pp.Field(nullable=True)
    subset_rank: _Float = pp.Field(nullable=True, ge=0, lt=1)
    part: _Int = pp.Field(ge=0)
    row: _Int = pp.Field(ge=0)
