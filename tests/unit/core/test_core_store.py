"""The store: atomic, validated, provenance inside, deterministic, safe keys."""

from typing import Annotated

import pandas as pd
import pandera.pandas as pp
import pyarrow as pa
import pytest

from geofm_assets.core.errors import ConfigError, SchemaError
from geofm_assets.core.schema import TableModel
from geofm_assets.core.store import Store


class Row(TableModel):
    name: Annotated[pd.ArrowDtype, pa.string()] = pp.Field(str_matches=r"^[a-z]+$", unique=True)
    value: Annotated[pd.ArrowDtype, pa.int64()] = pp.Field(ge=0, nullable=True)


def table(names=("a", "b"), values=(1, None)):
    return pa.table({"name": pa.array(names), "value": pa.array(values, pa.int64())})


def write(store, key="x/t.parquet", rows=None):
    return store.write_table(
        key,
        rows if rows is not None else table(),
        Row,
        inputs="in",
        code_version="1",
        simulated=True,
    )


def test_what_was_written_is_read_back(tmp_path):
    store = Store(tmp_path)
    write(store)
    assert store.read_table("x/t.parquet") == table()


def test_provenance_lies_inside_the_file(tmp_path):
    store = Store(tmp_path)
    ref = write(store)
    found = store.provenance("x/t.parquet")
    assert found == ref.provenance
    assert (found.inputs, found.code_version, found.simulated) == ("in", "1", True)


def test_the_same_table_gives_the_same_bytes(tmp_path):
    first, second = Store(tmp_path / "a"), Store(tmp_path / "b")
    write(first)
    chunked = pa.concat_tables([table(("a",), (1,)), table(("b",), (None,))])
    write(second, rows=chunked)
    content = [s.provenance("x/t.parquet").content for s in (first, second)]
    assert content[0] == content[1]
    write(second, rows=table())
    assert first.read_bytes("x/t.parquet") == second.read_bytes("x/t.parquet")


def test_what_a_machine_took_is_not_part_of_the_content(tmp_path):
    store, made = Store(tmp_path), {"inputs": "in", "code_version": "1", "simulated": True}
    quick = store.write_table("a.parquet", table(values=(1, 2)), Row, measured=["value"], **made)
    slow = store.write_table("b.parquet", table(values=(3, 4)), Row, measured=["value"], **made)
    assert quick.provenance.content == slow.provenance.content
    assert store.read_table("b.parquet")["value"].to_pylist() == [3, 4]


def test_a_table_that_breaks_its_schema_is_not_written_and_all_failures_are_named(tmp_path):
    store = Store(tmp_path)
    with pytest.raises(SchemaError, match=r"2 failures.*x/t.parquet") as caught:
        write(store, rows=table(("A", "b"), (1, -1)))
    assert "name" in str(caught.value)
    assert "value" in str(caught.value)
    assert not store.exists("x/t.parquet")


def test_a_column_nobody_declared_is_refused(tmp_path):
    extra = table().append_column("more", pa.array([1, 2]))
    with pytest.raises(SchemaError, match="more"):
        write(Store(tmp_path), rows=extra)


@pytest.mark.parametrize(
    "key", ["../out", "a/../../b", "/etc/x", "a//b", "", "a b", "a/..", "C:\\x"]
)
def test_keys_cannot_leave_the_store(tmp_path, key):
    with pytest.raises(ConfigError):
        Store(tmp_path).path(key)


def test_nothing_is_left_behind_when_a_write_fails(tmp_path):
    store = Store(tmp_path)
    (tmp_path / "x").mkdir()
    with pytest.raises(TypeError):
        store.write_bytes("x/t", "not bytes")
    assert store.list_keys("x") == []


def test_listing_leaves_out_temporary_files(tmp_path):
    store = Store(tmp_path)
    store.write_bytes("x/a.json", b"1")
    (tmp_path / "x" / ".b.json.123.tmp").write_bytes(b"half")
    (tmp_path / "x" / ".ids.9.tmp").mkdir()
    (tmp_path / "x" / ".ids.9.tmp" / "0").write_bytes(b"half")
    assert store.list_keys("x") == ["x/a.json"]


def test_a_part_of_a_key_is_read_as_in_a_folder(bucket_store, tmp_path):
    for store in (bucket_store, Store(tmp_path / "folder")):
        store.write_bytes("a", b"0123")
        store.write_bytes("empty", b"")
        assert store.read_part("a", 1, 3) == b"12"
        assert store.read_part("a", 2, 9) == b"23"
        assert store.read_part("a", 4, 9) == store.read_part("empty", 0, 8) == b""
        with pytest.raises(FileNotFoundError):
            store.read_part("b", 0, 1)
