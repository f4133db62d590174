"""Half-written files of killed processes go; those of live ones stay."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from geofm_assets.core.store import Store
from geofm_assets.core.temporary import ABANDONED_S, sweep, temporary_beside, writer
from tests.servers.forks import ForkedPython

WRITER = """
import sys, time
from geofm_assets.core.store import Store
from geofm_assets.core.temporary import temporary_beside
store = Store(sys.argv[1])
temporary_beside(store.local_path("table/ids")).mkdir(parents=True)
with store.new_file("table/part.parquet") as path:
    path.write_bytes(b"half")
    path.with_name(f"{path.name}.old.tmp").write_bytes(b"before")  # as a table written again
    print("writing", flush=True)
    time.sleep(60)
"""


@contextmanager
def writing(root: Path) -> Iterator[ForkedPython]:
    """Another process that is in the middle of a file."""
    with ForkedPython(WRITER, str(root)) as process:
        assert process.stdout.readline() == "writing\n"
        yield process


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_next_writer_removes_what_a_killed_one_left_and_no_more(tmp_path):
    folder = tmp_path / "table"
    with writing(tmp_path) as killed:
        killed.kill()
        killed.wait()
        with writing(tmp_path) as alive:  # it has removed what the first left
            kept = names(folder)
            assert len(kept) == 3
            assert all(f"-{alive.pid}-" in name for name in kept)
            (folder / ".other-4711-ab.tmp").touch()  # not a name of ours
            Store(tmp_path).write_bytes("table/other", b"whole")
            assert names(folder) == sorted([*kept, ".other-4711-ab.tmp", "other"])


def test_a_file_of_another_machine_is_left_for_a_week(tmp_path):
    mine = temporary_beside(tmp_path / "elsewhere" / "a").name
    fresh, old = (tmp_path / mine.replace(writer(), f"{place * 12}-1") for place in "0f")
    fresh.touch()
    old.touch()
    before = time.time() - ABANDONED_S - 60
    os.utime(old, (before, before))
    sweep(tmp_path)
    assert names(tmp_path) == [fresh.name]
