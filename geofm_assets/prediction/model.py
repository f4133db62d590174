"""What predicts a batch of crops."""

from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch

from geofm_assets.training.checkpoint import Checkpoint, read_checkpoint
from geofm_assets.training.data import Batch
from geofm_assets.training.layout import in_bfloat16, on_gpu


class CropModel(Protocol):
    """A model of one crop size.

    Attributes:
        window_size: side of a crop in pixels.
        classes: names, in the order of its probabilities.
        device: where its inputs must lie.
    """

    window_size: int
    classes: tuple[str, ...]
    device: torch.device

    def predict(self, batch: Batch) -> np.ndarray:
        """Probabilities, float32: (B, C), or (B, C, H, W) where every pixel has its own.

        May be called from several threads at once.
        """


class CheckpointModel:
    """A fine-tuned model from its checkpoint file.

    Args:
        path: `checkpoint.ckpt` of an experiment.
        accelerator: `auto` uses a GPU if there is one.

    Raises:
        WeightsError: the checkpoint cannot be read or is not what its id says.
    """

    def __init__(self, path: Path, accelerator: Literal["auto", "cpu"] = "auto") -> None:
        self.checkpoint: Checkpoint = read_checkpoint(path)
        self.device = torch.device("cuda" if on_gpu(accelerator) else "cpu")
        self.window_size = self.checkpoint.experiment.window_size
        self.classes = self.checkpoint.classes
        reduced = in_bfloat16(accelerator, self.checkpoint.precision)
        self._module = self.checkpoint.build(autocast=reduced).to(self.device)

    def predict(self, batch: Batch) -> np.ndarray:
        """Softmax of the model's logits, taken in double precision."""
        with torch.inference_mode():
            logits = self._module(batch)
            probabilities: np.ndarray = torch.softmax(logits.double(), dim=1).float().cpu().numpy()
        return probabilities
