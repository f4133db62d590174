"""Tables of the imagery stage: mosaics, band statistics, refused windows."""

from typing import Annotated

import numpy as np
import pandas as pd
import pandera.pandas as pp
import pyarrow as pa

from geofm_assets.core.schema import TableModel
from geofm_assets.imagery.bands import LAYERS

RASTER = pa.schema(
    [
        ("window_name", pa.string()),
        ("h3_cell", pa.string()),
        ("layer", pa.string()),
        ("timestep", pa.int16()),
        ("period_start", pa.timestamp("us", "UTC")),
        ("period_end", pa.timestamp("us", "UTC")),
        ("items", pa.string()),
        ("present", pa.bool_()),
        ("nodata_share", pa.float64()),
        ("file", pa.string()),
    ]
)
"""One mosaic of one window. Sorted by window_name, layer, timestep (0 is the oldest). `file` is the
packed file in the cell's chips folder that holds its pixels."""

BAND_STATS = pa.schema(
    [
        ("h3_cell", pa.string()),
        ("layer", pa.string()),
        ("band", pa.string()),
        ("count", pa.int64()),
        ("nodata_share", pa.float64()),
        ("minimum", pa.float64()),
        ("p02", pa.float64()),
        ("median", pa.float64()),
        ("p98", pa.float64()),
        ("maximum", pa.float64()),
        ("mean", pa.float64()),
    ]
)
"""Valid pixels of one band over all windows and timesteps of a cell, in the layer's unit.
Sorted by h3_cell, layer, then stored band order."""

REFUSED_WINDOW = pa.schema(
    [
        ("window_name", pa.string()),
        ("h3_cell", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
"""A window that gets no chip, and why. Sorted by window_name."""

_String = Annotated[pd.ArrowDtype, pa.string()]
_Float = Annotated[pd.ArrowDtype, pa.float64()]
_Time = Annotated[pd.ArrowDtype, pa.timestamp("us", "UTC")]
_CELL = r"^[0-9a-f]{15}$"
_STATISTICS = ("minimum", "p02", "median", "p98", "maximum")


class Raster(TableModel):
    """One mosaic: one window, one layer, one period."""

    window_name: _String = pp.Field(str_length={"min_value": 1})
    h3_cell: _String = pp.Field(str_matches=_CELL)
    layer: _String = pp.Field(isin=list(LAYERS))
    timestep: Annotated[pd.ArrowDtype, pa.int16()] = pp.Field(ge=0)
    period_start: _Time
    period_end: _Time
    items: _String
    present: Annotated[pd.ArrowDtype, pa.bool_()]
    nodata_share: _Float = pp.Field(ge=0, le=1)
    file: _String = pp.Field(str_matches=r"^rasters-[0-9a-f]{16}\.safetensors$")

    @pp.dataframe_check(name="present says whether there is any valid pixel")
    @classmethod
    def _present_has_pixels(cls, frame: pd.DataFrame) -> pd.Series:
        """A mosaic with valid pixels is present and has scenes; any other is not present."""
        present = frame["present"].to_numpy(dtype=bool)
        has_pixels = frame["nodata_share"].to_numpy(dtype=float) < 1
        has_items = (frame["items"] != "").to_numpy(dtype=bool)
        return pd.Series((present == has_pixels) & (has_items | ~present), index=frame.index)

    @pp.dataframe_check(name="timesteps run oldest first without a gap")
    @classmethod
    def _oldest_first(cls, frame: pd.DataFrame) -> pd.Series:
        """Per window and layer timesteps count from 0 and periods follow each other."""
        key = (frame["window_name"] + "\x1f" + frame["layer"]).to_numpy(dtype=object)
        first = np.r_[True, key[1:] != key[:-1]] if len(key) else np.array([], dtype=bool)
        step = frame["timestep"].to_numpy(dtype=np.int64)
        start = frame["period_start"].to_numpy(dtype="datetime64[us]")
        end = frame["period_end"].to_numpy(dtype="datetime64[us]")
        follows = np.r_[True, (step[1:] == step[:-1] + 1) & (start[1:] >= end[:-1])]
        right = np.where(first, step == 0, follows[: len(step)]) & (start < end)
        return pd.Series(right, index=frame.index)


class BandStats(TableModel):
    """Statistics of one band over a cell."""

    h3_cell: _String = pp.Field(str_matches=_CELL)
    layer: _String = pp.Field(isin=list(LAYERS))
    band: _String
    count: Annotated[pd.ArrowDtype, pa.int64()] = pp.Field(ge=0)
    nodata_share: _Float = pp.Field(ge=0, le=1)
    minimum: _Float = pp.Field(nullable=True)
    p02: _Float = pp.Field(nullable=True)
    median: _Float = pp.Field(nullable=True)
    p98: _Float = pp.Field(nullable=True)
    maximum: _Float = pp.Field(nullable=True)
    mean: _Float = pp.Field(nullable=True)

    @pp.dataframe_check(name="statistics are in order, and null only without pixels")
    @classmethod
    def _in_order(cls, frame: pd.DataFrame) -> pd.Series:
        """In order are minimum <= p02 <= median <= p98 <= maximum where there are valid pixels."""
        values = np.column_stack(
            [frame[name].to_numpy(dtype=float, na_value=np.nan) for name in _STATISTICS]
        )
        empty = frame["count"].to_numpy(dtype=np.int64) == 0
        # percentiles of float layers come from bins, so they may pass an extreme by half a bin
        ordered = (np.diff(values, axis=1) >= -0.01).all(axis=1)
        return pd.Series(np.where(empty, np.isnan(values).all(axis=1), ordered), frame.index)


class RefusedWindow(TableModel):
    """A window without a chip."""

    window_name: _String = pp.Field(unique=True, str_length={"min_value": 1})
    h3_cell: _String = pp.Field(str_matches=_CELL)
    reason: _String = pp.Field(str_matches=r"^[a-z][a-z0-9_]*$")
    detail: _String = pp.Field(str_length={"min_value": 1})
