"""Tables of the sampling stage: candidates, sampled points, cells.

Columns that describe a reference point are the same here as in `labels.schema`; the sampling
stage adds the cell, the class and the split.
"""

from typing import Annotated

import h3.api.numpy_int as h3_int
import numpy as np
import pandas as pd
import pandera.pandas as pp
import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.core.schema import TableModel
from geofm_assets.labels.cells import cell_ids, parse_cells
from geofm_assets.labels.schema import REFERENCE_POINT, PointColumns

POINT_COLUMNS = [name for name in REFERENCE_POINT.names if name != "source_row"]
"""Columns of a reference point that go on; where a row lay in its file does not."""

CANDIDATE: pa.Schema = pa.schema(
    [
        *(REFERENCE_POINT.field(name) for name in POINT_COLUMNS),
        pa.field("h3_cell", pa.string()),
        pa.field("class_id", pa.int16()),
        pa.field("class_name", pa.string()),
        pa.field("sample_key", pa.uint64()),
    ]
)
"""Points of one collection that may be sampled. Sorted by h3_cell, sample_key, sample_id."""

SAMPLED_POINT: pa.Schema = pa.schema(
    [*CANDIDATE, pa.field("split_unit", pa.string()), pa.field("split", pa.string())]
)
"""Points of the sample with their split. Sorted as CANDIDATE."""

CELL: pa.Schema = pa.schema(
    [
        pa.field("h3_cell", pa.string()),
        pa.field("points", pa.int64()),
        pa.field("digest", pa.string()),
        pa.field("train", pa.int64()),
        pa.field("val", pa.int64()),
        pa.field("test", pa.int64()),
        pa.field("buffer", pa.int64()),
        pa.field("class_counts", pa.string()),
    ]
)
"""One row a sampling cell. Sorted by h3_cell."""

_String = Annotated[pd.ArrowDtype, pa.string()]
_Int = Annotated[pd.ArrowDtype, pa.int64()]
_CELL_PATTERN = r"^[0-9a-f]{15}$"


class Candidate(PointColumns):
    """A point that may be sampled."""

    h3_cell: _String = pp.Field(str_matches=_CELL_PATTERN)
    class_id: Annotated[pd.ArrowDtype, pa.int16()] = pp.Field(ge=0)
    class_name: _String = pp.Field(str_length={"min_value": 1})
    sample_key: Annotated[pd.ArrowDtype, pa.uint64()]

    @pp.dataframe_check(name="h3_cell recomputes from lon and lat")
    @classmethod
    def _sampling_cell_recomputes(cls, frame: pd.DataFrame) -> pd.Series:
        """The cell, at its own resolution, is the one the coordinates fall in."""
        stated = parse_cells(pa.array(frame["h3_cell"], pa.string()))
        resolutions = sorted({h3_int.get_resolution(c) for c in np.unique(stated) if c})
        lon, lat = frame["lon"].to_numpy(np.float64), frame["lat"].to_numpy(np.float64)
        resolution = resolutions[0] if len(resolutions) == 1 else 0
        return pd.Series(stated == cell_ids(lon, lat, resolution), index=frame.index)

    @pp.dataframe_check(name="sorted by h3_cell, sample_key, sample_id")
    @classmethod
    def _sorted(cls, frame: pd.DataFrame) -> bool:
        """Rows are in the documented order."""
        columns = [
            pa.chunked_array(pa.array(frame[c])) for c in ("h3_cell", "sample_key", "sample_id")
        ]
        if len(frame) < 2:
            return True
        still, right = None, None
        for column in columns:
            before, after = column[:-1], column[1:]
            less, same = pc.less(before, after), pc.equal(before, after)
            right = less if right is None else pc.or_(right, pc.and_(still, less))
            still = same if still is None else pc.and_(still, same)
        return bool(pc.all(right).as_py())


class SampledPoint(Candidate):
    """A point of the sample, with its split."""

    split_unit: _String
    split: _String = pp.Field(isin=["train", "val", "test", "buffer"])

    @pp.dataframe_check(name="a split unit lies in one split")
    @classmethod
    def _unit_in_one_split(cls, frame: pd.DataFrame) -> pd.Series:
        """Points of one unit share their split, those held out as buffer apart."""
        used = frame[frame["split"] != "buffer"]
        per_unit = used.groupby("split_unit")["split"].nunique()
        mixed = set(per_unit[per_unit > 1].index)
        return ~frame["split_unit"].isin(mixed)


class Cell(TableModel):
    """One sampling cell and what lies in it."""

    h3_cell: _String = pp.Field(unique=True, str_matches=_CELL_PATTERN)
    points: _Int = pp.Field(ge=1)
    digest: _String = pp.Field(str_matches=r"^[0-9a-f]{64}$")
    train: _Int = pp.Field(ge=0)
    val: _Int = pp.Field(ge=0)
    test: _Int = pp.Field(ge=0)
    buffer: _Int = pp.Field(ge=0)
    class_counts: _String = pp.Field(str_startswith="{")

    @pp.dataframe_check(name="split counts add up to points")
    @classmethod
    def _counts_add_up(cls, frame: pd.DataFrame) -> pd.Series:
        """Every point of a cell is in one split or in the buffer."""
        return frame["train"] + frame["val"] + frame["test"] + frame["buffer"] == frame["points"]
