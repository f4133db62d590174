"""Tables of training: which windows a model sees, and what it says of them."""

from typing import Annotated

import numpy as np
import pandas as pd
import pandera.pandas as pp
import pyarrow as pa

from geofm_assets.core.schema import TableModel

MANIFEST = pa.schema(
    [
        ("window_name", pa.string()),
        ("sample_id", pa.string()),
        ("collection_id", pa.string()),
        ("h3_cell", pa.string()),
        ("split", pa.string()),
        ("class_id", pa.int16()),
        ("class_name", pa.string()),
        ("valid_time", pa.date32()),
        ("lon", pa.float64()),
        ("lat", pa.float64()),
        ("chip_file", pa.string()),
        ("chip_row", pa.int64()),
        ("s2_months", pa.int64()),
        ("s1_months", pa.int64()),
        ("simulated", pa.bool_()),
    ]
)

PREDICTION = pa.schema(
    [
        ("experiment", pa.string()),
        ("window_name", pa.string()),
        ("sample_id", pa.string()),
        ("collection_id", pa.string()),
        ("h3_cell", pa.string()),
        ("split", pa.string()),
        ("valid_time", pa.date32()),
        ("lon", pa.float64()),
        ("lat", pa.float64()),
        ("class_id", pa.int16()),
        ("class_name", pa.string()),
        ("predicted_id", pa.int16()),
        ("predicted_name", pa.string()),
        ("probabilities", pa.list_(pa.float32())),
        ("model_id", pa.string()),
        ("encoder_start", pa.string()),
        ("label_rule", pa.string()),
        ("simulated", pa.bool_()),
    ]
)

SEGMENTATION = pa.schema(
    [
        ("experiment", pa.string()),
        ("window_name", pa.string()),
        ("sample_id", pa.string()),
        ("collection_id", pa.string()),
        ("h3_cell", pa.string()),
        ("split", pa.string()),
        ("valid_time", pa.date32()),
        ("lon", pa.float64()),
        ("lat", pa.float64()),
        ("class_id", pa.int16()),
        ("class_name", pa.string()),
        ("size", pa.int64()),
        ("pixels", pa.int64()),
        ("nodata", pa.int64()),
        ("tp", pa.list_(pa.int64())),
        ("fp", pa.list_(pa.int64())),
        ("fn", pa.list_(pa.int64())),
        ("mean_probabilities", pa.list_(pa.float32())),
        ("model_id", pa.string()),
        ("encoder_start", pa.string()),
        ("label_rule", pa.string()),
        ("simulated", pa.bool_()),
    ]
)

SPLITS = ("train", "val", "test", "buffer")
_SUM_TOLERANCE = 1e-4


class Manifest(TableModel):
    """One row a window that has chips; sorted by `window_name`."""

    window_name: Annotated[pd.ArrowDtype, pa.string()] = pp.Field(unique=True)
    sample_id: Annotated[pd.ArrowDtype, pa.string()] = pp.Field(unique=True)
    collection_id: Annotated[pd.ArrowDtype, pa.string()] = pp.Field(str_matches=r"^[a-z0-9]+$")
    h3_cell: Annotated[pd.ArrowDtype, pa.string()] = pp.Field(str_matches=r"^[0-9a-f]{15}$")
    split: Annotated[pd.ArrowDtype, pa.string()] = pp.Field(isin=SPLITS)
    class_id: Annotated[pd.ArrowDtype, pa.int16()] = pp.Field(ge=0)
    class_name: Annotated[pd.ArrowDtype, pa.string()]
    valid_time: Annotated[pd.ArrowDtype, pa.date32()]
    lon: Annotated[pd.ArrowDtype, pa.float64()] = pp.Field(ge=-180, le=180)
    lat: Annotated[pd.ArrowDtype, pa.float64()] = pp.Field(ge=-90, le=90)
    chip_file: Annotated[pd.ArrowDtype, pa.string()] = pp.Field(
        str_matches=r"^rasters-[0-9a-f]{16}\.safetensors$"
    )
    chip_row: Annotated[pd.ArrowDtype, pa.int64()] = pp.Field(ge=0)
    s2_months: Annotated[pd.ArrowDtype, pa.int64()] = pp.Field(ge=0)
    s1_months: Annotated[pd.ArrowDtype, pa.int64()] = pp.Field(ge=0)
    simulated: Annotated[pd.ArrowDtype, pa.bool_()]


class Prediction(TableModel):
    """One row a window: truth, prediction and where both come from; sorted by `window_name`."""

    experiment: Annotated[pd.ArrowDtype, pa.string()]
    window_name: Annotated[pd.ArrowDtype, pa.string()] = pp.Field(unique=True)
    sample_id: Annotated[pd.ArrowDtype, pa.string()] = pp.Field(unique=True)
    collection_id: Annotated[pd.ArrowDtype, pa.string()] = pp.Field(str_matches=r"^[a-z0-9]+$")
    h3_cell: Annotated[pd.ArrowDtype, pa.string()] = pp.Field(str_matches=r"^[0-9a-f]{15}$")
    split: Annotated[pd.ArrowDtype, pa.string()] = pp.Field(isin=SPLITS)
    valid_time: Annotated[pd.ArrowDtype, pa.date32()]
    lon: Annotated[pd.ArrowDtype, pa.float64()] = pp.Field(ge=-180, le=180)
    lat: Annotated[pd.ArrowDtype, pa.float64()] = pp.Field(ge=-90, le=90)
    class_id: Annotated[pd.ArrowDtype, pa.int16()] = pp.Field(ge=0)
    class_name: Annotated[pd.ArrowDtype, pa.string()]
    predicted_id: Annotated[pd.ArrowDtype, pa.int16()] = pp.Field(ge=0)
    predicted_name: Annotated[pd.ArrowDtype, pa.string()]
    probabilities: Annotated[pd.ArrowDtype, pa.list_(pa.float32())]
    model_id: Annotated[pd.ArrowDtype, pa.string()] = pp.Field(str_matches=r"^[0-9a-f]{64}$")
    encoder_start: Annotated[pd.ArrowDtype, pa.string()] = pp.Field(str_length={"min_value": 1})
    label_rule: Annotated[pd.ArrowDtype, pa.string()] = pp.Field(str_length={"min_value": 1})
    simulated: Annotated[pd.ArrowDtype, pa.bool_()]

    @pp.check("probabilities", name="probabilities_sum_to_one", element_wise=True)
    def _sums_to_one(cls, value: list[float]) -> bool:  # pandera hands the class
        return bool(abs(sum(value) - 1.0) < _SUM_TOLERANCE and min(value) >= 0.0)

    @pp.dataframe_check(name="predicted_id_is_most_probable")
    def _argmax(cls, frame: pd.DataFrame) -> pd.Series:
        return pd.Series(
            [
                0 <= predicted < len(p) and p[predicted] >= max(p)
                for p, predicted in zip(frame["probabilities"], frame["predicted_id"], strict=True)
            ],
            index=frame.index,
        )


class Segmentation(TableModel):
    """One row a window: how many of its pixels the model got right, by class.

    `class_id` is that of the window's point. `size` is the side of the crop the model saw, in
    pixels; `pixels` of it are labelled and counted, `nodata` are not. Of class k, `tp[k]` pixels
    are and were said to be it, `fp[k]` were said to be it and are not, `fn[k]` are it and were said
    to be another. `mean_probabilities` are over the whole crop. Sorted by `window_name`.
    """

    experiment: Annotated[pd.ArrowDtype, pa.string()]
    window_name: Annotated[pd.ArrowDtype, pa.string()] = pp.Field(unique=True)
    sample_id: Annotated[pd.ArrowDtype, pa.string()] = pp.Field(unique=True)
    collection_id: Annotated[pd.ArrowDtype, pa.string()] = pp.Field(str_matches=r"^[a-z0-9]+$")
    h3_cell: Annotated[pd.ArrowDtype, pa.string()] = pp.Field(str_matches=r"^[0-9a-f]{15}$")
    split: Annotated[pd.ArrowDtype, pa.string()] = pp.Field(isin=SPLITS)
    valid_time: Annotated[pd.ArrowDtype, pa.date32()]
    lon: Annotated[pd.ArrowDtype, pa.float64()] = pp.Field(ge=-180, le=180)
    lat: Annotated[pd.ArrowDtype, pa.float64()] = pp.Field(ge=-90, le=90)
    class_id: Annotated[pd.ArrowDtype, pa.int16()] = pp.Field(ge=0)
    class_name: Annotated[pd.ArrowDtype, pa.string()]
    size: Annotated[pd.ArrowDtype, pa.int64()] = pp.Field(ge=1)
    pixels: Annotated[pd.ArrowDtype, pa.int64()] = pp.Field(ge=0)
    nodata: Annotated[pd.ArrowDtype, pa.int64()] = pp.Field(ge=0)
    tp: Annotated[pd.ArrowDtype, pa.list_(pa.int64())]
    fp: Annotated[pd.ArrowDtype, pa.list_(pa.int64())]
    fn: Annotated[pd.ArrowDtype, pa.list_(pa.int64())]
    mean_probabilities: Annotated[pd.ArrowDtype, pa.list_(pa.float32())]
    model_id: Annotated[pd.ArrowDtype, pa.string()] = pp.Field(str_matches=r"^[0-9a-f]{64}$")
    encoder_start: Annotated[pd.ArrowDtype, pa.string()] = pp.Field(str_length={"min_value": 1})
    label_rule: Annotated[pd.ArrowDtype, pa.string()] = pp.Field(str_length={"min_value": 1})
    simulated: Annotated[pd.ArrowDtype, pa.bool_()]

    @pp.check("mean_probabilities", name="probabilities_sum_to_one", element_wise=True)
    def _sums_to_one(cls, value: list[float]) -> bool:  # pandera hands the class
        return bool(abs(sum(value) - 1.0) < _SUM_TOLERANCE and min(value) >= 0.0)

    @pp.dataframe_check(name="every_pixel_is_counted_once")
    def _counted_once(cls, frame: pd.DataFrame) -> pd.Series:
        hits, false, missed = (
            np.array([np.sum(row) for row in frame[name]], dtype=np.int64)
            for name in ("tp", "fp", "fn")
        )
        pixels, nodata, size = (
            frame[name].to_numpy(dtype=np.int64) for name in ("pixels", "nodata", "size")
        )
        right = (hits + missed == pixels) & (false == missed) & (pixels + nodata == size**2)
        return pd.Series(right, index=frame.index)
