"""The tables of windows and of masks."""

from typing import Annotated

import numpy as np
import pandas as pd
import pandera.pandas as pp
import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.core.schema import TableModel

WINDOW = pa.schema(
    [
        ("window_name", pa.string()),
        ("sample_id", pa.string()),
        ("collection_id", pa.string()),
        ("h3_cell", pa.string()),
        ("split", pa.string()),
        ("class_id", pa.int16()),
        ("class_name", pa.string()),
        ("ewoc_code", pa.int64()),
        ("h3_l3_cell", pa.string()),
        ("quality_score_lc", pa.int64()),
        ("quality_score_ct", pa.int64()),
        ("crs", pa.string()),
        ("resolution", pa.float64()),
        ("col_min", pa.int64()),
        ("row_min", pa.int64()),
        ("col_max", pa.int64()),
        ("row_max", pa.int64()),
        ("time_start", pa.timestamp("us", "UTC")),
        ("time_end", pa.timestamp("us", "UTC")),
        ("valid_time", pa.date32()),
        ("lon", pa.float64()),
        ("lat", pa.float64()),
        ("simulated", pa.bool_()),
    ]
)
"""Bounds are pixel coordinates of the grid of `crs` at `resolution`, rows growing southward:
x = col * resolution, y = -row * resolution. Sorted by window_name."""

MASK = pa.schema(
    [
        ("window_name", pa.string()),
        ("size", pa.int64()),
        ("mask", pa.binary()),
        ("burnt", pa.int64()),
        ("unburnt", pa.int64()),
        ("nodata", pa.int64()),
        ("simulated", pa.bool_()),
    ]
)
"""`mask` holds the class of each pixel, size * size uint8, row by row from the upper left: 0
unburnt, 1 burnt, 255 unknown. The three counts are of pixels. Sorted by window_name."""

_String = Annotated[pd.ArrowDtype, pa.string()]
_Int = Annotated[pd.ArrowDtype, pa.int64()]
_Float = Annotated[pd.ArrowDtype, pa.float64()]
_Time = Annotated[pd.ArrowDtype, pa.timestamp("us", "UTC")]


class Window(TableModel):
    """One window: a square of pixels and a time range about a labelled point."""

    window_name: _String = pp.Field(unique=True, str_length={"min_value": 1})
    sample_id: _String = pp.Field(unique=True)
    collection_id: _String
    h3_cell: _String = pp.Field(str_matches=r"^[0-9a-f]{15}$")
    split: _String = pp.Field(isin=["train", "val", "test"])
    class_id: Annotated[pd.ArrowDtype, pa.int16()] = pp.Field(ge=0)
    class_name: _String = pp.Field(str_length={"min_value": 1})
    ewoc_code: _Int = pp.Field(nullable=True)
    h3_l3_cell: _String = pp.Field(str_matches=r"^[0-9a-f]{15}$")
    quality_score_lc: _Int = pp.Field(nullable=True)
    quality_score_ct: _Int = pp.Field(nullable=True)
    crs: _String = pp.Field(str_matches=r"^EPSG:32[67](0[1-9]|[1-5][0-9]|60)$")
    resolution: _Float = pp.Field(gt=0)
    col_min: _Int
    row_min: _Int
    col_max: _Int
    row_max: _Int
    time_start: _Time
    time_end: _Time
    valid_time: Annotated[pd.ArrowDtype, pa.date32()]
    lon: _Float = pp.Field(ge=-180, le=180)
    lat: _Float = pp.Field(ge=-80, le=84)
    simulated: Annotated[pd.ArrowDtype, pa.bool_()]

    @pp.dataframe_check(name="windows are squares of one size")
    @classmethod
    def _square(cls, frame: pd.DataFrame) -> pd.Series:
        """Width and height are the same, positive, for every window of the table."""
        width = frame["col_max"] - frame["col_min"]
        height = frame["row_max"] - frame["row_min"]
        first = int(width.iloc[0]) if len(frame) else 0
        return (width > 0) & (width == height) & (width == first)

    @pp.dataframe_check(name="the time range is in order")
    @classmethod
    def _time_in_order(cls, frame: pd.DataFrame) -> pd.Series:
        """A window ends after it starts."""
        return frame["time_start"] < frame["time_end"]

    @pp.dataframe_check(name="sorted by window_name")
    @classmethod
    def _sorted(cls, frame: pd.DataFrame) -> pd.Series:
        """Rows are in the documented order."""
        names = frame["window_name"].to_numpy(dtype=object)
        return pd.Series(np.r_[True, names[1:] > names[:-1]][: len(names)], index=frame.index)


class Mask(TableModel):
    """The class of every pixel of a window."""

    window_name: _String = pp.Field(unique=True, str_length={"min_value": 1})
    size: _Int = pp.Field(ge=1)
    mask: Annotated[pd.ArrowDtype, pa.binary()]
    burnt: _Int = pp.Field(ge=0)
    unburnt: _Int = pp.Field(ge=0)
    nodata: _Int = pp.Field(ge=0)
    simulated: Annotated[pd.ArrowDtype, pa.bool_()]

    @pp.dataframe_check(name="every pixel is counted once")
    @classmethod
    def _counted(cls, frame: pd.DataFrame) -> pd.Series:
        """The counts add up to the pixels, of which the mask holds one byte each."""
        pixels = frame["size"] * frame["size"]
        held = pc.binary_length(pa.array(frame["mask"], pa.binary())).to_numpy()
        return (frame["burnt"] + frame["unburnt"] + frame["nodata"] == pixels) & (held == pixels)

    @pp.dataframe_check(name="sorted by window_name")
    @classmethod
    def _sorted(cls, frame: pd.DataFrame) -> pd.Series:
        """Rows are in the documented order."""
        names = frame["window_name"].to_numpy(dtype=object)
        return pd.Series(np.r_[True, names[1:] > names[:-1]][: len(names)], index=frame.index)
