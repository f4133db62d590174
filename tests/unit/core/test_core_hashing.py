"""Content hashes depend on content alone."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from geofm_assets.core.hashing import json_digest, keyed_hash, keyed_hashes, table_digest


@given(
    st.lists(st.tuples(st.text(), st.none() | st.integers(-10, 10)), max_size=30), st.integers(0, 5)
)
def test_table_digest_ignores_chunks_and_slices(rows, cut):
    whole = pa.table(
        {
            "s": pa.array([r[0] for r in rows], pa.string()),
            "i": pa.array([r[1] for r in rows], pa.int64()),
        }
    )
    cut = min(cut, whole.num_rows)
    parts = pa.concat_tables([whole.slice(0, cut), whole.slice(cut)])
    assert table_digest(parts) == table_digest(whole)


def test_table_digest_sees_values_types_names_and_order():
    base = pa.table({"a": pa.array([1, 2], pa.int64())})
    others = [
        pa.table({"a": pa.array([2, 1], pa.int64())}),
        pa.table({"a": pa.array([1, None], pa.int64())}),
        pa.table({"a": pa.array([1, 2], pa.int32())}),
        pa.table({"b": pa.array([1, 2], pa.int64())}),
    ]
    digests = [table_digest(t) for t in [base, *others]]
    assert len(set(digests)) == len(digests)


def test_json_digest_ignores_key_order():
    assert json_digest({"a": 1, "b": [2]}) == json_digest({"b": [2], "a": 1})


def test_keyed_hash_is_the_published_xxh3_value():
    # reference value of XXH3_64bits_withSeed("", 0) from the xxHash specification
    assert keyed_hash("", 0) == 0x2D06800538D394C2


def test_seed_changes_the_order():
    names = [f"s{i}" for i in range(50)]
    assert list(keyed_hashes(names, 0).argsort()) != list(keyed_hashes(names, 1).argsort())
