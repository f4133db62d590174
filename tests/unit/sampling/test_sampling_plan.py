import datetime
import io
import json
import random

import h3
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from geofm_assets.core.errors import ConfigError, DuplicateSampleError, SchemaError
from geofm_assets.core.schema import validate
from geofm_assets.labels.schema import QuarantinedRow
from geofm_assets.sampling.candidates import candidates
from geofm_assets.sampling.config import SamplingConfig, SplitConfig
from geofm_assets.sampling.plan import cells_table, make_plan
from geofm_assets.sampling.schema import SAMPLED_POINT, Cell, SampledPoint

CLASSES = ("Cropland", "Non-Cropland")
SAMPLING = SamplingConfig(per_cell=5)


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
