"""What only a machine with a GPU can show of a training; skipped elsewhere."""

import pytest
import torch

from geofm_assets.models.config import EncoderSpec
from geofm_assets.training.checkpoint import read_checkpoint
from geofm_assets.training.config import TrainingConfig
from geofm_assets.training.experiments import Experiment
from geofm_assets.training.fit import FitResult, fit
from geofm_assets.training.predict import predict
from tests.training_world import CLASSES, make_world

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is visible")
NANO = "olmoearth_v1_2_nano"
EPOCHS = 2


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("chips")
    return root, make_world(root, windows=48)


@pytest.fixture(scope="module")
def trained(world, tmp_path_factory) -> FitResult:
    root, manifest = world
    return fit(
        Experiment(encoder=NANO, modality="s1_s2", patch_size=4, window_size=4, timesteps=3),
        manifest,
        root,
        CLASSES,
        label_rule="ai2_v1@1",
        config=TrainingConfig(epochs=EPOCHS, batch_size=8, freeze_epochs=1, devices=1),
        encoder=EncoderSpec(name=NANO),
        out_dir=tmp_path_factory.mktemp("experiment"),
    )


def test_what_it_ran_on_and_how_fast_is_noted(trained):
    said = trained.hardware
    assert said["accelerator"] == torch.cuda.get_device_name()
    assert said["precision"] == "bf16-mixed"
    assert said["samples_per_s"] > 0
    # NVML has none of a part of a GPU, nor of a training that took less than a second
    assert said["gpu_utilization"] is None or 0 <= said["gpu_utilization"] <= 1
    assert len(trained.history) == EPOCHS
    assert all(row["samples_per_s"] > 0 for row in trained.history)


def test_weights_stay_in_full_precision_and_predict(world, trained):
    state = read_checkpoint(trained.checkpoint).content["state_dict"]
    assert {v.dtype for v in state.values() if v.is_floating_point()} == {torch.float32}
    root, manifest = world
    table = predict(trained.checkpoint, manifest, root, accelerator="auto")
    assert table.num_rows == manifest.num_rows
