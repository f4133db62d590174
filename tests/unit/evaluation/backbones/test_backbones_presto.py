"""Presto over pixels: masks of their own, units, the same answer as in training."""

import datetime as dt

import numpy as np
import pytest
import torch
from rslearn.train.model_context import ModelContext, RasterImage

from geofm_assets.core.errors import ModelInputError, WeightsError
from geofm_assets.evaluation.backbones.build import build_model
from geofm_assets.evaluation.backbones.inputs import read_cube
from geofm_assets.evaluation.samples.types import EvalSample, SampleImage
from geofm_assets.imagery.bands import LAYERS
from geofm_assets.imagery.normalize import normalize
from geofm_assets.models.config import EncoderSpec
from geofm_assets.models.encoders import build_encoder
from tests.backbone_samples import BANDS, ENTRIES, S1, S2, changed, entry, sample

SIZE = 3


@pytest.fixture(scope="module")
def presto():
    return build_model("presto")


def embed(model, samples, entries=ENTRIES, rule="pretrained"):
    return model.embed(samples, rule, entries, 1)


def test_tokens_are_the_features_of_the_training_path(presto):
    one = sample(size=SIZE)
    inputs = {}
    for name in (S2, S1):
        cube = read_cube(one, name, LAYERS[name].band_names)
        cthw = normalize(cube.values, name).transpose(1, 0, 2, 3)
        inputs[name] = RasterImage(torch.from_numpy(cthw.copy()), list(cube.timestamps))
    module = build_encoder(EncoderSpec(name="presto"), 1).module.eval()
    with torch.no_grad():
        theirs = module(ModelContext(inputs=[inputs], metadatas=[])).feature_maps[0]
    ours = embed(presto, [one]).values.squeeze(3).permute(0, 3, 1, 2)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_a_pixel_without_data_is_not_valid(presto):
    def blank(values):
        values[:, :, 0, 1] = np.nan

    gapped = changed(changed(sample(size=SIZE), S2, blank), S1, blank)
    valid = embed(presto, [gapped]).valid[0, :, :, 0]
    assert valid.sum() == SIZE * SIZE - 1
    assert not valid[0, 1]


def test_a_pixel_does_not_depend_on_the_others(presto):
    def cloud(values):
        values[1, :, 0, 0] = np.nan

    whole, clouded = sample(size=SIZE), changed(sample(size=SIZE), S2, cloud)
    first, second = (embed(presto, [one]).values[0] for one in (whole, clouded))
    torch.testing.assert_close(first[1:], second[1:], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(first[0, 0], second[0, 0], atol=1e-3)


def test_a_group_with_one_absent_band_is_absent(presto):
    """B05 to B07 are one group: without B05 the other two say nothing."""
    index = {b: BANDS[S2].index(b) for b in ("B05", "B06")}

    def lack(values):
        values[:, index["B05"]] = np.nan

    def lack_and_change(values):
        lack(values)
        values[:, index["B06"]] *= 1.5

    first, second = (
        embed(presto, [changed(sample(size=SIZE), S2, how)]).values
        for how in (lack, lack_and_change)
    )
    assert torch.equal(first, second)


def test_a_dataset_without_a_band_is_read(presto):
    bands = tuple(b for b in BANDS[S2] if b != "B8A")
    one = sample(size=SIZE, modalities=(S2,), bands=bands)
    tokens = embed(presto, [one], {S2: entry(S2, bands=bands)})
    assert tokens.valid.all()
    assert tokens.values.isfinite().all()


def test_the_month_of_the_year_matters(presto):
    first, second = (
        embed(presto, [sample(size=SIZE, months=m)]).values for m in ((1, 2, 3), (6, 7, 8))
    )
    assert not torch.allclose(first, second, atol=1e-4)


def test_the_datasets_rule_is_another(presto):
    first, second = (
        embed(presto, [sample(size=SIZE)], rule=r).values for r in ("pretrained", "dataset")
    )
    assert not torch.allclose(first, second, atol=1e-3)


def test_more_moments_than_presto_knows_are_refused(presto):
    start = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    times = tuple((start + dt.timedelta(days=20 * i),) * 2 for i in range(25))
    values = np.full((25, len(BANDS[S2]), 1, 1), 1000.0, dtype=np.float32)
    long = EvalSample("long", {S2: SampleImage(values, BANDS[S2], times)}, 0, 0.0, 0.0)
    with pytest.raises(ModelInputError, match="at most 24 moments, the sample has 25 at sample l"):
        embed(presto, [long])


def saved(path, seed=4):
    """Seeded weights as they are published: a whole Presto's names."""
    state = build_model(f"presto@seed:{seed}").encoder.state_dict()
    torch.save({f"encoder.{name}": tensor for name, tensor in state.items()}, path)
    return path


def test_weights_are_a_folder_or_a_file_of_any_name(tmp_path):
    saved(tmp_path / "default_model.pt")
    file = saved(tmp_path / "mine.pt")
    folder, alone = (build_model(f"presto@path:{path}") for path in (tmp_path, file))
    assert alone.info.start == f"path {file}"
    assert folder.info.model_id == alone.info.model_id == build_model("presto@seed:4").info.model_id
    one = sample(size=1)
    assert torch.equal(embed(folder, [one]).values, embed(alone, [one]).values)


def test_a_file_that_is_not_presto_is_one_clear_line(tmp_path):
    file = tmp_path / "mine.pt"
    torch.save({"other.weight": torch.zeros(1)}, file)
    with pytest.raises(WeightsError, match=r"mine\.pt"):
        build_model(f"presto@path:{file}")


def test_a_file_is_no_folder_to_other_models(tmp_path):
    file = saved(tmp_path / "mine.pt")
    with pytest.raises(WeightsError, match=r"is a file, and galileo_nano needs a folder"):
        build_model(f"galileo_nano@path:{file}")
