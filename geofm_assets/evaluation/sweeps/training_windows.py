"""Test samples that lie in windows a fine-tuned checkpoint was trained on.

A dataset may have been exported from the checkpoint's own task and split anew, or hold the same
places under other names. So places are compared, not names.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from geofm_assets.core.store import Store
from geofm_assets.evaluation.backbones.base import ModelInfo
from geofm_assets.evaluation.backbones.names import CHECKPOINT, parse_model
from geofm_assets.evaluation.registry.entry import DatasetEntry
from geofm_assets.sampling.leakage import EARTH_RADIUS_M, unit_vectors
from geofm_assets.training.experiments import Experiment

PIXEL_M = 10.0
"""Metres a pixel of a dataset, and of a task whose windows do not say: Sentinel-2's finest, which
every model here reads."""
_TRAINED_ON = ("train", "val")  # weights from the first, their epoch chosen by the second


@dataclass(frozen=True)
class TrainingWindows:
    """Windows a checkpoint was trained on or chosen by.

    Attributes:
        lon: (N,) of their middles, degrees EPSG:4326.
        lat: (N,) likewise.
        extent_m: side of what the model saw of each, metres.
    """

    lon: np.ndarray
    lat: np.ndarray
    extent_m: float


def is_checkpoint(model: str) -> bool:
    """Whether a model's name is that of a checkpoint fine-tuned here."""
    return model.startswith(CHECKPOINT)


def seen_in_training(
    store: Store, info: ModelInfo, entry: DatasetEntry, samples: pa.Table
) -> int | None:
    """Test samples that overlap a window the model was fine-tuned on.

    Args:
        store: that holds the checkpoint.
        info: of the model.
        entry: of the dataset.
        samples: EVAL_SAMPLE rows.

    Returns:
        How many; None if the model was not fine-tuned here, or its windows are no longer known.
    """
    windows = training_windows(store, info)
    if windows is None:
        return None
    test = samples.filter(pc.equal(samples["split"], "test"))
    found = overlapping(
        windows, test["lon"].to_numpy(), test["lat"].to_numpy(), entry.window_size * PIXEL_M
    )
    return int(found.sum())


def training_windows(store: Store, info: ModelInfo) -> TrainingWindows | None:
    """Windows a checkpoint was trained on; None if that is not known.

    They are those of the task's split manifest, as long as it still is the one the checkpoint was
    trained from.
    """
    if not is_checkpoint(info.name):
        return None
    named = parse_model(info.name).checkpoint
    if named is None:
        return None
    task, experiment = named[0], Experiment.parse(named[1])
    folder = f"tasks/{task}/experiments/{experiment.name}"
    manifest_key = f"tasks/{task}/split_manifest.parquet"
    if not all(
        store.exists(key)
        for key in (f"{folder}/config.yaml", f"{folder}/checkpoint.json", manifest_key)
    ):
        return None
    config = yaml.safe_load(store.read_bytes(f"{folder}/config.yaml"))
    note = store.read_json(f"{folder}/checkpoint.json")
    provenance = store.provenance(manifest_key)
    # config.yaml is written when a training begins, the note when it has ended
    same_run = config["inputs"] == note["inputs"] and note["model_id"] == info.model_id
    if not same_run or provenance is None or provenance.content != config["manifest"]:
        return None
    manifest = store.read_table(manifest_key, ["split", "lon", "lat", "h3_cell"])
    rows = manifest.filter(pc.is_in(manifest["split"], pa.array(_TRAINED_ON)))
    extent_m = experiment.window_size * _resolution(store, task, manifest)
    return TrainingWindows(rows["lon"].to_numpy(), rows["lat"].to_numpy(), extent_m)


def overlapping(
    windows: TrainingWindows, lon: np.ndarray, lat: np.ndarray, extent_m: float
) -> np.ndarray:
    """Which squares overlap a training window.

    Both are taken as squares along north and east. On the mean sphere a distance errs by at most
    0.6 %, so squares that just touch may count as overlapping.

    Args:
        windows: of the training.
        lon: (N,) of the squares' middles, degrees EPSG:4326.
        lat: (N,) likewise.
        extent_m: their side, metres.

    Returns:
        (N,) bool.
    """
    from scipy.spatial import cKDTree

    found = np.zeros(len(lon), dtype=bool)
    if not len(lon) or not len(windows.lon):
        return found
    reach = (windows.extent_m + extent_m) / 2
    corner = 2 * np.sin(np.sqrt(2) * reach / (2 * EARTH_RADIUS_M)) * 1.01
    tree = cKDTree(unit_vectors(windows.lon, windows.lat))
    near = tree.query_ball_point(unit_vectors(lon, lat), corner)
    for row, others in enumerate(near):
        if not others:
            continue
        east = np.radians((windows.lon[others] - lon[row] + 180) % 360 - 180)
        north = np.radians(windows.lat[others] - lat[row])
        x = EARTH_RADIUS_M * np.cos(np.radians(lat[row])) * np.abs(east)
        y = EARTH_RADIUS_M * np.abs(north)
        found[row] = bool(((x < reach) & (y < reach)).any())
    return found


def _resolution(store: Store, task: str, manifest: pa.Table) -> float:
    """Metres a pixel of a task's windows, which is one for all."""
    if manifest.num_rows:
        key = f"tasks/{task}/windows/h3_cell={manifest['h3_cell'][0].as_py()}/windows.parquet"
        if store.exists(key):
            return float(store.read_table(key, ["resolution"])["resolution"][0].as_py())
    return PIXEL_M
