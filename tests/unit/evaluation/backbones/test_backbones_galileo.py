"""Galileo: tokens by moment and band group, weights from a folder."""

import json

import numpy as np
import pytest
import torch
from rslearn.models.galileo.galileo import GalileoModel as Theirs
from rslearn.models.galileo.galileo import GalileoSize
from rslearn.train.model_context import ModelContext, RasterImage

from geofm_assets.core.errors import WeightsError
from geofm_assets.evaluation.backbones.build import build_model
from geofm_assets.evaluation.backbones.galileo import BANDS
from geofm_assets.evaluation.backbones.inputs import read_cube
from tests.backbone_samples import BANDS as STORED
from tests.backbone_samples import ENTRIES, S1, S2, changed, sample

NANO = {"embedding_size": 128, "depth": 4, "num_heads": 8, "mlp_ratio": 4}


@pytest.fixture(scope="module")
def galileo():
    return build_model("galileo_nano")


@pytest.fixture
def folder(tmp_path, galileo):
    """A copy of the published repository's layout, with the weights of `galileo`."""
    inner = tmp_path / "models" / "nano"
    inner.mkdir(parents=True)
    (inner / "config.json").write_text(json.dumps({"model": {"encoder": NANO}}))
    torch.save(galileo.encoder.state_dict(), inner / "encoder.pt")
    return tmp_path


def embed(model, samples, rule="pretrained"):
    return model.embed(samples, rule, ENTRIES, 4)


def test_there_is_a_token_for_each_time_and_band_group(galileo):
    tokens = embed(galileo, [sample(months=(5, 6))])
    assert tokens.values.shape == (1, 2, 2, 12, 128)
    assert tokens.modality == ((0,) * 5 + (1,)) * 2


def test_tokens_are_those_of_rslearns_wrapper(galileo, folder):
    """Its map is the mean over times, then over band groups, of a complete sample."""
    one = sample()
    inputs = {}
    for key, name in (("s1", S1), ("s2", S2)):
        cube = read_cube(one, name, BANDS[name])
        cthw = torch.from_numpy(cube.values.transpose(1, 0, 2, 3).copy())
        inputs[key] = RasterImage(cthw, list(cube.timestamps))
    wrapper = Theirs(GalileoSize.NANO, 4, pretrained_path=folder, autocast_dtype=None).eval()
    with torch.no_grad():
        theirs = wrapper(ModelContext(inputs=[inputs], metadatas=[])).feature_maps[0]
    ours = embed(galileo, [one]).values.mean(3).permute(0, 3, 1, 2)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)


def test_a_patch_without_data_is_not_valid(galileo):
    gapped = changed(sample(), S2, lambda v: v[:, :, :4, :4].fill(np.nan))
    tokens = embed(galileo, [gapped])
    s2 = [i for i, owner in enumerate(tokens.modality) if owner == 0]
    s1 = [i for i, owner in enumerate(tokens.modality) if owner == 1]
    assert not tokens.valid[0, 0, 0, s2].any()
    assert tokens.valid[0, 0, 0, s1].all()
    assert tokens.valid[0, 1, 1].all()


def test_a_band_group_nobody_measured_is_masked(galileo):
    index = STORED[S2].index("B8A")
    tokens = embed(galileo, [changed(sample(), S2, lambda v: v[:, index].fill(np.nan))])
    assert tokens.valid[0, 0, 0, :6].tolist() == [True, True, True, False, True, True]


def test_the_month_of_the_year_matters(galileo):
    first, second = (embed(galileo, [sample(months=m)]).values for m in ((1, 2, 3), (6, 7, 8)))
    assert not torch.allclose(first, second, atol=1e-4)


def test_weights_of_a_folder_are_loaded(galileo, folder):
    for given in (folder, folder / "models" / "nano"):
        found = build_model(f"galileo_nano@path:{given}")
        assert found.info.start == f"path {given}"
        assert found.info.model_id == galileo.info.model_id


def test_backbone_in_the_names_of_published_weights_is_dropped(galileo, folder):
    state = {f"blocks.backbone.{k[7:]}" if k.startswith("blocks.") else k: v
             for k, v in galileo.encoder.state_dict().items()}  # fmt: skip
    torch.save(state, folder / "models" / "nano" / "encoder.pt")
    assert build_model(f"galileo_nano@path:{folder}").info.model_id == galileo.info.model_id


def test_a_folder_of_another_size_is_refused(folder):
    with pytest.raises(WeightsError, match="No model configuration"):
        build_model(f"galileo_tiny@path:{folder}")
    with pytest.raises(WeightsError, match="another size than galileo_tiny"):
        build_model(f"galileo_tiny@path:{folder / 'models' / 'nano'}")


def test_weights_that_lack_a_tensor_are_refused(galileo, folder):
    state = galileo.encoder.state_dict()
    del state["norm.weight"]
    torch.save(state, folder / "models" / "nano" / "encoder.pt")
    with pytest.raises(WeightsError, match=r"1 encoder key is missing: norm\.weight"):
        build_model(f"galileo_nano@path:{folder}")


def test_sizes_have_the_published_widths():
    from geofm_assets.evaluation.backbones.galileo_weights import SIZES

    assert {name: width for name, (width, _, _) in SIZES.items()} == {
        "nano": 128,
        "tiny": 192,
        "base": 768,
    }
