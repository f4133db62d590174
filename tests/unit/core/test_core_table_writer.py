"""Tables written batch by batch: whole or not at all, the same bytes every time."""

import signal
from typing import Annotated

import pandas as pd
import pandera.pandas as pp
import pyarrow as pa
import pytest

from geofm_assets.core.errors import SchemaError
from geofm_assets.core.schema import TableModel
from geofm_assets.core.store import Store
from geofm_assets.core.table_writer import read_batches, table_writer
from tests.servers.forks import ForkedPython

CODED = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema([("number", pa.int64()), ("word", CODED)])
MADE = {"inputs": "i", "code_version": "1", "simulated": True}
KEY = "x/t.parquet"


class Row(TableModel):
    """A row."""

    number: Annotated[pd.ArrowDtype, pa.int64()] = pp.Field(ge=0)
    word: Annotated[pd.ArrowDtype, CODED]


def batch(start: int, count: int = 3) -> pa.Table:
    words = pa.array([f"w{i % 2}" for i in range(count)]).dictionary_encode()
    return pa.table([pa.array(range(start, start + count)), words], schema=SCHEMA)


def write(store: Store, *starts: int) -> str:
    with table_writer(store, KEY, SCHEMA, Row, **MADE) as (writer, finished):
        for start in starts:
            writer.write(batch(start))
    return finished.ref.provenance.content


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def test_batches_read_back_as_one_table_of_plain_strings(store):
    write(store, 0, 3)
    table = store.read_table(KEY)
    assert table["number"].to_pylist() == list(range(6))
    assert table.schema.field("word").type == pa.string()


def test_provenance_is_in_the_footer(store):
    content = write(store, 0)
    found = store.provenance(KEY)
    assert (found.inputs, found.content, found.simulated) == ("i", content, True)


def test_the_same_batches_give_the_same_bytes_and_others_another_digest(store, tmp_path):
    first = write(store, 0, 3)
    data = store.read_bytes(KEY)
    assert write(store, 0, 3) == first
    assert store.read_bytes(KEY) == data
    assert write(store, 0, 4) != first


def test_a_bad_row_leaves_the_old_table_and_nothing_else(store, tmp_path):
    write(store, 0)
    before = store.read_bytes(KEY)
    with pytest.raises(SchemaError, match=r"number.*x/t\.parquet"):
        write(store, 0, -1)
    assert store.read_bytes(KEY) == before
    assert [p.name for p in (tmp_path / "x").iterdir()] == ["t.parquet"]


def test_a_table_of_no_rows_is_a_table(store):
    write(store)
    assert store.rows(KEY) == 0


def test_rewriting_changes_every_batch(store):
    with table_writer(store, KEY, SCHEMA, Row, **MADE) as (writer, _):
        writer.write(batch(0))
        writer.write(batch(3))
        assert sum(part.num_rows for part in writer.written()) == 6
        writer.rewrite(lambda part: part.slice(1))
    assert store.read_table(KEY)["number"].to_pylist() == [1, 2, 4, 5]


def test_a_store_elsewhere_gets_the_whole_file():
    store = Store("memory://table-writer")
    write(store, 0, 3)
    assert store.read_table(KEY).num_rows == 6


def test_reading_in_batches_keeps_coded_columns_coded(store):
    write(store, 0, 3)
    parts = list(read_batches(store, KEY, ["word", "number"], ["word"]))
    assert [part.column_names for part in parts] == [["word", "number"]] * len(parts)
    assert pa.types.is_dictionary(parts[0]["word"].type)
    assert sum(part.num_rows for part in parts) == 6


def test_the_division_into_batches_does_not_show_in_the_digest(store):
    first = write(store, 0, 3)
    with table_writer(store, KEY, SCHEMA, Row, **MADE) as (writer, finished):
        writer.write(pa.concat_tables([batch(0), batch(3)]))
    assert finished.ref.provenance.content == first


@pytest.mark.parametrize("rewriting", [False, True])
def test_a_killed_process_leaves_the_old_table_and_nothing_that_counts(store, rewriting):
    write(store, 0)
    before = store.read_bytes(KEY)
    code = (
        "import os, signal, sys\n"
        "from geofm_assets.core.store import Store\n"
        "from geofm_assets.core.table_writer import table_writer\n"
        "from tests.unit.core.test_core_table_writer import *\n"
        "def die(part):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "with table_writer(Store(sys.argv[1]), KEY, SCHEMA, Row, **MADE) as (writer, _):\n"
        "    writer.write(batch(7))\n"
        "    if sys.argv[2] == 'True':\n"
        "        list(writer.written())\n"
        "        writer.rewrite(die)\n"
        "    die(None)\n"
    )
    done = ForkedPython(code, store.url, str(rewriting))
    said = done.end()
    assert done.returncode == -signal.SIGKILL, said
    left = [p.name for p in store.local_path("x").iterdir() if p.name != "t.parquet"]
    assert left
    assert store.read_bytes(KEY) == before
    assert store.list_keys("x") == [KEY]
    write(store, 3)
    assert store.read_table(KEY)["number"].to_pylist() == [3, 4, 5]
