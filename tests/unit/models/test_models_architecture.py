"""Architectures by name equal what olmoearth_pretrain_minimal itself builds."""

import pytest
import torch
from olmoearth_pretrain_minimal import ModelID, OlmoEarthPretrain_v1

from geofm_assets.core.errors import WeightsError
from geofm_assets.models.architecture import ENCODER_MODALITIES, architecture, model_config
from geofm_assets.models.names import ENCODER_NAMES, OLMOEARTH_WIDTHS


def test_names_are_the_published_models():
    hub_ids = {architecture(name).hub_id for name in OLMOEARTH_WIDTHS}
    # v1.3 reads out through location tokens, which the pooling head here does not know
    published = {m.repo_id() for m in ModelID if m is not ModelID.OLMOEARTH_V1_3_BASE}
    assert hub_ids == published


@pytest.mark.parametrize("version", ["v1", "v1_1", "v1_2"])
def test_nano_has_the_tensors_the_package_builds(version):
    arch = architecture(f"olmoearth_{version}_nano")
    ours = model_config(arch).build().state_dict()
    theirs = OlmoEarthPretrain_v1("nano", version.replace("_", ".")).model.state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


def test_widths_are_those_of_the_package():
    for name, width in OLMOEARTH_WIDTHS.items():
        assert model_config(architecture(name)).encoder_config.embedding_size == width


def test_encoder_modalities_are_those_of_the_package():
    from olmoearth_pretrain_minimal.model_loader import ENCODER_INPUT_MODALITY_NAMES

    for names in ENCODER_INPUT_MODALITY_NAMES.values():
        assert sorted(names) == sorted(ENCODER_MODALITIES)


def test_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(WeightsError, match=r"'olmoearth_v9_nano'.*olmoearth_v1_2_nano.*presto"):
        architecture("olmoearth_v9_nano")


def test_v1_3_is_known_but_not_fine_tuned():
    """Its tensors are those the package builds, read without building them."""
    arch = architecture("olmoearth_v1_3_base")
    assert (arch.version, arch.embedding_size) == ("v1_3", 768)
    assert arch.hub_id == ModelID.OLMOEARTH_V1_3_BASE.repo_id()
    assert arch.name not in ENCODER_NAMES
    with torch.device("meta"):
        ours = model_config(arch).build().state_dict()
        theirs = OlmoEarthPretrain_v1("base", "v1.3").model.state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}
