"""One training of an experiment at a time, by a run, `geofm train` or a notebook."""

import threading
import time
from pathlib import Path

import pytest

from geofm_assets.core.claims import claimed
from geofm_assets.core.errors import LockError
from geofm_assets.core.outcome import Outcome
from geofm_assets.core.progress import listening, silent
from geofm_assets.core.store import Store
from geofm_assets.models.hub import ModelHub
from geofm_assets.training import stages
from geofm_assets.training.layout import LAUNCHER
from geofm_assets.training.stages import CheckpointStage, ManifestStage, TrainingTask
from tests.segmentation_store import CLASSIFIES, NAME, fire_store, fire_task


@pytest.fixture(scope="module")
def task() -> TrainingTask:
    return fire_task()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, task: TrainingTask) -> Store:
    store = fire_store(tmp_path_factory.mktemp("fires"), task)
    ManifestStage(task).make(store)
    return store


def test_a_launched_training_does_not_wait_for_another_for_long(
    store: Store, task: TrainingTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "_LAUNCHED_WAIT_LEASES", 0.002)
    for name in LAUNCHER:
        monkeypatch.setenv(name, "0")
    with (
        claimed(store, f"{NAME}/checkpoint/{CLASSIFIES}", pytest.fail),
        pytest.raises(LockError, match=f"makes {NAME}/checkpoint/{CLASSIFIES}.*process"),
    ):
        CheckpointStage(task).make(store, ModelHub(), CLASSIFIES, False, silent)


def test_who_comes_second_says_for_whom_it_waits_and_finds_it_made(
    store: Store, task: TrainingTask
) -> None:
    told: list[str] = []
    seen: list[Outcome] = []

    def second() -> None:
        with listening(silent, told.append):
            made = CheckpointStage(task).make(store, ModelHub(), CLASSIFIES, False, silent)
            seen.append(made)

    other = threading.Thread(target=second)

    def report(done: int, total: int, note: str) -> None:
        if done > 1:
            return
        other.start()
        until = time.monotonic() + 30
        while not told:
            assert time.monotonic() < until
            time.sleep(0.02)

    first = CheckpointStage(task).make(store, ModelHub(), CLASSIFIES, False, report)
    other.join(timeout=30)
    assert not first.skipped
    assert [outcome.skipped for outcome in seen] == [True]
    assert told[0].startswith(f"{NAME}/checkpoint/{CLASSIFIES}: waiting for process ")
    assert Path(store.root.path, "locks", NAME, "checkpoint", CLASSIFIES).read_bytes() == b""
