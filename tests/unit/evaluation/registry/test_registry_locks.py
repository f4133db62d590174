"""Locks of the registry: one writer at a time, in a folder and in a bucket."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import fsspec
import pytest
from fsspec import AbstractFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from geofm_assets.core.errors import RegistryError
from geofm_assets.core.store import Store
from geofm_assets.evaluation.registry.lock import exclusive
from geofm_assets.evaluation.registry.registry import LOCK_KEY, Registry
from tests.registry_entries import make_entry


@pytest.fixture(params=["folder", "bucket"])
def store(request, tmp_path) -> Store:
    """A folder, and a store whose file system takes conditional puts."""
    return Store(tmp_path if request.param == "folder" else f"memory://{uuid.uuid4().hex}")


def test_the_second_to_claim_a_name_gets_an_error_that_says_who_has_it(store):
    with (
        Registry(store).claim("togo"),
        pytest.raises(RegistryError, match=r"'togo' is being ingested.*process \d+ on .*togo.lock"),
        Registry(store).claim("togo"),
    ):
        pytest.fail("both have it")


def test_another_name_can_be_claimed_beside_it(store):
    with Registry(store).claim("togo"), Registry(store).claim("lfmc"):
        pass


def test_a_claim_can_be_taken_again_once_it_was_let_go(store):
    for _ in range(2):
        with Registry(store).claim("togo"):
            pass


def test_a_claim_is_let_go_by_an_error(store):
    registry = Registry(store)
    with pytest.raises(ZeroDivisionError), registry.claim("togo"):
        _ = 1 / 0
    with Registry(store).claim("togo"):
        pass


def test_who_holds_a_claim_or_the_lock_may_take_it_again(store):
    registry = Registry(store)
    with registry.claim("togo"), registry.claim("togo"), registry.lock():
        registry.put(make_entry(), overwrite=False)
    with registry.claim("togo"):
        registry.remove("togo")
    assert registry.names() == []


def test_another_thread_with_the_same_registry_does_not_hold_it(store):
    registry = Registry(store)
    with registry.claim("togo"), ThreadPoolExecutor(1) as pool:

        def claim() -> None:
            with registry.claim("togo"):
                pass

        with pytest.raises(RegistryError, match="being ingested"):
            pool.submit(claim).result()


def test_a_dataset_that_is_being_ingested_is_not_removed(store):
    Registry(store).put(make_entry(), overwrite=False)
    with Registry(store).claim("togo"), pytest.raises(RegistryError, match="being ingested"):
        Registry(store).remove("togo")
    assert Registry(store).names() == ["togo"]


def test_removing_deletes_the_files_of_that_dataset_alone(store):
    Registry(store).put(make_entry(), overwrite=False)
    for key in ("evaluation/datasets/togo/source/a", "evaluation/datasets/togo_2/a"):
        store.write_bytes(key, b"1")
    Registry(store).remove("togo")
    assert store.list_keys("evaluation/datasets") == ["evaluation/datasets/togo_2/a"]


def test_a_change_waits_for_the_writer_before_it(store):
    holding, done = threading.Event(), []

    def hold() -> None:
        with exclusive(store, LOCK_KEY, taken="held"):
            holding.set()
            threading.Event().wait(0.3)
            done.append("first")

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(hold)
        assert holding.wait(10)
        Registry(store).put(make_entry(), overwrite=False)
        done.append("second")
        first.result()
    assert done == ["first", "second"]


def test_who_waits_too_long_is_told_what_holds_the_lock(store):
    with (
        exclusive(store, LOCK_KEY, taken="The registry is locked"),
        pytest.raises(RegistryError, match=r"The registry is locked \(process .*registry.lock"),
        exclusive(store, LOCK_KEY, taken="The registry is locked", wait_s=0.1),
    ):
        pytest.fail("both have it")


def test_the_lock_left_in_a_bucket_by_a_killed_process_is_named_for_deletion():
    store = Store(f"memory://{uuid.uuid4().hex}")
    store.write_bytes("evaluation/.claim-togo.lock", b'{"process": 1')
    with (
        pytest.raises(RegistryError, match=r"has not said.*claim-togo.lock.*delete that file"),
        Registry(store).claim("togo"),
    ):
        pytest.fail("someone has it")


def test_a_lock_that_a_person_deleted_and_another_took_is_not_let_go_for_them():
    store = Store(f"memory://{uuid.uuid4().hex}")
    with exclusive(store, LOCK_KEY, taken="held"):
        store.write_bytes(LOCK_KEY, b"theirs")
    assert store.read_bytes(LOCK_KEY) == b"theirs"


class Heedless(MemoryFileSystem):
    """A file system that takes `mode` and writes whatever it says, as HTTP's does."""

    protocol = "heedless"
    store: ClassVar[dict] = {}
    pseudo_dirs: ClassVar[list] = [""]

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        super().pipe_file(path, value, **kwargs)


class Emulating(MemoryFileSystem):
    """A file system with nothing but fsspec's own stand-in, which looks first and then writes."""

    protocol = "emulating"
    store: ClassVar[dict] = {}
    pseudo_dirs: ClassVar[list] = [""]
    pipe_file = AbstractFileSystem.pipe_file


@pytest.mark.filterwarnings("ignore:UPath")
@pytest.mark.parametrize("files", [Heedless, Emulating])
def test_a_file_system_without_conditional_puts_is_refused(files):
    fsspec.register_implementation(files.protocol, files, clobber=True)
    store = Store(f"{files.protocol}://{uuid.uuid4().hex}")
    with pytest.raises(RegistryError, match=rf"{files.__name__} has no conditional put.*folder"):
        Registry(store).put(make_entry(), overwrite=False)
    assert store.list_keys("evaluation") == []


def test_a_bucket_that_does_not_answer_is_an_error_of_one_line():
    with (
        pytest.raises(RegistryError, match=r"cannot be locked: .*http://localhost:9/store"),
        Registry(Store("http://localhost:9/store")).claim("togo"),
    ):
        pytest.fail("nobody answers")


def test_a_store_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "evaluation").write_bytes(b"a file where a folder must be")
    with pytest.raises(RegistryError, match=r"cannot be locked.*evaluation"):
        Registry(Store(tmp_path)).put(make_entry(), overwrite=False)


@pytest.mark.parametrize("name", ["", "Togo", "../togo", "togo/x", "1togo", "t" * 65, "togo\n"])
def test_what_is_no_name_cannot_be_claimed(store, name):
    with (
        pytest.raises(RegistryError, match="cannot be the name of a dataset"),
        Registry(store).claim(name),
    ):
        pytest.fail("not a name")
