"""A process killed while it encodes: the next one goes on, and ends with the same bytes."""

import time
from pathlib import Path

import pytest

from geofm_assets.core.store import Store
from geofm_assets.evaluation.embeddings.encode import encode
from geofm_assets.evaluation.embeddings.store import PREFIX
from tests.servers.forks import ForkedPython
from tests.sweep_world import MemorySamples, ToyModel, make_entry

SLOW = """
import sys, time
from geofm_assets.core.store import Store
from geofm_assets.evaluation.embeddings import encode as module
from tests.sweep_world import MemorySamples, ToyModel, make_entry

class Slow(ToyModel):
    def embed(self, *given):
        time.sleep(0.2)
        return super().embed(*given)

module._SHARD_BYTES = 1
module.encode(Slow(), MemorySamples(), make_entry(), Store(sys.argv[1]), "dataset", 4, batch_size=2)
"""


@pytest.mark.slow
def test_a_killed_encoding_goes_on_where_it_was(tmp_path):
    store, whole = Store(tmp_path / "killed"), Store(tmp_path / "whole")
    with ForkedPython(SLOW, store.url) as child:  # and kills it
        limit = time.monotonic() + 120
        while len(list(Path(store.url).rglob("rows-*.safetensors"))) < 3:
            assert child.poll() is None
            assert time.monotonic() < limit
            time.sleep(0.05)
    assert store.list_keys(PREFIX, ".safetensors") == []
    model = ToyModel()
    given = ("dataset", 4)
    made = encode(model, MemorySamples(), make_entry(), store, *given, batch_size=2)
    assert made.encoded == model.embedded
    assert 0 < made.encoded <= 60 - 6
    other = encode(ToyModel(), MemorySamples(), make_entry(), whole, *given, batch_size=2)
    key = other.embeddings.key
    assert store.read_bytes(key) == whole.read_bytes(key)
