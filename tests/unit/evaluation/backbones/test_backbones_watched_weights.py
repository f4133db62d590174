"""What a package loaded by itself is proved by value."""

import hashlib

import pytest
import torch

from geofm_assets.evaluation.backbones.watched_weights import watching_loads


def network(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))


def load(state, *, strict=True, wrap=lambda module: module):
    """A network that loaded a state dict, and its proof."""
    with watching_loads() as given:
        module = network()
        module.load_state_dict(state, strict=strict)
    return given.proof(wrap(module), "path /weights", "id", None)


def test_all_that_was_given_is_counted():
    proof = load(network(1).state_dict())
    assert (proof.share, proof.missing, proof.unused) == (1.0, (), {})
    assert (proof.tensors_loaded, proof.parameters_total) == (4, 26)
    assert proof.sha256 is not None
    assert proof.start == "path /weights"


def test_a_parameter_that_a_lenient_load_left_out_is_missing():
    state = network(1).state_dict()
    del state["1.weight"]
    proof = load(state, strict=False)
    assert proof.missing == ("1.weight",)
    assert proof.share == pytest.approx(18 / 26)


def test_a_part_the_model_does_not_use_is_no_fault():
    state = {**network(1).state_dict(), "decoder.weight": torch.full((5,), 7.0)}
    proof = load(state, strict=False)
    assert (proof.missing, proof.unused) == ((), {"decoder": 1})


def test_names_do_not_matter_and_neither_does_half_precision():
    state = {key: value.half() for key, value in network(1).state_dict().items()}
    proof = load(state, wrap=lambda module: torch.nn.ModuleDict({"wrapper": module}))
    assert proof.share == 1.0
    assert ("0.bias", "wrapper.0.bias") in proof.key_map


def test_values_that_changed_after_loading_are_missing():
    def redrawn(module):
        torch.nn.init.ones_(module[0].weight)
        return module

    assert load(network(1).state_dict(), wrap=redrawn).missing == ("0.weight",)


def test_a_model_that_loaded_nothing_proves_nothing():
    with watching_loads() as given:
        module = network()
    proof = given.proof(module, "published weights", "id", None)
    assert (proof.sha256, proof.share) == (None, 0.0)


def test_a_file_is_named_by_its_own_digest(tmp_path):
    path = tmp_path / "weights.pt"
    path.write_bytes(b"weights")
    with watching_loads() as given:
        module = network()
        module.load_state_dict(network(1).state_dict())
    proof = given.proof(module, "path", "id", path)
    assert proof.sha256 == hashlib.sha256(b"weights").hexdigest()


def test_loading_is_as_it_was_afterwards():
    before = torch.nn.Module.load_state_dict
    with pytest.raises(RuntimeError, match="Missing key"), watching_loads():
        network().load_state_dict({})
    assert torch.nn.Module.load_state_dict is before
