"""What a sweep would do, without doing any of it.

Nothing is built or fetched: models are known by their names, and what was encoded before by the
headers of the files it left.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from geofm_assets.core.errors import ModelInputError
from geofm_assets.core.store import Store
from geofm_assets.evaluation.backbones.names import (
    CHECKPOINT,
    KnownModel,
    known_models,
    parse_model,
)
from geofm_assets.evaluation.embeddings.cost import places, seconds_per_place
from geofm_assets.evaluation.embeddings.store import EncodingKey, list_encodings
from geofm_assets.evaluation.registry.entry import DatasetEntry
from geofm_assets.evaluation.registry.registry import Registry
from geofm_assets.evaluation.sweeps.partitions import Cell, require_partition_name
from geofm_assets.evaluation.sweeps.settings import Sweep, SweepSettings, offers_knn
from geofm_assets.training.experiments import Experiment

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


@dataclass(frozen=True)
class PlannedEncoding:
    """One pass of a dataset through a model.

    Attributes:
        normalization: of the pass.
        patch_size: likewise.
        samples: in the dataset.
        cached: whether the store holds its embeddings (of the weights that last ran by this name).
        seconds: expected; 0 if cached.
        measured: whether `seconds` rests on an earlier pass of this model rather than on
            published rates.
    """

    normalization: str
    patch_size: int
    samples: int
    cached: bool
    seconds: float
    measured: bool


@dataclass(frozen=True)
class PlannedCell:
    """A model on a dataset.

    Attributes:
        partition: key in the grid.
        model: name.
        dataset: name.
        dataset_id: today's.
        encodings: passes needed.
        linear_probes: how many are trained, all in one batch.
        knn_probes: how many are looked up.
        runs: encodings that one a run would take; kNN rides along with the linear probes.
        probe_seconds: expected of all probes.
    """

    partition: str
    model: str
    dataset: str
    dataset_id: str
    encodings: tuple[PlannedEncoding, ...]
    linear_probes: int
    knn_probes: int
    runs: int
    probe_seconds: float


@dataclass(frozen=True)
class SweepPlan:
    """A sweep that has not been started.

    Attributes:
        sweep: kind.
        cells: models on datasets.
    """

    sweep: Sweep
    cells: tuple[PlannedCell, ...]

    @property
    def encodings_needed(self) -> int:
        """Samples that have to go through an encoder."""
        return sum(e.samples for c in self.cells for e in c.encodings if not e.cached)

    @property
    def encodings_cached(self) -> int:
        """Samples that went through before."""
        return sum(e.samples for c in self.cells for e in c.encodings if e.cached)

    @property
    def encodings_saved(self) -> int:
        """Samples that one encoding a run would have put through in addition."""
        naive = sum(c.runs * c.encodings[0].samples for c in self.cells if c.encodings)
        return naive - self.encodings_needed

    @property
    def seconds(self) -> float:
        """Expected in all, one core."""
        encoding = sum(e.seconds for c in self.cells for e in c.encodings)
        return encoding + sum(c.probe_seconds for c in self.cells)

    @property
    def measured(self) -> bool:
        """Whether every rate was measured in this store."""
        return all(e.measured or e.cached for c in self.cells for e in c.encodings)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "sweep": self.sweep,
            "partitions": [asdict(cell) for cell in self.cells],
            "encodings_needed": self.encodings_needed,
            "encodings_cached": self.encodings_cached,
            "encodings_saved": self.encodings_saved,
            "linear_probes": sum(c.linear_probes for c in self.cells),
            "knn_probes": sum(c.knn_probes for c in self.cells),
            "seconds": self.seconds,
            "measured": self.measured,
        }

    def rows(self) -> list[dict[str, str]]:
        """One row a cell, as people read it."""
        return [
            {
                "model": c.model,
                "dataset": c.dataset,
                "samples": f"{c.encodings[0].samples:,}",
                "encode": ", ".join(_name(e) for e in c.encodings if not e.cached) or "nothing",
                "kept": ", ".join(_name(e) for e in c.encodings if e.cached) or "-",
                "probes": f"{c.linear_probes} linear, {c.knn_probes} kNN",
                "expected": duration(sum(e.seconds for e in c.encodings) + c.probe_seconds),
            }
            for c in self.cells
        ]

    def summary(self) -> str:
        """What it comes to, in a few lines."""
        basis = "measured here" if self.measured else "from published rates, to within a few times"
        linear = sum(c.linear_probes for c in self.cells)
        knn = sum(c.knn_probes for c in self.cells)
        return (
            f"{len(self.cells)} partitions, sweep {self.sweep}: {linear} linear probes, "
            f"{knn} kNN.\n"
            f"Encodings needed: {self.encodings_needed:,} samples; in the store already: "
            f"{self.encodings_cached:,}; saved against one encoding a run: "
            f"{self.encodings_saved:,}.\n"
            f"Expected on one core: {duration(self.seconds)} ({basis}).\n"
            "Nothing was started."
        )


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
    """
    settings = settings or SweepSettings(sweep=sweep, patch_size=patch_size)
    registry = Registry(store)
    entries = [registry.get(name) for name in tasks]
    known = {name: _known(name) for name in map(require_partition_name, models)}
    made = list(list_encodings(store))
    cells = [_cell(store, n, known[n], e, settings, made) for n in models for e in entries]
    return SweepPlan(settings.sweep, tuple(cells))


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 else "under 1 s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _cell(
    store: Store,
    name: str,
    known: KnownModel,
    entry: DatasetEntry,
    settings: SweepSettings,
    made: Sequence[tuple[EncodingKey, dict[str, Any]]],
) -> PlannedCell:
    ours = [key for key, meta in made if meta["model"]["name"] == name]
    samples = sum(entry.split.counts.values())
    patch = _patch_size(name, known, entry, settings)
    rates = [r for key in ours if (r := seconds_per_place(store, key)) is not None]
    rate = sum(rates) / len(rates) if rates else None
    encodings = []
    for normalization in settings.normalizations(known.normalizations):
        wanted = (entry.dataset_id, normalization, patch)
        cached = any((k.dataset_id, k.normalization, k.patch_size) == wanted for k in ours)
        unit = rate if rate is not None else _nominal(known.name)
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


def _known(name: str) -> KnownModel:
    """What the name alone says.

    Raises:
        ConfigError: no such model.
    """
    choice = parse_model(name)
    models = {model.name: model for model in known_models()}
    if choice.checkpoint is None:
        return models[choice.name]
    listed = next(model for key, model in models.items() if key.startswith(CHECKPOINT))
    patch = Experiment.parse(choice.checkpoint[1]).patch_size
    return KnownModel(name, listed.what, listed.normalizations, (patch,), listed.needs)


def _name(encoding: PlannedEncoding) -> str:
    return f"{encoding.normalization} ps{encoding.patch_size}"


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
