"""Experiments in a store as if they had been trained: notes, predictions and scores."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from geofm_assets.core.store import Store
from geofm_assets.evaluation.stages import ScoresStage
from geofm_assets.training.experiments import Experiment
from geofm_assets.training.mask_rows import MaskRows
from geofm_assets.training.schema import Prediction, Segmentation
from geofm_assets.training.stages import (
    CheckpointStage,
    ManifestStage,
    PredictionsStage,
    TrainingTask,
)
from geofm_assets.training.window_rows import confusions, prediction_table, segmentation_table

EPOCH = {"epoch": 0, "seconds": 1.5}
WEIGHTS = {"start": "random initialisation, seed 0", "parameters_loaded": 0, "parameters_total": 9}


def pretend(store: Store, task: TrainingTask, name: str, *, wrong: float, **note: Any) -> None:
    """Note, predictions and scores of an experiment that errs on a share of windows or pixels."""
    parsed, rule = Experiment.parse(name), task.rule
    manifest_key = ManifestStage(task).key()
    provenance = store.provenance(manifest_key)
    assert provenance is not None
    inputs = CheckpointStage(task).inputs(store, name)
    config = {
        "training": task.training.model_dump(),
        "encoder": task.encoder(parsed).model_dump(),
        "label_rule": rule.label,
        "classes": list(rule.classes),
        "manifest": provenance.content,
        "inputs": inputs,
    }
    folder = task.folder(name)
    store.write_bytes(f"{folder}/config.yaml", yaml.safe_dump(config).encode())
    number = sum(map(ord, name))
    said: dict[str, Any] = {"inputs": inputs, "model_id": f"{number:064x}", "simulated": True}
    said |= {"weights": WEIGHTS, "history": [EPOCH, EPOCH]}
    store.write_json(CheckpointStage(task).record_key(name), said | note)
    _predict(store, task, parsed, wrong, number)
    ScoresStage(task).make(store, name, False)


def _predict(
    store: Store, task: TrainingTask, experiment: Experiment, wrong: float, seed: int
) -> None:
    manifest = store.read_table(ManifestStage(task).key())
    rng, rows = np.random.default_rng(seed), manifest.num_rows
    told: dict[str, Any] = {
        "experiment": experiment.name,
        "model_id": f"{seed:064x}",
        "encoder_start": "random",
        "label_rule": task.rule.label,
        "simulated": True,
    }
    classes = task.rule.classes
    schema: Any = Prediction
    if experiment.head == "classification":
        errs = rng.random(rows) < wrong
        ids = manifest["class_id"].to_numpy() ^ errs
        table: pa.Table = prediction_table(
            manifest, np.eye(2, dtype=np.float32)[ids], classes, **told
        )
    else:
        schema, size = Segmentation, experiment.window_size
        masks = MaskRows(manifest, Path(store.local_path(task.masks_folder)), size, 2)
        truth = np.stack([masks.mask(i) for i in range(rows)])
        answers = np.where(truth == 1, 1, 0) ^ (rng.random(truth.shape) < wrong)
        half = np.full((rows, 2), 0.5, np.float32)
        table = segmentation_table(
            manifest, confusions(truth, answers.astype(np.int64), 2), half, size, **told
        )
    stage = PredictionsStage(task)
    store.write_table(
        stage.key(experiment.name),
        table,
        schema,
        inputs=stage.inputs(store, experiment.name),
        code_version="1",
        simulated=True,
    )
