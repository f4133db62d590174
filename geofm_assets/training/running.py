"""Lightning's trainer, set up so that a run can be repeated and leaves nothing lying about."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint

from geofm_assets.core.progress import Report, silent
from geofm_assets.training.config import TrainingConfig
from geofm_assets.training.module import FineTuning
from geofm_assets.training.resume import BEST, LAST, AtomicCheckpointIO

MONITOR = "val_loss"
# cuBLAS repeats itself only with a fixed workspace (cuBLAS manual, "Results reproducibility").
_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


class EpochReport(Callback):
    """Tells a listener of every finished epoch."""

    def __init__(self, epochs: int, report: Report) -> None:
        self.epochs, self.report = epochs, report

    def __getstate__(self) -> dict[str, Any]:
        """Leave the listener behind when training moves to other processes."""
        return {"epochs": self.epochs, "report": silent}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the row of history just made."""
        assert isinstance(pl_module, FineTuning)
        row = pl_module.history[-1]
        self.report(
            int(row["epoch"]) + 1,
            self.epochs,
            f"train_loss {row['train_loss']:.4f}, val_loss {row['val_loss']:.4f}, "
            f"val_macro_f1 {row['val_macro_f1']:.3f}, lr {row['lr']:.1e}, "
            f"{row['samples_per_s']:.0f} windows/s" + (", encoder frozen" if row["frozen"] else ""),
        )


def on_gpu(accelerator: str) -> bool:
    """Whether a run with this setting uses GPUs."""
    return accelerator == "auto" and torch.cuda.is_available()


def trainer(work: Path, config: TrainingConfig, report: Report) -> pl.Trainer:
    """A trainer for one fine-tuning.

    On GPUs it uses every visible one in bfloat16; processes are spawned, because Lightning's
    usual launcher would start the surrounding command (a Dagster step) once more per GPU.

    Args:
        work: folder of best.ckpt and last.ckpt.
        config: the recipe.
        report: told of every epoch.
    """
    gpu = on_gpu(config.accelerator)
    devices = torch.cuda.device_count() if gpu else 1
    saved: dict[str, Any] = {
        "dirpath": work,
        "save_on_train_epoch_end": True,
        "enable_version_counter": False,
    }
    # Two savers: `save_last` of the first would only be written where val_loss has fallen.
    best = ModelCheckpoint(filename=Path(BEST).stem, monitor=MONITOR, mode="min", **saved)
    last = ModelCheckpoint(filename=Path(LAST).stem, **saved)
    callbacks: list[Callback] = [EpochReport(config.epochs, report), best, last]
    if config.early_stop_patience is not None:
        callbacks.append(EarlyStopping(MONITOR, patience=config.early_stop_patience))
    return pl.Trainer(
        accelerator="gpu" if gpu else "cpu",
        devices=devices,
        strategy="ddp_spawn_find_unused_parameters_true" if devices > 1 else "auto",
        sync_batchnorm=devices > 1,
        precision="bf16-mixed" if gpu else "32-true",
        deterministic="warn" if gpu else True,
        max_epochs=config.epochs,
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO()],
        default_root_dir=work,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


@contextmanager
def reproducible(threads: int) -> Iterator[None]:
    """Fix what decides the last digits, and put it back afterwards.

    Args:
        threads: CPU threads; sums are split between them, so their number changes rounding.
    """
    before = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        os.environ.get(_CUBLAS),
        torch.random.get_rng_state(),
    )
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    os.environ.setdefault(_CUBLAS, ":4096:8")
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1], warn_only=before[2])
        if before[3] is None:
            os.environ.pop(_CUBLAS, None)
        torch.random.set_rng_state(before[4])


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Lightning's advice on loaders and devices; errors still come through."""
    loggers = [logging.getLogger(n) for n in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PossibleUserWarning)
            warnings.filterwarnings("ignore", message="Checkpoint directory .* exists")
            warnings.filterwarnings("ignore", message=".*treespec, LeafSpec")  # torch 2.15
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
