"""Models that rslearn wraps: the adapter, and one clear line where something is missing."""

import importlib.util

import numpy as np
import pytest
import torch
from rslearn.models.component import FeatureExtractor, FeatureMaps
from rslearn.models.use_croma import ViT

from geofm_assets.core.errors import WeightsError
from geofm_assets.core.hashing import sha256_file
from geofm_assets.evaluation.backbones.base import ModelInfo
from geofm_assets.evaluation.backbones.build import build_model
from geofm_assets.evaluation.backbones.names import WRAPPED
from geofm_assets.evaluation.backbones.normalize import RULES, std_factors
from geofm_assets.evaluation.backbones.wrapped import WrappedModel
from geofm_assets.evaluation.backbones.wrapped_builders import PACKAGES, Reading
from geofm_assets.models.hub import ModelHub
from tests.backbone_samples import RANGE, S1, S2, changed, entry, sample, statistics

BANDS = ("B04", "B03", "B02")
ENTRIES = {S2: entry(S2), S1: entry(S1)}


class Averages(FeatureExtractor):
    """Means over a grid of 4 x 4 cells, whatever the image's size: what a wrapper looks like."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.seen = []

    def forward(self, context):
        images = torch.stack([inp["image"].image.mean(1) for inp in context.inputs])
        self.seen += [inp["image"].image.clone() for inp in context.inputs]
        return FeatureMaps([torch.nn.functional.adaptive_avg_pool2d(images, 4)])


def wrapped(rules=("dataset",), **options):
    reading = Reading("panopticon", "image", S2, BANDS, 3, **options)
    info = ModelInfo("w", "0" * 64, "nothing", 3, {S2: BANDS}, (8, 4, 2, 1), rules)
    return WrappedModel(Averages(), reading, info, torch.device("cpu"))


def test_each_image_is_a_token():
    tokens = wrapped().embed([sample()], "dataset", ENTRIES, 2)
    assert tokens.values.shape == (1, 4, 4, 3, 3)
    assert tokens.modality == (0, 0, 0)


def test_a_series_is_one_token():
    tokens = wrapped(series=True).embed([sample(), sample("b", months=(5,))], "dataset", ENTRIES, 2)
    assert tokens.values.shape == (2, 4, 4, 1, 3)
    assert tokens.valid.all()


@pytest.mark.parametrize("patch_size", [8, 4, 2, 1])
def test_the_map_comes_to_one_token_a_patch(patch_size):
    tokens = wrapped().embed([sample()], "dataset", ENTRIES, patch_size)
    side = 8 // patch_size
    assert tokens.values.shape == (1, side, side, 3, 3)


def test_a_finer_map_is_averaged():
    model, one = wrapped(), sample(months=(5,))
    fine = model.embed([one], "dataset", ENTRIES, 2).values
    coarse = model.embed([one], "dataset", ENTRIES, 8).values
    torch.testing.assert_close(fine.mean((1, 2)), coarse[:, 0, 0], atol=1e-5, rtol=1e-4)


def test_bands_and_normalisation_are_the_models():
    model, one = wrapped(), sample(months=(5,))
    model.embed([one], "dataset", ENTRIES, 8)
    known = statistics(*RANGE[S2])
    raw = one.images[S2].values[0, one.images[S2].bands.index("B04")]
    (seen,) = model.module.seen
    np.testing.assert_allclose(seen[0, 0].numpy(), (raw - known.mean) / known.std, atol=1e-5)


def test_its_own_statistics_are_used_where_it_has_some():
    own = std_factors(RULES["prithvi"]["pretrained"], [1000.0] * 3, [500.0] * 3)
    model, one = wrapped(("pretrained", "dataset"), pretrained=own), sample(months=(5,))
    model.embed([one], "pretrained", ENTRIES, 8)
    raw = one.images[S2].values[0, one.images[S2].bands.index("B02")]
    np.testing.assert_allclose(model.module.seen[0][2, 0].numpy(), (raw - 1000) / 500, atol=1e-5)


def test_a_second_normalisation_follows_the_first():
    model = wrapped(mean=(0.5,) * 3, std=(0.25,) * 3)
    one = sample(months=(5,))
    model.embed([one], "dataset", ENTRIES, 8)
    plain = wrapped()
    plain.embed([one], "dataset", ENTRIES, 8)
    expected = (plain.module.seen[0] - 0.5) / 0.25
    torch.testing.assert_close(model.module.seen[0], expected, atol=1e-5, rtol=1e-5)


def test_a_missing_image_is_not_valid_and_nan_stays_out():
    lacking = changed(sample(), S2, lambda v: v[1].fill(np.nan))
    lacking = changed(lacking, S2, lambda v: v[0, 1, :3].fill(np.nan))
    tokens = wrapped().embed([lacking, sample("b")], "dataset", ENTRIES, 4)
    assert tokens.valid[0].all(dim=(0, 1)).tolist() == [True, True, False]
    assert tokens.values.isfinite().all()


def test_a_sample_does_not_depend_on_its_neighbours():
    model, samples = wrapped(), [sample(str(i), seed=i) for i in range(12)]
    together = model.embed(samples, "dataset", ENTRIES, 4).values
    alone = model.embed([samples[11]], "dataset", ENTRIES, 4).values
    torch.testing.assert_close(together[11:], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", sorted(WRAPPED))
def test_missing_weights_or_packages_are_one_clear_line(name, tmp_path):
    with pytest.raises(WeightsError) as caught:
        build_model(f"{name}@path:{tmp_path}")
    message = str(caught.value)
    assert name in message
    assert "\n" not in message
    assert caught.value.fix


@pytest.mark.parametrize(("family", "package"), sorted(PACKAGES.items()))
def test_a_missing_package_is_named(family, package):
    if importlib.util.find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    name = next(n for n in WRAPPED if n.startswith(family))
    with pytest.raises(WeightsError, match=rf"needs the package {package}, .*pip install"):
        build_model(f"{name}@hub", hub=ModelHub())


def test_weights_that_do_not_fit_are_one_clear_line(tmp_path):
    torch.save({"s1_encoder": {}}, tmp_path / "CROMA_base.pt")
    with pytest.raises(WeightsError, match="croma_base_s1 could not be built: "):
        build_model(f"croma_base_s1@path:{tmp_path}")


@pytest.mark.slow
def test_croma_runs_on_generated_weights(tmp_path):
    """The real architecture behind the real wrapper, its weights drawn at random."""
    torch.manual_seed(0)
    encoder = ViT(dim=768, depth=6, in_channels=2)
    ffn = torch.nn.Sequential(
        torch.nn.LayerNorm(768),
        torch.nn.Linear(768, 3072),
        torch.nn.GELU(),
        torch.nn.Linear(3072, 768),
    )
    state = {"s1_encoder": encoder.state_dict(), "s1_GAP_FFN": ffn.state_dict()}
    torch.save(state, tmp_path / "CROMA_base.pt")
    model = build_model(f"croma_base_s1@path:{tmp_path}")
    samples = [sample(months=(5,)), sample("b", months=(6,), seed=1)]
    tokens = model.embed(samples, "dataset", ENTRIES, 4)
    assert model.info.start == f"path {tmp_path}"
    proof = model.info.proof
    assert (proof.share, proof.missing) == (1.0, ())
    assert proof.sha256 == sha256_file(tmp_path / "CROMA_base.pt")
    assert tokens.values.shape == (2, 2, 2, 1, 768)
    assert tokens.valid.all()
    assert tokens.values.isfinite().all()
    alone = model.embed(samples[1:], "dataset", ENTRIES, 4).values[0]
    torch.testing.assert_close(tokens.values[1], alone, atol=1e-4, rtol=1e-3)


def test_gated_weights_say_so():
    with pytest.raises(WeightsError, match=r"given out by their owner only.*@path:FOLDER"):
        build_model("dinov3_vitl16_sat@hub", hub=ModelHub())


def test_torch_hubs_folder_is_put_back(tmp_path):
    (tmp_path / "panopticon-FM_panopticon_main").mkdir()
    before = torch.hub.get_dir()
    from geofm_assets.evaluation.backbones.names import parse_model
    from geofm_assets.evaluation.backbones.wrapped_builders import _torch_hub

    choice = parse_model(f"panopticon@path:{tmp_path}")
    with _torch_hub(choice, "panopticon-FM/panopticon") as start:
        assert torch.hub.get_dir() == str(tmp_path)
    assert start == f"path {tmp_path}"
    assert torch.hub.get_dir() == before
