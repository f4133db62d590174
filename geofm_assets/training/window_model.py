"""The model that is trained: an encoder and a head, and the one for a class a window."""

import torch
from rslearn.models.component import FeatureExtractor, FeatureMaps, FeatureVector
from rslearn.models.pooling_decoder import PoolingDecoder
from rslearn.train.model_context import ModelContext

from geofm_assets.training.data import Batch
from geofm_assets.training.processes import place, shared_batch_norm


class WindowModel(torch.nn.Module):
    """An encoder, batch normalisation, and a head.

    The normalisation stands where OlmoEarth's own linear probe has it. Without it the features of
    a random start hardly differ between windows and the head learns nothing for dozens of epochs.

    Args:
        encoder: gives one (B, D, H/p, W/p) feature map.
        embedding_size: D.
        head: makes logits of normalised features.
        blank_side: tokens of a side that stand in for a batch of windows without any.
    """

    def __init__(
        self,
        encoder: FeatureExtractor,
        embedding_size: int,
        head: torch.nn.Module,
        blank_side: int = 1,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.norm = torch.nn.BatchNorm2d(embedding_size)
        self.head = head
        self.embedding_size, self.blank_side = embedding_size, blank_side

    def features(self, batch: Batch, *, frozen: bool = False) -> torch.Tensor:
        """Normalised features (B, D, H/p, W/p), float32.

        A window without any usable month has no tokens; it gets features of zeros, so that every
        window has a prediction and none depends on its neighbours.

        Args:
            batch: the windows.
            frozen: compute features without gradients.
        """
        some = [i for i, inputs in enumerate(batch.inputs) if inputs]
        if some:
            context = ModelContext(inputs=[batch.inputs[i] for i in some], metadatas=[])
            with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
                found: torch.Tensor = self.encoder(context).feature_maps[-1].float()
            features = self._normalised(found)
            if len(some) < len(batch.inputs):
                blank = features.new_zeros((len(batch.inputs), *features.shape[1:]))
                rows = torch.tensor(some, device=features.device)
                features = blank.index_copy(0, rows, features)
            return features
        side = self.blank_side
        blank = self.norm.weight.new_zeros((len(batch.inputs), self.embedding_size, side, side))
        return self._normalised(blank) if self._shares else blank  # the others wait for it

    @property
    def _shares(self) -> bool:
        """Whether other processes take the same step; without gradients each works for itself."""
        return self.norm.training and torch.is_grad_enabled() and place()[1] > 1

    def _normalised(self, features: torch.Tensor) -> torch.Tensor:
        """Batch normalisation; a lone token has no variance and takes the running one."""
        if self._shares:
            return shared_batch_norm(self.norm, features)
        if self.norm.training and features.numel() == features.shape[1]:
            norm = self.norm
            return torch.nn.functional.batch_norm(
                features, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
            )
        normalised: torch.Tensor = self.norm(features)
        return normalised


class WindowClassifier(WindowModel):
    """One class a window, by rslearn's pooling head.

    Args:
        encoder: gives one (B, D, H/p, W/p) feature map.
        embedding_size: D.
        classes: how many classes.
    """

    def __init__(self, encoder: FeatureExtractor, embedding_size: int, classes: int) -> None:
        head = PoolingDecoder(in_channels=embedding_size, out_channels=classes)
        super().__init__(encoder, embedding_size, head)

    def forward(self, batch: Batch, *, frozen: bool = False) -> torch.Tensor:
        """Logits (B, classes), float32.

        Args:
            batch: the windows.
            frozen: compute features without gradients.
        """
        features = self.features(batch, frozen=frozen)
        context = ModelContext(inputs=batch.inputs, metadatas=[])
        vector: FeatureVector = self.head(FeatureMaps([features]), context)
        return vector.feature_vector
