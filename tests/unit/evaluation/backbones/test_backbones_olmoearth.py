"""OlmoEarth of every version: real times, masks, bands that are lacking."""

import json

import numpy as np
import pytest
import torch
from rslearn.train.model_context import ModelContext, RasterImage

from geofm_assets.core.errors import WeightsError
from geofm_assets.evaluation.backbones.build import build_model
from geofm_assets.evaluation.backbones.inputs import read_cube
from geofm_assets.evaluation.backbones.normalize import olmoearth_statistics
from geofm_assets.evaluation.backbones.olmoearth import BANDS, OlmoEarthModel
from geofm_assets.imagery.normalize import normalize
from geofm_assets.models.architecture import architecture, bundle_config, model_config
from geofm_assets.models.config import EncoderSpec
from geofm_assets.models.encoders import build_encoder
from tests.backbone_samples import BANDS as STORED
from tests.backbone_samples import ENTRIES, LANDSAT, S1, S2, changed, entry, sample

VERSIONS = ("olmoearth_v1_nano", "olmoearth_v1_1_nano", "olmoearth_v1_2_nano")
BAND_SETS = {"olmoearth_v1_nano": 3, "olmoearth_v1_1_nano": 1, "olmoearth_v1_2_nano": 1}


@pytest.fixture(scope="module", params=VERSIONS)
def model(request):
    return build_model(request.param)


@pytest.fixture(scope="module")
def v1():
    return build_model("olmoearth_v1_nano")


@pytest.fixture(scope="module")
def v1_2():
    return build_model("olmoearth_v1_2_nano")


def embed(model, samples, entries=ENTRIES, patch=4, rule="pretrained"):
    return model.embed(samples, rule, entries, patch)


def test_bands_are_in_the_stored_order_of_the_platform():
    from geofm_assets.imagery.bands import LAYERS

    assert all(BANDS[name] == layer.band_names for name, layer in LAYERS.items())


def test_tokens_are_those_of_the_training_path(model):
    """The same weights, the same complete sample, through rslearn's own input preparation."""
    one = sample()
    inputs = {}
    for name in (S2, S1):
        cube = read_cube(one, name, BANDS[name])
        cthw = normalize(cube.values, name).transpose(1, 0, 2, 3)
        inputs[name] = RasterImage(torch.from_numpy(cthw.copy()), list(cube.timestamps))
    module = build_encoder(EncoderSpec(name=model.info.name), 4).module.eval()
    with torch.no_grad():
        theirs = module.backbone(ModelContext(inputs=[inputs], metadatas=[])).feature_maps[0]
    ours = embed(model, [one]).values.permute(0, 4, 1, 2, 3)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_there_is_a_token_for_each_modality_time_and_band_set(model):
    tokens = embed(model, [sample(months=(5, 6))])
    sets = BAND_SETS[model.info.name]
    assert tokens.modality == (0,) * (2 * sets) + (1,) * 2


def test_a_patch_without_data_is_not_valid(model):
    def blank(values):
        values[:, :, :4, :4] = np.nan

    tokens = embed(model, [changed(sample(), S2, blank)])
    s2 = [i for i, owner in enumerate(tokens.modality) if owner == 0]
    assert not tokens.valid[0, 0, 0, s2].any()
    assert tokens.valid[0, 1, 1, s2].all()
    assert tokens.valid[0, 0, 0, len(s2) :].all()


def test_a_patch_without_data_is_not_read_as_the_mean(v1_2):
    """Its neighbours see that nothing is there: filling it with the mean would change them."""
    means, _ = olmoearth_statistics(S2, STORED[S2])

    def fill(values):
        values[:, :, :4, :4] = np.array(means)[None, :, None, None]

    gapped = changed(sample(), S2, lambda v: v[:, :, :4, :4].fill(np.nan))
    first, second = (embed(v1_2, [s]).values for s in (gapped, changed(sample(), S2, fill)))
    assert not torch.allclose(first[0, 1, 1], second[0, 1, 1], atol=1e-4)


def test_a_complete_sample_keeps_its_bits_beside_an_incomplete_one(v1_2):
    """They never share a pass, so the complete one is encoded without a mask either way."""
    gapped = changed(sample("g", seed=2), S2, lambda v: v[:, :, :4, :4].fill(np.nan))
    together = embed(v1_2, [gapped, sample()]).values[1]
    assert torch.equal(together, embed(v1_2, [sample()]).values[0])


def test_a_month_that_is_missing_is_not_valid(v1_2):
    lacking = changed(sample(), S2, lambda values: values[1].fill(np.nan))
    tokens = embed(v1_2, [lacking])
    assert tokens.valid[0, 0, 0].tolist() == [True, False, True, True, True, True]


def test_the_month_of_the_year_matters_to_v1(v1):
    first, second = (embed(v1, [sample(months=m)]).values for m in ((5, 6, 7), (9, 10, 11)))
    assert not torch.allclose(first, second, atol=1e-4)


def test_the_gap_between_months_matters_to_v1_2(v1_2):
    first, second = (embed(v1_2, [sample(months=m)]).values for m in ((5, 6, 7), (1, 6, 11)))
    assert not torch.allclose(first, second, atol=1e-4)


def test_two_images_at_one_time_are_two_tokens(v1_2):
    tokens = embed(v1_2, [sample(months=(5, 5))])
    assert tokens.valid.all()
    assert tokens.values.shape[3] == 4


def test_a_band_set_nobody_measured_is_masked_in_v1(v1):
    bands = tuple(b for b in BANDS[S2] if b not in ("B01", "B09"))
    tokens = embed(v1, [sample(modalities=(S2,), bands=bands)], {S2: entry(S2, bands=bands)})
    assert tokens.valid[0, 0, 0].tolist() == [True, True, False] * 3


def test_a_lacking_band_is_copied_from_its_neighbour_in_v1(v1):
    """B8A is nearest to B08, so a sample that has B08 in its place is the same to v1."""
    whole = sample(modalities=(S2,))
    names = list(whole.images[S2].bands)

    def copy(values):
        values[:, names.index("B8A")] = values[:, names.index("B08")]

    def lack(values):
        values[:, names.index("B8A")] = np.nan

    copied, lacking = (embed(v1, [changed(whole, S2, how)]).values for how in (copy, lack))
    torch.testing.assert_close(copied, lacking, atol=1e-6, rtol=1e-5)


def test_a_copied_band_has_its_sources_statistics_under_the_datasets_rule(v1):
    """A dataset without B8A has no statistics of it; the copy of B08 is normalised as B08 is."""
    bands = tuple(b for b in BANDS[S2] if b != "B8A")
    read = []
    hook = v1.encoder.register_forward_pre_hook(lambda _, args: read.append(args[0]))
    try:
        one = sample(modalities=(S2,), bands=bands)
        embed(v1, [one], {S2: entry(S2, bands=bands)}, rule="dataset")
    finally:
        hook.remove()
    values = read[0].sentinel2_l2a[0]
    source, copied = (values[..., BANDS[S2].index(b)] for b in ("B08", "B8A"))
    assert source.std() > 0.01
    assert torch.equal(copied, source)


def test_a_lacking_band_is_zero_to_later_versions(v1_2):
    """Normalised to 0, the value those versions saw for a dropped band."""
    from geofm_assets.imagery.bands import SENTINEL2_L2A

    whole = sample(modalities=(S2,))
    index = whole.images[S2].bands.index("B8A")
    zero = next(b.low for b in SENTINEL2_L2A.bands if b.name == "B8A")
    zeroed = changed(whole, S2, lambda v: v[:, index].fill(zero))
    lacking = changed(whole, S2, lambda v: v[:, index].fill(np.nan))
    first, second = (embed(v1_2, [one]).values for one in (zeroed, lacking))
    torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-4)


def test_landsat_is_read(v1_2):
    tokens = embed(v1_2, [sample(modalities=(LANDSAT,))], {LANDSAT: entry(LANDSAT)})
    assert tokens.valid.all()
    assert tokens.modality == (2, 2, 2)


def test_a_modality_the_dataset_does_not_claim_is_not_read(v1_2):
    tokens = embed(v1_2, [sample()], {S2: entry(S2)})
    assert set(tokens.modality) == {0}


def test_the_datasets_rule_is_another(v1_2):
    first, second = (embed(v1_2, [sample()], rule=r).values for r in ("pretrained", "dataset"))
    assert not torch.allclose(first, second, atol=1e-3)


def test_another_seed_is_another_model():
    ids = {build_model(f"olmoearth_v1_2_nano@seed:{s}").info.model_id for s in (0, 1)}
    assert len(ids) == 2


def test_two_versions_are_two_models():
    assert len({build_model(name).info.model_id for name in VERSIONS}) == 3


def test_weights_of_a_folder_are_loaded(tmp_path):
    torch.manual_seed(5)
    state = model_config(architecture("olmoearth_v1_2_nano")).build().state_dict()
    (tmp_path / "config.json").write_text(
        json.dumps(bundle_config(architecture("olmoearth_v1_2_nano")))
    )
    torch.save(state, tmp_path / "weights.pth")
    found = build_model(f"olmoearth_v1_2_nano@path:{tmp_path}")
    assert found.info.start == f"path {tmp_path}"
    own = found.encoder.state_dict()
    assert all(torch.equal(value, state[f"encoder.{key}"]) for key, value in own.items())


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"There is no folder .*nowhere"):
        build_model(f"olmoearth_v1_nano@path:{tmp_path}/nowhere")


def test_a_hub_nobody_gave_is_refused():
    with pytest.raises(WeightsError, match=r"need a hub, and none was given.*@path:FOLDER"):
        build_model("olmoearth_v1_nano@hub")


@pytest.fixture(scope="module")
def small_v1_3():
    """v1.3 in miniature: its own configuration at the nano width."""
    from olmoearth_pretrain_minimal.olmoearth_pretrain_v1.nn.flexi_vit import AttentionPoolerConfig

    nano = build_model("olmoearth_v1_2_nano")
    config = model_config(architecture("olmoearth_v1_2_nano")).encoder_config
    config.attention_pooler_config = AttentionPoolerConfig(
        pooler_dim=128, pooler_depth=1, attn_dim=128, student_dims=[64], student_output_norm=True
    )
    torch.manual_seed(0)
    encoder = config.build()
    encoder.restrict_input_modalities([S2, S1, LANDSAT])
    encoder._maybe_get_attn_mask = lambda mask, fast_pass: None if fast_pass else mask
    return OlmoEarthModel(encoder, nano.info, copy_bands=False, locations=True)


def test_v1_3_reads_one_location_token_a_place(small_v1_3):
    tokens = embed(small_v1_3, [sample(), sample("b", modalities=(S2,), seed=3)])
    assert tokens.values.shape == (2, 2, 2, 1, 128)
    assert tokens.modality == (0,)
    assert tokens.valid.all()


def test_v1_3_samples_do_not_depend_on_their_neighbours(small_v1_3):
    lacking = changed(sample("b", seed=3), S2, lambda v: v[:, :, :4, :4].fill(np.nan))
    together = embed(small_v1_3, [sample(), lacking]).values
    for index, one in enumerate((sample(), lacking)):
        alone = embed(small_v1_3, [one]).values[0]
        torch.testing.assert_close(together[index], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_v1_3_base_runs():
    found = build_model("olmoearth_v1_3_base")
    tokens = embed(found, [sample(months=(5,))], patch=8)
    assert tokens.values.shape == (1, 1, 1, 1, 768)
    assert tokens.values.isfinite().all()
    assert found.encoder.attention_pooler is not None
