"""Training end to end on generated chips: repeatable, resumable, and it learns."""

import json
import shutil
import signal

import numpy as np
import pyarrow as pa
import pytest
import torch

from geofm_assets.core.errors import ContractError, ExperimentError, WeightsError
from geofm_assets.core.hashing import sha256_file
from geofm_assets.core.schema import validate
from geofm_assets.models.config import EncoderSpec
from geofm_assets.models.encoders import build_encoder
from geofm_assets.training.checkpoint import read_checkpoint, write_checkpoint
from geofm_assets.training.config import TrainingConfig
from geofm_assets.training.experiments import Experiment
from geofm_assets.training.fit import WORK_FOLDER, fit
from geofm_assets.training.predict import predict
from geofm_assets.training.schema import Manifest, Prediction
from tests.servers.forks import ForkedPython
from tests.training_world import CLASSES, make_world

NANO = "olmoearth_v1_2_nano"
EXPERIMENT = Experiment(encoder=NANO, modality="s1_s2", patch_size=4, window_size=4, timesteps=3)
CONFIG = TrainingConfig(
    epochs=4, batch_size=8, freeze_epochs=2, lr=3e-4, head_lr=1e-3, accelerator="cpu"
)


def train(root, manifest, out, config=CONFIG, experiment=EXPERIMENT, **options):
    return fit(
        experiment,
        manifest,
        root,
        CLASSES,
        label_rule="ai2_v1@1",
        config=config,
        encoder=EncoderSpec(name=experiment.encoder),
        out_dir=out,
        **options,
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("chips")
    return root, make_world(root, windows=24)


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def trained(world, told, tmp_path_factory):
    out = tmp_path_factory.mktemp("experiment")
    return train(*world, out, progress=lambda *report: told.append(report))


@pytest.fixture(scope="module")
def rows(world, trained):
    return predict(trained.checkpoint, world[1], world[0], accelerator="cpu")


def losses(result):
    return [(r["epoch"], r["train_loss"], r["val_loss"], r["lr"]) for r in result.history]


def test_generated_manifest_satisfies_its_schema(world):
    assert validate(world[1], Manifest).passed


def test_second_run_writes_the_same_bytes_whatever_the_threads_of_the_process(
    world, trained, tmp_path
):
    before = torch.get_num_threads()
    torch.set_num_threads(1 if before > 1 else 3)
    try:
        again = train(*world, tmp_path)
    finally:
        torch.set_num_threads(before)
    assert again.model_id == trained.model_id
    assert sha256_file(again.checkpoint) == sha256_file(trained.checkpoint)


def test_settings_of_the_process_are_put_back(world, tmp_path):
    torch.manual_seed(3)
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    expected = torch.random.get_rng_state()
    train(*world, tmp_path, CONFIG.model_copy(update={"epochs": 1, "threads": 1}))
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before
    assert torch.equal(torch.random.get_rng_state(), expected)


def test_only_the_checkpoint_is_left(trained):
    assert [p.name for p in trained.checkpoint.parent.iterdir()] == ["checkpoint.ckpt"]


def test_history_is_a_row_an_epoch(trained):
    assert [r["epoch"] for r in trained.history] == [0, 1, 2, 3]
    assert [r["frozen"] for r in trained.history] == [True, True, False, False]
    json.dumps(trained.history)


def test_kept_epoch_is_the_one_of_lowest_validation_loss(trained):
    lowest = min(trained.history, key=lambda r: r["val_loss"])
    assert trained.best_epoch == lowest["epoch"]


def test_progress_tells_every_epoch(trained, told):
    assert [(done, total) for done, total, _ in told] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert "encoder frozen" in told[0][2]
    assert "val_macro_f1" in told[3][2]


def test_frozen_encoder_does_not_move(world, tmp_path):
    config = CONFIG.model_copy(update={"epochs": 2, "freeze_epochs": 2})
    state = read_checkpoint(train(*world, tmp_path, config).checkpoint).content["state_dict"]
    start = build_encoder(EncoderSpec(name=NANO), 4).module.state_dict()
    assert all(torch.equal(state[f"encoder.{key}"], value) for key, value in start.items())


def test_unfrozen_encoder_moves(trained):
    if trained.best_epoch < CONFIG.freeze_epochs:
        pytest.skip("the best epoch was a frozen one")
    state = read_checkpoint(trained.checkpoint).content["state_dict"]
    start = build_encoder(EncoderSpec(name=NANO), 4).module.state_dict()
    assert any(not torch.equal(state[f"encoder.{key}"], v) for key, v in start.items())


def test_plain_signal_is_learned(tmp_path):
    root, manifest = tmp_path / "chips", make_world(tmp_path / "chips", windows=48)
    config = CONFIG.model_copy(update={"epochs": 16})
    result = train(root, manifest, tmp_path / "out", config)
    table = predict(result.checkpoint, manifest, root, accelerator="cpu").to_pylist()
    held_out = [r["class_id"] == r["predicted_id"] for r in table if r["split"] == "test"]
    assert np.mean(held_out) >= 0.9


def killed_run(world, out, at_epoch, run_key="key"):
    """Run `fit` in another process that is killed when it reports an epoch."""
    root, manifest = world
    path = out / "manifest.arrow"
    out.mkdir(parents=True, exist_ok=True)
    with pa.ipc.new_file(path, manifest.schema) as writer:
        writer.write_table(manifest)
    code = f"""
        import os, signal, sys
        from pathlib import Path
        import pyarrow as pa
        from tests.integration.training import test_training_fit as t
        manifest = pa.ipc.open_file({str(path)!r}).read_all()
        def report(done, total, note):
            if done == {at_epoch}:
                os.kill(os.getpid(), signal.SIGKILL)
        t.train(Path({str(root)!r}), manifest, Path({str(out)!r}), run_key={run_key!r},
                progress=report)
    """
    died = ForkedPython(code)
    said = died.end()
    assert died.returncode == -signal.SIGKILL, said


@pytest.fixture(scope="module")
def killed(world, tmp_path_factory):
    """What a run left that was killed when it reported its third epoch."""
    out = tmp_path_factory.mktemp("killed")
    killed_run(world, out, at_epoch=3)
    return out


def test_killed_run_is_taken_up_and_ends_the_same(world, trained, killed, tmp_path):
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    assert not (tmp_path / "checkpoint.ckpt").exists()
    resumed = train(*world, tmp_path, run_key="key")
    assert resumed.resumed_from == 2
    assert losses(resumed) == losses(trained)
    assert sha256_file(resumed.checkpoint) == sha256_file(trained.checkpoint)


def test_run_killed_before_its_first_epoch_starts_again(world, trained, tmp_path):
    killed_run(world, tmp_path, at_epoch=1)
    resumed = train(*world, tmp_path, run_key="key")
    assert (resumed.resumed_from, resumed.model_id) == (None, trained.model_id)


def test_state_of_another_run_is_not_taken_up(world, trained, killed, tmp_path):
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    assert (tmp_path / WORK_FOLDER / "last.ckpt").is_file()
    other = train(*world, tmp_path, run_key="another key")
    assert (other.resumed_from, other.model_id) == (None, trained.model_id)


def test_predictions_satisfy_the_schema(rows):
    report = validate(rows, Prediction)
    assert report.passed, report.describe()


def test_every_window_is_predicted_in_order(rows, world):
    assert rows["window_name"].equals(world[1]["window_name"])


def test_rows_say_what_made_them(rows, trained):
    row = rows.to_pylist()[0]
    assert row["experiment"] == EXPERIMENT.name
    assert row["model_id"] == trained.model_id
    assert row["encoder_start"] == "random initialisation, seed 0"
    assert row["label_rule"] == "ai2_v1@1"
    assert row["simulated"] is True


def test_predicting_twice_gives_the_same_digits(rows, trained, world):
    again = predict(trained.checkpoint, world[1], world[0], accelerator="cpu")
    assert again.equals(rows)


@pytest.mark.parametrize("batch_size", [1, 7])
def test_batch_size_hardly_matters(rows, trained, world, batch_size):
    other = predict(
        trained.checkpoint, world[1], world[0], accelerator="cpu", batch_size=batch_size
    )
    assert other["predicted_id"].equals(rows["predicted_id"])
    first, second = (np.array(t["probabilities"].to_pylist()) for t in (rows, other))
    np.testing.assert_allclose(first, second, atol=1e-6)


def test_row_order_of_the_manifest_does_not_matter(rows, trained, world):
    root, manifest = world
    turned = manifest.take(pa.array(range(manifest.num_rows - 1, -1, -1)))
    assert predict(trained.checkpoint, turned, root, accelerator="cpu").equals(rows)


def test_window_without_imagery_is_predicted_from_nothing(trained, tmp_path):
    blank = make_world(tmp_path, windows=4, blank=True)
    table = predict(trained.checkpoint, blank, tmp_path, accelerator="cpu")
    assert len({tuple(p) for p in table["probabilities"].to_pylist()}) == 1


def test_checkpoint_is_read_without_running_code(trained):
    content = torch.load(trained.checkpoint, weights_only=True)
    needed = {"state_dict", "classes", "band_contract", "model_id", "label_rule", "simulated"}
    assert needed <= set(content)
    assert content["band_contract"]["sentinel1"]["bands"] == ["vv", "vh"]


def change(trained, target, **values):
    content = dict(read_checkpoint(trained.checkpoint).content)
    write_checkpoint(target, content | values)
    return target


def test_changed_weights_are_noticed(trained, tmp_path):
    state = dict(read_checkpoint(trained.checkpoint).content["state_dict"])
    state["head.output_layer.bias"] = state["head.output_layer.bias"] + 1e-3
    with pytest.raises(WeightsError, match="not those its model_id names"):
        read_checkpoint(change(trained, tmp_path / "c.ckpt", state_dict=state))


def test_turned_classes_are_noticed(trained, tmp_path):
    with pytest.raises(WeightsError, match="not those its model_id names"):
        read_checkpoint(change(trained, tmp_path / "c.ckpt", classes=list(CLASSES[::-1])))


def test_model_of_other_bands_is_refused(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "geofm_assets.training.checkpoint.band_contract", lambda experiment: {"changed": True}
    )
    with pytest.raises(ContractError, match="trained on bands or a normalisation"):
        read_checkpoint(trained.checkpoint)


def test_truncated_checkpoint_is_refused(trained, tmp_path):
    path = tmp_path / "c.ckpt"
    path.write_bytes(trained.checkpoint.read_bytes()[:5000])
    with pytest.raises(WeightsError, match="cannot be read"):
        read_checkpoint(path)


def test_missing_checkpoint_says_what_to_do(tmp_path):
    with pytest.raises(WeightsError, match="Train the experiment first"):
        read_checkpoint(tmp_path / "c.ckpt")


def test_classes_of_the_manifest_must_be_those_of_the_model(trained, world):
    root, manifest = world
    names = [CLASSES[1 - c] for c in manifest["class_id"].to_pylist()]
    turned = manifest.set_column(6, "class_name", pa.array(names))
    with pytest.raises(ExperimentError, match="the model knows"):
        predict(trained.checkpoint, turned, root, accelerator="cpu")


def only(manifest, keep):
    return manifest.filter(pa.array([keep(r) for r in manifest.to_pylist()]))


def test_empty_val_is_refused(world, tmp_path):
    root, manifest = world
    with pytest.raises(ExperimentError, match="val split is empty"):
        train(root, only(manifest, lambda r: r["split"] != "val"), tmp_path)


def test_one_class_in_train_is_refused(world, tmp_path):
    root, manifest = world
    lone = only(manifest, lambda r: r["split"] != "train" or r["class_id"] == 0)
    with pytest.raises(ExperimentError, match="fewer than two classes"):
        train(root, lone, tmp_path)


def test_class_beyond_the_rule_is_refused(world, tmp_path):
    root, manifest = world
    beyond = manifest.set_column(5, "class_id", pa.array([7] * manifest.num_rows, pa.int16()))
    with pytest.raises(ExperimentError, match=r"class_id \[7\], the label rule 2 classes"):
        train(root, beyond, tmp_path)
