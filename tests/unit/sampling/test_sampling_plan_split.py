"""How a plan divides its cells into train, val and test, and how far apart."""

import h3
import numpy as np
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geofm_assets.core.errors import SplitError
from geofm_assets.sampling.candidates import candidates
from geofm_assets.sampling.config import Fractions, SamplingConfig, SplitConfig
from geofm_assets.sampling.leakage import min_split_distances
from geofm_assets.sampling.plan import make_plan
from geofm_assets.sampling.split import assign_units

CROP, GRASS = "1101010001", "2001010000"
CLASSES = ("Cropland", "Non-Cropland")
SAMPLING = SamplingConfig(per_cell=5)
EUROPE = (-5, 40, 25, 58)
ISLAND = (8.68, 41.37, 9.55, 42.93)


def test_whole_cells_lie_in_one_split(plan_of, europe):
    sample = plan_of(europe).sample
    kept = sample.filter(pc.not_equal(sample["split"], "buffer"))
    pairs = set(zip(kept["h3_cell"].to_pylist(), kept["split"].to_pylist(), strict=True))
    assert len(pairs) == len({cell for cell, _ in pairs})


def test_shares_are_within_the_tolerance_of_the_fractions(plan_of, europe):
    report = plan_of(europe).report
    for name, wanted in {"train": 0.7, "val": 0.15, "test": 0.15}.items():
        assert abs(report["fractions_got"][name] - wanted) <= report["tolerance"] == 0.05


def test_every_split_has_every_class(plan_of, europe):
    balance = plan_of(europe).report["class_balance"]
    assert all(count > 0 for split in balance.values() for count in split.values())


def test_a_unit_keeps_its_split_when_others_come(plan_of):
    names = [str(i) for i in range(50)]
    alone = assign_units(names[:10], Fractions(), 0, 3)
    assert (assign_units(names, Fractions(), 0, 3)[:10] == alone).all()


def test_units_are_assigned_by_their_fractions():
    names = [str(i) for i in range(20_000)]
    shares = np.bincount(assign_units(names, Fractions(), 0, 0)) / len(names)
    assert shares == pytest.approx([0.7, 0.15, 0.15], abs=0.01)


def test_a_preferred_choice_is_kept_if_it_serves(plan_of, europe):
    def serves(salt):
        return plan_of(europe, prefer=(3, salt)).report["salt"] == salt

    first = plan_of(europe).report["salt"]
    assert any(serves(salt) for salt in range(first + 1, first + 12))


def test_a_preferred_choice_that_does_not_serve_is_dropped(plan_of, europe):
    assert plan_of(europe, prefer=(2, 0)).report == plan_of(europe).report


def test_few_cells_are_split_by_finer_blocks_and_the_note_says_so(plan_of, island):
    report = plan_of(island, sampling=SamplingConfig(per_cell=1000), extent=10).report
    assert report["resolution"] > 3
    assert report["note"].startswith(
        "The sample lies in 4 H3 cells of resolution 3, fewer than split.min_units=20; so"
    )


def test_finer_blocks_are_whole_and_named_in_the_sample(plan_of, island):
    plan = plan_of(island, sampling=SamplingConfig(per_cell=1000), extent=10)
    for row in plan.sample.to_pylist():
        resolution = plan.report["resolution"]
        assert row["split_unit"] == h3.latlng_to_cell(row["lat"], row["lon"], resolution)


def test_a_tolerance_nobody_can_meet_is_relaxed_and_the_note_says_so(plan_of, make_points):
    cells = sorted(h3.grid_disk(h3.latlng_to_cell(47, 8, 3), 3))[:21]
    centres = [h3.cell_to_latlng(c) for c in cells]
    places = [(lon + d / 100, lat) for lat, lon in centres for d in range(4)]
    config = SplitConfig(tolerance=0.001, max_resolution=3)
    report = plan_of(make_points(places), split=config).report
    assert report["tolerance"] == 0.1
    assert "within split.tolerance=0.001 of the fractions; 0.1 was accepted" in report["note"]


def test_one_class_is_refused(plan_of, make_points, scatter):
    table = make_points(scatter(100, 0, *EUROPE), [CROP])
    with pytest.raises(SplitError, match="All 100 points are of class 'Cropland'"):
        plan_of(table)


def test_no_points_are_refused(plan_of, make_points):
    with pytest.raises(SplitError, match="There is no point to split"):
        plan_of(make_points([]))


def test_no_tables_are_refused():
    with pytest.raises(SplitError, match="There is no point to split"):
        make_plan([], SAMPLING, SplitConfig(), CLASSES, 320)


def test_a_class_in_one_place_is_refused_by_class_and_split(plan_of, make_points, scatter):
    places = [*scatter(300, 0, *EUROPE), (9.0, 42.0)]
    table = make_points(places, [CROP] * 300 + [GRASS])
    config = SplitConfig(max_resolution=4)
    with pytest.raises(SplitError, match=r"still lacks class 'Non-Cropland' in \w+ and class"):
        plan_of(table, split=config)


def test_too_few_places_are_refused_with_their_number(plan_of, make_points):
    table = make_points([(9.0, 42.0), (9.5, 42.0), (10.0, 42.0)])
    with pytest.raises(SplitError, match=r"too few places .* 3 at resolution 7, and split.min_uni"):
        plan_of(table)


def test_shares_nobody_can_meet_are_refused(plan_of, make_points, scatter):
    crowd = [(9 + i / 1e4, 42.0) for i in range(900)]
    table = make_points([*scatter(100, 0, *EUROPE), *crowd])
    config = SplitConfig(
        fractions=Fractions(train=0.5, val=0.25, test=0.25), tolerance=0.01, max_resolution=3
    )
    with pytest.raises(SplitError, match=r"No split is within 0.15 of the fractions: the nearest"):
        plan_of(table, sampling=SamplingConfig(per_cell=1000), split=config)


def test_a_class_nobody_has_is_named(rule, europe):
    tables = [candidates(europe, rule, SAMPLING).table]
    plan = make_plan(tables, SAMPLING, SplitConfig(), (*CLASSES, "Water"), 320)
    assert plan.report["absent_classes"] == ["Water"]


# the distance between splits


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10_000), st.sampled_from([10.0, 320.0, 2560.0]))
def test_splits_keep_the_promised_distance(plan_of, make_points, scatter, seed, extent):
    table = make_points(scatter(300, seed, *ISLAND))
    plan = plan_of(table, sampling=SamplingConfig(per_cell=1000), extent=extent)
    lon, lat = plan.sample["lon"].to_numpy(), plan.sample["lat"].to_numpy()
    found = min_split_distances(lon, lat, np.array(plan.sample["split"].to_pylist()))
    promised = plan.report["min_distance_promised_m"]
    assert promised > np.sqrt(2) * extent
    assert found == plan.report["min_distance_m"]
    assert min(found.values()) >= promised


def test_a_larger_distance_is_kept_when_asked(plan_of, island):
    config = SplitConfig(min_distance_m=4000)
    plan = plan_of(island, sampling=SamplingConfig(per_cell=1000), split=config)
    assert min(plan.report["min_distance_m"].values()) >= 4000
    assert plan.report["buffered"] == plan.sample["split"].to_pylist().count("buffer") > 0


def test_held_out_points_are_counted_in_the_note(plan_of, island):
    config = SplitConfig(min_distance_m=4000)
    plan = plan_of(island, sampling=SamplingConfig(per_cell=1000), split=config)
    assert f"{plan.report['buffered']} of 500 points are held out as buffer" in plan.report["note"]


def test_a_smaller_distance_than_a_window_is_not_kept(plan_of, island):
    config = SplitConfig(min_distance_m=1)
    plan = plan_of(island, sampling=SamplingConfig(per_cell=1000), split=config)
    assert plan.report["min_distance_promised_m"] > 320
