"""Tables of a task's comparison of set-ups."""

from typing import Annotated

import pandas as pd
import pandera.pandas as pp
import pyarrow as pa

from geofm_assets.core.schema import TableModel
from geofm_assets.evaluation.bootstrap import LEAST_BLOCKS
from geofm_assets.training.experiments import AXES

STATES = ("compared", "baseline", "stale", "lacks_metric")
LEVELS = ("window", "pixel")

COMPARISON = pa.schema(
    [
        ("experiment", pa.string()),
        ("state", pa.string()),
        ("reason", pa.string()),
        ("encoder", pa.string()),
        ("modality", pa.string()),
        ("patch_size", pa.int64()),
        ("window_size", pa.int64()),
        ("timesteps", pa.int64()),
        ("head", pa.string()),
        ("level", pa.string()),
        ("split", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("n", pa.int64()),
        ("groups", pa.int64()),
        ("encoder_start", pa.string()),
        ("parameters_loaded", pa.int64()),
        ("parameters_total", pa.int64()),
        ("epochs", pa.int64()),
        ("training_seconds", pa.float64()),
        ("model_id", pa.string()),
        ("label_rule", pa.string()),
        ("simulated", pa.bool_()),
    ]
)

DIFFERENCE = pa.schema(
    [
        ("axis", pa.string()),
        ("value_a", pa.string()),
        ("value_b", pa.string()),
        ("level", pa.string()),
        ("split", pa.string()),
        ("metric", pa.string()),
        ("pairs", pa.int64()),
        ("unlike", pa.int64()),
        ("mean_a", pa.float64()),
        ("mean_b", pa.float64()),
        ("difference", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("drawn", pa.string()),
        ("blocks", pa.int64()),
        ("blocks_held", pa.int64()),
        ("experiments_a", pa.list_(pa.string())),
        ("experiments_b", pa.list_(pa.string())),
        ("statement", pa.string()),
        ("simulated", pa.bool_()),
    ]
)

Text = Annotated[pd.ArrowDtype, pa.string()]
Whole = Annotated[pd.ArrowDtype, pa.int64()]
Number = Annotated[pd.ArrowDtype, pa.float64()]


class Comparison(TableModel):
    """One row an experiment or baseline that has scores; sorted by `experiment`.

    `state` is `compared`; `stale` (trained on other data than today's) and `lacks_metric` have
    their `reason`; a `baseline` has no axes but its head. `level` is what the metric counts:
    windows of a classification head, labelled pixels of a segmentation head. `n` and `groups` are
    as of SCORE.
    `training_seconds` is null where the checkpoint was written before it was noted.
    """

    experiment: Text = pp.Field(unique=True)
    state: Text = pp.Field(isin=STATES)
    reason: Text = pp.Field(nullable=True)
    encoder: Text = pp.Field(nullable=True)
    modality: Text = pp.Field(nullable=True)
    patch_size: Whole = pp.Field(ge=1, nullable=True)
    window_size: Whole = pp.Field(ge=1, nullable=True)
    timesteps: Whole = pp.Field(ge=1, nullable=True)
    head: Text = pp.Field(isin=("classification", "segmentation"))
    level: Text = pp.Field(isin=LEVELS)
    split: Text = pp.Field(isin=("train", "val", "test"))
    metric: Text
    value: Number = pp.Field(ge=0, le=1, nullable=True)
    low: Number = pp.Field(ge=0, le=1, nullable=True)
    high: Number = pp.Field(ge=0, le=1, nullable=True)
    n: Whole = pp.Field(ge=0, nullable=True)
    groups: Whole = pp.Field(ge=0, nullable=True)
    encoder_start: Text = pp.Field(nullable=True)
    parameters_loaded: Whole = pp.Field(ge=0, nullable=True)
    parameters_total: Whole = pp.Field(ge=0, nullable=True)
    epochs: Whole = pp.Field(ge=0, nullable=True)
    training_seconds: Number = pp.Field(ge=0, nullable=True)
    model_id: Text = pp.Field(str_matches=r"^[0-9a-f]{64}$")
    label_rule: Text
    simulated: Annotated[pd.ArrowDtype, pa.bool_()]

    @pp.dataframe_check(name="a value unless the metric is lacking or the experiment stale")
    @classmethod
    def _has_value(cls, frame: pd.DataFrame) -> pd.Series:
        missing = frame["value"].isna()
        return ~missing | frame["state"].isin(["stale", "lacks_metric"])

    @pp.dataframe_check(name="a reason where it is not compared")
    @classmethod
    def _has_reason(cls, frame: pd.DataFrame) -> pd.Series:
        return frame["reason"].notna() == frame["state"].isin(["stale", "lacks_metric"])


class Difference(TableModel):
    """One row two values of an axis: by how much B's metric is above A's, all else being equal.

    `pairs` experiments are equal in every other axis and trained alike; `unlike` more are equal in
    the axes but not in how they were trained, and left out. `difference` is the mean over pairs,
    with a 95 % bootstrap interval: `blocks` windows, or groups of them (`drawn`), are drawn, the
    same for both. `blocks_held` of the groups hold the class that the fewest hold; if fewer than 5
    do there is no interval (see `bootstrap.LEAST_BLOCKS`), and no word on which value is better.
    An axis of which nothing can be compared has one row, whose statement says why.
    """

    axis: Text = pp.Field(isin=AXES)
    value_a: Text = pp.Field(nullable=True)
    value_b: Text = pp.Field(nullable=True)
    level: Text = pp.Field(isin=LEVELS, nullable=True)
    split: Text = pp.Field(isin=("train", "val", "test"))
    metric: Text
    pairs: Whole = pp.Field(ge=0)
    unlike: Whole = pp.Field(ge=0)
    mean_a: Number = pp.Field(ge=0, le=1, nullable=True)
    mean_b: Number = pp.Field(ge=0, le=1, nullable=True)
    difference: Number = pp.Field(ge=-1, le=1, nullable=True)
    low: Number = pp.Field(ge=-1, le=1, nullable=True)
    high: Number = pp.Field(ge=-1, le=1, nullable=True)
    drawn: Text = pp.Field(isin=("window", "group"), nullable=True)
    blocks: Whole = pp.Field(ge=1, nullable=True)
    blocks_held: Whole = pp.Field(ge=0, nullable=True)
    experiments_a: Annotated[pd.ArrowDtype, pa.list_(pa.string())]
    experiments_b: Annotated[pd.ArrowDtype, pa.list_(pa.string())]
    statement: Text = pp.Field(str_length={"min_value": 1})
    simulated: Annotated[pd.ArrowDtype, pa.bool_()]

    @pp.dataframe_check(name="a difference where there are pairs")
    @classmethod
    def _has_difference(cls, frame: pd.DataFrame) -> pd.Series:
        return frame["difference"].notna() == (frame["pairs"] > 0)

    @pp.dataframe_check(name="an interval where enough was drawn")
    @classmethod
    def _has_interval(cls, frame: pd.DataFrame) -> pd.Series:
        enough = (frame["blocks_held"].fillna(0) >= LEAST_BLOCKS) & (frame["pairs"] > 0)
        return (frame["low"].notna() == enough) & (frame["high"].notna() == enough)

    @pp.dataframe_check(name="one row two values of an axis and level")
    @classmethod
    def _unique(cls, frame: pd.DataFrame) -> pd.Series:
        return ~frame.duplicated(["axis", "value_a", "value_b", "level"])
