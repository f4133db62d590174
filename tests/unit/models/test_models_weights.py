"""What an encoder starts from, and the proof of it."""

import json

import pytest
import torch
from pydantic import ValidationError

from geofm_assets.core.errors import ConfigError, WeightsError
from geofm_assets.core.hashing import sha256_file
from geofm_assets.models.architecture import architecture, bundle_config, model_config
from geofm_assets.models.config import EncoderSpec, WeightsConfig
from geofm_assets.models.encoders import build_encoder
from geofm_assets.models.proof import model_id, read_state, state_digest

NANO = "olmoearth_v1_2_nano"
KEY = "encoder.norm.weight"


@pytest.fixture(scope="module")
def full_state():
    """All three nets of a seeded random model, as a published weights.pth holds them."""
    torch.manual_seed(7)
    return model_config(architecture(NANO)).build().state_dict()


@pytest.fixture
def write_bundle(tmp_path, full_state):
    """Write a model folder, its state changed by the caller."""

    def write(change=lambda state: None, name=NANO):
        state = dict(full_state)
        change(state)
        (tmp_path / "config.json").write_text(json.dumps(bundle_config(architecture(name))))
        torch.save(state, tmp_path / "weights.pth")
        return EncoderSpec(name=NANO, source="path", location=str(tmp_path))

    return write


def test_random_start_repeats_bit_for_bit():
    first, second = (build_encoder(EncoderSpec(name=NANO, seed=3), 4) for _ in range(2))
    assert state_digest(first.module.state_dict()) == state_digest(second.module.state_dict())


def test_random_starts_of_two_seeds_differ():
    ids = {build_encoder(EncoderSpec(name=NANO, seed=s), 4).proof.model_id for s in (0, 1)}
    assert len(ids) == 2


def test_random_start_leaves_the_global_generator_alone():
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    build_encoder(EncoderSpec(name=NANO), 4)
    assert torch.equal(torch.rand(1), expected)


def test_random_start_says_so_and_claims_nothing():
    proof = build_encoder(EncoderSpec(name=NANO, seed=5), 4).proof
    assert proof.start == "random initialisation, seed 5"
    assert (proof.share, proof.tensors_loaded, proof.sha256) == (0.0, 0, None)


def test_folder_is_loaded_whole(write_bundle, full_state, tmp_path):
    built = build_encoder(write_bundle(), 4)
    loaded = built.module.backbone.model.state_dict()
    assert all(torch.equal(v, full_state[f"encoder.{k}"]) for k, v in loaded.items())


def test_proof_of_a_folder_counts_and_hashes(write_bundle, tmp_path):
    proof = build_encoder(write_bundle(), 4).proof
    assert proof.start == f"path {tmp_path}"
    assert proof.sha256 == sha256_file(tmp_path / "weights.pth")
    assert proof.share == 1.0
    assert proof.tensors_loaded == proof.tensors_total == len(proof.key_map)
    assert proof.parameters_loaded == proof.parameters_total == 1_698_096
    assert set(proof.unused) == {"decoder", "target_encoder"}


def test_proof_is_json(write_bundle):
    proof = build_encoder(write_bundle(), 4).proof
    assert json.loads(json.dumps(proof.as_dict()))["key_map"][0][0].startswith("encoder.")


def test_missing_key_is_refused(write_bundle):
    with pytest.raises(WeightsError, match=r"1 encoder key is missing: norm\.weight at .*weights"):
        build_encoder(write_bundle(lambda s: s.pop(KEY)), 4)


def test_unexpected_key_is_refused(write_bundle):
    spec = write_bundle(lambda s: s.update({"encoder.extra": torch.zeros(1)}))
    with pytest.raises(WeightsError, match="1 encoder key is unexpected: extra"):
        build_encoder(spec, 4)


def test_many_missing_keys_are_counted_and_some_named(write_bundle):
    def drop(state):
        for key in [k for k in state if k.startswith("encoder.blocks.0")]:
            del state[key]

    with pytest.raises(WeightsError, match=r"\d+ encoder keys are missing: .*, …"):
        build_encoder(write_bundle(drop), 4)


def test_wrong_shape_is_refused(write_bundle):
    with pytest.raises(WeightsError, match=r"'norm.weight' has shape \(3,\).*wants \(128,\)"):
        build_encoder(write_bundle(lambda s: s.update({KEY: torch.ones(3)})), 4)


def test_nan_is_refused(write_bundle):
    with pytest.raises(WeightsError, match="holds NaN or infinity"):
        build_encoder(write_bundle(lambda s: s.update({KEY: torch.full((128,), torch.nan)})), 4)


def test_allowed_missing_key_is_listed(write_bundle):
    spec = write_bundle(lambda s: s.pop(KEY)).model_copy(update={"allow": ("norm.*",)})
    proof = build_encoder(spec, 4).proof
    assert proof.missing == ("norm.weight",)
    assert proof.share < 1.0


def test_allowed_unexpected_key_is_listed(write_bundle):
    spec = write_bundle(lambda s: s.update({"encoder.extra": torch.zeros(1)}))
    proof = build_encoder(spec.model_copy(update={"allow": ("extra",)}), 4).proof
    assert proof.unexpected == ("extra",)


def test_allowed_missing_key_starts_from_the_seed(write_bundle):
    spec = write_bundle(lambda s: s.pop(KEY)).model_copy(update={"allow": ("norm.*",)})
    assert build_encoder(spec, 4).proof.model_id == build_encoder(spec, 4).proof.model_id


def test_folder_of_another_architecture_is_refused(write_bundle):
    spec = write_bundle(name="olmoearth_v1_2_tiny")
    with pytest.raises(WeightsError, match="another architecture than olmoearth_v1_2_nano"):
        build_encoder(spec, 4)


def test_version_is_part_of_the_architecture(write_bundle):
    with pytest.raises(WeightsError, match="another architecture"):
        build_encoder(write_bundle(name="olmoearth_v1_1_nano"), 4)


def test_folder_without_configuration_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"No model configuration at .*config\.json"):
        build_encoder(EncoderSpec(name=NANO, source="path", location=str(tmp_path)), 4)


def test_folder_without_weights_is_refused(write_bundle, tmp_path):
    spec = write_bundle()
    (tmp_path / "weights.pth").unlink()
    with pytest.raises(WeightsError, match=r"No weights file at .*weights\.pth"):
        build_encoder(spec, 4)


def test_truncated_weights_are_refused(write_bundle, tmp_path):
    spec = write_bundle()
    path = tmp_path / "weights.pth"
    path.write_bytes(path.read_bytes()[:10_000])
    with pytest.raises(WeightsError, match="cannot be read"):
        build_encoder(spec, 4)


def test_weights_never_run_code(tmp_path):
    class Malice:
        def __reduce__(self):
            return print, ("ran",)

    torch.save({"encoder.x": Malice()}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="cannot be read"):
        read_state(tmp_path / "w.pth")


def test_anything_but_tensors_is_refused(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="holds a int, not a tensor"):
        read_state(tmp_path / "w.pth")


def test_model_id_is_of_weights_and_configuration():
    state = {"a": torch.ones(2), "b": torch.zeros(3)}
    ids = {
        model_id(state, {"x": 1}),
        model_id(dict(reversed(state.items())), {"x": 1}),
        model_id(state, {"x": 2}),
        model_id(state | {"a": torch.full((2,), 2.0)}, {"x": 1}),
    }
    assert len(ids) == 3


def test_patch_size_beyond_the_encoder_is_refused():
    with pytest.raises(WeightsError, match=r"Patch size 9 is not in 1\.\.8"):
        build_encoder(EncoderSpec(name=NANO), 9)


def test_path_without_a_path_is_refused():
    with pytest.raises(ConfigError, match=r"need a path at weights\.location"):
        WeightsConfig(source="path").spec(NANO)


def test_location_serves_several_encoders():
    assert WeightsConfig(source="path", location="/m/{name}").spec(NANO).location == f"/m/{NANO}"


def test_unknown_setting_is_refused():
    with pytest.raises(ValidationError, match="revision"):
        WeightsConfig(revision="main")
