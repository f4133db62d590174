"""What happens in a step, an epoch and a validation of a training."""

import time
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim.lr_scheduler import ReduceLROnPlateau

from geofm_assets.training.config import TrainingConfig
from geofm_assets.training.data import Batch
from geofm_assets.training.hardware import UtilizationMeter
from geofm_assets.training.processes import gathered, place, summed
from geofm_assets.training.window_model import WindowModel

HistoryRow = dict[str, float | int | bool]
Validated = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Rows, logits and targets of validation windows."""


class FineTuning(pl.LightningModule):
    """The published recipe: head first, then everything, AdamW, plateau on the validation loss.

    Frozen epochs compute features without gradients instead of switching `requires_grad`, so that
    DistributedDataParallel knows every parameter from the start and a resumed run needs no memory
    of what was frozen. All randomness of a step is drawn from seed, epoch, step and rank.

    Several processes take the step that one would take with the same batch: the loss is a mean over
    the windows of all of them, so is the normalisation, and a validation counts every window once.

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
        self._val: list[Validated] = []
        self._blank, self._started = 0, 0.0
        self._meter = UtilizationMeter()

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

    def on_fit_start(self) -> None:
        """Set what a process started by Lightning does not take over."""
        torch.set_num_threads(self.config.threads)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed the step and set the encoder's mode."""
        if batch_idx == 0:
            self._train, self._blank, self._started = [], 0, time.monotonic()
            self._meter = UtilizationMeter(self.device)
        words = [self.config.seed, self.current_epoch, batch_idx, self.global_rank]
        torch.manual_seed(int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1))
        self.model.encoder.train(not self.frozen)

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Weighted cross-entropy of one batch; windows without a usable month teach nothing."""
        some = self.teaching(batch)
        self._blank += len(batch.inputs) - len(some.inputs)
        if place()[1] > 1:
            return self._shared_step(some)
        if not some.inputs:
            return self._nothing()
        logits = self.model(some, frozen=self.frozen)
        loss = self.loss(logits, some.targets)
        self._train.append((float(loss.detach()), len(some.targets)))
        return loss

    def _nothing(self) -> torch.Tensor:
        """The loss of a step without windows to learn from."""
        return sum((p.sum() * 0 for p in self.model.parameters()), torch.zeros(()))

    def _shared_step(self, some: Batch) -> torch.Tensor:
        """This process's part of a step's loss; the mean of all parts is what one process has.

        A process without windows takes the step too: the others wait for it.
        """
        mine = [float(self.weight(some.targets)) if some.inputs else 0.0, float(len(some.inputs))]
        weight, count = summed(torch.tensor(mine, dtype=torch.float64, device=self.device)).tolist()
        if not count:
            return self._nothing()
        logits = self.model(some, frozen=self.frozen)
        total = self.total(logits, some.targets) if some.inputs else logits.sum()
        part = total / max(weight, torch.finfo(torch.float32).tiny)
        self._train.append((float(part.detach()), int(count)))
        return part * place()[1]

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """See how busy the GPU is."""
        self._meter.sample()

    def teaching(self, batch: Batch) -> Batch:
        """The windows of a batch that a step learns from."""
        return batch.with_inputs()

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Weighted cross-entropy."""
        return torch.nn.functional.cross_entropy(logits, targets, weight=self.class_weights)

    def weight(self, targets: torch.Tensor) -> torch.Tensor:
        """Sum of the windows' weights in the loss."""
        return self.class_weights[targets].sum()

    def total(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The loss, before it is divided by the weights."""
        return torch.nn.functional.cross_entropy(
            logits, targets, weight=self.class_weights, reduction="sum"
        )

    def validated(self) -> tuple[torch.Tensor, dict[str, float]]:
        """Loss and scores of all validation windows of all processes; forgets them."""
        parts = [part for of_process in gathered(self._val) for part in of_process]
        self._val = []
        rows, logits, targets = (torch.cat(each) for each in zip(*parts, strict=True))
        if place()[1] > 1:  # as one process would have met them
            order = torch.argsort(rows)
            logits, targets = logits[order], targets[order]
        loss = torch.nn.functional.cross_entropy(logits, targets, weight=self.class_weights.cpu())
        matrix = np.zeros((logits.shape[1],) * 2, dtype=np.int64)
        np.add.at(matrix, (targets.numpy(), logits.argmax(1).numpy()), 1)
        return loss, quick_scores(matrix)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep logits; the loss is taken over all windows at once."""
        if batch.inputs:
            logits = self.model(batch).float().cpu()
            self._val.append((batch.indices.cpu(), logits, batch.targets.cpu()))

    def on_validation_epoch_end(self) -> None:
        """Validation loss and metrics, the plateau's step, a row of history.

        Rank 0's loss decides for all, so that learning rates never drift apart.
        """
        assert self.plateau is not None
        loss, scores = self.validated()
        shared = self.trainer.strategy.broadcast(loss)
        self.log("val_loss", shared, sync_dist=True)
        count = sum(n for _, n in self._train)
        mine = (sum(value * n for value, n in self._train), self._blank, self._meter.mean())
        losses, blank, busy = zip(*gathered(mine), strict=True)
        seconds = max(time.monotonic() - self._started, 1e-9)
        row: HistoryRow = {
            "epoch": self.current_epoch,
            "frozen": self.frozen,
            "train_loss": sum(losses) / max(count, 1),
            "val_loss": float(shared),
            **scores,
            "lr": float(self.plateau.optimizer.param_groups[0]["lr"]),
            "head_lr": float(self.plateau.optimizer.param_groups[1]["lr"]),
            "blank_windows": sum(blank),
            "seconds": seconds,
            "samples_per_s": count / seconds,
        }
        known = [share for share in busy if share is not None]
        if known:
            row["gpu_utilization"] = sum(known) / len(known)
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
