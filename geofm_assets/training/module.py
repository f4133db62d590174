"""The model that is trained, and what happens in a step, an epoch and a validation."""

import time
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from numpy.typing import NDArray
from rslearn.models.component import FeatureExtractor, FeatureMaps, FeatureVector
from rslearn.models.pooling_decoder import PoolingDecoder
from rslearn.train.model_context import ModelContext
from torch.optim.lr_scheduler import ReduceLROnPlateau

from geofm_assets.training.config import TrainingConfig
from geofm_assets.training.data import Batch

HistoryRow = dict[str, float | int | bool]


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
        return self.norm.weight.new_zeros((len(batch.inputs), self.embedding_size, side, side))

    def _normalised(self, features: torch.Tensor) -> torch.Tensor:
        """Batch normalisation; a lone token has no variance and takes the running one."""
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


class FineTuning(pl.LightningModule):
    """The published recipe: head first, then everything, AdamW, plateau on the validation loss.

    Frozen epochs compute features without gradients instead of switching `requires_grad`, so that
    DistributedDataParallel knows every parameter from the start and a resumed run needs no memory
    of what was frozen. All randomness of a step is drawn from seed, epoch, step and rank.

    Args:
        model: what is trained.
        config: the recipe's numbers.
        class_weights: (classes,) weights of the loss.
    """

    class_weights: torch.Tensor

    def __init__(
        self, model: WindowModel, config: TrainingConfig, class_weights: torch.Tensor
    ) -> None:
        super().__init__()
        self.model, self.config = model, config
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.history: list[HistoryRow] = []
        self.plateau: ReduceLROnPlateau | None = None
        self._plateau_state: dict[str, Any] | None = None
        self._train: list[tuple[float, int]] = []
        self._val: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._blank, self._started = 0, 0.0

    @property
    def frozen(self) -> bool:
        """Whether the encoder is frozen in this epoch."""
        return self.current_epoch < self.config.freeze_epochs

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW over encoder and head; a frozen encoder has no gradients and is skipped."""
        head = [*self.model.norm.parameters(), *self.model.head.parameters()]
        optimizer = torch.optim.AdamW(
            [
                {"params": list(self.model.encoder.parameters()), "lr": self.config.lr},
                {"params": head, "lr": self.config.head_lr},
            ],
            weight_decay=self.config.weight_decay,
        )
        # Stepped by hand: Lightning saves before it steps a plateau; a resumed run would miss one.
        self.plateau = ReduceLROnPlateau(
            optimizer,
            factor=self.config.plateau_factor,
            patience=self.config.plateau_patience,
            cooldown=self.config.plateau_cooldown,
        )
        if self._plateau_state is not None:
            self.plateau.load_state_dict(self._plateau_state)
        return optimizer

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Move a batch; Lightning cannot know how."""
        return batch.to(device)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed the step and set the encoder's mode."""
        if batch_idx == 0:
            self._train, self._blank, self._started = [], 0, time.monotonic()
        words = [self.config.seed, self.current_epoch, batch_idx, self.global_rank]
        torch.manual_seed(int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1))
        self.model.encoder.train(not self.frozen)

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Weighted cross-entropy of one batch; windows without a usable month teach nothing."""
        some = self.teaching(batch)
        self._blank += len(batch.inputs) - len(some.inputs)
        if not some.inputs:  # nothing to learn, but every rank has to take the step
            return sum((p.sum() * 0 for p in self.model.parameters()), torch.zeros(()))
        logits = self.model(some, frozen=self.frozen)
        loss = self.loss(logits, some.targets)
        self._train.append((float(loss.detach()), len(some.targets)))
        return loss

    def teaching(self, batch: Batch) -> Batch:
        """The windows of a batch that a step learns from."""
        return batch.with_inputs()

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Weighted cross-entropy."""
        return torch.nn.functional.cross_entropy(logits, targets, weight=self.class_weights)

    def validated(self) -> tuple[torch.Tensor, dict[str, float]]:
        """Loss and scores of all validation windows; forgets them."""
        logits = torch.cat([part for part, _ in self._val])
        targets = torch.cat([part for _, part in self._val])
        self._val = []
        loss = torch.nn.functional.cross_entropy(logits, targets, weight=self.class_weights.cpu())
        matrix = np.zeros((logits.shape[1],) * 2, dtype=np.int64)
        np.add.at(matrix, (targets.numpy(), logits.argmax(1).numpy()), 1)
        return loss, quick_scores(matrix)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep logits; the loss is taken over all windows at once."""
        self._val.append((self.model(batch).float().cpu(), batch.targets.cpu()))

    def on_validation_epoch_end(self) -> None:
        """Validation loss and metrics, the plateau's step, a row of history.

        Every rank sees all validation windows; rank 0's loss decides for all, so that learning
        rates never drift apart.
        """
        assert self.plateau is not None
        loss, scores = self.validated()
        shared = self.trainer.strategy.broadcast(loss)
        self.log("val_loss", shared, sync_dist=True)
        count = sum(n for _, n in self._train)
        seconds = max(time.monotonic() - self._started, 1e-9)
        row: HistoryRow = {
            "epoch": self.current_epoch,
            "frozen": self.frozen,
            "train_loss": sum(value * n for value, n in self._train) / max(count, 1),
            "val_loss": float(shared),
            **scores,
            "lr": float(self.plateau.optimizer.param_groups[0]["lr"]),
            "head_lr": float(self.plateau.optimizer.param_groups[1]["lr"]),
            "blank_windows": self._blank,
            "seconds": seconds,
            "samples_per_s": count * self.trainer.world_size / seconds,
        }
        self.history.append(row)
        self.plateau.step(float(shared))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what Lightning does not know of."""
        assert self.plateau is not None
        checkpoint["geofm_history"] = self.history
        checkpoint["geofm_plateau"] = self.plateau.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it up again; the plateau may be built later."""
        self.history = list(checkpoint["geofm_history"])
        self._plateau_state = checkpoint["geofm_plateau"]
        if self.plateau is not None:
            self.plateau.load_state_dict(self._plateau_state)


def quick_scores(confusion: NDArray[np.int64]) -> dict[str, float]:
    """Accuracy and macro-F1 for the history; the scores proper are made from predictions.

    Args:
        confusion: (classes, classes) counts, rows truth.
    """
    hits = np.diag(confusion)
    sums = confusion.sum(0) + confusion.sum(1)
    f1 = np.divide(2 * hits, sums, out=np.zeros(len(hits)), where=sums > 0)
    return {
        "val_accuracy": float(hits.sum() / max(int(confusion.sum()), 1)),
        "val_macro_f1": float(f1.mean()),
    }
