"""One process at a time makes what must not be made twice at once."""

import time
from collections.abc import Callable

import pytest

from geofm_assets.core.claims import claimed
from geofm_assets.core.store import Store
from tests.servers.forks import ForkedPython

# An asset that gathers all parts there are, slowly: its view is old before it is written.
GATHER = """
import sys, time
from pathlib import Path
import dagster as dg
from geofm_assets.core.assets import emit
from geofm_assets.core.outcome import Outcome
from geofm_assets.core.resources import StoreResource
from geofm_assets.core.store import Store

root, name = Path(sys.argv[1]), sys.argv[2]

@dg.asset
def gathered(context: dg.AssetExecutionContext, store: StoreResource):
    opened = store.open()
    def work():
        parts = opened.list_keys("parts")
        (root / f"read-{name}").touch()
        until = time.monotonic() + 60
        while (root / "hold").exists() and time.monotonic() < until:
            time.sleep(0.02)
        opened.write_json("gathered.json", parts)
        return Outcome(" ".join(parts), "inputs")
    yield from emit(context, work)

done = dg.materialize([gathered], resources={"store": StoreResource(url=str(root / "store"))})
assert done.success
"""


def wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_an_older_view_never_takes_the_place_of_a_newer_one(tmp_path):
    store = Store(tmp_path / "store")
    store.write_bytes("parts/a", b"")
    (tmp_path / "hold").touch()
    with ForkedPython(GATHER, str(tmp_path), "slow") as slow:
        wait_until(lambda: (tmp_path / "read-slow").exists())
        store.write_bytes("parts/b", b"")
        with ForkedPython(GATHER, str(tmp_path), "late") as late:
            while f"waiting for process {slow.pid} on " not in late.stdout.readline():
                assert late.poll() is None
            assert not (tmp_path / "read-late").exists()
            (tmp_path / "hold").unlink()
            said = slow.end() + late.end()
    assert [slow.returncode, late.returncode] == [0, 0], said
    assert store.read_json("gathered.json") == ["parts/a", "parts/b"]


def test_claims_of_different_things_do_not_wait_for_each_other(tmp_path):
    store = Store(tmp_path)
    with claimed(store, "task/rasters/c0", pytest.fail), claimed(store, "task/rasters/c1", print):
        assert store.exists("locks/task/rasters/c0")


def test_a_claim_ends_with_a_killed_process(tmp_path):
    code = (
        "import sys, time; from geofm_assets.core.claims import claimed;"
        "from geofm_assets.core.store import Store\n"
        "with claimed(Store(sys.argv[1]), 'task/x', print):\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    with ForkedPython(code, str(tmp_path)) as holder:  # and kills it
        assert holder.stdout.readline() == "held\n"
    with claimed(Store(tmp_path), "task/x", pytest.fail):
        pass


def test_two_machines_take_turns_on_a_bucket(bucket_store):
    told: list[str] = []
    other = Store(bucket_store.url)
    with (
        claimed(bucket_store, "task/x", pytest.fail),
        pytest.raises(TimeoutError),
        claimed(other, "task/x", _once(told)),
    ):
        pytest.fail("both have it")
    with claimed(other, "task/x", pytest.fail):
        pass
    assert "waiting for process" in told[0]


def _once(told):
    """Notes what it is told, then gives up waiting."""

    def tell(text):
        told.append(text)
        raise TimeoutError

    return tell


def test_where_claims_would_not_end_nobody_waits(tmp_path):
    store = Store("memory://claims")
    assert not store.locks_end
    with claimed(store, "task/x", pytest.fail), claimed(store, "task/x", pytest.fail):
        pass
