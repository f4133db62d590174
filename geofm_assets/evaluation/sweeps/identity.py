"""Which weights a model's name stands for, before a sweep: whether they are there, and their id."""

from collections.abc import Sequence
from pathlib import Path

from geofm_assets.core.errors import WeightsError
from geofm_assets.core.store import Store
from geofm_assets.evaluation.backbones.names import (
    BUILT,
    CHECKPOINT,
    WRAPPED,
    KnownModel,
    ModelChoice,
    known_models,
    parse_model,
    require_folder,
)
from geofm_assets.training.experiments import Experiment

_CHEAP = ("nano", "tiny", "small", "presto")  # built in a second or two
_CHEAP_BYTES = 64 << 20


def known(name: str) -> KnownModel:
    """What a model's name alone says.

    Raises:
        ConfigError: no such model.
        ExperimentError: a checkpoint's experiment has no such name.
    """
    choice = parse_model(name)
    models = {model.name: model for model in known_models()}
    if choice.checkpoint is None:
        return models[choice.name]
    listed = next(model for key, model in models.items() if key.startswith(CHECKPOINT))
    patch = Experiment.parse(choice.checkpoint[1]).patch_size
    return KnownModel(name, listed.what, listed.normalizations, (patch,), listed.needs)


def require_weights(store: Store, names: Sequence[str]) -> None:
    """Refuse models that could not be opened: an untrained checkpoint, a folder that is not there.

    Raises:
        WeightsError: names the first.
    """
    for name in names:
        choice = parse_model(name)
        require_folder(choice)
        if choice.checkpoint is None:
            continue
        folder = _experiment_folder(choice)
        # the note is written last
        for file in ("checkpoint.ckpt", "checkpoint.json"):
            if not store.exists(f"{folder}/{file}"):
                raise WeightsError(
                    "The checkpoint was not trained yet",
                    where=f"model {name}: {store.url}/{folder}/{file}",
                    fix=f"geofm run {choice.checkpoint[0]} --experiment {choice.checkpoint[1]}",
                )


def model_id_of(store: Store, name: str) -> str | None:
    """A model's id where it costs little to know; None where large weights would have to be read.

    Raises:
        WeightsError: weights that do not fit.
    """
    choice = parse_model(name)
    if choice.checkpoint is not None:
        return str(store.read_json(f"{_experiment_folder(choice)}/checkpoint.json")["model_id"])
    if not _is_cheap(choice):
        return None
    from geofm_assets.evaluation.backbones.build import build_model  # imports torch

    return build_model(name, store=store).info.model_id


def base_name(name: str) -> str:
    """A model's name without its weights."""
    return name.partition("@")[0]


def _is_cheap(choice: ModelChoice) -> bool:
    if choice.source == "hub" or choice.name in WRAPPED:
        return False
    if choice.source == "path":
        path = Path(choice.location or "").expanduser()
        files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
        return sum(file.stat().st_size for file in files) <= _CHEAP_BYTES
    return choice.name not in BUILT or any(part in choice.name for part in _CHEAP)


def _experiment_folder(choice: ModelChoice) -> str:
    assert choice.checkpoint is not None
    task, experiment = choice.checkpoint
    return f"tasks/{task}/experiments/{Experiment.parse(experiment).name}"
