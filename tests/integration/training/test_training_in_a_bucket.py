"""From chips and masks to scores with the store in a bucket: as in a folder, whatever breaks."""

import shutil
from pathlib import Path

import pytest

from geofm_assets.core.errors import ImageryError, StoreError, WeightsError
from geofm_assets.core.scratch import VARIABLE
from geofm_assets.core.store import Store
from geofm_assets.evaluation.baseline_stage import BaselinesStage
from geofm_assets.models.hub import ModelHub
from geofm_assets.training import kept_state
from geofm_assets.training.cell_chips import cell_chips
from geofm_assets.training.stages import (
    CheckpointStage,
    ManifestStage,
    PredictionsStage,
    TrainingTask,
    checkpoint_file,
)
from tests.segmentation_store import CLASSIFIES, NAME, SEGMENTS, fire_store, fire_task
from tests.servers.s3 import S3Server


class _Killed(Exception):
    """What a training dies of here."""


class Watched:
    """Epochs a training told of; it dies when one is told of."""

    def __init__(self, dies_at: int = 0) -> None:
        self.epochs: list[int] = []
        self.notes: list[str] = []
        self.dies_at = dies_at

    def __call__(self, done: int, total: int, note: str) -> None:
        self.epochs.append(done)
        self.notes.append(note)
        if done == self.dies_at:
            raise _Killed


def train(store: Store, task: TrainingTask, experiment: str, watched: Watched) -> str:
    return CheckpointStage(task).make(store, ModelHub(), experiment, False, watched).content


def model_id(store: Store, task: TrainingTask, experiment: str) -> str:
    found: str = store.read_json(CheckpointStage(task).record_key(experiment))["model_id"]
    return found


@pytest.fixture(scope="module")
def task() -> TrainingTask:
    return fire_task()


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory, task: TrainingTask) -> Store:
    """What a store holds before the manifest is made. Tests only read it."""
    return fire_store(tmp_path_factory.mktemp("fires"), task)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, given: Store, task: TrainingTask) -> Store:
    """A finished store in a folder. Tests only read it."""
    folder = tmp_path_factory.mktemp("finished") / "store"
    shutil.copytree(Path(given.root.path), folder)
    store = Store(folder)
    make(store, task)
    return store


def make(store: Store, task: TrainingTask) -> None:
    ManifestStage(task).make(store)
    for experiment in (CLASSIFIES, SEGMENTS):
        train(store, task, experiment, Watched())
        PredictionsStage(task).make(store, experiment, False)
    BaselinesStage(task).make(store)


@pytest.fixture
def bucket(given: Store, bucket_store: Store) -> Store:
    """A bucket that holds the same."""
    for key in given.list_keys("tasks") + given.list_keys("reference"):
        bucket_store.write_bytes(key, given.read_bytes(key))
    return bucket_store


def test_every_table_and_model_is_what_a_folder_would_hold(
    local: Store, bucket: Store, task: TrainingTask
) -> None:
    make(bucket, task)
    keys = local.list_keys("tasks")
    assert bucket.list_keys("tasks") == keys
    timed = {key for key in keys if key.endswith("/checkpoint.json")}  # windows a second
    same = {key for key in keys if bucket.read_bytes(key) == local.read_bytes(key)}
    unlike = set(keys) - same - timed
    assert {key.rsplit("/", 1)[1] for key in unlike} <= {"checkpoint.ckpt"}
    for name in (CLASSIFIES, SEGMENTS):
        assert model_id(bucket, task, name) == model_id(local, task, name)


def test_a_refused_checkpoint_is_put_by_the_next_run_without_training_again(
    local: Store, bucket: Store, task: TrainingTask, s3: S3Server
) -> None:
    ManifestStage(task).make(bucket)
    s3.fault = lambda method, path, _: (
        403 if method in ("PUT", "POST") and "checkpoint.ckpt" in path else None
    )
    first = Watched()
    with pytest.raises(StoreError, match=r"refuses.*checkpoint.ckpt"):
        train(bucket, task, CLASSIFIES, first)
    s3.fault = None
    assert first.epochs == [1, 2]
    assert CheckpointStage(task).note(bucket, CLASSIFIES) is None
    with pytest.raises(WeightsError, match="Train the experiment first"):
        checkpoint_file(bucket, task, CLASSIFIES)
    again = Watched()
    made = train(bucket, task, CLASSIFIES, again)
    assert again.epochs == []
    assert made == model_id(local, task, CLASSIFIES)


def test_another_machine_goes_on_where_a_lost_one_was(
    local: Store,
    bucket: Store,
    task: TrainingTask,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(kept_state, "EVERY_S", 0.0)
    ManifestStage(task).make(bucket)
    with pytest.raises(_Killed):
        train(bucket, task, CLASSIFIES, Watched(dies_at=2))
    shutil.rmtree(tmp_path / "scratch")  # its disk went with it
    there = Watched()
    made = train(Store(bucket.url), task, CLASSIFIES, there)
    assert there.epochs == [2]
    assert made == model_id(local, task, CLASSIFIES)
    assert bucket.list_keys(f"{task.folder(CLASSIFIES)}/training") == []


def test_the_state_of_a_run_elsewhere_or_of_other_inputs_is_not_taken_up(
    bucket: Store, task: TrainingTask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(kept_state, "EVERY_S", 0.0)
    ManifestStage(task).make(bucket)
    with pytest.raises(_Killed):
        train(bucket, task, CLASSIFIES, Watched(dies_at=2))
    monkeypatch.setenv(VARIABLE, str(tmp_path / "elsewhere"))
    there = Watched(dies_at=1)
    with pytest.raises(_Killed):
        train(Store(bucket.url), task, CLASSIFIES, there)
    assert there.epochs == [1]


def test_a_state_that_cannot_be_kept_is_told_and_does_not_end_the_training(
    bucket: Store, task: TrainingTask, monkeypatch: pytest.MonkeyPatch, s3: S3Server
) -> None:
    monkeypatch.setattr(kept_state, "EVERY_S", 0.0)
    ManifestStage(task).make(bucket)
    s3.fault = lambda method, path, _: (
        403 if method in ("PUT", "POST") and "/training/" in path else None
    )
    watched = Watched()
    train(bucket, task, CLASSIFIES, watched)
    assert "could not be kept" in watched.notes[1]


def test_chips_that_are_gone_or_renamed_are_said_with_their_place(
    bucket: Store, task: TrainingTask
) -> None:
    cell = bucket.folders(f"tasks/{NAME}/chips")[0]
    folder = f"tasks/{NAME}/chips/{cell}"
    note = bucket.read_json(f"{folder}/chips.json")
    bucket.write_json(f"{folder}/chips.json", {**note, "window_names": note["window_names"][::-1]})
    with pytest.raises(ImageryError, match=r"other windows.*s3://"):
        cell_chips(bucket, folder)
    bucket.write_bytes(f"{folder}/chips.json", b"{")
    with pytest.raises(ImageryError, match=r"Not a note.*s3://"):
        cell_chips(bucket, folder)
    bucket.delete(f"{folder}/chips.json")
    with pytest.raises(ImageryError, match=r"no chips.*s3://"):
        cell_chips(bucket, folder)
