"""The table of a map's work tiles."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

import pandas as pd
import pandera.pandas as pp
import pyarrow as pa

from geofm_assets.core.schema import TableModel

DONE, NO_DATA, OUTSIDE, MASKED = "done", "no_data", "outside", "masked"
STATUSES = (DONE, NO_DATA, OUTSIDE, MASKED)

TILE = pa.schema(
    [
        ("tile_id", pa.string()),
        ("epsg", pa.int64()),
        ("col_min", pa.int64()),
        ("row_min", pa.int64()),
        ("col_max", pa.int64()),
        ("row_max", pa.int64()),
        ("status", pa.string()),
        ("class_pixels", pa.string()),
        ("nodata_share", pa.float64()),
        ("seconds", pa.float64()),
        ("scenes", pa.list_(pa.string())),
        ("area_pixels", pa.int64()),
        ("missing_frame_pixels", pa.int64()),
        ("timesteps_seen", pa.int64()),
        ("sha256", pa.string()),
        ("simulated", pa.bool_()),
    ]
)


class TileRow(TableModel):
    """One row a work tile, by zone, row and column.

    `done` has a file; `no_data` had no imagery a class can be told from; `masked` and `outside`
    have no pixel to map. `class_pixels` is JSON: pixels by class name. `area_pixels` are asked for
    after the mask, `nodata_share` of them have no class; `missing_frame_pixels` have none although
    there is imagery, since it lacks a frame the model needs. `timesteps_seen` is the sum, over
    pixels that have a class, of timesteps with imagery. `sha256` is of the file.
    """

    tile_id: Annotated[pd.ArrowDtype, pa.string()] = pp.Field(
        unique=True, str_matches=r"^EPSG32[67]\d\d/-?\d+_-?\d+$"
    )
    epsg: Annotated[pd.ArrowDtype, pa.int64()] = pp.Field(ge=32601, le=32760)
    col_min: Annotated[pd.ArrowDtype, pa.int64()]
    row_min: Annotated[pd.ArrowDtype, pa.int64()]
    col_max: Annotated[pd.ArrowDtype, pa.int64()]
    row_max: Annotated[pd.ArrowDtype, pa.int64()]
    status: Annotated[pd.ArrowDtype, pa.string()] = pp.Field(isin=STATUSES)
    class_pixels: Annotated[pd.ArrowDtype, pa.string()]
    nodata_share: Annotated[pd.ArrowDtype, pa.float64()] = pp.Field(ge=0, le=1)
    seconds: Annotated[pd.ArrowDtype, pa.float64()] = pp.Field(ge=0)
    scenes: Annotated[pd.ArrowDtype, pa.list_(pa.string())]
    area_pixels: Annotated[pd.ArrowDtype, pa.int64()] = pp.Field(ge=0)
    missing_frame_pixels: Annotated[pd.ArrowDtype, pa.int64()] = pp.Field(ge=0)
    timesteps_seen: Annotated[pd.ArrowDtype, pa.int64()] = pp.Field(ge=0)
    sha256: Annotated[pd.ArrowDtype, pa.string()] = pp.Field(
        nullable=True, str_matches=r"^[0-9a-f]{64}$"
    )
    simulated: Annotated[pd.ArrowDtype, pa.bool_()]

    @pp.dataframe_check(name="done_has_a_file_and_nothing_else_does")
    def _file_where_done(cls, frame: pd.DataFrame) -> pd.Series:  # pandera hands the class
        same: pd.Series = (frame["status"] == DONE) == frame["sha256"].notna()
        return same


def mapped_pixels(row: Mapping[str, Any]) -> int:
    """Pixels of a TILE row that have a class."""
    return sum(json.loads(row["class_pixels"]).values())
