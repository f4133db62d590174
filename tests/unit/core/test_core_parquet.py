"""Reading Parquet leaves no worker thread behind that could abort the process at its end."""

import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from upath import UPath

from geofm_assets.core.parquet import read_parquet, read_parquet_metadata

TABLE = pa.table({"a": [1, 2], "b": ["x", "y"]}, metadata={"k": "v"})


@pytest.fixture
def path(tmp_path):
    pq.write_table(TABLE, tmp_path / "t.parquet")
    return UPath(tmp_path / "t.parquet")


def test_columns_come_in_the_order_asked_for(path):
    assert read_parquet(path, ["b", "a"]).column_names == ["b", "a"]


def test_metadata_is_read_apart(path):
    assert read_parquet(path).schema.metadata is None
    assert read_parquet_metadata(path) == {"k": "v"}


def test_an_unknown_column_is_named(path):
    with pytest.raises(KeyError, match=r"t\.parquet has no column c"):
        read_parquet(path, ["a", "c"])


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_no_thread_is_started(path):
    code = (
        "import os, sys\n"
        "from upath import UPath\n"
        "from geofm_assets.core.parquet import read_parquet\n"
        "before = len(os.listdir('/proc/self/task'))\n"
        "read_parquet(UPath(sys.argv[1]))\n"
        "print(len(os.listdir('/proc/self/task')) - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "0"
