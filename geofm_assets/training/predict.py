"""What a fine-tuned model says of every window."""

from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import torch
from torch.utils.data import DataLoader
from upath import UPath

from geofm_assets.core.errors import ExperimentError
from geofm_assets.training.checkpoint import read_checkpoint
from geofm_assets.training.data import Example, WindowDataset, collate, open_chips
from geofm_assets.training.layout import in_bfloat16, on_gpu
from geofm_assets.training.mask_rows import open_masks
from geofm_assets.training.running import reproducible
from geofm_assets.training.window_rows import (
    Said,
    confusions,
    prediction_table,
    segmentation_table,
)

__all__ = ["predict", "prediction_table"]


def predict(
    checkpoint: Path,
    manifest: pa.Table,
    chips_root: Path | UPath,
    *,
    masks_root: Path | UPath | None = None,
    batch_size: int = 64,
    accelerator: Literal["auto", "cpu"] = "auto",
    threads: int = 1,
) -> pa.Table:
    """Predict every window of a manifest, whatever its split.

    Each window's result is a function of the window alone; on a CPU another batch size changes
    at most the last digits. A window in whose months and layers no pixel is valid gets the
    model's answer to no input at all.

    Args:
        checkpoint: `checkpoint.ckpt` of an experiment.
        manifest: MANIFEST rows.
        chips_root: folder with `h3_cell=<cell>` chips.
        masks_root: folder with `h3_cell=<cell>` masks, for a segmentation head.
        batch_size: windows at once.
        accelerator: `auto` uses a GPU if there is one, in the precision of the training.
        threads: CPU threads; the number decides the last digits.

    Returns:
        PREDICTION table sorted by `window_name`; SEGMENTATION table if the head segments.

    Raises:
        WeightsError: the checkpoint cannot be read or is not what its id says.
        ExperimentError: the manifest's classes are not the model's, it is older than the chips,
            or masks are missing.
        ImageryError: the chips are missing or are not what was written.
    """
    model_file = read_checkpoint(checkpoint)
    manifest = manifest.sort_by("window_name")
    _require_same_classes(manifest, model_file.classes, checkpoint)
    classes, experiment = model_file.classes, model_file.experiment
    masks = None
    if experiment.head == "segmentation":
        masks = open_masks(experiment, manifest, masks_root, len(classes))
    device = torch.device("cuda" if on_gpu(accelerator) else "cpu")
    parts: list[np.ndarray] = []
    counts: list[np.ndarray] = []
    with reproducible(threads), torch.inference_mode():
        reduced = in_bfloat16(accelerator, model_file.precision)
        model = model_file.build(autocast=reduced).to(device)
        dataset = WindowDataset(
            manifest,
            open_chips(manifest, chips_root),
            experiment,
            masks=masks,
            frames=model_file.frames,
        )
        loader: DataLoader[Example] = DataLoader(
            dataset, sampler=range(len(dataset)), batch_size=batch_size, collate_fn=collate
        )
        for batch in loader:
            logits = model(batch.to(device))
            found = torch.softmax(logits.double(), dim=1)
            if masks is not None:
                counts.append(
                    confusions(batch.targets.numpy(), logits.argmax(1).cpu().numpy(), len(classes))
                )
                found = found.mean(dim=(2, 3))
            parts.append(found.float().cpu().numpy())
    probabilities = np.concatenate(parts) if parts else np.zeros((0, len(classes)), np.float32)
    said: Said = {
        "experiment": experiment.name,
        "model_id": model_file.model_id,
        "encoder_start": model_file.encoder_start,
        "label_rule": model_file.label_rule,
        "simulated": model_file.simulated,
    }
    if masks is None:
        return prediction_table(manifest, probabilities, classes, **said)
    matrices = (
        np.concatenate(counts) if counts else np.zeros((0, len(classes), len(classes)), np.int64)
    )
    return segmentation_table(manifest, matrices, probabilities, experiment.window_size, **said)


def _require_same_classes(manifest: pa.Table, classes: tuple[str, ...], where: Path) -> None:
    """Class ids of the manifest must mean what they mean to the model."""
    found = manifest.group_by(["class_id", "class_name"]).aggregate([])
    pairs = zip(found["class_id"].to_pylist(), found["class_name"].to_pylist(), strict=True)
    wrong = sorted(
        (i, name) for i, name in pairs if not 0 <= i < len(classes) or classes[i] != name
    )
    if wrong:
        raise ExperimentError(
            f"The manifest says class {wrong[0][0]} is {wrong[0][1]!r}, the model knows {classes}",
            where=str(where),
            fix="Train again with the task's label rule",
        )
