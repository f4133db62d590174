"""The check that a model has the weights it says it has."""

import dataclasses
import hashlib
import json

import pytest
import torch

from geofm_assets.evaluation.backbones.build import build_model
from geofm_assets.evaluation.sweeps.shown import weights_check

NANO = {"embedding_size": 128, "depth": 4, "num_heads": 8, "mlp_ratio": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Galileo's weights as published, of seed 4."""
    made = tmp_path_factory.mktemp("galileo")
    (made / "config.json").write_text(json.dumps({"model": {"encoder": NANO}}))
    torch.save(build_model("galileo_nano@seed:4").encoder.state_dict(), made / "encoder.pt")
    return made


@pytest.fixture(scope="module")
def loaded(folder):
    return build_model(f"galileo_nano@path:{folder}").info


def changed(info, **fields):
    """The same model with another proof."""
    return dataclasses.replace(info, proof=dataclasses.replace(info.proof, **fields))


def test_weights_that_were_loaded_pass_and_show_their_proof(folder, loaded):
    check = weights_check(loaded)
    assert check.passed
    assert "100.0% of" in check.description
    file = (folder / "encoder.pt").read_bytes()
    assert check.metadata["sha256"] == hashlib.sha256(file).hexdigest()
    assert check.metadata["share"] == 1.0
    assert check.metadata["missing"] == check.metadata["unexpected"] == []
    assert check.metadata["model_id"] == loaded.model_id


@pytest.mark.parametrize("name", ["olmoearth_v1_2_nano", "presto@seed:3", "galileo_nano"])
def test_a_random_start_passes_and_says_so(name):
    check = weights_check(build_model(name).info)
    assert check.passed
    assert check.description.startswith("RANDOM START, nothing pretrained was loaded: ")
    assert check.metadata["random_start"] is True
    assert "sha256" not in check.metadata


@pytest.mark.parametrize("name", ["raw_pixels", "image_statistics"])
def test_a_floor_has_nothing_to_load(name):
    check = weights_check(build_model(name).info)
    assert check.passed
    assert "no weights" in check.description


@pytest.mark.parametrize("proof", [None, "without a file"])
def test_weights_that_nothing_proves_fail(loaded, proof):
    bare = dataclasses.replace(loaded, proof=None)
    info = bare if proof is None else changed(loaded, sha256=None)
    check = weights_check(info)
    assert not check.passed
    assert "nothing proves it" in check.description


@pytest.mark.parametrize("field", ["missing", "unexpected"])
def test_keys_that_do_not_fit_fail_by_name(loaded, field):
    check = weights_check(changed(loaded, share=0.9, **{field: ("blocks.0.weight",)}))
    assert not check.passed
    assert f"1 keys {field}: blocks.0.weight" in check.description
    assert check.metadata[field] == ["blocks.0.weight"]


def test_nothing_loaded_fails(loaded):
    assert not weights_check(changed(loaded, share=0.0)).passed
