"""What a sweep varies, and what it holds still."""

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from geofm_assets.evaluation.embeddings.store import Pooling, Precision
from geofm_assets.evaluation.registry.entry import TaskType

if TYPE_CHECKING:
    from geofm_assets.evaluation.backbones.base import Normalization

Sweep = Literal["full", "defaults", "lr-only"]
SWEEPS: tuple[Sweep, ...] = ("full", "lr-only", "defaults")
"""Kinds of sweep, the widest first."""
# The grid of OlmoEarth's published evaluations (olmoearth_pretrain, full_eval_sweep: LP_LRs).
RATES = (1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 5e-2, 1e-1, 5e-1)
# The rate most tasks of their registry have; segmentation tasks have the larger one.
_RATE, _SEGMENTATION_RATE = 1e-2, 1e-1
EVERYTHING = 100.0


class SweepSettings(BaseModel):
    """Settings of a sweep.

    Attributes:
        sweep: `full` (every rate, normalisation and pooling), `lr-only` (every rate; the model's
            first normalisation, mean pooling) or `defaults` (one rate of those).
        patch_size: pixels of a token's side; None for the model's first that suits the windows.
        subset: percentage of the train samples probes learn from; subsets are nested.
        precision: which embeddings probes read, `float` or `int8`.
        seed: of probes and bootstrap.
        epochs: of a linear probe.
        batch_size: of a linear probe, samples.
        eval_every: epochs between validations of a linear probe.
        resamples: of the bootstrap.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sweep: Sweep = "full"
    patch_size: int | None = Field(default=None, ge=1)
    subset: float = Field(default=EVERYTHING, gt=0, le=EVERYTHING)
    precision: Precision = "float"
    seed: int = Field(default=0, ge=0)
    epochs: int = Field(default=50, ge=1)
    batch_size: int = Field(default=128, ge=2)
    eval_every: int = Field(default=5, ge=1)
    resamples: int = Field(default=1000, ge=1)

    def rates(self, task_type: TaskType) -> tuple[float, ...]:
        """Learning rates of linear probes."""
        if self.sweep != "defaults":
            return RATES
        return (_SEGMENTATION_RATE if task_type == "segmentation" else _RATE,)

    def normalizations(self, offered: "tuple[Normalization, ...]") -> "tuple[Normalization, ...]":
        """Those that are swept, of those the model offers with its default first."""
        return offered if self.sweep == "full" else offered[:1]

    @property
    def poolings(self) -> tuple[Pooling, ...]:
        """Poolings that are swept."""
        return ("mean", "max") if self.sweep == "full" else ("mean",)


def offers_knn(task_type: TaskType) -> bool:
    """Whether kNN makes sense: not where each pixel has a label of its own."""
    return task_type not in ("segmentation", "per_pixel_regression")
