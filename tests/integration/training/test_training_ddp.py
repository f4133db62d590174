"""Several processes share a training, on a CPU as they would on GPUs, and end as one does."""

import json
import multiprocessing
import os
import signal
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from geofm_assets.core.errors import TrainingError
from geofm_assets.models.config import EncoderSpec
from geofm_assets.training.checkpoint import read_checkpoint
from geofm_assets.training.config import TrainingConfig
from geofm_assets.training.experiments import Experiment
from geofm_assets.training.fit import FitResult, fit
from tests import segmentation_world, training_world
from tests.servers.forks import ForkedPython

pytestmark = pytest.mark.slow

NANO = "olmoearth_v1_nano"  # it draws nothing at random, as later versions do (band dropout)
CLASSIFICATION, SEGMENTATION = f"{NANO}-s1_s2-ps2-ws4-t3", f"{NANO}-s2-ps2-ws8-t2-seg"
# of 12 windows to learn from the last step has one, so the second process has none
CONFIG = TrainingConfig(epochs=4, batch_size=11, freeze_epochs=1, lr=3e-4, accelerator="cpu")
# Sums in another order. AdamW moves a weight as far where its gradient is all rounding, which
# shows once the encoder learns: of every tensor a few weights, and the third digit of losses.
FROZEN, LEARNING, ALMOST_ALL = 1e-5, 2e-3, 0.999
# attention and batch normalisation take these shifts out again, so all they learn is rounding
WITHOUT_EFFECT = ("attn.k.bias", "model.norm.bias", "norm.running_mean")
MEASURED = {"seconds", "samples_per_s"}


def train(root: Path, out: Path, name: str, progress: Any = None, **changes: object) -> FitResult:
    """Fine-tune an experiment on its world below `root`, with some settings changed."""
    segments = name == SEGMENTATION
    world = root / name
    with pa.ipc.open_file(world / "manifest.arrow") as reader:
        manifest = reader.read_all()
    return fit(
        Experiment.parse(name),
        manifest,
        world / "chips",
        (segmentation_world if segments else training_world).CLASSES,
        label_rule="r@1",
        config=CONFIG.model_copy(update=changes),
        encoder=EncoderSpec(name=NANO),
        out_dir=out / name,
        masks_root=world / "masks" if segments else None,
        frames=(-1, 1) if segments else None,
        progress=progress or (lambda done, total, note: None),
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("worlds")
    worlds = {
        CLASSIFICATION: training_world.make_world(root / CLASSIFICATION / "chips", windows=24),
        SEGMENTATION: segmentation_world.make_segmentation_world(
            root / SEGMENTATION, windows=24, size=8
        ),
    }
    for name, manifest in worlds.items():
        with pa.ipc.new_file(root / name / "manifest.arrow", manifest.schema) as writer:
            writer.write_table(manifest)
    return root


def join(root: str, out: str) -> None:
    """What each launched process does: both trainings, and say what came of them."""
    results = [
        train(Path(root), Path(out), CLASSIFICATION, nodes=2),
        train(Path(root), Path(out), SEGMENTATION, nodes=2, epochs=2),
    ]
    print(json.dumps([[r.resumed_from, r.model_id, r.history, r.hardware] for r in results]))


def launched(root: Path, out: Path) -> list[list[Any]]:
    """Train as torchrun does on two machines with a process each; what each said."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    code = (
        "from tests.integration.training import test_training_ddp as t\n"
        f"t.join({str(root)!r}, {str(out)!r})\n"
    )
    shared |= {"WORLD_SIZE": "2", "LOCAL_RANK": "0"}
    with (
        ForkedPython(code, **shared, RANK="0", GROUP_RANK="0") as first,
        ForkedPython(code, **shared, RANK="1", GROUP_RANK="1") as second,
    ):
        said = [first.end(), second.end()]
    assert [first.returncode, second.returncode] == [0, 0], [text[-3000:] for text in said]
    return [json.loads(next(t for t in text.splitlines() if t.startswith("[["))) for text in said]


@pytest.fixture(scope="module")
def shared(root, tmp_path_factory):
    """Two processes, one of which is killed; then two on machines of their own take it up."""

    def kill_second(done: int, total: int, note: str) -> None:
        if done == 2:
            started = sorted(multiprocessing.active_children(), key=lambda p: p.pid or 0)
            os.kill(started[-1].pid or 0, signal.SIGKILL)

    out = tmp_path_factory.mktemp("shared")
    with pytest.raises(TrainingError, match=r"of 2 (was killed|failed)[\s\S]*after its last"):
        train(root, out, CLASSIFICATION, devices=2, progress=kill_second)
    first, second = launched(root, out)
    assert first == second
    return out, dict(zip((CLASSIFICATION, SEGMENTATION), first, strict=True))


def test_killed_training_was_taken_up(shared):
    resumed = shared[1][CLASSIFICATION][0]
    assert resumed in (1, 2)  # the state of an epoch is written after it is reported


@pytest.mark.parametrize(("name", "epochs"), [(CLASSIFICATION, 4), (SEGMENTATION, 2)])
def test_two_processes_end_as_one_does(root, shared, tmp_path, name, epochs):
    out, said = shared
    alone = train(root, tmp_path, name, epochs=epochs)
    _, model_id, history, hardware = said[name]
    assert (hardware["devices"], hardware["nodes"], hardware["accelerator"]) == (1, 2, "cpu")
    together = read_checkpoint(out / name / "checkpoint.ckpt")
    assert together.model_id == model_id
    for ours, theirs in zip(history, alone.history, strict=True):
        for key in ours.keys() - MEASURED:
            assert ours[key] == pytest.approx(
                theirs[key], rel=FROZEN if ours["frozen"] else LEARNING
            ), key
    state = read_checkpoint(alone.checkpoint).content["state_dict"]
    for key, value in together.content["state_dict"].items():
        if not key.endswith(WITHOUT_EFFECT):
            near = np.isclose(value, state[key], rtol=1e-3, atol=1e-4)
            assert near.mean() > ALMOST_ALL, key
