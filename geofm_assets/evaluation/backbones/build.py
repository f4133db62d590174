"""A model from its name."""

import torch

from geofm_assets.core.errors import WeightsError
from geofm_assets.core.store import Store
from geofm_assets.evaluation.backbones.base import EvalModel
from geofm_assets.evaluation.backbones.baselines import ImageStatistics, RawPixels
from geofm_assets.evaluation.backbones.checkpoint import build_checkpoint
from geofm_assets.evaluation.backbones.galileo import build_galileo
from geofm_assets.evaluation.backbones.names import (
    GALILEO,
    IMAGE_STATISTICS,
    RAW_PIXELS,
    WRAPPED,
    KnownModel,
    ModelChoice,
    known_models,
    parse_model,
    require_folder,
)
from geofm_assets.evaluation.backbones.olmoearth import build_olmoearth
from geofm_assets.evaluation.backbones.presto import build_presto
from geofm_assets.evaluation.backbones.wrapped import build_wrapped
from geofm_assets.models.config import EncoderSpec
from geofm_assets.models.hub import ModelHub
from geofm_assets.models.names import PRESTO

__all__ = ["KnownModel", "build_model", "known_models"]


def build_model(
    name: str,
    *,
    weights: str | None = None,
    seed: int = 0,
    hub: ModelHub | None = None,
    store: Store | None = None,
    device: str = "cpu",
) -> EvalModel:
    """A frozen model, ready to embed samples.

    Without weights OlmoEarth, Presto and Galileo start at random from `seed`, and every score
    says so; the others ask for weights. Nothing is fetched unless the name says `@hub`.

    Args:
        name: one of `known_models()`, alone or as `name@path:FOLDER` (Presto: or the file),
            `name@hub`, `name@hub:OWNER/REPO[@REVISION]`, `name@seed:NUMBER`; or
            `checkpoint:TASK/EXPERIMENT`.
        weights: the part behind the `@`, given apart.
        seed: of a random start.
        hub: where hub ids are fetched from.
        store: where checkpoints lie.
        device: where to run; tokens come back to the CPU.

    Raises:
        ConfigError: no such model, or weights it does not have.
        WeightsError: the weights or a package are missing, or the weights do not fit.
        SourceUnavailableError: the hub did not answer.
        ExperimentError: a checkpoint's experiment has no such name.
        ContractError: a checkpoint was trained on other bands.
    """
    choice = parse_model(name, weights=weights, seed=seed)
    target = torch.device(device)
    if choice.checkpoint is not None:
        return build_checkpoint(*choice.checkpoint, choice.text, store=store, device=target)
    if choice.name == RAW_PIXELS:
        return RawPixels()
    if choice.name == IMAGE_STATISTICS:
        return ImageStatistics()
    _require_reachable(choice, hub)
    if choice.name in WRAPPED:
        return build_wrapped(choice, hub=hub, device=target)
    spec = EncoderSpec(
        name=choice.name,
        source=choice.source or "random",
        location=choice.location,
        seed=choice.seed,
    )
    if choice.name == PRESTO:
        return build_presto(spec, choice.text, hub=hub, device=target)
    if choice.name in GALILEO:
        return build_galileo(spec, choice.text, hub=hub, device=target)
    return build_olmoearth(spec, choice.text, hub=hub, device=target)


def _require_reachable(choice: ModelChoice, hub: ModelHub | None) -> None:
    """Refuse weights that are not there, and a hub nobody gave."""
    require_folder(choice)
    if choice.source == "hub" and hub is None:
        raise WeightsError(
            "Weights from a hub need a hub, and none was given",
            where=f"model {choice.text}",
            fix=f"Give them as a folder: {choice.name}@path:FOLDER",
        )
