"""Two writers of one registry, as real processes, one of them killed."""

import time

import pytest

from geofm_assets.core.errors import RegistryError
from geofm_assets.core.store import Store
from geofm_assets.evaluation.registry.registry import Registry
from tests.registry_entries import make_entry
from tests.servers.forks import ForkedPython

PUT_MANY = """
import sys
from geofm_assets.core.store import Store
from geofm_assets.evaluation.registry.registry import Registry
from tests.registry_entries import make_entry

registry = Registry(Store(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for number in range(25):
    registry.put(make_entry(f"{sys.argv[2]}_{number}"), overwrite=False)
"""
HOLD = """
import sys
from geofm_assets.core.store import Store
from geofm_assets.evaluation.registry.registry import Registry

registry = Registry(Store(sys.argv[1]))
with registry.claim("togo"), registry.lock():
    print("ready", flush=True)
    sys.stdin.readline()
"""


def start(code: str, *arguments: str) -> ForkedPython:
    """A process of its own, as far as its `ready`."""
    process = ForkedPython(code, *arguments)
    assert process.stdout.readline() == "ready\n"
    return process


def test_two_writers_lose_nothing(tmp_path):
    writers = [start(PUT_MANY, str(tmp_path), name) for name in ("a", "b")]
    for writer in writers:
        writer.stdin.write("go\n")
    said = [writer.end() for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0], said
    expected = sorted(f"{name}_{number}" for name in "ab" for number in range(25))
    assert Registry(Store(tmp_path)).names() == expected


def test_the_second_of_two_ingests_of_a_name_is_refused_at_once(tmp_path):
    with (
        start(HOLD, str(tmp_path)) as process,
        pytest.raises(RegistryError, match=rf"'togo' is being ingested.*{process.pid}"),
        Registry(Store(tmp_path)).claim("togo"),
    ):
        pytest.fail("both have it")


def test_a_killed_process_leaves_no_lock_behind(tmp_path):
    process = start(HOLD, str(tmp_path))
    process.kill()
    process.end()
    registry = Registry(Store(tmp_path))
    with registry.claim("togo"):
        registry.put(make_entry(), overwrite=False)
    assert registry.names() == ["togo"]


def test_a_writer_killed_among_its_changes_leaves_a_whole_registry(tmp_path):
    writer = start(PUT_MANY, str(tmp_path), "a")
    writer.stdin.write("go\n")
    registry = Registry(Store(tmp_path))
    deadline = time.monotonic() + 60
    while len(registry.names()) < 3 and time.monotonic() < deadline:
        time.sleep(0.001)
    writer.kill()
    writer.end()
    found = registry.read().datasets
    assert 3 <= len(found) <= 25
    assert set(found) == {f"a_{number}" for number in range(len(found))}
    registry.put(make_entry("b"), overwrite=False)
    assert len(registry.names()) == len(found) + 1
