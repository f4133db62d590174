"""Tables of sweeps: scores of probes, and the leaderboard."""

from typing import Annotated

import pandas as pd
import pandera.pandas as pp
import pyarrow as pa

from geofm_assets.core.schema import TableModel

PROBE_SCORE = pa.schema(
    [
        ("model", pa.string()),  # as named by the user
        ("model_id", pa.string()),
        ("start", pa.string()),  # what the weights are, in words
        ("dataset", pa.string()),
        ("dataset_id", pa.string()),
        ("sweep", pa.string()),
        ("probe", pa.string()),
        ("normalization", pa.string()),
        ("pooling", pa.string()),
        ("patch_size", pa.int64()),
        ("precision", pa.string()),  # of the embeddings
        ("subset", pa.float64()),  # percentage of train
        ("seed", pa.int64()),  # of probes and bootstrap
        ("epochs", pa.int64()),  # of linear probes, as are the next two
        ("batch_size", pa.int64()),
        ("eval_every", pa.int64()),
        ("resamples", pa.int64()),  # of the bootstrap
        ("default_patch", pa.bool_()),  # patch_size is the model's own for these windows
        ("rate", pa.float64()),  # null for kNN
        ("best_epoch", pa.int64()),  # null for kNN
        ("split", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),  # null where no interval was taken
        ("high", pa.float64()),
        ("n", pa.int64()),  # samples the metric rests on
        ("test_samples", pa.int64()),  # of the dataset
        # of them, those in windows the checkpoint was trained on; null where that is not known
        ("seen_in_training", pa.int64()),
        ("cosine_mean", pa.float64()),  # of embeddings before and after int8; null of float
        ("cosine_min", pa.float64()),
        ("chosen", pa.bool_()),  # by val, in the metric's direction
        ("main", pa.bool_()),  # the dataset's own metric
        ("embeddings", pa.string()),  # store key of what the probe read
        ("inputs", pa.string()),  # digest of everything the row was made from
        ("simulated", pa.bool_()),
    ]
)
_String = Annotated[pd.ArrowDtype, pa.string()]
_Float = Annotated[pd.ArrowDtype, pa.float64()]
_Int = Annotated[pd.ArrowDtype, pa.int64()]
_Bool = Annotated[pd.ArrowDtype, pa.bool_()]
_HEX = r"^[0-9a-f]{64}$"
TRAINED = ("seed", "epochs", "batch_size", "eval_every", "resamples")
"""How probes are trained and judged, whatever they read."""
KIND = ("sweep", "precision", "subset", "patch_size", *TRAINED)
"""What a sweep holds still: rows of two kinds stay apart."""
SETTING = (*KIND, "probe", "normalization", "pooling", "rate")


class ProbeScore(TableModel):
    """One row a setting, split and metric. Test is there for the chosen settings only."""

    model: _String = pp.Field(str_length={"min_value": 1})
    model_id: _String = pp.Field(str_matches=_HEX)
    start: _String
    dataset: _String
    dataset_id: _String
    sweep: _String = pp.Field(isin=("full", "lr-only", "defaults"))
    probe: _String = pp.Field(isin=("knn", "linear"))
    normalization: _String = pp.Field(isin=("pretrained", "dataset"))
    pooling: _String = pp.Field(isin=("mean", "max"))
    patch_size: _Int = pp.Field(ge=1)
    precision: _String = pp.Field(isin=("float", "int8"))
    subset: _Float = pp.Field(gt=0, le=100)
    seed: _Int = pp.Field(ge=0)
    epochs: _Int = pp.Field(ge=1)
    batch_size: _Int = pp.Field(ge=1)
    eval_every: _Int = pp.Field(ge=1)
    resamples: _Int = pp.Field(ge=1)
    default_patch: _Bool
    rate: _Float = pp.Field(nullable=True, gt=0)
    best_epoch: _Int = pp.Field(nullable=True, ge=0)
    split: _String = pp.Field(isin=("val", "test"))
    metric: _String = pp.Field(str_length={"min_value": 1})
    value: _Float
    low: _Float = pp.Field(nullable=True)
    high: _Float = pp.Field(nullable=True)
    n: _Int = pp.Field(ge=0)
    test_samples: _Int = pp.Field(ge=0)
    seen_in_training: _Int = pp.Field(nullable=True, ge=0)
    cosine_mean: _Float = pp.Field(nullable=True, ge=-1, le=1)
    cosine_min: _Float = pp.Field(nullable=True, ge=-1, le=1)
    chosen: _Bool
    main: _Bool
    embeddings: _String
    inputs: _String = pp.Field(str_matches=_HEX)
    simulated: _Bool

    @pp.dataframe_check(name="low is not above high")
    @classmethod
    def _ordered(cls, frame: pd.DataFrame) -> pd.Series:
        low, high = frame["low"].to_numpy("float64"), frame["high"].to_numpy("float64")
        return pd.Series(~(low > high), index=frame.index)

    @pp.dataframe_check(name="test is scored for the chosen setting alone")
    @classmethod
    def _test_once(cls, frame: pd.DataFrame) -> pd.Series:
        good = (frame["split"] != "test").to_numpy() | frame["chosen"].to_numpy("bool")
        return pd.Series(good, index=frame.index)

    @pp.dataframe_check(name="one chosen setting a sweep and probe")
    @classmethod
    def _one_chosen(cls, frame: pd.DataFrame) -> pd.Series:
        chosen = frame[frame["chosen"].to_numpy("bool")].fillna({"rate": 0.0})
        group = [*KIND, "probe"]
        settings = chosen.drop_duplicates(list(SETTING))
        crowded = settings.index[settings.duplicated(group, keep=False)]
        return pd.Series(~frame.index.isin(crowded), index=frame.index)

    @pp.dataframe_check(name="one row a setting, split and metric")
    @classmethod
    def _unique(cls, frame: pd.DataFrame) -> pd.Series:
        return ~frame.duplicated([*SETTING, "split", "metric"])


LEADERBOARD = pa.schema(
    [
        ("dataset", pa.string()),
        ("display_name", pa.string()),
        ("task_type", pa.string()),
        ("metric", pa.string()),
        ("lower_is_better", pa.bool_()),
        ("probe", pa.string()),
        ("model", pa.string()),
        ("start", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("n", pa.int64()),
        ("val", pa.float64()),
        ("normalization", pa.string()),
        ("pooling", pa.string()),
        ("patch_size", pa.int64()),
        ("rate", pa.float64()),
        ("best_epoch", pa.int64()),
        ("sweep", pa.string()),
        ("precision", pa.string()),
        ("subset", pa.float64()),
        ("seed", pa.int64()),
        ("epochs", pa.int64()),
        ("batch_size", pa.int64()),
        ("eval_every", pa.int64()),
        ("resamples", pa.int64()),
        ("default_patch", pa.bool_()),
        ("test_samples", pa.int64()),
        ("seen_in_training", pa.int64()),
        ("cosine_mean", pa.float64()),
        ("cosine_min", pa.float64()),
        ("first", pa.bool_()),  # stands in the page's tables; the others are listed below
        ("model_id", pa.string()),
        ("dataset_id", pa.string()),
        ("embeddings", pa.string()),
        ("scores", pa.string()),
        ("simulated", pa.bool_()),
    ]
)


class LeaderboardRow(TableModel):
    """Test scores of the settings validation chose, one a model, dataset, probe and kind."""

    dataset: _String
    display_name: _String
    task_type: _String
    metric: _String
    lower_is_better: _Bool
    probe: _String = pp.Field(isin=("knn", "linear"))
    model: _String
    start: _String
    value: _Float
    low: _Float = pp.Field(nullable=True)
    high: _Float = pp.Field(nullable=True)
    n: _Int = pp.Field(ge=0)
    val: _Float
    normalization: _String
    pooling: _String
    patch_size: _Int
    rate: _Float = pp.Field(nullable=True)
    best_epoch: _Int = pp.Field(nullable=True)
    sweep: _String
    precision: _String
    subset: _Float
    seed: _Int
    epochs: _Int
    batch_size: _Int
    eval_every: _Int
    resamples: _Int
    default_patch: _Bool
    test_samples: _Int
    seen_in_training: _Int = pp.Field(nullable=True)
    cosine_mean: _Float = pp.Field(nullable=True)
    cosine_min: _Float = pp.Field(nullable=True)
    first: _Bool
    model_id: _String = pp.Field(str_matches=_HEX)
    dataset_id: _String
    embeddings: _String
    scores: _String
    simulated: _Bool

    @pp.dataframe_check(name="the widest sweep of a model, dataset, probe and setting")
    @classmethod
    def _unique(cls, frame: pd.DataFrame) -> pd.Series:
        kind = [name for name in KIND if name != "sweep"]
        return ~frame.duplicated(["model_id", "dataset_id", "probe", *kind])

    @pp.dataframe_check(name="one row of a model, dataset, probe, precision and subset is first")
    @classmethod
    def _one_first(cls, frame: pd.DataFrame) -> pd.Series:
        first = frame[frame["first"].to_numpy("bool")]
        group = ["model_id", "dataset_id", "probe", "precision", "subset"]
        crowded = first.index[first.duplicated(group, keep=False)]
        return pd.Series(~frame.index.isin(crowded), index=frame.index)
