"""Fine-tuned checkpoints as models."""

import hashlib

import numpy as np
import pytest
import torch
from rslearn.train.model_context import ModelContext, RasterImage
from upath import UPath

from geofm_assets.core.errors import ConfigError, ExperimentError, ModelInputError, WeightsError
from geofm_assets.core.store import Store
from geofm_assets.evaluation.backbones.build import build_model
from geofm_assets.evaluation.backbones.inputs import read_cube
from geofm_assets.imagery.bands import LAYERS
from geofm_assets.imagery.normalize import normalize
from geofm_assets.models.config import EncoderSpec
from geofm_assets.models.encoders import build_encoder
from geofm_assets.training.checkpoint import (
    band_contract,
    identity,
    read_checkpoint,
    write_checkpoint,
)
from geofm_assets.training.experiments import Experiment
from geofm_assets.training.window_model import WindowClassifier
from tests.backbone_samples import ENTRIES, S1, S2, changed, sample

CLASSES = ("Cropland", "Non-Cropland")
NANO = Experiment(
    encoder="olmoearth_v1_2_nano", modality="s1_s2", patch_size=4, window_size=8, timesteps=3
)
OPTICAL = NANO.model_copy(update={"modality": "s2"})
PIXELS = Experiment(encoder="presto", modality="s1_s2", patch_size=1, window_size=1, timesteps=3)


def write(store, experiment, task="crops"):
    """A checkpoint as training leaves it, with seeded weights."""
    encoder = build_encoder(EncoderSpec(name=experiment.encoder, seed=9), experiment.patch_size)
    torch.manual_seed(1)
    model = WindowClassifier(encoder.module, encoder.embedding_size, len(CLASSES))
    state, contract = model.state_dict(), band_contract(experiment)
    path = store.local_path(f"tasks/{task}/experiments/{experiment.name}/checkpoint.ckpt")
    content = {
        "state_dict": state,
        "experiment": experiment.model_dump(),
        "classes": list(CLASSES),
        "label_rule": "rule@1",
        "weights": {"start": encoder.proof.start},
        "band_contract": contract,
        "model_id": identity(state, experiment, CLASSES, "rule@1", contract),
        "simulated": True,
    }
    write_checkpoint(path, content)
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    found = Store(tmp_path_factory.mktemp("store"))
    for experiment in (NANO, OPTICAL, PIXELS):
        write(found, experiment)
    return found


def build(store, experiment=NANO):
    return build_model(f"checkpoint:crops/{experiment.name}", store=store)


def features(store, experiment, one):
    """What the classifier's own encoder makes of a sample."""
    path = store.local_path(f"tasks/crops/experiments/{experiment.name}/checkpoint.ckpt")
    inputs = {}
    for name in experiment.layers:
        cube = read_cube(one, name, LAYERS[name].band_names)
        cthw = normalize(cube.values, name).transpose(1, 0, 2, 3)
        inputs[name] = RasterImage(torch.from_numpy(cthw.copy()), list(cube.timestamps))
    with torch.no_grad():
        encoder = read_checkpoint(path).build().encoder
        return encoder(ModelContext(inputs=[inputs], metadatas=[])).feature_maps[-1]


def test_info_is_the_checkpoints(store):
    info = build(store).info
    assert info.name == f"checkpoint:crops/{NANO.name}"
    assert info.start == (
        f"fine-tuned as crops/{NANO.name}, starting from random initialisation, seed 9"
    )
    assert info.simulated
    assert (info.patch_sizes, info.normalizations) == ((4,), ("pretrained",))
    assert set(info.bands) == {S2, S1}


@pytest.mark.parametrize("experiment", [NANO, PIXELS], ids=lambda e: e.name)
def test_the_whole_encoder_is_proved_to_be_the_checkpoints(store, experiment):
    info = build(store, experiment).info
    key = f"tasks/crops/experiments/{experiment.name}/checkpoint.ckpt"
    assert info.proof.sha256 == hashlib.sha256(store.read_bytes(key)).hexdigest()
    assert (info.proof.share, info.proof.missing, info.proof.unexpected) == (1.0, (), ())
    assert (info.proof.model_id, info.proof.start) == (info.model_id, info.start)
    assert set(info.proof.unused) == {"norm", "head"}


@pytest.mark.parametrize("experiment", [NANO, OPTICAL, PIXELS], ids=lambda e: e.name)
def test_tokens_average_to_the_features_it_was_trained_on(store, experiment):
    one, model = sample(), build(store, experiment)
    tokens = model.embed([one], "pretrained", ENTRIES, experiment.patch_size)
    assert tokens.valid.all()
    expected = features(store, experiment, one)
    torch.testing.assert_close(
        tokens.values.mean(3).permute(0, 3, 1, 2), expected, atol=1e-5, rtol=1e-4
    )


def test_a_checkpoint_reads_only_the_layers_of_its_experiment(store):
    assert set(build(store, OPTICAL).info.bands) == {S2}


def test_tokens_know_their_modality(store):
    tokens = build(store).embed([sample()], "pretrained", ENTRIES, 4)
    assert tokens.modality == (0, 0, 0, 1, 1, 1)


def test_a_sample_does_not_depend_on_its_neighbours(store):
    model = build(store)
    lone, short = sample("l", modalities=(S2,), seed=2), sample("s", months=(6,), seed=3)
    together = model.embed([sample(), lone, short], "pretrained", ENTRIES, 4)
    for index, one in enumerate((sample(), lone, short)):
        alone = model.embed([one], "pretrained", ENTRIES, 4)
        first = together.values[index][together.valid[index]]
        torch.testing.assert_close(first, alone.values[0][alone.valid[0]], atol=1e-5, rtol=1e-4)


def test_gaps_give_no_nan_and_no_valid_token_where_nothing_is(store):
    def blank(values):
        values[:, :, :4, :4] = np.nan

    gapped = changed(changed(sample(), S2, blank), S1, blank)
    tokens = build(store).embed([gapped], "pretrained", ENTRIES, 4)
    assert tokens.values.isfinite().all()
    assert not tokens.valid[0, 0, 0].any()
    assert tokens.valid[0, 1, 1].all()


def test_a_sample_without_data_has_no_valid_token(store):
    model = build(store, OPTICAL)
    blank = changed(sample(), S2, lambda v: v.fill(np.nan))
    assert not model.embed([blank], "pretrained", ENTRIES, 4).valid.any()
    both = model.embed([blank, sample()], "pretrained", ENTRIES, 4)
    assert both.valid.flatten(1).any(1).tolist() == [False, True]


def test_two_images_at_one_time_are_refused(store):
    with pytest.raises(ModelInputError, match="same timestamp at model checkpoint:crops"):
        build(store).embed([sample(months=(5, 5))], "pretrained", ENTRIES, 4)


def test_a_bucket_serves_too(store):
    path = store.local_path(f"tasks/crops/experiments/{NANO.name}/checkpoint.ckpt")
    bucket = Store("memory://evaluation-checkpoints")
    target = UPath(f"memory://evaluation-checkpoints/tasks/crops/experiments/{NANO.name}")
    target.mkdir(parents=True, exist_ok=True)
    (target / "checkpoint.ckpt").write_bytes(path.read_bytes())
    assert build(bucket).info == build(store).info


def test_a_checkpoint_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"No checkpoint at .*crops.*Train the experiment"):
        build(Store(tmp_path))


def test_a_name_that_is_no_experiment_is_refused(store):
    with pytest.raises(ExperimentError, match="Not the name of an experiment"):
        build_model("checkpoint:crops/best", store=store)


def test_a_checkpoint_needs_a_store():
    with pytest.raises(WeightsError, match="lies in a store, and none was given"):
        build_model(f"checkpoint:crops/{NANO.name}")


def test_a_checkpoint_has_no_choice_of_weights(store):
    with pytest.raises(ConfigError, match="no choice of weights"):
        build_model(f"checkpoint:crops/{NANO.name}", store=store, weights="seed:1")
