"""What every model keeps to, whichever it is."""

import numpy as np
import pytest
import torch

from geofm_assets.evaluation.backbones.build import build_model
from tests.backbone_samples import ENTRIES, S1, S2, changed, sample

NAMES = (
    "olmoearth_v1_nano",
    "olmoearth_v1_1_nano",
    "olmoearth_v1_2_nano",
    "presto",
    "galileo_nano",
    "raw_pixels",
    "image_statistics",
)
GAPPED = changed(sample("g", seed=4), S2, lambda v: v[:, :, :4, :4].fill(np.nan))
LONE = sample("l", modalities=(S2,), seed=5)
SHORT = sample("s", months=(6,), seed=6)
BLANK = changed(changed(sample("n"), S2, lambda v: v.fill(np.nan)), S1, lambda v: v.fill(np.nan))
MIXED = [sample("a"), GAPPED, LONE, SHORT, sample("b", seed=7)]


@pytest.fixture(scope="module", params=NAMES)
def model(request):
    return build_model(request.param)


def embed(model, samples, rule=None, patch=None):
    rule = rule or model.info.normalizations[0]
    return model.embed(samples, rule, ENTRIES, patch or model.info.patch_sizes[0])


def means(tokens):
    """Mean over the valid tokens of each place: (B, h, w, D)."""
    mask = tokens.valid.unsqueeze(-1)
    kept = torch.where(mask, tokens.values, 0.0).sum(3)
    return kept / mask.sum(3).clamp(min=1)


def test_tokens_are_laid_out_as_promised(model):
    tokens, patch = embed(model, MIXED), model.info.patch_sizes[0]
    side = 8 // patch
    assert tokens.values.dtype == torch.float32
    assert tokens.valid.dtype == torch.bool
    assert tokens.values.shape[:3] == (5, side, side)
    assert tokens.valid.shape == tokens.values.shape[:4]
    assert len(tokens.modality) == tokens.values.shape[3]
    assert model.info.embedding_size in (0, tokens.values.shape[4])
    assert not tokens.values.requires_grad


def test_every_rule_and_patch_size_runs(model):
    for rule in model.info.normalizations:
        for patch in model.info.patch_sizes:
            tokens = embed(model, [sample()], rule, patch)
            assert tokens.values.shape[1] == 8 // patch
            assert tokens.valid.all()
            assert tokens.values.isfinite().all()


def test_a_sample_does_not_depend_on_its_neighbours(model):
    together = means(embed(model, MIXED))
    for index, one in enumerate(MIXED):
        alone = means(embed(model, [one]))[0]
        torch.testing.assert_close(together[index], alone, atol=1e-5, rtol=1e-4)


def test_order_of_the_samples_does_not_matter(model):
    order = [3, 0, 4, 2, 1]
    straight = means(embed(model, MIXED))
    turned = means(embed(model, [MIXED[i] for i in order]))
    torch.testing.assert_close(turned, straight[order], atol=1e-5, rtol=1e-4)


def test_the_same_input_gives_the_same_bytes(model):
    first, second = embed(model, MIXED), embed(model, MIXED)
    assert torch.equal(first.values, second.values)
    assert torch.equal(first.valid, second.valid)


def test_nan_never_reaches_a_token(model):
    rng = np.random.default_rng(3)

    def pepper(values):
        values[rng.random(values.shape) < 0.4] = np.nan

    for rule in model.info.normalizations:
        tokens = embed(model, [changed(changed(sample(), S2, pepper), S1, pepper)], rule)
        assert tokens.values.isfinite().all()
        assert tokens.valid.any()


def test_a_sample_without_any_data_has_no_valid_token(model):
    tokens = embed(model, [BLANK, sample()])
    assert not tokens.valid[0].any()
    assert tokens.valid[1].all()
    assert (tokens.values[0] == 0).all()


def test_samples_are_not_changed(model):
    one = changed(sample(), S2, lambda v: v[0, 0].fill(np.nan))
    kept = {name: i.values.copy() for name, i in one.images.items()}
    embed(model, [one])
    for name, values in kept.items():
        np.testing.assert_array_equal(one.images[name].values, values)


def test_different_images_give_different_tokens(model):
    tokens = means(embed(model, [sample(seed=1), sample(seed=2)]))
    assert not torch.allclose(tokens[0], tokens[1], atol=1e-4)


def test_the_model_says_what_it_started_from(model):
    assert model.info.start in ("random initialisation, seed 0", "no weights")
    assert len(model.info.model_id) == 64
    assert not model.info.simulated


def test_the_same_name_is_the_same_model(model):
    again = build_model(model.info.name)
    assert again.info == model.info
    assert torch.equal(embed(again, [sample()]).values, embed(model, [sample()]).values)
