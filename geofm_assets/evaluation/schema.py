"""The table of scores."""

from typing import Annotated

import pandas as pd
import pandera.pandas as pp
import pyarrow as pa

from geofm_assets.core.schema import TableModel

SCORE = pa.schema(
    [
        ("experiment", pa.string()),
        ("split", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("n", pa.int64()),
        ("groups", pa.int64()),
        ("model_id", pa.string()),
        ("label_rule", pa.string()),
        ("simulated", pa.bool_()),
    ]
)


SEGMENTATION_PART = pa.schema(
    [
        ("experiment", pa.string()),
        ("split", pa.string()),
        ("dimension", pa.string()),
        ("part", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("reason", pa.string()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("windows", pa.int64()),
        ("groups", pa.int64()),
        ("pixels", pa.int64()),
        ("model_id", pa.string()),
        ("label_rule", pa.string()),
        ("simulated", pa.bool_()),
    ]
)


class Score(TableModel):
    """One row a metric and split, with its 95 % bootstrap interval.

    `n` is how many windows the metric rests on: those of the split (accuracy, macro_f1), those
    predicted as the class (precision), those of the class (recall), either (f1). Of a segmentation
    head pixels are counted, `n` is how many windows have such pixels. A metric that rests on none
    is 0, scikit-learn's `zero_division=0`.

    `groups` is how many groups those windows are of (a fire with its ring and complex, or a far
    sample), where groups are drawn for the interval; null where windows are. With one group its
    windows are drawn.
    """

    experiment: Annotated[pd.ArrowDtype, pa.string()]
    split: Annotated[pd.ArrowDtype, pa.string()] = pp.Field(isin=("train", "val", "test"))
    metric: Annotated[pd.ArrowDtype, pa.string()] = pp.Field(
        str_matches=r"^(accuracy|macro_f1|mean_iou|(precision|recall|f1|iou)_[a-z0-9_]+)$"
    )
    value: Annotated[pd.ArrowDtype, pa.float64()] = pp.Field(ge=0, le=1)
    low: Annotated[pd.ArrowDtype, pa.float64()] = pp.Field(ge=0, le=1)
    high: Annotated[pd.ArrowDtype, pa.float64()] = pp.Field(ge=0, le=1)
    n: Annotated[pd.ArrowDtype, pa.int64()] = pp.Field(ge=0)
    groups: Annotated[pd.ArrowDtype, pa.int64()] = pp.Field(ge=0, nullable=True)
    model_id: Annotated[pd.ArrowDtype, pa.string()] = pp.Field(str_matches=r"^[0-9a-f]{64}$")
    label_rule: Annotated[pd.ArrowDtype, pa.string()]
    simulated: Annotated[pd.ArrowDtype, pa.bool_()]

    @pp.dataframe_check(name="low is not above high")
    @classmethod
    def _ordered(cls, frame: pd.DataFrame) -> pd.Series:
        return pd.Series(frame["low"].to_numpy() <= frame["high"].to_numpy(), index=frame.index)

    @pp.dataframe_check(name="one row an experiment, split and metric")
    @classmethod
    def _unique(cls, frame: pd.DataFrame) -> pd.Series:
        return ~frame.duplicated(["experiment", "split", "metric"])


class SegmentationPart(TableModel):
    """One row a metric and part of a split: fires of a size or a year, samples of a kind.

    `windows` is how many windows have pixels the metric rests on, `groups` how many fires (with
    ring and complex) or far samples there are in the part, `pixels` how many labelled pixels. With
    one group there is no interval. Where a metric means nothing, such as the F1 of a class that no
    pixel of the part is of, `value` is null and `reason` says why. `false_alarm_rate_<class>` is
    the share of the pixels of other classes that are said to be of the class.
    """

    experiment: Annotated[pd.ArrowDtype, pa.string()]
    split: Annotated[pd.ArrowDtype, pa.string()] = pp.Field(isin=("train", "val", "test"))
    dimension: Annotated[pd.ArrowDtype, pa.string()] = pp.Field(
        isin=("fire_size", "fire_year", "kind")
    )
    part: Annotated[pd.ArrowDtype, pa.string()] = pp.Field(str_length={"min_value": 1})
    metric: Annotated[pd.ArrowDtype, pa.string()] = pp.Field(
        str_matches=r"^(accuracy|(precision|recall|f1|iou|false_alarm_rate)_[a-z0-9_]+)$"
    )
    value: Annotated[pd.ArrowDtype, pa.float64()] = pp.Field(ge=0, le=1, nullable=True)
    reason: Annotated[pd.ArrowDtype, pa.string()] = pp.Field(nullable=True)
    low: Annotated[pd.ArrowDtype, pa.float64()] = pp.Field(ge=0, le=1, nullable=True)
    high: Annotated[pd.ArrowDtype, pa.float64()] = pp.Field(ge=0, le=1, nullable=True)
    windows: Annotated[pd.ArrowDtype, pa.int64()] = pp.Field(ge=0)
    groups: Annotated[pd.ArrowDtype, pa.int64()] = pp.Field(ge=1)
    pixels: Annotated[pd.ArrowDtype, pa.int64()] = pp.Field(ge=1)
    model_id: Annotated[pd.ArrowDtype, pa.string()] = pp.Field(str_matches=r"^[0-9a-f]{64}$")
    label_rule: Annotated[pd.ArrowDtype, pa.string()]
    simulated: Annotated[pd.ArrowDtype, pa.bool_()]

    @pp.dataframe_check(name="a value or the reason why there is none")
    @classmethod
    def _has_value(cls, frame: pd.DataFrame) -> pd.Series:
        return frame["value"].notna() == frame["reason"].isna()

    @pp.dataframe_check(name="an interval where there are a value and several groups")
    @classmethod
    def _has_interval(cls, frame: pd.DataFrame) -> pd.Series:
        known = frame["low"].notna() & frame["high"].notna()
        return known == (frame["value"].notna() & (frame["groups"] > 1))

    @pp.dataframe_check(name="one row an experiment, split, part and metric")
    @classmethod
    def _unique(cls, frame: pd.DataFrame) -> pd.Series:
        return ~frame.duplicated(["experiment", "split", "dimension", "part", "metric"])
