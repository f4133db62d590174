"""Windows around whole fires: what they cover, and that none overlaps another."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geofm_assets.core.schema import validate
from geofm_assets.labels.calfire.around import pixel_boxes
from geofm_assets.labels.calfire.sample_schema import Sample
from geofm_assets.labels.calfire.samples import SamplesResult, make_samples
from geofm_assets.labels.calfire.samples_config import SamplesConfig
from geofm_assets.labels.calfire.utm import polygons_to_utm
from geofm_assets.labels.schema import ReferencePoint
from tests.fire_polygons import blob, fire, many_fires, perimeters
from tests.fire_samples import overlapping, squares, windows_of

CROWDED = (-120.06, 39.0, -119.94, 39.12)
"""Across the edge of zones 10 and 11."""
SPREAD = (-122.9, 36.1, -120.1, 41.9)
"""Inside zone 10."""
PIXEL_M = 10.0


def config(size: int, **given: object) -> SamplesConfig:
    around = {"size": size, "resolution": PIXEL_M}
    far = {"min_km": 1, "h3_resolution": 5}
    return SamplesConfig(window_extent_m=(size + 1) * PIXEL_M, around=around, far=far, **given)


def burnt_windows(made: SamplesResult, size: int) -> pa.Table:
    return windows_of(made.points.filter(pc.equal(made.points["point_rule"], "polygon")), size)


def by_fire(made: SamplesResult, windows: pa.Table) -> dict[str, list[str]]:
    ids = dict(zip(*(made.samples[c].to_pylist() for c in ("sample_id", "fire_id")), strict=True))
    found: dict[str, list[str]] = {}
    for name in windows["sample_id"].to_pylist():
        found.setdefault(ids[name], []).append(name)
    return found


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**40), count=st.integers(1, 25), size=st.sampled_from([15, 16, 32, 64]))
def test_no_window_of_a_year_overlaps_another(seed: int, count: int, size: int) -> None:
    table = many_fires(count, seed, box=CROWDED, years=(2020, 2020), largest_m=1500)
    made = make_samples(table, 2020, config(size), seed)
    assert overlapping(windows_of(made.points, size)) == []


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**40), count=st.integers(1, 15), size=st.sampled_from([8, 31, 32, 100]))
def test_every_fire_lies_in_its_windows(seed: int, count: int, size: int) -> None:
    table = many_fires(count, seed, box=SPREAD, years=(2020, 2020), largest_m=3000)
    made = make_samples(table, 2020, config(size, ring={"ratio": 0}), seed)
    windows = burnt_windows(made, size)
    names, boxes = squares(windows)["EPSG:32610"] if windows.num_rows else ([], [])
    box_of = dict(zip(names, boxes, strict=True))
    refused = set(made.quarantine["sample_id"].to_pylist())
    mine = by_fire(made, windows)
    fires = [r for r in table.to_pylist() if not r["prescribed"] and r["fire_id"] not in refused]
    assert set(mine) == {row["fire_id"] for row in fires}
    for row in fires:
        shapes = polygons_to_utm(32610, np.array([shapely.from_wkb(row["geometry"])]))
        west, south, east, north = pixel_boxes(shapes, PIXEL_M)[0]
        own = [box_of[name] for name in mine[row["fire_id"]]]
        if max(east - west, north - south) <= size:
            assert len(own) == 1
            pixels = shapely.box(west, south, east, north)
            assert shapely.covers(own[0], shapely.transform(pixels, lambda xy: xy * PIXEL_M))
        elif made.counts["windows_crowded_out"] == 0:
            # every tile holds some of it, and beyond them lie slivers of less than a pixel
            assert all(shapely.intersection(box, shapes[0]).area >= 100 for box in own)
            beyond = shapely.difference(shapes[0], shapely.union_all(own))
            assert beyond.area < 100 * len(own)


def test_a_window_is_centred_on_a_small_fire() -> None:
    made = make_samples(perimeters([fire("a", blob(-121, 39, 100))]), 2020, config(64), 0)
    (row,) = burnt_windows(made, 64).to_pylist()
    shape = polygons_to_utm(32610, np.array([blob(-121, 39, 100)]))
    west, south, east, north = pixel_boxes(shape, PIXEL_M)[0]
    assert row["sample_id"] == "a_around"
    assert abs((row["col_min"] + row["col_max"]) - (west + east)) <= 1
    assert abs(-(row["row_min"] + row["row_max"]) - (south + north)) <= 1


def test_a_large_fire_gets_all_its_tiles() -> None:
    made = make_samples(perimeters([fire("a", blob(-121, 39, 9000))]), 2020, config(32), 0)
    least = perimeters([fire("a", blob(-121, 39, 9000))])["area_ha"][0].as_py() / 10.24
    assert made.counts["burnt"] > least > 2000
    assert made.counts["windows_crowded_out"] == 0


def test_neighbours_share_tiles_and_a_small_fire_goes_first() -> None:
    rows = [fire("big", blob(-121, 39, 3000)), fire("small", blob(-120.97, 39, 60, 1))]
    made = make_samples(perimeters(rows), 2020, config(32), 0)
    mine = by_fire(made, burnt_windows(made, 32))
    assert mine["small"] == ["small_around"]
    assert len(mine["big"]) > 200
    assert 1 <= made.counts["windows_crowded_out"] <= 4
    assert made.quarantine.num_rows == 0


def test_a_fire_on_the_edge_of_a_zone_keeps_nearly_all_of_it() -> None:
    shape = blob(-120, 39, 4000)
    made = make_samples(perimeters([fire("a", shape)]), 2020, config(32), 0)
    windows = burnt_windows(made, 32)
    assert set(windows["crs"].to_pylist()) == {"EPSG:32610", "EPSG:32611"}
    covered = 0.0
    for crs, (_, boxes) in squares(windows).items():
        own = polygons_to_utm(int(crs.removeprefix("EPSG:")), np.array([shape]))[0]
        covered += sum(shapely.intersection(box, own).area for box in boxes)
    assert covered > 0.9 * perimeters([fire("a", shape)])["area_ha"][0].as_py() * 10_000


def test_tables_obey_their_schemas_and_no_row_order() -> None:
    table = many_fires(40, 7, box=CROWDED, years=(2019, 2021), largest_m=2500)
    made = make_samples(table, 2020, config(32), 0)
    assert validate(made.points, ReferencePoint).passed
    assert validate(made.samples, Sample).passed
    turned = make_samples(table.take(list(range(40))[::-1]), 2020, config(32), 0)
    assert turned.points.equals(made.points)
    assert turned.samples.equals(made.samples)


@pytest.mark.parametrize(
    ("reason", "shape"),
    [("no_utm_zone", blob(-121, 86, 400)), ("too_small", blob(-121, 39, 4))],
)
def test_a_fire_without_a_window_is_quarantined(reason: str, shape: shapely.Geometry) -> None:
    made = make_samples(perimeters([fire("a", shape)]), 2020, config(32), 0)
    assert made.samples.num_rows == 0
    assert [(r["sample_id"], r["reason"]) for r in made.quarantine.to_pylist()] == [("a", reason)]


def test_of_two_small_fires_whose_windows_would_overlap_one_is_quarantined() -> None:
    rows = [fire(f"f{i}", blob(-121 + i / 1000, 39, 30, i)) for i in range(2)]
    made = make_samples(perimeters(rows), 2020, config(32), 0)
    assert made.counts["burnt"] == 1
    assert made.quarantine["reason"].to_pylist() == ["no_room"]


def test_settings_of_points_read_as_before() -> None:
    assert "around" not in SamplesConfig().model_dump()
    assert SamplesConfig.model_validate(config(8).model_dump()) == config(8)
