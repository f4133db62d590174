import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geofm_assets.core.errors import ConfigError, DuplicateSampleError, SchemaError
from geofm_assets.sampling import bottom_k
from geofm_assets.sampling.bottom_k import sample_per_cell

rows = st.lists(
    st.tuples(st.text(max_size=6), st.sampled_from(["c1", "c2", "c3"])),
    unique_by=lambda r: r[0],
    max_size=40,
)
GOLDEN = ["2021_FRA_23", "2021_FRA_7", "2021_FRA_2"]
caps, seeds = st.integers(1, 6), st.integers(0, 2**40)


def table(pairs):
    return pa.table(
        {
            "h3_cell": pa.array([c for _, c in pairs], pa.string()),
            "carried": pa.array([len(i) for i, _ in pairs], pa.int32()),
            "sample_id": pa.array([i for i, _ in pairs], pa.string()),
        }
    )


@given(rows, caps, seeds, st.randoms())
def test_row_order_does_not_matter(pairs, cap, seed, random):
    shuffled = list(pairs)
    random.shuffle(shuffled)
    assert sample_per_cell(table(pairs), cap, seed).equals(
        sample_per_cell(table(shuffled), cap, seed)
    )


@given(rows, caps, seeds, st.lists(st.integers(0, 3), min_size=40, max_size=40))
def test_the_sample_of_a_union_is_the_sample_of_the_samples(pairs, cap, seed, part_of):
    parts = [[p for p, n in zip(pairs, part_of, strict=False) if n == k] for k in range(4)]
    samples = pa.concat_tables([sample_per_cell(table(p), cap, seed) for p in parts])
    assert sample_per_cell(samples, cap, seed).equals(sample_per_cell(table(pairs), cap, seed))


@given(rows, caps, seeds)
def test_every_cell_gets_its_cap_or_all_it_has(pairs, cap, seed):
    kept = sample_per_cell(table(pairs), cap, seed)["h3_cell"].to_pylist()
    for cell in {c for _, c in pairs}:
        assert kept.count(cell) == min(cap, sum(c == cell for _, c in pairs))


@given(rows, caps, seeds)
def test_rows_come_through_unchanged(pairs, cap, seed):
    whole = {tuple(r.values()) for r in table(pairs).to_pylist()}
    assert {
        tuple(r.values()) for r in sample_per_cell(table(pairs), cap, seed).to_pylist()
    } <= whole


@given(rows, caps, seeds)
def test_a_larger_cap_keeps_what_a_smaller_one_kept(pairs, cap, seed):
    small = set(sample_per_cell(table(pairs), cap, seed)["sample_id"].to_pylist())
    assert small <= set(sample_per_cell(table(pairs), cap + 1, seed)["sample_id"].to_pylist())


def test_the_sample_of_known_ids_never_changes():
    pairs = [(f"2021_FRA_{i}", "831e94fffffffff") for i in range(50)]
    assert sample_per_cell(table(pairs), 3, 7)["sample_id"].to_pylist() == GOLDEN


def test_another_seed_gives_another_sample():
    pairs = [(str(i), "c") for i in range(200)]
    first, second = (sample_per_cell(table(pairs), 20, s)["sample_id"].to_pylist() for s in (0, 1))
    assert set(first) != set(second)


def test_equal_hashes_are_ordered_by_sample_id(monkeypatch):
    monkeypatch.setattr(
        bottom_k, "keyed_hashes", lambda keys, seed: np.zeros(len(keys), dtype=np.uint64)
    )
    pairs = [("é", "c"), ("b", "c"), ("a", "c"), ("Z", "c")]
    assert sample_per_cell(table(pairs), 3, 0)["sample_id"].to_pylist() == ["Z", "a", "b"]


def test_chunks_do_not_matter():
    pairs = [(str(i), f"c{i % 3}") for i in range(30)]
    chunked = pa.concat_tables([table(pairs[:7]), table(pairs[7:8]), table(pairs[8:])])
    assert sample_per_cell(chunked, 4, 0).equals(sample_per_cell(table(pairs), 4, 0))


def test_no_points_give_no_sample():
    assert sample_per_cell(table([]), 5, 0).equals(table([]))


def test_a_duplicate_sample_id_is_refused_by_name():
    with pytest.raises(DuplicateSampleError, match="sample_id twice"):
        sample_per_cell(table([("once", "c1"), ("twice", "c1"), ("twice", "c2")]), 5, 0)


def test_a_missing_column_is_named():
    with pytest.raises(SchemaError, match="column h3_cell"):
        sample_per_cell(table([("a", "c")]).drop(["h3_cell"]), 5, 0)


def test_a_null_cell_is_refused():
    with pytest.raises(SchemaError, match=r"1 rows have no value at column h3_cell"):
        sample_per_cell(table([("a", None)]), 5, 0)


def test_a_cap_below_one_is_refused():
    with pytest.raises(ConfigError, match="per_cell=0"):
        sample_per_cell(table([]), 0, 0)
