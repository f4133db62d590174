"""Settings of fine-tuning."""

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

CHECKPOINT = "checkpoint.ckpt"
"""Name of a trained model's file in its experiment's folder."""
Precision = Literal["auto", "bf16-mixed", "32-true"]


class TrainingConfig(BaseModel):
    """How an experiment is trained.

    The recipe (AdamW, encoder frozen at first, plateau schedule with factor 0.2, patience 2,
    cooldown 10 on the validation loss) is the published one of the WorldCereal fine-tuning runs.

    Attributes:
        epochs: passes over the training windows.
        batch_size: windows a step, shared out between processes.
        lr: learning rate of the encoder.
        head_lr: learning rate of the head, which starts from nothing.
        weight_decay: of AdamW.
        drop_path: share of residual branches dropped in training. The published encoders were
            pretrained with 0.1; with a few hundred windows it costs more than it gives.
        freeze_epochs: first epochs in which only the head learns.
        plateau_factor: learning rates are multiplied by it when the validation loss stalls.
        plateau_patience: epochs without improvement before that.
        plateau_cooldown: epochs after it before the next.
        early_stop_patience: stop after this many epochs without improvement; None never stops.
        class_weights: `balanced` weighs a class by the inverse of its share of the windows of train
            (of their labelled pixels, for a segmentation head); `none`.
        flips: mirror training windows at random, up to down and left to right.
        seed: of shuffling, flips, dropout and the head's start.
        accelerator: `auto` uses GPUs if any is visible, or the CPU; `cpu` never a GPU.
        devices: processes on each machine, each with a GPU of its own if there are GPUs; `auto` is
            every visible GPU, or one process. Like `nodes` it is no part of what was trained.
        nodes: machines; above 1 a launcher starts the processes (docs/training.md).
        precision: Lightning's name; `auto` is `bf16-mixed` on a GPU and `32-true` on a CPU.
        num_workers: loader processes; packed chips load fastest with 0.
        threads: CPU threads. Sums differ in the last digits between thread counts, so the number
            is fixed for the same scores on any machine. One is safe; on two idle cores two are
            half again as fast, on busy ones ten times slower.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(default=30, ge=1)
    batch_size: int = Field(default=16, ge=1)
    lr: float = Field(default=1e-4, gt=0)
    head_lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    drop_path: float = Field(default=0.0, ge=0, lt=1)
    freeze_epochs: int = Field(default=2, ge=0)
    plateau_factor: float = Field(default=0.2, gt=0, lt=1)
    plateau_patience: int = Field(default=2, ge=0)
    plateau_cooldown: int = Field(default=10, ge=0)
    early_stop_patience: int | None = Field(default=None, ge=1)
    class_weights: Literal["balanced", "none"] = "balanced"
    flips: bool = True
    seed: int = Field(default=0, ge=0, lt=2**32)
    accelerator: Literal["auto", "cpu"] = "auto"
    devices: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(default="auto", exclude=True)
    nodes: int = Field(default=1, ge=1, exclude=True)
    precision: Precision = "auto"
    num_workers: int = Field(default=0, ge=0)
    threads: int = Field(default=1, ge=1)

    @property
    def devices_of_step(self) -> int:
        """GPUs that a pod of the platform asks for; those of several nodes are started apart."""
        return self.devices if isinstance(self.devices, int) and self.nodes == 1 else 1

    @model_serializer(mode="wrap")
    def _as_before_precision(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the default precision, so that what was trained before it stays current."""
        values: dict[str, Any] = handler(self)
        if self.precision == "auto":
            values.pop("precision", None)
        return values
