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
from geofm_assets.training.running import on_gpu, reproducible
from geofm_assets.training.schema import PREDICTION


def predict(
    checkpoint: Path,
    manifest: pa.Table,
    chips_root: Path | UPath,
    *,
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
        batch_size: windows at once.
        accelerator: `auto` uses a GPU if there is one.
        threads: CPU threads; the number decides the last digits.

    Returns:
        PREDICTION table sorted by `window_name`.

    Raises:
        WeightsError: the checkpoint cannot be read or is not what its id says.
        ExperimentError: the manifest's classes are not the model's, or it is older than the chips.
        ImageryError: the chips are missing or are not what was written.
    """
    model_file = read_checkpoint(checkpoint)
    manifest = manifest.sort_by("window_name")
    _require_same_classes(manifest, model_file.classes, checkpoint)
    gpu = on_gpu(accelerator)
    device = torch.device("cuda" if gpu else "cpu")
    parts: list[np.ndarray] = []
    with reproducible(threads), torch.inference_mode():
        model = model_file.build(autocast=gpu).to(device)
        dataset = WindowDataset(manifest, open_chips(manifest, chips_root), model_file.experiment)
        loader: DataLoader[Example] = DataLoader(
            dataset, sampler=range(len(dataset)), batch_size=batch_size, collate_fn=collate
        )
        for batch in loader:
            logits = model(batch.to(device))
            parts.append(torch.softmax(logits.double(), dim=1).float().cpu().numpy())
    classes = model_file.classes
    probabilities = np.concatenate(parts) if parts else np.zeros((0, len(classes)), np.float32)
    return prediction_table(
        manifest,
        probabilities,
        classes,
        experiment=model_file.experiment.name,
        model_id=model_file.model_id,
        encoder_start=model_file.encoder_start,
        label_rule=model_file.label_rule,
        simulated=model_file.simulated,
    )


def prediction_table(
    manifest: pa.Table,
    probabilities: np.ndarray,
    classes: tuple[str, ...],
    *,
    experiment: str,
    model_id: str,
    encoder_start: str,
    label_rule: str,
    simulated: bool,
) -> pa.Table:
    """A PREDICTION table from class probabilities.

    Args:
        manifest: MANIFEST rows, one a row of `probabilities`, in its order.
        probabilities: float32 (windows, classes).
        classes: names in the order of the columns.
        experiment: name of the experiment or baseline.
        model_id: of the model.
        encoder_start: what its encoder started from, in words.
        label_rule: rule and version of the classes.
        simulated: whether anything the model learned from was simulated; a simulated window is
            marked so in any case.
    """
    rows = manifest.num_rows
    predicted = probabilities.argmax(axis=1) if rows else np.zeros(0, dtype=np.int64)
    said: dict[str, object] = {
        "experiment": [experiment] * rows,
        "predicted_id": pa.array(predicted, pa.int16()),
        "predicted_name": [classes[i] for i in predicted],
        "probabilities": _lists(probabilities.astype(np.float32)),
        "model_id": [model_id] * rows,
        "encoder_start": [encoder_start] * rows,
        "label_rule": [label_rule] * rows,
        "simulated": [simulated or bool(s) for s in manifest["simulated"].to_pylist()],
    }
    columns = [said[n] if n in said else manifest[n].combine_chunks() for n in PREDICTION.names]
    return pa.table(columns, schema=PREDICTION).sort_by("window_name")


def _lists(rows: np.ndarray) -> pa.ListArray:
    """Rows of (N, K) as an array of lists."""
    count, width = rows.shape
    ends = np.arange(count + 1, dtype=np.int32) * width
    return pa.ListArray.from_arrays(ends, pa.array(np.ascontiguousarray(rows).reshape(-1)))


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
