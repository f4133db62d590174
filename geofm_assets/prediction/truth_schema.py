"""Tables of a map's scores against known polygons."""

from typing import Annotated

import pandas as pd
import pandera.pandas as pp
import pyarrow as pa

from geofm_assets.core.schema import TableModel

SCORED, LEFT_OUT = "scored", "left_out"

MAP_SCORE = pa.schema(
    [
        ("fire_id", pa.string()),
        ("group_id", pa.string()),
        ("alarm_date", pa.date32()),
        ("contained_date", pa.date32()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("perimeter_ha", pa.float64()),
        ("true_ha", pa.float64()),
        ("mapped_ha", pa.float64()),
        ("error_ha", pa.float64()),
        ("nodata_ha", pa.float64()),
        ("both_ha", pa.float64()),
        ("margin_ha", pa.float64()),
        ("commission_ha", pa.float64()),
        ("omission_ha", pa.float64()),
        ("iou", pa.float64()),
        ("commission", pa.float64()),
        ("omission", pa.float64()),
        ("pixels", pa.int64()),
        ("simulated", pa.bool_()),
    ]
)
"""See `MapScore`."""

MAP_SUMMARY = pa.schema(
    [
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("fires", pa.int64()),
        ("groups", pa.int64()),
        ("simulated", pa.bool_()),
    ]
)
"""See `MapSummary`."""

METRICS = ("iou", "commission", "omission", "area_ratio")

_String = Annotated[pd.ArrowDtype, pa.string()]
_Float = Annotated[pd.ArrowDtype, pa.float64()]
_Int = Annotated[pd.ArrowDtype, pa.int64()]
_Bool = Annotated[pd.ArrowDtype, pa.bool_()]
_Date = Annotated[pd.ArrowDtype, pa.date32()]


class MapScore(TableModel):
    """One fire that the request's area touches. Sorted by fire_id.

    Hectares are equal-area. `true_ha` is what of the perimeter has a class, `nodata_ha` what was
    asked for and has none: it is masked or without imagery. `margin_ha` is land around it that has
    a class and is nearer to this fire than to any other. `mapped_ha` is what is called positive in
    both, `both_ha` in the perimeter, `commission_ha` in the margin, and `omission_ha` what is
    missed. `iou` is both / (both + commission + omission), `commission` the share of `mapped_ha`
    and `omission` that of `true_ha`; null where that has no denominator. `pixels` have a class.
    A fire left out has a reason and no figures.
    """

    fire_id: _String = pp.Field(unique=True)
    group_id: _String
    alarm_date: _Date = pp.Field(nullable=True)
    contained_date: _Date = pp.Field(nullable=True)
    status: _String = pp.Field(isin=(SCORED, LEFT_OUT))
    reason: _String = pp.Field(nullable=True)
    perimeter_ha: _Float = pp.Field(ge=0)
    true_ha: _Float = pp.Field(nullable=True, ge=0)
    mapped_ha: _Float = pp.Field(nullable=True, ge=0)
    error_ha: _Float = pp.Field(nullable=True)
    nodata_ha: _Float = pp.Field(nullable=True, ge=0)
    both_ha: _Float = pp.Field(nullable=True, ge=0)
    margin_ha: _Float = pp.Field(nullable=True, ge=0)
    commission_ha: _Float = pp.Field(nullable=True, ge=0)
    omission_ha: _Float = pp.Field(nullable=True, ge=0)
    iou: _Float = pp.Field(nullable=True, ge=0, le=1)
    commission: _Float = pp.Field(nullable=True, ge=0, le=1)
    omission: _Float = pp.Field(nullable=True, ge=0, le=1)
    pixels: _Int = pp.Field(nullable=True, ge=0)
    simulated: _Bool

    @pp.dataframe_check(name="a_fire_left_out_has_a_reason_and_no_figures")
    def _reason(cls, frame: pd.DataFrame) -> pd.Series:  # pandera hands the class
        left_out = frame["status"] == LEFT_OUT
        same: pd.Series = (frame["reason"].notna() == left_out) & (
            frame["true_ha"].isna() == left_out
        )
        return same


class MapSummary(TableModel):
    """One metric over all scored fires, hectares added up, with a 95 % bootstrap interval.

    Whole groups of fires are drawn. `area_ratio` is mapped / true. Null where a metric has no
    denominator; an interval also where there is one group only, or no draw has a denominator.
    """

    metric: _String = pp.Field(unique=True, isin=METRICS)
    value: _Float = pp.Field(nullable=True, ge=0)
    low: _Float = pp.Field(nullable=True, ge=0)
    high: _Float = pp.Field(nullable=True, ge=0)
    fires: _Int = pp.Field(ge=0)
    groups: _Int = pp.Field(ge=0)
    simulated: _Bool
