"""Training a segmentation head end to end: repeatable, resumable, and it learns."""

import signal
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from geofm_assets.core.errors import ExperimentError
from geofm_assets.core.hashing import sha256_file
from geofm_assets.core.schema import validate
from geofm_assets.models.config import EncoderSpec
from geofm_assets.training.checkpoint import read_checkpoint
from geofm_assets.training.config import TrainingConfig
from geofm_assets.training.experiments import Experiment
from geofm_assets.training.fit import fit
from geofm_assets.training.predict import predict
from geofm_assets.training.schema import Segmentation
from geofm_assets.training.segmentation import WindowSegmenter
from tests.segmentation_world import CLASSES, make_segmentation_world, write_masks
from tests.servers.forks import ForkedPython

EXPERIMENT = Experiment.parse("olmoearth_v1_2_nano-s2-ps2-ws8-t2-seg")
CONFIG = TrainingConfig(
    epochs=5, batch_size=8, freeze_epochs=1, lr=1e-3, head_lr=3e-3, accelerator="cpu"
)


def train(root, manifest, out, config=CONFIG, experiment=EXPERIMENT, **options):
    options = {"masks_root": root / "masks", "frames": (-1, 1), **options}
    return fit(
        experiment,
        manifest,
        root / "chips",
        CLASSES,
        label_rule="identity@1",
        config=config,
        encoder=EncoderSpec(name=experiment.encoder),
        out_dir=out,
        **options,
    )


def segment(root, manifest, trained, **options):
    return predict(
        trained.checkpoint,
        manifest,
        root / "chips",
        masks_root=root / "masks",
        accelerator="cpu",
        **options,
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    return root, make_segmentation_world(root, windows=48, size=8)


@pytest.fixture(scope="module")
def trained(world, tmp_path_factory):
    return train(*world, tmp_path_factory.mktemp("experiment"))


@pytest.fixture(scope="module")
def rows(world, trained):
    return segment(*world, trained)


def iou(rows, split, k=1):
    chosen = [r for r in rows.to_pylist() if r["split"] == split]
    hits, false, missed = (sum(r[name][k] for r in chosen) for name in ("tp", "fp", "fn"))
    return hits / (hits + false + missed)


def test_plain_rule_is_learned(rows):
    assert iou(rows, "test") > 0.7


def test_nothing_is_learned_from_the_frame_before(world, tmp_path):
    """The rule shows in the latest frame: a model of one timestep reads that one."""
    latest = Experiment.parse("olmoearth_v1_2_nano-s2-ps2-ws8-t1-seg")
    result = train(*world, tmp_path, experiment=latest)
    assert iou(segment(*world, result), "test") > 0.6


def test_second_run_writes_the_same_bytes(world, trained, tmp_path):
    again = train(*world, tmp_path)
    assert again.model_id == trained.model_id
    assert sha256_file(again.checkpoint) == sha256_file(trained.checkpoint)


def test_rows_satisfy_the_schema(rows, world):
    report = validate(rows, Segmentation)
    assert report.passed, report.describe()
    assert rows["window_name"].equals(world[1]["window_name"])


def test_rows_say_what_made_them(rows, trained):
    row = rows.to_pylist()[0]
    assert row["experiment"] == "olmoearth_v1_2_nano-s2-ps2-ws8-t2-seg"
    assert (row["model_id"], row["size"], row["simulated"]) == (trained.model_id, 8, True)
    assert row["nodata"] > 0


def test_batch_size_hardly_matters(rows, trained, world):
    other = segment(*world, trained, batch_size=5)
    first, second = (np.array(t["mean_probabilities"].to_pylist()) for t in (rows, other))
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_checkpoint_knows_its_head_and_frames(trained):
    found = read_checkpoint(trained.checkpoint)
    assert (found.experiment, found.frames) == (EXPERIMENT, (-1, 1))
    assert isinstance(found.build(), WindowSegmenter)


def test_checkpoint_knows_which_frames_windows_had(trained):
    found = read_checkpoint(trained.checkpoint)
    assert len(found.frame_shares) == 2
    assert found.frames_needed == (found.frame_shares[0] > 0.95, True)
    for shares, needed in {
        (1, 1): (True, True),
        (0.9, 1): (False, True),
        (0.9, 0.9): (False, True),
    }.items():
        assert replace(found, frame_shares=shares).frames_needed == needed
    assert replace(found, frame_shares=None).frames_needed is None


def test_history_has_scores_over_pixels(trained):
    row = trained.history[-1]
    assert 0 <= row["val_mean_iou"] <= row["val_macro_f1"] <= 1
    assert [r["frozen"] for r in trained.history] == [True, False, False, False, False]


def test_validation_is_not_far_from_training(trained):
    """The running statistics of a few steps once were: losses of hundreds at 0.03 in training."""
    assert all(r["val_loss"] < 3 * r["train_loss"] + 0.5 for r in trained.history)


def test_killed_run_is_taken_up_and_ends_the_same(world, trained, tmp_path):
    root, manifest = world
    path = tmp_path / "manifest.arrow"
    with pa.ipc.new_file(path, manifest.schema) as writer:
        writer.write_table(manifest)
    code = f"""
        import os, signal
        from pathlib import Path
        import pyarrow as pa
        from tests.integration.training import test_training_segmentation_fit as t
        manifest = pa.ipc.open_file({str(path)!r}).read_all()
        def report(done, total, note):
            if done == 3:
                os.kill(os.getpid(), signal.SIGKILL)
        t.train(Path({str(root)!r}), manifest, Path({str(tmp_path)!r}), run_key="key",
                progress=report)
    """
    died = ForkedPython(code)
    said = died.end()
    assert died.returncode == -signal.SIGKILL, said
    resumed = train(*world, tmp_path, run_key="key")
    assert resumed.resumed_from == 2
    assert sha256_file(resumed.checkpoint) == sha256_file(trained.checkpoint)


def test_without_masks_it_says_so(world, tmp_path):
    with pytest.raises(ExperimentError, match="needs masks"):
        train(*world, tmp_path, masks_root=None)


def masked(world, folder, value):
    """The world with every pixel of every mask of one value."""
    rows = world[1].to_pylist()
    for cell in sorted({r["h3_cell"] for r in rows}):
        names = [r["window_name"] for r in rows if r["h3_cell"] == cell]
        write_masks(folder / f"h3_cell={cell}", names, np.full((len(names), 8, 8), value))
    return folder


def test_one_class_in_train_is_refused(world, tmp_path):
    with pytest.raises(ExperimentError, match="fewer than two classes"):
        train(*world, tmp_path / "out", masks_root=masked(world, tmp_path, 0))


def test_no_labelled_pixel_to_validate_on_is_refused(world, tmp_path):
    with pytest.raises(ExperimentError, match="No pixel of the val split is labelled"):
        train(*world, tmp_path / "out", masks_root=masked(world, tmp_path, 255))


def test_frames_must_be_those_of_the_chips(world, tmp_path):
    with pytest.raises(ExperimentError, match="2 timesteps, the task 3 frames"):
        train(*world, tmp_path, frames=(-2, -1, 1))
