"""Two processes at one model and dataset: nothing is lost, nothing is done twice."""

import pytest

from geofm_assets.core.store import Store
from geofm_assets.evaluation.embeddings.encode import encode
from geofm_assets.evaluation.sweeps.leaderboard import TABLE_KEY, score_key
from geofm_assets.evaluation.sweeps.run import run_sweep
from geofm_assets.evaluation.sweeps.settings import SweepSettings
from tests.servers.forks import ForkedPython
from tests.sweep_world import MemorySamples, ToyModel, make_entry, store_dataset

NANO = "olmoearth_v1_2_nano"
FEW = {"sweep": "defaults", "epochs": 5, "batch_size": 16, "resamples": 20}
# Stops at its first report that speaks of epochs, when it has read the scores there are.
PROBE = """
import sys
from geofm_assets.core.store import Store
from geofm_assets.evaluation.sweeps.run import run_sweep
from geofm_assets.evaluation.sweeps.settings import SweepSettings
from tests.sweep_world import ToyModel

held = []
def report(done, total, note):
    if "ps4" not in note and not held:
        held.append(note)
        print("ready", flush=True)
        sys.stdin.readline()

name, few = sys.argv[2], eval(sys.argv[3])
run_sweep(Store(sys.argv[1]), [name], ["toy"], settings=SweepSettings(**few),
          build=lambda _: ToyModel(name=name), report=report)
"""
ENCODE = """
import sys
from geofm_assets.core.store import Store
from geofm_assets.evaluation.embeddings import encode as module
from tests.sweep_world import MemorySamples, ToyModel, make_entry

class Held(ToyModel):
    def embed(self, *given):
        if self.batches == 4:
            print("ready", flush=True)
            sys.stdin.readline()
        return super().embed(*given)

module._SHARD_BYTES = 1
module.encode(Held(), MemorySamples(), make_entry(), Store(sys.argv[1]), "dataset", 4, batch_size=2)
"""


def start(code: str, *arguments: str) -> ForkedPython:
    """A process of its own, as far as its `ready`."""
    process = ForkedPython(code, *arguments)
    assert process.stdout.readline() == "ready\n"
    return process


def test_two_sweeps_of_one_model_and_dataset_lose_no_row(tmp_path):
    store = Store(tmp_path)
    entry = store_dataset(store, MemorySamples(), make_entry())
    other = start(PROBE, store.url, NANO, repr({**FEW, "seed": 7}))
    settings = SweepSettings(**FEW)
    ours = run_sweep(store, [NANO], ["toy"], settings=settings, build=lambda n: ToyModel(name=n))
    other.stdin.write("go\n")
    said = other.end()
    assert other.returncode == 0, said
    table = store.read_table(score_key(ToyModel().info.model_id, entry.dataset_id))
    assert set(table["seed"].to_pylist()) == {0, 7}
    assert table.num_rows == 2 * ours.scores.num_rows
    shown = store.read_table(TABLE_KEY).to_pylist()
    assert {(row["seed"], row["first"]) for row in shown} == {(0, True), (7, False)}


def test_who_comes_second_waits_says_so_and_finds_it_made(tmp_path):
    store, told = Store(tmp_path), []
    first = start(ENCODE, store.url)

    def report(done, total, note):
        told.append((done, total, note))
        if not first.stdin.closed:
            first.stdin.write("go\n" * 100)
            first.stdin.close()

    model = ToyModel()
    made = encode(model, MemorySamples(), make_entry(), store, "dataset", 4, report=report)
    assert first.wait(60) == 0, first.end()
    assert (made.encoded, model.embedded) == (0, 0)
    assert told[0][:2] == (8, 60)
    assert f"waiting for another process that encodes this (process {first.pid}" in told[0][2]


@pytest.mark.parametrize("force", [False, True])
def test_the_claim_of_a_killed_process_is_void(tmp_path, force):
    store = Store(tmp_path)
    first = start(ENCODE, store.url)
    first.kill()
    first.end()
    made = encode(
        ToyModel(), MemorySamples(), make_entry(), store, "dataset", 4, batch_size=2, force=force
    )
    assert made.encoded == (60 if force else 52)
