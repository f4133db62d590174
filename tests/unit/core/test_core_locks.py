"""Locks of a store in a bucket with leases; see test_registry_lock for folders and others."""

import errno
import os
import threading
import time

import pytest

from geofm_assets.core import leases, locks
from geofm_assets.core.errors import ConfigError, LockError
from geofm_assets.core.leases import Lease, take_lease
from geofm_assets.core.store import Store
from tests.servers.forks import ForkedPython

KEY = "evaluation/.registry.lock"


def held(store: Store, **options):
    return store.lock(KEY, taken="It is held", **options)


def test_the_second_is_told_who_has_it_and_gets_it_afterwards(bucket_store):
    told = []
    with held(bucket_store) as lock:
        lock.require()
        with (
            pytest.raises(LockError, match=r"It is held \(process \d+ on .*minute"),
            held(Store(bucket_store.url), wait_s=0.2, waiting=told.append),
        ):
            pytest.fail("both have it")
        assert "process" in told[0]
    with held(Store(bucket_store.url)):
        pass
    assert bucket_store.read_bytes(KEY) == b""


def test_an_error_lets_it_go(bucket_store):
    with pytest.raises(ZeroDivisionError), held(bucket_store):
        _ = 1 / 0
    with held(bucket_store):
        pass


def test_a_disk_that_is_full_leaves_no_lock_behind(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(LockError, match="No space left"), held(Store(tmp_path)):
            pytest.fail("it was not signed")
    with held(Store(tmp_path)):
        pass


def test_a_lock_that_another_took_and_let_go_meanwhile_is_asked_for_again(
    bucket_store, monkeypatch
):
    with held(bucket_store):
        pass
    objects = bucket_store.bucket.objects
    free = leases._state(objects, KEY)
    with held(bucket_store):
        monkeypatch.setattr(leases, "_state", lambda *_: free)
        assert take_lease(objects, KEY) is None


COUNTS = """
import sys
from geofm_assets.core import locks
from geofm_assets.core.store import Store
locks._POLL_BUCKET_S = 0.01
store = Store(sys.argv[1])
for _ in range(4):
    with store.lock("count.lock", taken="taken", wait_s=60):
        seen = store.read_json("count") if store.exists("count") else 0
        store.write_json("count", seen + 1)
"""


def test_two_processes_that_count_together_lose_nothing(bucket_store):
    processes = [ForkedPython(COUNTS, bucket_store.url) for _ in range(2)]
    said = [process.end() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert bucket_store.read_json("count") == 8


def test_of_many_who_reach_for_it_at_once_one_has_it(bucket_store):
    objects = bucket_store.bucket.objects
    begin, got = threading.Barrier(6), []

    def reach() -> None:
        begin.wait()
        got.append(take_lease(objects, KEY))

    threads = [threading.Thread(target=reach) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    leases_got = [lease for lease in got if lease is not None]
    assert len(leases_got) == 1
    leases_got[0].release()


def take(store: Store, lease_s: float) -> Lease | None:
    return take_lease(store.bucket.objects, KEY, lease_s)


def silenced(monkeypatch) -> None:
    """Leases that are not renewed, as of a process that was killed or stopped."""
    monkeypatch.setattr(Lease, "_keep", lambda self: None)


def test_a_lease_that_ran_out_is_taken_by_the_next_and_its_holder_is_told(
    bucket_store, monkeypatch
):
    silenced(monkeypatch)
    monkeypatch.setattr(leases, "LEASE_S", 1.0)
    first = take(bucket_store, 1.0)
    assert take(bucket_store, 1.0) is None
    time.sleep(2.1)  # the server's clock tells seconds
    second = take(bucket_store, 60.0)
    assert second is not None
    with pytest.raises(LockError, match="lost"):
        first.require()
    first.release()  # and takes nothing away
    assert take(bucket_store, 60.0) is None
    second.require()
    second.release()


def test_a_lease_is_renewed_while_it_is_held(bucket_store):
    lease = take(bucket_store, 1.0)
    time.sleep(2.5)
    lease.require()
    assert take(bucket_store, 1.0) is None
    lease.release()


def test_the_environment_says_how_long_a_lease_lasts(bucket_store, monkeypatch):
    monkeypatch.setenv(leases.VARIABLE, "7")
    with held(bucket_store):
        objects = bucket_store.bucket.objects
        metadata = objects.files.metadata(objects.path(KEY))
        assert float(metadata["lease-s"]) == 7


@pytest.mark.parametrize("text", ["soon", "nan", "1", "3601", "-60"])
def test_a_lease_that_cannot_be_is_refused(monkeypatch, text):
    monkeypatch.setenv(leases.VARIABLE, text)
    with pytest.raises(ConfigError, match=r"GEOFM_LEASE_SECONDS.*5 to 3600"):
        leases.lease_seconds()


def test_without_a_setting_a_lease_lasts_a_minute(monkeypatch):
    monkeypatch.setenv(leases.VARIABLE, " ")
    assert leases.lease_seconds() == 60


def test_a_block_whose_lock_another_took_does_not_end_well(bucket_store, monkeypatch):
    monkeypatch.setattr(leases, "LEASE_S", 0.4)
    monkeypatch.setattr(locks, "take_lease", lambda objects, key: take(bucket_store, 0.4))

    def lose_it() -> None:
        with held(bucket_store):
            bucket_store.write_bytes(KEY, b"theirs")
            time.sleep(0.5)

    with pytest.raises(LockError, match="lost"):
        lose_it()
    assert bucket_store.read_bytes(KEY) == b"theirs"


def test_a_renewal_whose_answer_is_lost_keeps_the_lock(bucket_store, s3):
    lease = take(bucket_store, 2.0)
    asked = len(s3.asked)
    s3.after = lambda m, p, q: 500 if m == "PUT" else None
    while not any(method == "PUT" for method, _, _ in s3.asked[asked:]):
        time.sleep(0.02)
    time.sleep(0.1)
    s3.after = None
    time.sleep(1.5)
    lease.require()
    lease.release()
    assert bucket_store.read_bytes(KEY) == b""


def test_a_server_that_heeds_no_conditions_is_refused(bucket_store, s3, monkeypatch):
    monkeypatch.setattr(leases, "_checked", set())
    s3.heedless = True
    with pytest.raises(LockError, match="does not heed IfNoneMatch"), held(bucket_store):
        pytest.fail("nobody can be sure")
    s3.heedless = False
    assert not bucket_store.exists(KEY)
