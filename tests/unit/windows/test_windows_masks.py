"""Masks of windows: which pixels are burnt, unburnt, unknown."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
import rasterio.warp
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geofm_assets.core.errors import SchemaError
from geofm_assets.core.schema import validate
from geofm_assets.labels.calfire.fires import read_fires
from geofm_assets.labels.calfire.samples import make_samples
from geofm_assets.labels.calfire.samples_config import SamplesConfig
from geofm_assets.labels.cells import cell_ids, cell_strings
from geofm_assets.windows.config import MasksConfig
from geofm_assets.windows.masks import BURNT, NODATA, UNBURNT, masks_for_windows
from geofm_assets.windows.schema import Mask
from tests.fire_polygons import DAY, blob, fire, many_fires, perimeters
from tests.fire_samples import windows_of

LON, LAT = -121.0, 39.0
CONFIG = MasksConfig()
HALF = shapely.MultiPolygon([shapely.box(LON - 0.05, LAT - 0.05, LON, LAT + 0.05)])
"""Its eastern edge runs through the middle of the window."""


def window(size: int = 64, lon: float = LON, group: str = "a") -> tuple[pa.Table, pa.Table]:
    """One window, and the group of its sample."""
    point = {
        "sample_id": ["s"],
        "collection_id": ["frap2020"],
        "lon": [lon],
        "lat": [LAT],
        "h3_l3_cell": cell_strings(cell_ids(np.array([lon]), np.array([LAT]), 3)),
        "valid_time": [DAY],
        "label_raw": ["burnt"],
        "ewoc_code": pa.nulls(1, pa.int64()),
        "quality_score_lc": pa.nulls(1, pa.int64()),
        "quality_score_ct": pa.nulls(1, pa.int64()),
        "simulated": [True],
    }
    groups = pa.table({"sample_id": ["s"], "group_id": [group]})
    return windows_of(pa.table(point), size), groups


def mask_of(*rows: dict, config: MasksConfig = CONFIG, **given) -> np.ndarray:
    windows, groups = window(**given)
    made = masks_for_windows(windows, groups, read_fires(perimeters(list(rows))), config)
    assert validate(made, Mask).passed
    row = made.to_pylist()[0]
    return np.frombuffer(row["mask"], np.uint8).reshape(row["size"], row["size"])


def values(mask: np.ndarray) -> set[int]:
    return set(np.unique(mask).tolist())


def of_the_west(**given) -> int:
    """What a mask says of the western edge, where another fire of `given` lies."""
    other = fire("b", HALF, **given)
    return int(mask_of(other)[32, 0])


def test_west_is_burnt_east_unburnt_and_the_gap_between_unknown() -> None:
    mask = mask_of(fire("a", HALF))
    row = mask[32]
    assert (row[:30] == BURNT).all()
    assert (row[34:44] == NODATA).all()
    assert (row[50:] == UNBURNT).all()
    assert np.flatnonzero(row == NODATA).size == pytest.approx(15, abs=1)


def test_a_window_inside_a_fire_is_all_burnt() -> None:
    assert values(mask_of(fire("a", HALF), lon=LON - 0.02)) == {BURNT}


def test_a_window_far_from_fires_is_all_unburnt() -> None:
    assert values(mask_of(fire("a", HALF), lon=LON + 0.03)) == {UNBURNT}


def test_without_a_gap_nothing_is_unknown() -> None:
    assert values(mask_of(fire("a", HALF), config=MasksConfig(gap_m=0))) == {UNBURNT, BURNT}


@pytest.mark.parametrize(
    ("days_before", "value"),
    [(0, BURNT), (60, BURNT), (61, NODATA), (5 * 365, NODATA), (5 * 366 + 1, UNBURNT)],
)
def test_another_fire_counts_by_when_it_ended(days_before: int, value: int) -> None:
    assert of_the_west(contained_date=DAY - dt.timedelta(days=days_before)) == value


@pytest.mark.parametrize(("days_after", "value"), [(45, NODATA), (46, UNBURNT)])
def test_another_fire_counts_by_when_it_begins(days_after: int, value: int) -> None:
    alarm = DAY + dt.timedelta(days=days_after)
    later = alarm + dt.timedelta(days=5)
    assert of_the_west(alarm_date=alarm, contained_date=later) == value


def test_a_fire_of_the_sample_s_complex_is_burnt_though_it_ended_later() -> None:
    later = DAY + dt.timedelta(days=10)
    assert of_the_west(group_id="a", contained_date=later, alarm_date=DAY) == BURNT


def test_a_fire_of_the_sample_s_complex_that_began_later_is_unknown() -> None:
    began, later = DAY + dt.timedelta(days=1), DAY + dt.timedelta(days=40)
    assert of_the_west(group_id="a", contained_date=later, alarm_date=began) == NODATA


def test_a_prescribed_burn_is_unknown() -> None:
    assert of_the_west(prescribed=True) == NODATA


def test_a_fire_of_unknown_date_is_unknown() -> None:
    end = DAY.replace(month=12, day=31)
    assert of_the_west(dated=False, alarm_date=None, contained_date=end) == NODATA


def test_burnt_again_over_a_scar_is_burnt() -> None:
    scar = fire("b", HALF, contained_date=DAY - dt.timedelta(days=400))
    assert mask_of(fire("a", HALF), scar)[32, 0] == BURNT


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**40), size=st.sampled_from([1, 8, 31, 64]))
def test_masks_say_what_holds_at_the_middle_of_each_pixel(seed: int, size: int) -> None:
    shape = blob(LON, LAT, 250, seed)
    windows, _ = window(size)
    mask = mask_of(fire("a", shape), size=size)
    row = windows.to_pylist()[0]
    xs = (np.arange(row["col_min"], row["col_max"]) + 0.5) * 10
    ys = -(np.arange(row["row_min"], row["row_max"]) + 0.5) * 10
    x, y = np.meshgrid(xs, ys)
    moved = shapely.transform(
        shape, lambda p: np.column_stack(rasterio.warp.transform(4326, row["crs"], *p.T))
    )
    away = shapely.distance(shapely.points(x, y), moved)
    inside = shapely.contains_xy(moved, x, y)
    unsure = shapely.distance(shapely.points(x, y), shapely.boundary(moved)) < 1e-3
    expected = np.where(inside, BURNT, np.where(away <= 150, NODATA, UNBURNT))
    unsure |= np.abs(away - 150) < 0.5  # round corners are drawn with straight lines
    assert (mask[~unsure] == expected[~unsure]).all()


def test_samples_and_masks_agree_at_the_middle() -> None:
    table = many_fires(150, 5, box=(-120.3, 38.8, -119.7, 39.4), years=(2019, 2021))
    config = SamplesConfig(far={"min_km": 1, "h3_resolution": 5})
    made = make_samples(table, 2020, config, 0)
    windows = windows_of(made.points)
    masks = masks_for_windows(windows, made.samples, read_fires(table), CONFIG)
    assert windows.num_rows > 50
    for label, row in zip(windows["class_name"].to_pylist(), masks.to_pylist(), strict=True):
        middle = np.frombuffer(row["mask"], np.uint8).reshape(32, 32)[15, 16]
        assert middle != (UNBURNT if label == "burnt" else BURNT)


def test_masks_do_not_depend_on_the_order_of_fires() -> None:
    table = many_fires(80, 5, box=(-121.05, 38.95, -120.95, 39.05), years=(2018, 2021))
    windows, groups = window()
    one = masks_for_windows(windows, groups, read_fires(table), CONFIG)
    turned = table.take(list(range(table.num_rows))[::-1])
    assert masks_for_windows(windows, groups, read_fires(turned), CONFIG).equals(one)


def test_a_window_without_a_group_is_named() -> None:
    windows, groups = window()
    with pytest.raises(SchemaError, match="without a group"):
        masks_for_windows(windows, groups.slice(1), read_fires(perimeters([])), CONFIG)
