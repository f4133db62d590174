"""The checkpoint file: a model and everything needed to use and to question it."""

import io
import os
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from geofm_assets.core.errors import ContractError, WeightsError
from geofm_assets.core.temporary import temporary_beside
from geofm_assets.imagery.bands import LAYERS
from geofm_assets.imagery.normalize import FILL
from geofm_assets.models.config import EncoderSpec
from geofm_assets.models.encoders import build_encoder
from geofm_assets.models.proof import model_id
from geofm_assets.training.experiment import Experiment
from geofm_assets.training.segmentation import window_model
from geofm_assets.training.window_model import WindowModel

FORMAT = "geofm-checkpoint"
VERSION = 1
ABSENT_BEFORE = 0.05
"""Share of training windows that must have lacked a frame for a model to do without it."""


@dataclass(frozen=True)
class Checkpoint:
    """A fine-tuned model as it lies in `checkpoint.ckpt`.

    Attributes:
        experiment: what it was trained on.
        classes: names, in the order of its outputs.
        label_rule: rule and version the classes come from.
        encoder_start: what the encoder started from, in words.
        model_id: sha256 of weights plus configuration.
        simulated: whether any training data was simulated.
        frames: months its imagery is of, counted from the month of the valid time; None for
            consecutive months.
        frame_shares: of the frames it reads, oldest first, the share of training windows that had
            them; None for consecutive months, and where the file does not say.
        content: the whole file.
    """

    experiment: Experiment
    classes: tuple[str, ...]
    label_rule: str
    encoder_start: str
    model_id: str
    simulated: bool
    frames: tuple[int, ...] | None
    frame_shares: tuple[float, ...] | None
    content: Mapping[str, Any]

    @property
    def precision(self) -> str:
        """The precision it was trained in, as `training.precision` names it."""
        return str(self.content["training"].get("precision", "auto"))

    @property
    def frames_needed(self) -> tuple[bool, ...] | None:
        """Which of the frames it reads a pixel must have, oldest first; None for all.

        The last one always: what was there before an event says nothing of it. Another one,
        unless windows without it were at least `ABSENT_BEFORE` of those it learned from.
        """
        if self.frame_shares is None:
            return None
        *before, _ = (share > 1 - ABSENT_BEFORE for share in self.frame_shares)
        return (*before, True)

    def build(self, *, autocast: bool = False) -> WindowModel:
        """The model with its weights, in evaluation mode.

        Called with a `Batch` it gives logits: (B, classes) of a classification head,
        (B, classes, H, W) of a segmentation head.

        Raises:
            WeightsError: the weights do not fit the configuration beside them.
        """
        spec = EncoderSpec(name=self.experiment.encoder, source="random")
        encoder = build_encoder(spec, self.experiment.patch_size, autocast=autocast)
        model = window_model(
            self.experiment, encoder.module, encoder.embedding_size, len(self.classes)
        )
        try:
            model.load_state_dict(self.content["state_dict"])
        except RuntimeError as error:
            raise WeightsError(
                f"The checkpoint's weights do not fit its configuration: {error}",
                where=self.experiment.name,
                fix="Train the experiment again",
            ) from error
        return model.eval()


def band_contract(experiment: Experiment) -> dict[str, Any]:
    """What the model expects of its inputs, per layer: bands in order, unit, normalisation."""
    contract: dict[str, Any] = {}
    for name in experiment.layers:
        layer = LAYERS[name]
        contract[name] = {
            "bands": list(layer.band_names),
            "dtype": layer.dtype,
            "nodata": layer.nodata,
            "unit": layer.unit,
            "normalisation": "(x - (mean - 2 std)) / (4 std)",
            "mean": [band.mean for band in layer.bands],
            "std": [band.std for band in layer.bands],
            "fill": FILL,
        }
    return contract


def identity(
    state: Mapping[str, torch.Tensor],
    experiment: Experiment,
    classes: tuple[str, ...],
    label_rule: str,
    contract: Mapping[str, Any],
    frames: Sequence[int] | None = None,
) -> str:
    """The model's id: weights, and the configuration that gives them a meaning."""
    config: dict[str, Any] = {
        "experiment": experiment.model_dump(),
        "classes": list(classes),
        "label_rule": label_rule,
        "band_contract": dict(contract),
    }
    if frames is not None:
        config["frames"] = list(frames)
    return model_id(state, config)


def write_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint whole or not at all; the same content gives the same bytes."""
    sink = io.BytesIO()
    torch.save({"format": FORMAT, "version": VERSION, **content}, sink)
    replace_bytes(path, sink.getvalue())


def replace_bytes(path: Path, data: bytes) -> None:
    """Write to a temporary name in the same folder, flush to disk, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    with temporary.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint without running code in it, and verify its id.

    Raises:
        WeightsError: no such file, another format, or content that is not what its id says.
        ContractError: it was trained on other bands or another normalisation.
    """
    if not path.is_file():
        raise WeightsError("No checkpoint", where=str(path), fix="Train the experiment first")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise WeightsError(
            f"The checkpoint cannot be read: {(str(error) or repr(error)).splitlines()[0]}",
            where=str(path),
            fix="Train the experiment again",
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise WeightsError("Not a checkpoint of this package", where=str(path))
    if content["version"] != VERSION:
        raise WeightsError(
            f"Checkpoint of version {content['version']}, this reads {VERSION}", where=str(path)
        )
    experiment = Experiment.model_validate(content["experiment"])
    classes = tuple(content["classes"])
    contract = content["band_contract"]
    frames = content.get("frames")
    found = identity(
        content["state_dict"], experiment, classes, content["label_rule"], contract, frames
    )
    if found != content["model_id"]:
        raise WeightsError(
            "The checkpoint's weights are not those its model_id names",
            where=str(path),
            fix="Train the experiment again",
        )
    if contract != band_contract(experiment):
        raise ContractError(
            "The model was trained on bands or a normalisation this version no longer has",
            where=str(path),
            fix="Train the experiment again, or use the version that wrote the checkpoint",
        )
    return Checkpoint(
        experiment=experiment,
        classes=classes,
        label_rule=content["label_rule"],
        encoder_start=content["weights"]["start"],
        model_id=content["model_id"],
        simulated=content["simulated"],
        frames=None if frames is None else tuple(frames),
        frame_shares=tuple(content["frame_shares"]) if "frame_shares" in content else None,
        content=content,
    )
