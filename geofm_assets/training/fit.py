"""Training an experiment with Lightning, to a checkpoint that can be used and questioned."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from upath import UPath

from geofm_assets.core.errors import ExperimentError
from geofm_assets.core.hashing import json_digest, table_digest
from geofm_assets.core.progress import Report, silent
from geofm_assets.models.config import EncoderSpec
from geofm_assets.models.encoders import BuiltEncoder, build_encoder, set_drop_path
from geofm_assets.models.hub import ModelHub
from geofm_assets.models.proof import WeightsProof
from geofm_assets.training.checkpoint import band_contract, identity, write_checkpoint
from geofm_assets.training.config import CHECKPOINT, TrainingConfig
from geofm_assets.training.data import WindowDataset, open_chips
from geofm_assets.training.experiment import Experiment
from geofm_assets.training.hardware import Hardware, hardware
from geofm_assets.training.layout import in_bfloat16, is_first, joined, layout
from geofm_assets.training.loading import loaders
from geofm_assets.training.mask_rows import MaskRows, open_masks
from geofm_assets.training.module import FineTuning, HistoryRow
from geofm_assets.training.processes import from_first
from geofm_assets.training.resume import BEST, LAST, prepare_work
from geofm_assets.training.running import precision_of, quiet, reporting, reproducible, trainer
from geofm_assets.training.segmentation import SegmentationTuning, WindowSegmenter, window_model

WORK_FOLDER = ".training"
_MODEL = "model."


@dataclass(frozen=True)
class FitResult:
    """A finished training.

    Attributes:
        checkpoint: `checkpoint.ckpt` in the experiment's folder.
        model_id: of the fine-tuned model, as predictions carry it.
        proof: what the encoder started from.
        history: a row an epoch.
        best_epoch: the epoch whose weights were kept: the lowest validation loss.
        resumed_from: epoch an interrupted run was taken up at; None for a fresh start.
        hardware: what it ran on and how fast.
    """

    checkpoint: Path
    model_id: str
    proof: WeightsProof
    history: list[HistoryRow]
    best_epoch: int
    resumed_from: int | None
    hardware: Hardware


def fit(
    experiment: Experiment,
    manifest: pa.Table,
    chips_root: Path | UPath,
    classes: tuple[str, ...],
    *,
    label_rule: str,
    config: TrainingConfig,
    encoder: EncoderSpec,
    out_dir: Path,
    masks_root: Path | UPath | None = None,
    frames: Sequence[int] | None = None,
    hub: ModelHub | None = None,
    run_key: str | None = None,
    simulated: bool | None = None,
    progress: Report = silent,
    finished: Callable[[Path], object] | None = None,
) -> FitResult:
    """Fine-tune one experiment.

    A run that was killed is taken up after its last finished epoch if it had the same `run_key`,
    and ends with the same weights on a CPU. Training state lies in `out_dir/.training` until the
    checkpoint is written.

    If a launcher has started several processes, all of them call this with the same arguments; the
    first writes, and all return the same.

    Args:
        experiment: what to train.
        manifest: MANIFEST rows of every split; `train` is learned from, `val` chooses the epoch.
        chips_root: folder with `h3_cell=<cell>` chips.
        classes: names in the order of `class_id`.
        label_rule: rule and version, carried along.
        config: the recipe.
        encoder: what the encoder starts from.
        out_dir: the experiment's folder.
        masks_root: folder with `h3_cell=<cell>` masks, for a segmentation head.
        frames: the task's `imagery.frames`, if the chips hold those.
        hub: for `encoder.source == "hub"`.
        run_key: digest of everything the run depends on; computed here if None.
        simulated: whether inputs are simulated; taken from the manifest if None.
        progress: told of every epoch.
        finished: told of the checkpoint before the training's state goes, so that what it does
            with it can be done again if it fails.

    Raises:
        ExperimentError: train has fewer than two classes, val is empty, masks are missing, or the
            manifest is older than the chips.
        ImageryError: the chips are missing or are not what was written.
        WeightsError: the encoder's weights do not fit.
        ConfigError: there are not the processes or GPUs the recipe asks for.
        TrainingError: one of several processes died.
    """
    found = layout(config)
    if simulated is None:
        simulated = bool(pc.any(manifest["simulated"]).as_py())
    masks = None
    if experiment.head == "segmentation":
        masks = open_masks(experiment, manifest, masks_root, len(classes))
    if run_key is None:
        settings: list[object] = [config.model_dump(), encoder.model_dump()]
        settings += [list(classes), label_rule]
        if masks is not None:
            settings.append(masks.digest())
        if frames is not None:
            settings.append(list(frames))
        run_key = json_digest([table_digest(manifest), experiment.name, *settings])
    with reproducible(config.threads), joined(found):
        built = build_encoder(
            encoder,
            experiment.patch_size,
            hub=hub,
            autocast=in_bfloat16(config.accelerator, config.precision),
        )
        set_drop_path(built.module, config.drop_path)
        rows = _rows(manifest, classes)
        counts = _class_counts(manifest, rows, masks, len(classes))
        dataset = WindowDataset(
            manifest,
            open_chips(manifest, chips_root),
            experiment,
            masks=masks,
            frames=frames,
            augment=config.flips,
            seed=config.seed,
        )
        module = _module(built, counts, config, dataset, rows["train"])
        work = out_dir / WORK_FOLDER
        resumed = _finished_epochs(prepare_work(work, run_key)) if is_first() else None
        resumed = from_first(resumed)
        last = None if resumed is None else work / LAST
        learn, check = loaders(dataset, rows["train"], rows["val"], config)
        with quiet(), reporting(config, found, progress) as told:
            trainer(work, config, found, told).fit(
                module, learn, check, ckpt_path=last, weights_only=True
            )
        if not is_first():
            return from_first(cast(FitResult, None))
        best = torch.load(work / BEST, map_location="cpu", weights_only=True)
        final = torch.load(work / LAST, map_location="cpu", weights_only=True)
        state = {
            key.removeprefix(_MODEL): value
            for key, value in best["state_dict"].items()
            if key.startswith(_MODEL)
        }
        contract = band_contract(experiment)
        trained = identity(state, experiment, classes, label_rule, contract, frames)
        content: dict[str, Any] = {
            "state_dict": state,
            "model_id": trained,
            "experiment": experiment.model_dump(),
            "experiment_name": experiment.name,
            "classes": list(classes),
            "label_rule": label_rule,
            "band_contract": contract,
            "training": config.model_dump(),
            "encoder": encoder.model_dump(mode="json"),
            "weights": json.loads(json.dumps(built.proof.as_dict())),
            "best_epoch": int(best["epoch"]),
            "simulated": simulated,
        }
        if frames is not None:
            content["frames"] = list(frames)
            content["frame_shares"] = dataset.shown(rows["train"]).mean(axis=0).tolist()
        write_checkpoint(out_dir / CHECKPOINT, content)
        if finished is not None:
            finished(out_dir / CHECKPOINT)
        shutil.rmtree(work)
        history: list[HistoryRow] = list(final["geofm_history"])
        return from_first(
            FitResult(
                checkpoint=out_dir / CHECKPOINT,
                model_id=trained,
                proof=built.proof,
                history=history,
                best_epoch=int(best["epoch"]),
                resumed_from=resumed,
                hardware=hardware(found, precision_of(config), history),
            )
        )


def _rows(manifest: pa.Table, classes: tuple[str, ...]) -> dict[str, list[int]]:
    """Rows of train and val."""
    splits = np.array(manifest["split"].to_pylist(), dtype=object)
    rows = {name: np.flatnonzero(splits == name).tolist() for name in ("train", "val")}
    targets = manifest["class_id"].to_numpy()
    beyond = sorted({int(t) for t in targets if not 0 <= t < len(classes)})
    if beyond:
        raise ExperimentError(
            f"The manifest has class_id {beyond}, the label rule {len(classes)} classes",
            where="split manifest",
            fix="Make the sampling plan again",
        )
    if not rows["val"]:
        raise ExperimentError(
            "The val split is empty, so no epoch can be chosen",
            where="split manifest",
            fix="Sample more points or cells, or change the split",
        )
    return rows


def _class_counts(
    manifest: pa.Table, rows: dict[str, list[int]], masks: MaskRows | None, classes: int
) -> NDArray[np.int64]:
    """(classes,) windows, or labelled pixels where there are masks, to learn from."""
    if masks is None:
        targets = manifest["class_id"].to_numpy()[rows["train"]].astype(np.int64)
        counts = np.bincount(targets, minlength=classes)
    else:
        counts = masks.counts(rows["train"])
        if not masks.counts(rows["val"]).any():
            raise ExperimentError(
                "No pixel of the val split is labelled, so no epoch can be chosen",
                where="masks",
                fix="Sample more points or cells, or change the split",
            )
    if (counts > 0).sum() < 2:
        raise ExperimentError(
            "The train split has fewer than two classes",
            where="split manifest" if masks is None else "masks",
            fix="Sample more points or cells, or change the split",
        )
    return counts


def _module(
    built: BuiltEncoder,
    class_counts: NDArray[np.int64],
    config: TrainingConfig,
    dataset: WindowDataset,
    train: list[int],
) -> FineTuning:
    """The model with a seeded head and the loss's class weights."""
    classes = len(class_counts)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        model = window_model(dataset.experiment, built.module, built.embedding_size, classes)
    weights = torch.ones(classes)
    if config.class_weights == "balanced":
        counts = torch.from_numpy(class_counts)
        present, total = int((counts > 0).sum()), int(counts.sum())
        weights = torch.where(counts > 0, total / (present * counts.clamp(min=1)), 0.0)
    if isinstance(model, WindowSegmenter):
        return SegmentationTuning(model, config, weights.float(), dataset, train)
    return FineTuning(model, config, weights.float())


def _finished_epochs(last: Path | None) -> int | None:
    """How many epochs an interrupted run had finished."""
    if last is None:
        return None
    state = torch.load(last, map_location="cpu", weights_only=True)
    return len(state["geofm_history"])
