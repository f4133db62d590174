import datetime
import io
import json
import random

import h3
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geofm_assets.core.errors import ConfigError, DuplicateSampleError, SchemaError, SplitError
from geofm_assets.core.schema import validate
from geofm_assets.labels.schema import QuarantinedRow
from geofm_assets.sampling.candidates import candidates
from geofm_assets.sampling.config import Fractions, SamplingConfig, SplitConfig
from geofm_assets.sampling.leakage import min_split_distances
from geofm_assets.sampling.plan import cells_table, make_plan
from geofm_assets.sampling.schema import SAMPLED_POINT, Cell, SampledPoint
from geofm_assets.sampling.split import assign_units

CROP, GRASS = "1101010001", "2001010000"
CLASSES = ("Cropland", "Non-Cropland")
SAMPLING = SamplingConfig(per_cell=5)
EUROPE = (-5, 40, 25, 58)
ISLAND = (8.68, 41.37, 9.55, 42.93)


@pytest.fixture(scope="module")
def plan_of(rule):
    def plan(*tables, sampling=SAMPLING, split=None, extent=320.0, **options):
        found = [candidates(t, rule, sampling).table for t in tables]
        return make_plan(found, sampling, split or SplitConfig(), CLASSES, extent, **options)

    return plan


@pytest.fixture(scope="module")
def europe(make_points, scatter):
    return make_points(scatter(2000, 0, *EUROPE))


@pytest.fixture(scope="module")
def second(make_points, scatter):
    return make_points(scatter(700, 1, *EUROPE), collection="second")


@pytest.fixture(scope="module")
def island(make_points, scatter):
    return make_points(scatter(500, 2, *ISLAND))


def as_bytes(plan):
    sink = io.BytesIO()
    for table in (plan.sample, plan.cells, plan.quarantine):
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    return sink.getvalue() + json.dumps(plan.report).encode()


# the sample


def test_the_tables_satisfy_their_schemas(plan_of, europe, second):
    plan = plan_of(europe, second)
    for table, model in (
        (plan.sample, SampledPoint),
        (plan.cells, Cell),
        (plan.quarantine, QuarantinedRow),
    ):
        assert validate(table, model).failures == []


def test_no_cell_has_more_than_its_cap(plan_of, europe, second):
    assert pc.max(plan_of(europe, second).cells["points"]).as_py() == SAMPLING.per_cell


def test_the_plan_is_the_same_bytes_whatever_the_order(rule, europe, second):
    tables = [candidates(t, rule, SAMPLING).table for t in (europe, second)]
    plan = make_plan(tables, SAMPLING, SplitConfig(), CLASSES, 320)
    shuffled = []
    for table in reversed(tables):
        order = list(range(table.num_rows))
        random.Random(1).shuffle(order)
        shuffled += [table.take(order[:100]), table.take(order[100:])]
    again = make_plan(shuffled, SAMPLING, SplitConfig(), CLASSES, 320)
    assert as_bytes(plan) == as_bytes(again)


def test_an_id_in_two_collections_stays_in_the_first_by_name(plan_of, europe, make_points):
    ids = europe["sample_id"].to_pylist()[:1]
    twice = make_points([(10.0, 45.0)], collection="another", ids=ids)
    plan = plan_of(europe, twice, sampling=SamplingConfig(per_cell=1000))
    kept = plan.sample.filter(pc.equal(plan.sample["sample_id"], ids[0]))
    assert kept["collection_id"].to_pylist() == ["another"]


def test_the_other_row_of_that_id_is_quarantined_with_its_reason(plan_of, europe, make_points):
    ids = europe["sample_id"].to_pylist()[:1]
    twice = make_points([(10.0, 45.0)], collection="another", ids=ids)
    plan = plan_of(europe, twice, sampling=SamplingConfig(per_cell=1000))
    row = plan.quarantine.to_pylist()[0]
    assert (row["collection_id"], row["sample_id"], row["reason"], row["detail"]) == (
        "first",
        ids[0],
        "duplicate_sample_id",
        f"sample_id is also that of sample {ids[0]} of collection another (class Cropland), "
        "which was kept",
    )


def test_a_place_in_two_collections_is_sampled_once(plan_of, europe, make_points):
    lon, lat = europe["lon"][0].as_py(), europe["lat"][0].as_py()
    same = make_points([(lon, lat)], collection="zz")
    plan = plan_of(europe, same, sampling=SamplingConfig(per_cell=1000))
    assert plan.quarantine["reason"].to_pylist() == ["duplicate_location"]
    here = pc.and_(pc.equal(plan.sample["lon"], lon), pc.equal(plan.sample["lat"], lat))
    assert pc.sum(here).as_py() == 1


def test_the_same_collection_twice_is_refused(plan_of, europe):
    with pytest.raises(DuplicateSampleError):
        plan_of(europe, europe)


def test_candidates_of_another_seed_are_refused(rule, europe):
    table = candidates(europe, rule, SamplingConfig(seed=1)).table
    with pytest.raises(SchemaError, match="Not ranked by seed 0 at candidates of first"):
        make_plan([table], SamplingConfig(), SplitConfig(), CLASSES, 320)


def test_candidates_of_another_resolution_are_refused(rule, europe):
    table = candidates(europe, rule, SamplingConfig(h3_resolution=4)).table
    with pytest.raises(SchemaError, match="resolution 3"):
        make_plan([table], SamplingConfig(), SplitConfig(), CLASSES, 320)


def test_candidates_of_other_classes_are_refused(rule, europe):
    table = candidates(europe, rule, SamplingConfig()).table
    with pytest.raises(SchemaError, match="Classes are not a, b"):
        make_plan([table], SamplingConfig(), SplitConfig(), ("a", "b"), 320)


def test_a_window_without_extent_is_refused(plan_of, europe):
    with pytest.raises(ConfigError, match="positive size"):
        plan_of(europe, extent=0)


# the cells


def test_cells_count_their_points_by_split_and_class(plan_of, europe):
    plan = plan_of(europe)
    for row in plan.cells.to_pylist()[:10]:
        part = plan.sample.filter(pc.equal(plan.sample["h3_cell"], row["h3_cell"]))
        splits, names = part["split"].to_pylist(), part["class_name"].to_pylist()
        assert row["points"] == len(splits)
        assert {s: row[s] for s in set(splits)} == {s: splits.count(s) for s in set(splits)}
        assert json.loads(row["class_counts"]) == {n: names.count(n) for n in set(names)}


def test_a_cell_digest_is_that_of_its_rows_alone(plan_of, europe):
    plan = plan_of(europe)
    row = plan.cells.to_pylist()[3]
    part = plan.sample.filter(pc.equal(plan.sample["h3_cell"], row["h3_cell"]))
    assert cells_table(part).to_pylist() == [row]


@pytest.mark.parametrize("column", SAMPLED_POINT.names)
def test_any_changed_value_changes_the_cells_digest(plan_of, europe, column):
    part = plan_of(europe).sample.slice(0, 1)
    before = cells_table(part)["digest"].to_pylist()
    value = part[column][0].as_py()
    kind = part.schema.field(column).type
    if pa.types.is_string(kind):
        other = "test" if column == "split" else f"{value}x"
    elif pa.types.is_boolean(kind):
        other = not value
    elif pa.types.is_date32(kind):
        other = value + datetime.timedelta(days=1)
    else:
        other = value + 1
    index = part.schema.get_field_index(column)
    for changed in (other, None):
        if changed is None and column in ("h3_cell", "split", "class_name"):
            continue
        table = part.set_column(index, part.schema.field(column), pa.array([changed], kind))
        assert cells_table(table)["digest"].to_pylist() != before


def test_new_data_changes_only_the_cells_it_is_in(plan_of, europe, make_points):
    plan = plan_of(europe)
    cell = plan.cells["h3_cell"][5].as_py()
    lat, lon = h3.cell_to_latlng(cell)
    more = make_points([(lon + i / 1e4, lat) for i in range(40)], collection="second")
    choice = (plan.report["resolution"], plan.report["salt"])
    again = plan_of(europe, more, prefer=choice)
    before, after = (
        dict(zip(p.cells["h3_cell"].to_pylist(), p.cells["digest"].to_pylist(), strict=True))
        for p in (plan, again)
    )
    assert {c for c in after if before.get(c) != after[c]} == {cell}


# the split


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
