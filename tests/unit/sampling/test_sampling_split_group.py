"""Splitting by group and block: what belongs together is never parted."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geofm_assets.core.errors import SchemaError, SplitError
from geofm_assets.core.schema import validate
from geofm_assets.sampling.candidates import candidates
from geofm_assets.sampling.config import SamplingConfig, SplitConfig
from geofm_assets.sampling.places import h3_cells
from geofm_assets.sampling.plan import make_plan
from geofm_assets.sampling.schema import SampledPoint
from geofm_assets.sampling.split_group import group_units

CLASSES = ("Cropland", "Non-Cropland")
SAMPLING = SamplingConfig(per_cell=1000)
SPLIT = SplitConfig(by="group", min_units=5, max_resolution=8)
BOX = (-124, 36, -116, 42)


@pytest.fixture(scope="module")
def plan_of(rule, make_points, scatter):
    """A plan of n points, of which those of one group lie within about 30 km."""

    def plan(seed=0, n=600, groups=80, split=SPLIT, order=None, named=None):
        generator = np.random.default_rng(seed)
        centres = np.array(scatter(groups, seed, *BOX))
        of_point = generator.integers(0, groups, n)
        places = centres[of_point] + generator.normal(0, 0.1, (n, 2))
        points = make_points([tuple(p) for p in places.tolist()])
        table = pa.table(
            {
                "sample_id": points["sample_id"],
                "group_id": [f"fire{g}" for g in of_point.tolist()],
            }
        )
        if order is not None:
            points, table = points.take(order), table.take(order[::-1])
        found = candidates(points, rule, SAMPLING).table
        named = table if named is None else named(table)
        return make_plan([found], SAMPLING, split, CLASSES, 320.0, groups=named), table

    return plan


def splits_by(names, split):
    """The splits that each name occurs in, held-out points apart."""
    found = {}
    for name, part in zip(names, split, strict=True):
        if part != "buffer":
            found.setdefault(name, set()).add(part)
    return found


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), groups=st.integers(30, 200))
def test_no_group_and_no_block_lies_in_two_splits(plan_of, seed, groups):
    try:
        made, table = plan_of(seed, groups=groups)
    except SplitError:  # too much belongs together, which is said instead of parting it
        return
    group = dict(zip(*(table[c].to_pylist() for c in table.column_names), strict=True))
    split = made.sample["split"].to_pylist()
    groups_of = [group[s] for s in made.sample["sample_id"].to_pylist()]
    assert all(len(v) == 1 for v in splits_by(groups_of, split).values())
    blocks = h3_cells(made.sample, made.report["resolution"]).to_pylist()
    assert all(len(v) == 1 for v in splits_by(blocks, split).values())
    assert validate(made.sample, SampledPoint).passed


def test_splits_keep_the_promised_distance(plan_of):
    report = plan_of()[0].report
    assert min(report["min_distance_m"].values()) >= report["min_distance_promised_m"]


def test_the_report_says_how_much_belongs_together(plan_of):
    report = plan_of()[0].report
    assert report["by"] == "group"
    assert report["groups"] == 80
    assert 0 < report["largest_unit"] < 0.7


def test_the_order_of_rows_has_no_say(plan_of):
    order = np.random.default_rng(1).permutation(600)
    one, other = plan_of()[0], plan_of(order=pa.array(order).to_numpy())[0]
    assert other.sample.equals(one.sample)
    assert other.report == one.report


def test_without_groups_the_split_is_refused(plan_of):
    with pytest.raises(SchemaError, match="no groups"):
        plan_of(named=lambda table: None if table else table)


def test_a_sample_without_a_group_is_named(plan_of):
    with pytest.raises(SchemaError, match="1 samples have no group at sample first_0"):
        plan_of(named=lambda table: table.slice(1))


def test_one_group_everywhere_cannot_be_split(plan_of):
    def all_one(table):
        return table.set_column(1, "group_id", pa.array(["complex"] * table.num_rows))

    with pytest.raises(SplitError, match="groups of H3 cells with points are 1 at"):
        plan_of(named=all_one)


def test_groups_join_blocks_and_blocks_join_groups():
    blocks = pa.array(["c", "b", "b", "a", "z", "y"])
    groups = np.array(["1", "1", "2", "2", "3", "4"], dtype=object)
    assert group_units(blocks, groups).to_pylist() == ["a", "a", "a", "a", "z", "y"]


def test_points_alone_in_their_group_are_split_by_block():
    blocks = pa.array(["a", "b", "a"])
    groups = np.array(["1", "2", "3"], dtype=object)
    assert group_units(blocks, groups).to_pylist() == ["a", "b", "a"]
