"""Lightning's trainer, set up so that a run can be repeated and leaves nothing lying about."""

import logging
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.strategies import DDPStrategy

from geofm_assets.core.progress import Report
from geofm_assets.training.config import TrainingConfig
from geofm_assets.training.layout import Layout, in_bfloat16
from geofm_assets.training.module import FineTuning
from geofm_assets.training.resume import BEST, LAST, AtomicCheckpointIO

MONITOR = "val_loss"
# cuBLAS repeats itself only with a fixed workspace (cuBLAS manual, "Results reproducibility").
_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
_ONE_BUCKET = 1 << 20  # MiB, more than any model has: gradients travel together (processes.py)
_LISTEN_S = 0.2


class EpochReport(Callback):
    """Tells a listener of every finished epoch.

    Args:
        epochs: how many there are to be.
        report: the listener.
        sender: stands in for the listener in a process that Lightning starts.
    """

    def __init__(self, epochs: int, report: Report, sender: Connection | None = None) -> None:
        self.epochs, self.report, self.sender = epochs, report, sender

    def __getstate__(self) -> dict[str, Any]:
        """Leave the listener behind when training moves to other processes."""
        return {"epochs": self.epochs, "sender": self.sender}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Send what the listener is to be told."""
        sender: Connection = state["sender"]
        self.epochs, self.sender = state["epochs"], sender
        self.report = lambda *told: sender.send(told)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the row of history just made."""
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, FineTuning)
        row = pl_module.history[-1]
        self.report(
            int(row["epoch"]) + 1,
            self.epochs,
            f"train_loss {row['train_loss']:.4f}, val_loss {row['val_loss']:.4f}, "
            f"val_macro_f1 {row['val_macro_f1']:.3f}, lr {row['lr']:.1e}, "
            f"{row['samples_per_s']:.0f} windows/s" + (", encoder frozen" if row["frozen"] else ""),
        )


@contextmanager
def reporting(config: TrainingConfig, found: Layout, report: Report) -> Iterator[EpochReport]:
    """A callback that tells a listener in this process, wherever the training runs.

    Args:
        config: says how many epochs there are.
        found: the training's processes.
        report: the listener; called from another thread if processes are started, and what it
            raises then comes at the end.
    """
    if not found.spawns:
        yield EpochReport(config.epochs, report)
        return
    receiver, sender = torch.multiprocessing.get_context("spawn").Pipe(duplex=False)
    over = threading.Event()
    errors: list[Exception] = []

    def listen() -> None:
        while receiver.poll(_LISTEN_S) or not over.is_set():
            if receiver.poll():
                told = receiver.recv()
                try:
                    report(*told)
                except Exception as error:  # noqa: BLE001 - raised below, in the caller's thread
                    errors.append(error)

    listener = threading.Thread(target=copy_context().run, args=(listen,), daemon=True)
    listener.start()
    try:
        yield EpochReport(config.epochs, report, sender)
    finally:
        over.set()
        listener.join()
        receiver.close()
        sender.close()
    if errors:
        raise errors[0]


def precision_of(config: TrainingConfig) -> Any:
    """Lightning's name of the precision a training runs in."""
    return "bf16-mixed" if in_bfloat16(config.accelerator, config.precision) else "32-true"


def trainer(work: Path, config: TrainingConfig, found: Layout, told: EpochReport) -> pl.Trainer:
    """A trainer for one fine-tuning.

    Processes that no launcher has started are spawned, because Lightning's usual way would start
    the surrounding command (a Dagster step) once more for each.

    Args:
        work: folder of best.ckpt and last.ckpt.
        config: the recipe.
        found: the processes to run on.
        told: told of every epoch.
    """
    saved: dict[str, Any] = {
        "dirpath": work,
        "save_on_train_epoch_end": True,
        "enable_version_counter": False,
    }
    # Two savers: `save_last` of the first would only be written where val_loss has fallen.
    best = ModelCheckpoint(filename=Path(BEST).stem, monitor=MONITOR, mode="min", **saved)
    last = ModelCheckpoint(filename=Path(LAST).stem, **saved)
    callbacks: list[Callback] = [told, best, last]
    if config.early_stop_patience is not None:
        callbacks.append(EarlyStopping(MONITOR, patience=config.early_stop_patience))
    plugins: list[Any] = [AtomicCheckpointIO()]
    strategy: Any = "auto"
    if found.launched:
        plugins.append(TorchElasticEnvironment())
    elif found.spawns:
        plugins.append(LightningEnvironment())  # whatever cluster this may be on
    if found.launched or found.spawns:
        strategy = DDPStrategy(
            start_method="spawn" if found.spawns else "popen",
            find_unused_parameters=True,  # the frozen encoder's, those of a layer without data
            forward_sync_buffers=False,  # they are equal, and not all processes validate as often
            bucket_cap_mb=_ONE_BUCKET,
        )
    return pl.Trainer(
        accelerator="gpu" if found.gpu else "cpu",
        devices=found.devices,
        num_nodes=found.nodes,
        strategy=strategy,
        precision=precision_of(config),
        deterministic="warn" if found.gpu else True,
        max_epochs=config.epochs,
        callbacks=callbacks,
        plugins=plugins,
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
