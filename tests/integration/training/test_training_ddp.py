"""Several processes share a training; on a CPU here, as GPUs would."""

import lightning.pytorch as pl
import pytest
import torch

from geofm_assets.models.config import EncoderSpec
from geofm_assets.training import running
from geofm_assets.training.config import TrainingConfig
from geofm_assets.training.experiments import Experiment
from geofm_assets.training.fit import fit
from tests.training_world import CLASSES, make_world

pytestmark = pytest.mark.slow


def test_two_processes_train_one_model(tmp_path, monkeypatch):
    real = pl.Trainer

    def two(**options):
        options |= {"devices": 2, "strategy": "ddp_spawn_find_unused_parameters_true"}
        return real(**options)

    monkeypatch.setattr(running.pl, "Trainer", two)
    manifest = make_world(tmp_path, windows=24)
    experiment = Experiment(
        encoder="olmoearth_v1_2_nano",
        modality="s1_s2",
        patch_size=4,
        window_size=4,
        timesteps=3,
    )
    result = fit(
        experiment,
        manifest,
        tmp_path,
        CLASSES,
        label_rule="r@1",
        config=TrainingConfig(epochs=3, batch_size=4, accelerator="cpu", threads=1),
        encoder=EncoderSpec(name="olmoearth_v1_2_nano"),
        out_dir=tmp_path / "out",
        progress=lambda done, total, note: None,
    )
    assert [r["epoch"] for r in result.history] == [0, 1, 2]
    assert torch.load(result.checkpoint, weights_only=True)["model_id"] == result.model_id
