"""One class a pixel: the model, and what differs from classifying windows when it is trained."""

from collections.abc import Sequence

import numpy as np
import torch
from rslearn.models.component import FeatureExtractor, FeatureMaps
from rslearn.models.unet import UNetDecoder
from rslearn.train.model_context import ModelContext

from geofm_assets.training.config import TrainingConfig
from geofm_assets.training.data import Batch, WindowDataset, collate
from geofm_assets.training.experiment import Experiment
from geofm_assets.training.mask_rows import NODATA
from geofm_assets.training.module import FineTuning, quick_scores
from geofm_assets.training.processes import gathered
from geofm_assets.training.window_model import WindowClassifier, WindowModel

# Channels by downsampling factor beside 768 of the encoder, and convolutions a resolution, as the
# published burned-area fine-tuning sets rslearn's decoder; other encoders in proportion.
_CHANNELS, _BESIDE = {1: 128, 2: 256, 4: 512}, 768
_CONVOLUTIONS = 2
_KERNEL = 3
_LEAST_CHANNELS, _CHANNEL_STEP = 32, 8
_SETTLE_ON = 128  # windows


class WindowSegmenter(WindowModel):
    """One class a pixel, by rslearn's UNet decoder over the encoder's one feature map.

    The decoder doubles its resolution; for a patch size that is no power of two it goes to the
    next one, and its logits are brought back to the window's pixels.

    Args:
        encoder: gives one (B, D, H/p, W/p) feature map.
        embedding_size: D.
        classes: how many classes.
        patch_size: p, pixels of a token's side, 1 or more.
        window_size: pixels of the side that stands in for a batch without any imagery.
    """

    def __init__(
        self,
        encoder: FeatureExtractor,
        embedding_size: int,
        classes: int,
        patch_size: int,
        window_size: int,
    ) -> None:
        factor = 1 << (patch_size - 1).bit_length()
        head = UNetDecoder(
            in_channels=[(factor, embedding_size)],
            out_channels=classes,
            conv_layers_per_resolution=_CONVOLUTIONS,
            kernel_size=_KERNEL,
            num_channels=decoder_channels(embedding_size),
        )
        super().__init__(encoder, embedding_size, head, blank_side=window_size // patch_size)
        self.patch_size = patch_size

    def forward(self, batch: Batch, *, frozen: bool = False) -> torch.Tensor:
        """Logits (B, classes, H, W), float32.

        Args:
            batch: windows of one size, any multiple of the patch size.
            frozen: compute features without gradients.
        """
        features = self.features(batch, frozen=frozen)
        context = ModelContext(inputs=batch.inputs, metadatas=[])
        logits: torch.Tensor = self.head(FeatureMaps([features]), context).feature_maps[0]
        height, width = (side * self.patch_size for side in features.shape[-2:])
        if logits.shape[-2:] != (height, width):
            logits = torch.nn.functional.interpolate(
                logits, size=(height, width), mode="bilinear", align_corners=False
            )
        return logits.float()


def window_model(
    experiment: Experiment, encoder: FeatureExtractor, embedding_size: int, classes: int
) -> WindowModel:
    """The model of an experiment, its head drawn from torch's generator.

    Args:
        experiment: says which head.
        encoder: gives one (B, D, H/p, W/p) feature map.
        embedding_size: D.
        classes: how many classes.
    """
    if experiment.head == "classification":
        return WindowClassifier(encoder, embedding_size, classes)
    return WindowSegmenter(
        encoder, embedding_size, classes, experiment.patch_size, experiment.window_size
    )


def decoder_channels(embedding_size: int) -> dict[int, int]:
    """The decoder's channels by downsampling factor."""
    return {
        factor: max(
            _LEAST_CHANNELS,
            -(-channels * embedding_size // (_BESIDE * _CHANNEL_STEP)) * _CHANNEL_STEP,
        )
        for factor, channels in _CHANNELS.items()
    }


class SegmentationTuning(FineTuning):
    """`FineTuning` with a loss and scores over labelled pixels.

    Before a validation the normalisation takes the statistics of training windows as they are
    then. A running mean of the steps is that of encoders long since changed, and of inputs some
    bands of which the encoder drops in training; with few steps an epoch validation would see
    features far from any the decoder was trained on.

    Args:
        model: what is trained.
        config: the recipe's numbers.
        class_weights: (classes,) weights of the loss.
        dataset: windows.
        train: rows of it that are learned from.
    """

    def __init__(
        self,
        model: WindowSegmenter,
        config: TrainingConfig,
        class_weights: torch.Tensor,
        dataset: WindowDataset,
        train: Sequence[int],
    ) -> None:
        super().__init__(model, config, class_weights)
        self.dataset = dataset
        self.settle_on = list(train)[:: max(1, -(-len(train) // _SETTLE_ON))]
        self._forget()

    def _forget(self) -> None:
        classes = len(self.class_weights)
        self._sums = np.zeros(2)
        self._confusion = np.zeros((classes, classes), dtype=np.int64)

    def teaching(self, batch: Batch) -> Batch:
        """Windows with a usable month and a labelled pixel."""
        if not batch.inputs:  # this process's part of a short last batch
            return batch
        labelled = (batch.targets != NODATA).flatten(1).any(dim=1)
        return batch.only(
            [i for i, there in enumerate(labelled.tolist()) if there and batch.inputs[i]]
        )

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Weighted cross-entropy over labelled pixels."""
        total, weight = pixel_loss(logits, targets, self.class_weights)
        return total / weight.clamp(min=torch.finfo(weight.dtype).tiny)

    def weight(self, targets: torch.Tensor) -> torch.Tensor:
        """Sum of the labelled pixels' weights in the loss."""
        return super().weight(targets[targets != NODATA].long())

    def total(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The loss, before it is divided by the weights."""
        return pixel_loss(logits, targets, self.class_weights)[0]

    @torch.no_grad()
    def on_validation_start(self) -> None:
        """Take the normalisation's statistics anew, on every process the same."""
        norm, size = self.model.norm, self.config.batch_size
        norm.reset_running_stats()
        norm.momentum, momentum = None, norm.momentum  # None averages all batches alike
        norm.train()
        for first in range(0, len(self.settle_on), size):
            rows = self.settle_on[first : first + size]
            batch = collate([self.dataset[row] for row in rows]).with_inputs()
            if batch.inputs:
                self.model.features(batch.to(self.device))
        norm.eval()
        norm.momentum = momentum

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add the batch's pixels; logits of all windows together would not fit in memory."""
        if not batch.inputs:
            return
        logits = self.model(batch).float()
        total, weight = pixel_loss(logits, batch.targets, self.class_weights)
        self._sums += [float(total), float(weight)]
        known = batch.targets != NODATA
        truth, said = batch.targets[known].cpu(), logits.argmax(1)[known].cpu()
        np.add.at(self._confusion, (truth.numpy(), said.numpy()), 1)

    def validated(self) -> tuple[torch.Tensor, dict[str, float]]:
        """Loss and scores of all labelled validation pixels of all processes; forgets them."""
        parts = gathered((self._sums, self._confusion))
        sums, matrix = (np.sum(each, axis=0) for each in zip(*parts, strict=True))
        loss = torch.tensor(sums[0] / max(sums[1], 1e-12), dtype=torch.float32)
        hits = np.diag(matrix)
        union = matrix.sum(0) + matrix.sum(1) - hits
        iou = np.divide(hits, union, out=np.zeros(len(hits)), where=union > 0)
        self._forget()
        return loss, {**quick_scores(matrix), "val_mean_iou": float(iou.mean())}


def pixel_loss(
    logits: torch.Tensor, masks: torch.Tensor, class_weights: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy and weights, each summed over labelled pixels.

    Written out because torch's own, for images, adds in no fixed order on a GPU.

    Args:
        logits: (B, K, H, W).
        masks: (B, H, W) class ids, 255 where nothing is known.
        class_weights: (K,).
    """
    classes = logits.shape[1]
    ids = torch.arange(classes, device=masks.device)[None, :, None, None]
    weights = (masks[:, None] == ids) * class_weights[None, :, None, None]
    chances = torch.nn.functional.log_softmax(logits.float(), dim=1)
    return -(chances * weights).sum(), weights.sum()
