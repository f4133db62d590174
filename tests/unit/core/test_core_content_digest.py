"""A content digest sees values and order, not how rows came."""

import datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geofm_assets.core.content_digest import ContentDigest

SCHEMA = pa.schema(
    [
        ("word", pa.string()),
        ("number", pa.int64()),
        ("share", pa.float64()),
        ("day", pa.date32()),
        ("sure", pa.bool_()),
    ]
)
rows = st.lists(
    st.tuples(
        st.none() | st.text(max_size=4),
        st.none() | st.integers(-3, 3),
        st.none() | st.floats(allow_nan=False),
        st.none() | st.dates(),
        st.none() | st.booleans(),
    ),
    max_size=12,
)


def table(values: list[tuple]) -> pa.Table:
    columns = list(zip(*values, strict=True)) if values else [[]] * len(SCHEMA)
    return pa.table([pa.array(c, t) for c, t in zip(columns, SCHEMA.types, strict=True)], SCHEMA)


def digest(*parts: pa.Table) -> str:
    found = ContentDigest(parts[0].schema)
    for part in parts:
        found.update(part)
    return found.hexdigest()


def coded(part: pa.Table) -> pa.Table:
    return part.set_column(0, "word", part["word"].dictionary_encode())


@given(rows, st.integers(0, 12), st.integers(0, 12))
def test_division_and_coding_change_nothing(values, one, other):
    whole = table(values)
    first, second = sorted((one, other))
    parts = [whole.slice(0, first), whole.slice(first, second - first), whole.slice(second)]
    assert digest(*parts) == digest(whole)
    assert digest(*map(coded, parts)) == digest(whole)


ROW = ("a", 1, 0.5, datetime.date(2021, 6, 1), True)


@pytest.mark.parametrize("column", range(len(ROW)))
def test_every_value_and_every_null_counts(column):
    other = ("b", 2, 0.25, datetime.date(2021, 6, 2), False)[column]
    zero = ("", 0, 0.0, datetime.date(1970, 1, 1), False)[column]
    variants = [(*ROW[:column], value, *ROW[column + 1 :]) for value in (other, None, zero)]
    found = {digest(table([row])) for row in [ROW, *variants[: 2 if other == zero else 3]]}
    assert len(found) == (3 if other == zero else 4)


def test_order_and_names_count():
    both = table([ROW, (None, 1, 0.5, None, True)])
    assert digest(both) != digest(both.take([1, 0]))
    assert digest(both) != digest(both.rename_columns(["w", "number", "share", "day", "sure"]))
