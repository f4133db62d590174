"""What of a window around a fire has classes."""

import numpy as np
import pyarrow as pa
import pytest
import rasterio.warp
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from geofm_assets.core.errors import SchemaError
from geofm_assets.core.schema import validate
from geofm_assets.labels.calfire.fires import read_fires
from geofm_assets.labels.calfire.samples import make_samples
from geofm_assets.labels.calfire.samples_config import SamplesConfig
from geofm_assets.windows.config import MasksConfig, WindowsConfig
from geofm_assets.windows.label_boxes import label_boxes
from geofm_assets.windows.masks import BURNT, NODATA, UNBURNT, masks_for_windows
from geofm_assets.windows.schema import Mask
from tests.fire_polygons import blob, fire, many_fires, perimeters
from tests.fire_samples import windows_of

MASKS = MasksConfig(gap_m=0)


def laid(table: pa.Table, size: int, min_size: int) -> tuple[pa.Table, pa.Table, np.ndarray]:
    """Windows of the fires, their samples, and what of each is labelled."""
    around = {"size": size, "resolution": 10}
    config = SamplesConfig(window_extent_m=(size + 1) * 10, around=around, far={"min_km": 1})
    made = make_samples(table, 2020, config, 0)
    windows = windows_of(made.points, size)
    boxes = label_boxes(windows, made.samples, read_fires(table), min_size)
    return windows, made.samples, boxes


def masks_of(table: pa.Table, size: int, min_size: int) -> dict[str, np.ndarray]:
    windows, samples, boxes = laid(table, size, min_size)
    made = masks_for_windows(windows, samples, read_fires(table), MASKS, boxes)
    assert validate(made, Mask).passed
    names = dict(zip(*(windows[c].to_pylist() for c in ("window_name", "sample_id")), strict=True))
    return {
        names[row["window_name"]]: np.frombuffer(row["mask"], np.uint8).reshape(size, size)
        for row in made.to_pylist()
    }


def test_a_small_fire_is_labelled_in_the_middle_of_its_window() -> None:
    mask = masks_of(perimeters([fire("a", blob(-121, 39, 60))]), 64, 24)["a_around"]
    known = np.argwhere(mask != NODATA)
    assert known.min(axis=0).tolist() == [20, 20]
    assert known.max(axis=0).tolist() == [43, 43]
    assert {BURNT, UNBURNT} <= set(np.unique(mask).tolist())


def test_a_tile_of_a_large_fire_is_labelled_all_over() -> None:
    masks = masks_of(perimeters([fire("a", blob(-121, 39, 800))]), 32, 8)
    around = [mask for name, mask in masks.items() if "_around_" in name]
    assert len(around) > 10
    assert all((mask != NODATA).all() for mask in around)
    assert all((mask == BURNT).any() for mask in around)


def test_unburnt_samples_are_labelled_all_over() -> None:
    table = perimeters([fire("a", blob(-121, 39, 900))])
    windows, samples, boxes = laid(table, 32, 8)
    kind = dict(zip(*(samples[c].to_pylist() for c in ("sample_id", "kind")), strict=True))
    rows = [i for i, s in enumerate(windows["sample_id"].to_pylist()) if kind[s] != "burnt"]
    assert len(rows) > 5
    assert (boxes[rows] == [0, 0, 32, 32]).all()


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**40), size=st.sampled_from([9, 32, 64]), data=st.data())
def test_what_is_labelled_holds_the_fire_and_is_never_too_small(seed, size, data) -> None:
    least = data.draw(st.integers(1, size))
    table = many_fires(12, seed, box=(-122, 36, -119, 41), years=(2020, 2020), largest_m=900)
    windows, samples, boxes = laid(table, size, least)
    sides = boxes[:, 2:] - boxes[:, :2]
    assert (sides >= least).all()
    assert (boxes >= 0).all()
    assert (boxes <= size).all()
    fires = {r["fire_id"]: shapely.from_wkb(r["geometry"]) for r in table.to_pylist()}
    fire_of = dict(zip(*(samples[c].to_pylist() for c in ("sample_id", "fire_id")), strict=True))
    for row, box in zip(windows.to_pylist(), boxes.tolist(), strict=True):
        if not row["sample_id"].endswith("_around"):
            continue
        crs = row["crs"]
        moved = shapely.transform(
            fires[fire_of[row["sample_id"]]],
            lambda xy, crs=crs: np.column_stack(rasterio.warp.transform(4326, crs, *xy.T)),
        )
        west, south, east, north = moved.bounds
        left, top = (row["col_min"] + box[0]) * 10, -(row["row_min"] + box[1]) * 10
        right, bottom = (row["col_min"] + box[2]) * 10, -(row["row_min"] + box[3]) * 10
        slack = 1e-3
        assert left - slack <= west < east <= right + slack
        assert bottom - slack <= south < north <= top + slack


def test_a_fire_that_is_not_there_is_named() -> None:
    table = perimeters([fire("a", blob(-121, 39, 60))])
    windows, samples, _ = laid(table, 32, 8)
    with pytest.raises(SchemaError, match=r"perimeter a .* sample a_around"):
        label_boxes(windows, samples, read_fires(table.slice(1)), 8)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"min_size": 8}, "set around: polygons"),
        ({"around": "polygons", "size": 32, "min_size": 33}, "min_size is 33, more than size 32"),
        ({"around": "boxes"}, "around"),
    ],
)
def test_impossible_settings_are_refused(given: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        WindowsConfig(**given)


def test_windows_around_points_read_as_before() -> None:
    said = {"size": 32, "resolution": 10.0, "days_before": 15, "days_after": 15}
    assert WindowsConfig().model_dump() == said
    around = WindowsConfig(around="polygons", min_size=16)
    assert around.model_dump() == said | {"around": "polygons", "min_size": 16}
