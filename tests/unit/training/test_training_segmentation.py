"""The segmentation head, its loss, and what is counted of its answers."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rslearn.models.component import FeatureExtractor, FeatureMaps
from rslearn.train.model_context import RasterImage

from geofm_assets.core.schema import validate
from geofm_assets.training.config import TrainingConfig
from geofm_assets.training.data import Batch
from geofm_assets.training.schema import MANIFEST, Segmentation
from geofm_assets.training.segmentation import (
    SegmentationTuning,
    WindowSegmenter,
    decoder_channels,
    pixel_loss,
)
from geofm_assets.training.window_rows import confusions, segmentation_table
from tests.training_world import manifest_row

MOMENT = dt.datetime(2022, 6, 1, tzinfo=dt.UTC)


class MeanOfPatches(FeatureExtractor):
    """Means of patches, one channel repeated: the least an encoder can be."""

    def __init__(self, patch_size: int, channels: int) -> None:
        super().__init__()
        self.patch_size, self.channels = patch_size, channels

    def forward(self, context):
        images = torch.stack([inputs["sentinel2_l2a"].image for inputs in context.inputs])
        pooled = torch.nn.functional.avg_pool2d(images.mean(dim=(1, 2))[:, None], self.patch_size)
        return FeatureMaps([pooled.expand(-1, self.channels, -1, -1)])


def segmenter(patch_size, window_size, channels=8):
    torch.manual_seed(0)
    encoder = MeanOfPatches(patch_size, channels)
    return WindowSegmenter(encoder, channels, 2, patch_size, window_size).eval()


def batch(count, size, blank=()):
    rng = np.random.default_rng(count * size)
    inputs = [
        {}
        if i in blank
        else {
            "sentinel2_l2a": RasterImage(
                torch.from_numpy(rng.random((3, 2, size, size), dtype=np.float32)),
                [(MOMENT, MOMENT)] * 2,
            )
        }
        for i in range(count)
    ]
    masks = torch.from_numpy(rng.integers(0, 2, (count, size, size)).astype(np.uint8))
    return Batch(inputs, masks, torch.arange(count))


@pytest.mark.parametrize("patch_size", range(1, 9))
def test_every_patch_size_gives_every_pixel(patch_size):
    size = 2 * patch_size
    assert segmenter(patch_size, size)(batch(3, size)).shape == (3, 2, size, size)


@pytest.mark.parametrize("blank", [(0,), (0, 1)])
def test_window_without_imagery_gets_an_answer_of_its_own(blank):
    model = segmenter(4, 8)
    logits = model(batch(2, 8, blank))
    assert logits.shape == (2, 2, 8, 8)
    assert torch.allclose(logits[0], model(batch(1, 8, (0,)))[0], atol=1e-6)


def test_a_crop_of_another_size_is_segmented_too():
    assert segmenter(4, 8)(batch(1, 32)).shape == (1, 2, 32, 32)


def test_the_published_decoder_is_that_of_the_base_encoder():
    assert decoder_channels(768) == {1: 128, 2: 256, 4: 512}
    assert decoder_channels(128) == {1: 32, 2: 48, 4: 88}


def masks_and_logits():
    masks = st.lists(st.sampled_from([0, 1, 2, 255]), min_size=12, max_size=12)
    return st.tuples(masks, st.integers(0, 2**32 - 1))


@given(masks_and_logits())
def test_loss_is_torchs_over_labelled_pixels(drawn):
    values, seed = drawn
    masks = torch.tensor(values, dtype=torch.uint8).reshape(1, 3, 4)
    logits = torch.from_numpy(
        np.random.default_rng(seed).normal(size=(1, 3, 3, 4)).astype(np.float32)
    )
    weights = torch.tensor([1.0, 0.5, 3.0])
    total, weight = pixel_loss(logits, masks, weights)
    expected = torch.nn.functional.cross_entropy(
        logits, masks.long(), weight=weights, ignore_index=255, reduction="sum"
    )
    assert torch.allclose(total, expected, rtol=1e-5, atol=1e-5)
    assert float(weight) == float(sum(weights[v] for v in values if v != 255))


@given(masks_and_logits(), st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_what_is_said_of_unknown_pixels_does_not_matter(drawn, seed):
    masks = torch.tensor(drawn[0], dtype=torch.uint8).reshape(1, 3, 4)
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(size=(1, 3, 3, 4)))
    other = torch.where(
        masks[:, None] == 255, torch.from_numpy(rng.normal(size=(1, 3, 3, 4))), logits
    )
    weights = torch.ones(3)
    assert torch.equal(pixel_loss(logits, masks, weights)[0], pixel_loss(other, masks, weights)[0])


def tuning(model, weights=(1.0, 1.0)):
    return SegmentationTuning(model, TrainingConfig(), torch.tensor(weights), [], [])


def test_windows_without_labels_or_imagery_teach_nothing():
    given_batch = batch(4, 8, blank=(1,))
    given_batch.targets[2] = 255
    assert tuning(segmenter(4, 8)).teaching(given_batch).indices.tolist() == [0, 3]


@torch.no_grad()
def test_scores_of_a_validation_are_those_of_its_pixels():
    model = segmenter(4, 8)
    module, parts = tuning(model, (1.0, 3.0)), [batch(3, 8), batch(2, 8)]
    parts[0].targets[0, :4] = 255
    for part in parts:
        module.validation_step(part, 0)
    loss, scores = module.validated()
    logits = torch.cat([model(p) for p in parts])
    masks = torch.cat([p.targets for p in parts])
    expected = torch.nn.functional.cross_entropy(
        logits, masks.long(), weight=torch.tensor([1.0, 3.0]), ignore_index=255
    )
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    known = masks != 255
    right = (logits.argmax(1) == masks)[known].float().mean()
    assert scores["val_accuracy"] == pytest.approx(float(right))
    assert 0 <= scores["val_mean_iou"] <= scores["val_macro_f1"] <= 1


@given(st.integers(0, 2**32 - 1), st.integers(2, 4))
@settings(max_examples=30)
def test_counts_of_pixels_satisfy_the_schema(seed, classes):
    rng = np.random.default_rng(seed)
    count, size = 3, 5
    truth = rng.choice([*range(classes), 255], (count, size, size)).astype(np.uint8)
    said = rng.integers(0, classes, (count, size, size))
    matrices = confusions(truth, said, classes)
    for k in range(classes):
        for j in range(classes):
            assert matrices[:, k, j].tolist() == ((truth == k) & (said == j)).sum((1, 2)).tolist()
    file = "rasters-0123456789abcdef.safetensors"
    rows = [manifest_row(i, "831e94fffffffff", file, i) for i in range(count)]
    table = segmentation_table(
        pa.Table.from_pylist(rows, schema=MANIFEST),
        matrices,
        np.full((count, classes), 1 / classes, np.float32),
        size,
        experiment="e",
        model_id="0" * 64,
        encoder_start="none",
        label_rule="identity@1",
        simulated=True,
    )
    report = validate(table, Segmentation)
    assert report.passed, report.describe()
    assert table["pixels"].to_pylist() == (truth != 255).sum((1, 2)).tolist()
