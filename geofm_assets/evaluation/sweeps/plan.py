"""What a sweep would do, without doing any of it.

Nothing is fetched or encoded. Small models are built to know their id, a checkpoint's is noted
beside it; what was encoded before is known by the headers of the files it left.
"""

from collections.abc import Sequence
from typing import Any

from geofm_assets.core.errors import ModelInputError
from geofm_assets.core.store import Store
from geofm_assets.evaluation.backbones.names import KnownModel
from geofm_assets.evaluation.embeddings.cost import places, seconds_per_place
from geofm_assets.evaluation.embeddings.store import EncodingKey, list_encodings
from geofm_assets.evaluation.registry.entry import DatasetEntry
from geofm_assets.evaluation.registry.registry import Registry
from geofm_assets.evaluation.sweeps.identity import (
    base_name,
    known,
    model_id_of,
    require_weights,
)
from geofm_assets.evaluation.sweeps.partitions import Cell, require_partition_name
from geofm_assets.evaluation.sweeps.planned import PlannedCell, PlannedEncoding, SweepPlan
from geofm_assets.evaluation.sweeps.settings import Sweep, SweepSettings, offers_knn

# Seconds for one place of a token at one time, one core. OlmoEarth v1 nano, tiny and base encode
# 87, 23 and 2.2 images of 64 x 64 pixels a second in torchgeo-bench's published CPU runs, patches
# of 4 pixels; the others are scaled by their width. Only used until something was measured.
_NOMINAL = {
    "nano": 4.5e-5,
    "tiny": 1.7e-4,
    "small": 6e-4,
    "base": 1.8e-3,
    "large": 6e-3,
    "presto": 1.5e-4,
    "raw_pixels": 1e-6,
    "image_statistics": 1e-7,
}
_UNKNOWN = 1.8e-3
# Seconds for one probe to see one vector once, one core, measured on vectors of 128.
_PROBE = 5e-6


def plan_sweep(
    store: Store,
    models: Sequence[str],
    tasks: Sequence[str],
    sweep: Sweep = "full",
    *,
    patch_size: int | None = None,
    settings: SweepSettings | None = None,
) -> SweepPlan:
    """What `run_sweep` would do with the same arguments.

    Args:
        store: with the registry.
        models: names, as `build_model` takes them.
        tasks: names of registered datasets.
        sweep: kind.
        patch_size: instead of each model's own.
        settings: everything else; wins over `sweep` and `patch_size`.

    Raises:
        ConfigError: no such model.
        RegistryError: no such dataset.
        ModelInputError: no patch size of a model divides a dataset's windows.
        WeightsError: weights or a checkpoint are not there, or do not fit.
    """
    settings = settings or SweepSettings(sweep=sweep, patch_size=patch_size)
    require_possible(store, models, tasks, settings)
    registry = Registry(store)
    entries = [registry.get(name) for name in tasks]
    made = list(list_encodings(store))
    ids = {name: model_id_of(store, name) for name in models}
    cells = [_cell(store, name, ids[name], e, settings, made) for name in models for e in entries]
    return SweepPlan(settings.sweep, tuple(cells))


def require_possible(
    store: Store,
    models: Sequence[str],
    tasks: Sequence[str],
    settings: SweepSettings,
    *,
    weights: bool = True,
) -> None:
    """Refuse now what would fail in hours.

    Args:
        store: with the registry.
        models: names, as `build_model` takes them.
        tasks: names of registered datasets.
        settings: of the sweep.
        weights: whether to look for the weights that names speak of.

    Raises:
        ConfigError, RegistryError, ModelInputError, WeightsError: as `plan_sweep`.
    """
    registry = Registry(store)
    entries = [registry.get(name) for name in tasks]
    said = {name: known(require_partition_name(name)) for name in models}
    if weights:
        require_weights(store, models)
    for name, model in said.items():
        for entry in entries:
            _patch_size(name, model, entry, settings)


def _cell(
    store: Store,
    name: str,
    model_id: str | None,
    entry: DatasetEntry,
    settings: SweepSettings,
    made: Sequence[tuple[EncodingKey, dict[str, Any]]],
) -> PlannedCell:
    model, base = known(name), base_name(name)
    alike = [key for key, meta in made if base_name(meta["model"]["name"]) == base]
    samples = sum(entry.split.counts.values())
    patch = _patch_size(name, model, entry, settings)
    rates = [r for key in alike if (r := seconds_per_place(store, key)) is not None]
    rate = sum(rates) / len(rates) if rates else None
    encodings = []
    for normalization in settings.normalizations(model.normalizations):
        wanted = (entry.dataset_id, normalization, patch)
        ids = [k.model_id for k, _ in made if wanted == _encoded(k)]
        cached = model_id in ids if model_id is not None else _maybe(wanted, alike)
        unit = rate if rate is not None else _nominal(model.name)
        seconds = 0.0 if cached else unit * samples * places(entry, patch)
        encodings.append(
            PlannedEncoding(normalization, patch, samples, cached, seconds, rate is not None)
        )
    variants = len(encodings) * len(settings.poolings)
    linear = variants * len(settings.rates(entry.task_type))
    knn = variants if offers_knn(entry.task_type) else 0
    seen = entry.split.counts.get("train", 0) * settings.epochs * settings.subset / 100
    vectors = (entry.window_size // patch) ** 2 if entry.dense else 1
    return PlannedCell(
        partition=Cell(name, entry.name).partition,
        model=name,
        dataset=entry.name,
        dataset_id=entry.dataset_id,
        encodings=tuple(encodings),
        linear_probes=linear,
        knn_probes=knn,
        runs=linear,
        probe_seconds=linear * seen * vectors * _PROBE,
    )


def _encoded(key: EncodingKey) -> tuple[str, str, int]:
    return key.dataset_id, key.normalization, key.patch_size


def _maybe(wanted: tuple[str, str, int], alike: Sequence[EncodingKey]) -> bool | None:
    """Whether some weights of the model encoded this: None then, for they may be others."""
    return None if any(_encoded(key) == wanted for key in alike) else False


def _patch_size(name: str, known: KnownModel, entry: DatasetEntry, settings: SweepSettings) -> int:
    offered = [settings.patch_size] if settings.patch_size else list(known.patch_sizes)
    able = [p for p in offered if p in known.patch_sizes and entry.window_size % p == 0]
    if not able:
        raise ModelInputError(
            f"No patch size of {', '.join(map(str, offered))} suits windows of "
            f"{entry.window_size} pixels",
            where=f"{name} on {entry.name}",
            fix=f"The model runs with {', '.join(map(str, known.patch_sizes))}",
        )
    return able[0]


def _nominal(name: str) -> float:
    return next((rate for part, rate in _NOMINAL.items() if part in name), _UNKNOWN)
