"""Samples of a fire year: where they lie, how many, and what they do not depend on."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geofm_assets.core.schema import validate
from geofm_assets.labels.calfire.sample_schema import Sample
from geofm_assets.labels.calfire.samples import make_samples
from geofm_assets.labels.calfire.samples_config import SamplesConfig
from geofm_assets.labels.schema import QuarantinedRow, ReferencePoint
from tests.fire_polygons import DAY, blob, fire, many_fires, perimeters
from tests.fire_samples import overlapping, windows_of

CONFIG = SamplesConfig(far={"min_km": 1, "h3_resolution": 5})
CROWDED = (-120.06, 39.0, -119.94, 39.12)
SLOW = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def crowd() -> pa.Table:
    return many_fires(60, 7, box=CROWDED, years=(2019, 2021), largest_m=2500)


def of_kind(samples: pa.Table, kind: str) -> pa.Table:
    return samples.filter(pc.equal(samples["kind"], kind))


@SLOW
@given(seed=st.integers(0, 2**40), count=st.integers(1, 40), size=st.sampled_from([8, 32, 64]))
def test_no_window_of_a_year_overlaps_another(seed: int, count: int, size: int) -> None:
    table = many_fires(count, seed, box=CROWDED, years=(2020, 2020), largest_m=2000)
    config = CONFIG.model_copy(update={"window_extent_m": (size + 1) * 10.0})
    made = make_samples(table, 2020, config, seed)
    assert overlapping(windows_of(made.points, size)) == []


def test_windows_cross_the_edge_of_a_zone(crowd: pa.Table) -> None:
    windows = windows_of(make_samples(crowd, 2020, CONFIG, 0).points)
    assert set(windows["crs"].to_pylist()) == {"EPSG:32610", "EPSG:32611"}


@SLOW
@given(order=st.randoms(use_true_random=False))
def test_the_order_of_rows_has_no_say(crowd: pa.Table, order) -> None:
    rows = list(range(crowd.num_rows))
    order.shuffle(rows)
    first = make_samples(crowd, 2020, CONFIG, 3)
    second = make_samples(crowd.take(rows), 2020, CONFIG, 3)
    assert second.samples.equals(first.samples)
    assert second.points.equals(first.points)
    assert second.quarantine.equals(first.quarantine)


def test_tables_obey_their_schemas(crowd: pa.Table) -> None:
    made = make_samples(crowd, 2020, CONFIG, 0)
    assert validate(made.points, ReferencePoint).passed
    assert validate(made.samples, Sample).passed
    assert validate(made.quarantine, QuarantinedRow).passed
    assert made.points["sample_id"].equals(made.samples["sample_id"])
    assert made.samples.num_rows == sum(made.counts[k] for k in ("burnt", "ring", "far"))


def test_another_seed_gives_other_places(crowd: pa.Table) -> None:
    one, other = (make_samples(crowd, 2020, CONFIG, seed).samples for seed in (0, 1))
    assert not one["lon"].equals(other["lon"])


def test_burnt_samples_lie_in_their_fire_on_its_day(crowd: pa.Table) -> None:
    burnt = of_kind(make_samples(crowd, 2020, CONFIG, 0).samples, "burnt")
    fires = {row["fire_id"]: row for row in crowd.to_pylist()}
    assert burnt.num_rows > 20
    for row in burnt.to_pylist():
        own = fires[row["fire_id"]]
        assert shapely.contains_xy(shapely.from_wkb(own["geometry"]), row["lon"], row["lat"])
        assert row["valid_time"] == own["contained_date"]
        assert row["group_id"] == own["group_id"]
        assert not own["prescribed"]


def test_a_larger_fire_gets_more_points_up_to_the_cap() -> None:
    sizes = {"a": 150, "b": 900, "c": 4000, "d": 12_000}
    rows = [
        fire(name, blob(-121 + i, 39, radius)) for i, (name, radius) in enumerate(sizes.items())
    ]
    made = make_samples(perimeters(rows), 2020, CONFIG, 0)
    counts = pc.value_counts(of_kind(made.samples, "burnt")["fire_id"]).to_pylist()
    assert {c["values"]: c["counts"] for c in counts} == {"a": 1, "b": 5, "c": 21, "d": 40}


def test_growth_one_gives_points_in_proportion_to_area() -> None:
    config = SamplesConfig(points={"area_ha": 100, "growth": 1}, max_points_per_fire=1000)
    table = perimeters([fire("a", blob(-121, 39, 3000))])
    made = make_samples(table, 2020, config, 0)
    assert made.counts["burnt"] == round(table["area_ha"][0].as_py() / 100)


def test_few_points_of_a_fire_lie_spread_over_it() -> None:
    config = SamplesConfig(max_points_per_fire=9, points={"growth": 1})
    made = make_samples(perimeters([fire("a", blob(-121, 39, 5000))]), 2020, config, 0)
    burnt = of_kind(made.samples, "burnt")
    lon, lat = burnt["lon"].to_numpy() * 86_400, burnt["lat"].to_numpy() * 111_000
    gaps = np.hypot(lon[:, None] - lon, lat[:, None] - lat) + np.eye(len(lon)) * 1e9
    assert gaps.min() > 1500


def test_a_small_fire_gets_a_point_inside_it() -> None:
    made = make_samples(perimeters([fire("a", blob(-121, 39, 40))]), 2020, CONFIG, 0)
    points = made.points.filter(pc.equal(made.points["label_raw"], "burnt"))
    assert points["point_rule"].to_pylist() == ["representative_point"]
    assert points["sample_id"].to_pylist() == ["a_burnt"]


def test_points_stay_when_the_perimeter_is_redrawn_a_little() -> None:
    shape = blob(-121, 39, 4000)
    one, other = (
        make_samples(perimeters([fire("a", shape_)]), 2020, CONFIG, 0)
        for shape_ in (shape, shapely.MultiPolygon([shape.buffer(0.0002)]))
    )
    ids = [set(of_kind(m.samples, "burnt")["sample_id"].to_pylist()) for m in (one, other)]
    assert len(ids[0] & ids[1]) >= 0.8 * len(ids[0])


@pytest.mark.parametrize(
    ("reason", "shape", "given"),
    [
        ("too_small", blob(-121, 39, 4), {}),
        ("undated", blob(-121, 39, 400), {"dated": False}),
        ("no_utm_zone", blob(-121, 86, 400), {}),
        ("too_wide", shapely.MultiPolygon([shapely.box(-125, 39, -115, 40)]), {}),
    ],
)
def test_a_fire_without_a_sample_is_quarantined(reason: str, shape, given: dict) -> None:
    made = make_samples(perimeters([fire("a", shape, **given)]), 2020, CONFIG, 0)
    assert made.samples.num_rows == 0
    assert [(r["sample_id"], r["reason"]) for r in made.quarantine.to_pylist()] == [("a", reason)]


def test_a_fire_crowded_out_by_others_is_quarantined() -> None:
    spots = [(-121.0, 39.0), (-121.0005, 39.0)]
    rows = [fire(f"f{i}", blob(*spot, 30, i)) for i, spot in enumerate(spots)]
    made = make_samples(perimeters(rows), 2020, CONFIG, 0)
    assert made.counts["burnt"] == 1
    assert made.quarantine["reason"].to_pylist() == ["no_room"]


def test_prescribed_burns_give_no_samples() -> None:
    table = perimeters([fire("rx", blob(-121, 39, 800), prescribed=True)])
    made = make_samples(table, 2020, CONFIG, 0)
    assert (made.samples.num_rows, made.quarantine.num_rows) == (0, 0)


def test_another_year_has_other_fires(crowd: pa.Table) -> None:
    made = make_samples(crowd, 2019, CONFIG, 0)
    years = pc.unique(pc.year(made.samples["valid_time"])).to_pylist()
    assert years == [2019]
    assert made.points["collection_id"].unique().to_pylist() == ["frap2019"]


def test_a_year_without_fires_is_empty(crowd: pa.Table) -> None:
    made = make_samples(crowd, 1950, CONFIG, 0)
    assert (made.points.num_rows, made.counts["fires"]) == (0, 0)


def test_numbers_follow_the_ratios(crowd: pa.Table) -> None:
    config = SamplesConfig(ring={"ratio": 0.25}, far={"ratio": 1.5, "min_km": 0.5})
    fires = [fire("a", blob(-121, 39, 6000)), fire("b", blob(-121.5, 39.5, 6000))]
    made = make_samples(perimeters(fires), 2020, config, 0)
    assert made.counts["ring"] == pytest.approx(made.counts["burnt"] * 0.25, abs=2)
    assert made.counts["far"] == pytest.approx(made.counts["burnt"] * 1.5, abs=1)


def test_spacing_below_the_window_is_refused() -> None:
    with pytest.raises(ValueError, match="windows would overlap"):
        SamplesConfig(window_extent_m=320, spacing_m=300)


def test_the_day_of_alarm_may_be_unknown() -> None:
    row = fire("a", blob(-121, 39, 900), alarm_date=None, contained_date=DAY + dt.timedelta(3))
    assert make_samples(perimeters([row]), 2020, CONFIG, 0).counts["burnt"] > 1
