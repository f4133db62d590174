"""A copy is what its source is: verified, resumed, refreshed."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from upath import UPath

from geofm_assets.core.errors import DatasetError, StoreError
from geofm_assets.core.store import Store
from geofm_assets.evaluation.ingest.copy import copy_source, source_key, source_state
from tests.eval_dataset import grid, write_dataset
from tests.servers.s3 import S3Server

REPOSITORY = Path(__file__).resolve().parents[4]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "source", grid(3))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def same_size_later(path: Path) -> None:
    """Change a byte and put size and times back, as some tools do."""
    stat = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_every_file_is_copied(source: Path, store: Store) -> None:
    result = copy_source(source, store, "d")
    assert files(store.local_path(source_key("d"))) == files(source)
    assert result.copied == result.files == len(files(source))


def test_a_second_copy_writes_nothing(source: Path, store: Store) -> None:
    first = copy_source(source, store, "d")
    second = copy_source(source, store, "d")
    assert (second.copied, second.removed) == (0, 0)
    assert second.content == first.content


def test_a_changed_file_is_copied_again(source: Path, store: Store) -> None:
    first = copy_source(source, store, "d")
    (source / "windows/default/w001/metadata.json").write_text("{}")
    second = copy_source(source, store, "d")
    assert second.copied == 1
    assert second.content != first.content


def test_overwrite_sees_a_change_that_size_and_time_hide(source: Path, store: Store) -> None:
    copy_source(source, store, "d")
    changed = source / "windows/default/w001/items.json"
    same_size_later(changed)
    copy_source(source, store, "d", overwrite=True)
    there = store.local_path(source_key("d")) / "windows/default/w001/items.json"
    assert there.read_bytes() == changed.read_bytes()


def test_overwrite_mends_a_damaged_copy(source: Path, store: Store) -> None:
    copy_source(source, store, "d")
    there = store.local_path(source_key("d")) / "config.json"
    same_size_later(there)
    assert copy_source(source, store, "d", overwrite=True).copied == 1
    assert there.read_bytes() == (source / "config.json").read_bytes()


def test_files_the_source_lost_are_removed(source: Path, store: Store) -> None:
    copy_source(source, store, "d")
    shutil.rmtree(source / "windows/default/w002")
    result = copy_source(source, store, "d")
    assert result.removed > 0
    assert not (store.local_path(source_key("d")) / "windows/default/w002").exists()


def test_a_missing_file_of_the_copy_is_brought_back(source: Path, store: Store) -> None:
    copy_source(source, store, "d")
    (store.local_path(source_key("d")) / "config.json").unlink()
    assert copy_source(source, store, "d").copied == 1


def test_rslearns_index_and_tiles_stay_behind(source: Path, store: Store) -> None:
    for name in (".rslearn_dataset_index", "tiles"):
        (source / name).mkdir()
        (source / name / "x.json").write_text("{}")
    copy_source(source, store, "d")
    assert {p.name for p in store.local_path(source_key("d")).iterdir()} == {
        "config.json",
        "windows",
    }


def test_a_copy_that_was_killed_goes_on(source: Path, store: Store, tmp_path: Path) -> None:
    code = f"""
import os, signal
from geofm_assets.core.store import Store
from geofm_assets.evaluation.ingest.copy import copy_source
def report(done, total, note):
    if done == 7:
        os.kill(os.getpid(), signal.SIGKILL)
copy_source({str(source)!r}, Store({str(tmp_path / "store")!r}), "d", report=report)
"""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    result = copy_source(source, store, "d")
    assert result.copied == result.files - 7
    assert files(store.local_path(source_key("d"))) == files(source)


def test_a_source_that_vanished_is_one_clear_error(source: Path, store: Store) -> None:
    copy_source(source, store, "d")
    before = files(store.local_path(source_key("d")))
    shutil.rmtree(source)
    with pytest.raises(DatasetError, match=r"source is not there at .*--source"):
        copy_source(source, store, "d")
    assert files(store.local_path(source_key("d"))) == before


def test_a_source_that_vanishes_meanwhile_is_one_clear_error(source: Path, store: Store) -> None:
    def pull_away(done: int, total: int, note: str) -> None:
        if done == 3:
            shutil.rmtree(source)

    with pytest.raises(DatasetError, match="went away while it was copied"):
        copy_source(source, store, "d", report=pull_away)


def test_any_file_system_will_do(source: Path, store: Store) -> None:
    remote = UPath("memory://evals/togo")
    for path, data in files(source).items():
        (remote / path).parent.mkdir(parents=True, exist_ok=True)
        (remote / path).write_bytes(data)
    copy_source(str(remote), store, "d")
    assert files(store.local_path(source_key("d"))) == files(source)


def test_the_state_of_a_source_is_told_without_touching_the_copy(
    source: Path, store: Store
) -> None:
    first = copy_source(source, store, "d")
    assert source_state(source, store, "d") == (first.content, False)
    (source / "windows/default/w001/metadata.json").write_text("{}")
    before = files(store.local_path(source_key("d")))
    state, _ = source_state(source, store, "d")
    assert files(store.local_path(source_key("d"))) == before
    assert state == copy_source(source, store, "d").content != first.content


def test_a_store_inside_the_source_is_refused(source: Path) -> None:
    with pytest.raises(DatasetError, match=r"store lies inside the source.* at --source"):
        copy_source(source, Store(source / "store"), "d")


def test_a_copy_in_a_bucket_is_whole_or_not_there_and_goes_on(
    source: Path, bucket_store: Store, s3: S3Server
) -> None:
    (source / "windows/default/w001/notes on + 1.txt").write_text("a name that no key has")
    s3.fault = lambda method, path, _: 403 if method == "PUT" and "w001" in path else None
    with pytest.raises(StoreError, match=r"refuses.*w001"):
        copy_source(source, bucket_store, "d")
    s3.fault = None
    before = bucket_store.list_keys(source_key("d"))
    assert before
    assert not any("w001" in key for key in before)
    result = copy_source(source, bucket_store, "d")
    assert result.copied == len(files(source)) - len(before)
    assert files(bucket_store.fetch_folder(source_key("d"))) == files(source)
    (source / "windows/default/w001/notes on + 1.txt").unlink()
    assert copy_source(source, bucket_store, "d").removed == 1
