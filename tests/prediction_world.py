"""Requests, models and stores for tests of maps."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import rasterio.warp
import torch
from rasterio.crs import CRS
from rslearn.train.model_context import RasterImage

from geofm_assets.core.store import Store
from geofm_assets.imagery.bands import LAYERS
from geofm_assets.imagery.resources import ImagerySource
from geofm_assets.models.config import EncoderSpec
from geofm_assets.models.encoders import build_encoder
from geofm_assets.tasks.component import training_task
from geofm_assets.tasks.config import load_task_file
from geofm_assets.training.checkpoint import band_contract, identity, write_checkpoint
from geofm_assets.training.data import Batch
from geofm_assets.training.experiments import Experiment
from geofm_assets.training.schema import MANIFEST, Manifest
from geofm_assets.training.segmentation import window_model
from geofm_assets.training.stages import CheckpointStage, ManifestStage, TrainingTask
from geofm_assets.training.window_model import WindowModel
from tests.imagery_scenes import Scenes
from tests.training_world import CELLS, CLASSES, manifest_row

TASK = "worldcereal_cropland"
EXPERIMENT = "olmoearth_v1_2_nano-s2-ps4-ws8-t1"
TASK_FILE = Path(__file__).parents[1] / "geofm_assets/tasks" / TASK / "defs.yaml"
START, MONTH = dt.datetime(2022, 1, 1, tzinfo=dt.UTC), dt.timedelta(days=30)
TIMES = {"oe_start_time": "2022-06-01T00:00:00Z", "oe_end_time": "2022-07-01T00:00:00Z"}


def box(west: float, south: float, east: float, north: float) -> list[list[list[float]]]:
    """Coordinates of a rectangle in degrees."""
    corners = [(west, south), (east, south), (east, north), (west, north), (west, south)]
    return [[list(corner) for corner in corners]]


def feature(coordinates: Any, kind: str = "Polygon", **properties: Any) -> dict[str, Any]:
    """A feature with times, unless they are given as None."""
    said = {key: v for key, v in {**TIMES, **properties}.items() if v is not None}
    geometry = {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "properties": said, "geometry": geometry}


def collection(*features: dict[str, Any], **members: Any) -> dict[str, Any]:
    """A FeatureCollection."""
    return {"type": "FeatureCollection", "features": list(features), **members}


def degrees(
    scenes: Scenes, left: int, top: int, right: int, bottom: int
) -> list[list[list[float]]]:
    """Coordinates of a rectangle that covers pixels of scenes; its corners may reach further."""
    xs = [scenes.left + 10 * column for column in (left, right, right, left, left)]
    ys = [scenes.top - 10 * row for row in (bottom, bottom, top, top, bottom)]
    lons, lats = rasterio.warp.transform(CRS.from_epsg(scenes.epsg), CRS.from_epsg(4326), xs, ys)
    return [[list(corner) for corner in zip(lons, lats, strict=True)]]


class PatternModel:
    """A model that depends on pixels and on the place within the crop, as real ones do.

    Args:
        window_size: side of a crop.
        dense: whether every pixel has its own probabilities.
    """

    classes = ("dark", "bright", "middling")
    device = torch.device("cpu")

    def __init__(self, window_size: int, dense: bool) -> None:
        self.window_size, self.dense = window_size, dense

    def predict(self, batch: Batch) -> np.ndarray:
        """Softmax of the first image's mean over bands and times."""
        images = [next(iter(inputs.values())).image for inputs in batch.inputs]
        bright = torch.stack([image.mean(dim=(0, 1)) for image in images]) - 0.46
        if self.dense:
            ramp = torch.linspace(-0.4, 0.4, self.window_size)
            bright = 5 * bright + ramp[None, :, None] + ramp[None, None, :]
        else:
            bright = 30 * bright.mean(dim=(1, 2))
        logits = torch.stack([-4 * bright, 4 * bright, torch.full_like(bright, 0.2)], dim=1)
        return torch.softmax(logits, dim=1).numpy()


def write_model(
    path: Path,
    experiment: str = EXPERIMENT,
    *,
    classes: tuple[str, ...] = CLASSES,
    rule: str = "ai2_v1@1",
) -> str:
    """A checkpoint that was never trained; gives its model_id."""
    parsed = Experiment.parse(experiment)
    encoder = EncoderSpec(name=parsed.encoder, source="random")
    built = build_encoder(encoder, parsed.patch_size)
    torch.manual_seed(0)
    model = window_model(parsed, built.module, built.embedding_size, len(classes))
    _spread(model, parsed)
    state, contract = model.state_dict(), band_contract(parsed)
    content = {
        "state_dict": state,
        "model_id": identity(state, parsed, classes, rule, contract),
        "experiment": parsed.model_dump(),
        "classes": list(classes),
        "label_rule": rule,
        "band_contract": contract,
        "training": {},
        "weights": {"start": "random initialisation, seed 0"},
        "simulated": True,
    }
    write_checkpoint(path, content)
    return str(content["model_id"])


def _spread(model: WindowModel, experiment: Experiment) -> None:
    """Set the normalisation by random crops, so that answers differ between crops."""
    size, months = experiment.window_size, range(experiment.timesteps)
    times = [(START + k * MONTH, START + (k + 1) * MONTH) for k in months]
    inputs = []
    for _ in range(32):
        images = {}
        for name in experiment.layers:
            shape = (len(LAYERS[name].bands), experiment.timesteps, size, size)
            pixels = 0.5 + 0.1 * torch.randn(shape[:2])[..., None, None] + 0.02 * torch.randn(shape)
            images[name] = RasterImage(pixels, times)
        inputs.append(images)
    model.train()
    model.norm.momentum = 1.0
    with torch.no_grad():
        model(Batch(inputs, torch.zeros(32), torch.zeros(32)))


def small_task(**overrides: Any) -> TrainingTask:
    """The cropland task with six months of windows of eight pixels."""
    settings = {"windows.size": 8, "imagery.months": 6, "experiments.window_size": [1, 4, 8]}
    settings |= {"experiments.timesteps": [1, 6]}
    return training_task(load_task_file(TASK_FILE, {**settings, **overrides}).config)


def trained_store(root: Path, scenes: Scenes, experiment: str = EXPERIMENT) -> Store:
    """A store with a checkpoint, its note and the manifest it is said to come from."""
    store, task = Store(root), small_task()
    rule = f"{task.rule.name}@{task.rule.version}"
    path = store.local_path(f"{task.folder(experiment)}/checkpoint.ckpt")
    model_id = write_model(path, experiment, classes=tuple(task.rule.classes), rule=rule)
    note = {"inputs": "0" * 64, "model_id": model_id, "simulated": True}
    store.write_json(CheckpointStage(task).record_key(experiment), note)
    rows = [manifest_row(0, CELLS[0], f"rasters-{'0' * 16}.safetensors", 0)]
    made = {"inputs": "0" * 64, "code_version": "1", "simulated": True}
    table = pa.Table.from_pylist(rows, schema=MANIFEST)
    store.write_table(ManifestStage(task).key(), table, Manifest, **made)
    return store


def source(scenes: Scenes) -> ImagerySource:
    """The scenes as a deployment names them."""
    return ImagerySource(scenes=str(scenes.folder))


def write_request(path: Path, *features: dict[str, Any]) -> Path:
    """A request's file."""
    path.write_text(json.dumps(collection(*features)))
    return path


DAY = dt.date(2022, 6, 16)
