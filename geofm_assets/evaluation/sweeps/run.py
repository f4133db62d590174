"""Running a sweep: each model on each dataset, encoded once, probed in one batch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.core.errors import DatasetError, GeofmError
from geofm_assets.core.outcome import Outcome, require_checks
from geofm_assets.core.progress import Report, silent
from geofm_assets.core.store import Store
from geofm_assets.evaluation.backbones.base import EvalModel, ModelInfo
from geofm_assets.evaluation.registry.entry import DatasetEntry
from geofm_assets.evaluation.registry.registry import Registry
from geofm_assets.evaluation.samples.packed import PackedSamples
from geofm_assets.evaluation.sweeps.leaderboard import PAGE_KEY, read_scores
from geofm_assets.evaluation.sweeps.partitions import Cell
from geofm_assets.evaluation.sweeps.plan import require_possible
from geofm_assets.evaluation.sweeps.schema import PROBE_SCORE
from geofm_assets.evaluation.sweeps.settings import Sweep, SweepSettings
from geofm_assets.evaluation.sweeps.stages import (
    EmbeddingsStage,
    LeaderboardStage,
    ProbeScoresStage,
)
from geofm_assets.models.hub import ModelHub

Build = Callable[[str], EvalModel]
OpenModel = Callable[[Store, str, ModelHub | None], EvalModel]


class SweepError(GeofmError):
    """Some models could not be scored on some datasets; the others were."""


@dataclass(frozen=True)
class SweptCell:
    """A model on a dataset, done.

    Attributes:
        cell: which.
        scores: PROBE_SCORE rows of this sweep.
        encoded: samples that went through the encoder; 0 if all were in the store.
        skipped: whether the scores were in the store already.
    """

    cell: Cell
    scores: pa.Table
    encoded: int
    skipped: bool


@dataclass(frozen=True)
class SweepResult:
    """A sweep, done.

    Attributes:
        cells: every model on every dataset, but for those that failed.
        leaderboard: where the page is; empty if nothing was done.
        failures: why, by the model, or the model and dataset, that failed.
    """

    cells: tuple[SweptCell, ...] = field(default_factory=tuple)
    leaderboard: str = ""
    failures: Mapping[str, GeofmError] = field(default_factory=dict)

    @property
    def encoded(self) -> int:
        """Samples that went through an encoder."""
        return sum(cell.encoded for cell in self.cells)

    @property
    def scores(self) -> pa.Table:
        """All rows."""
        return pa.concat_tables([c.scores for c in self.cells] or [PROBE_SCORE.empty_table()])

    @property
    def test(self) -> pa.Table:
        """Test scores of chosen settings, in each dataset's own metric."""
        table = self.scores
        return table.filter(pc.and_(pc.equal(table["split"], "test"), table["main"]))

    def require_all_done(self, pairs: int) -> None:
        """Raise what failed.

        Args:
            pairs: models times datasets.

        Raises:
            SweepError: names all that failed, and why; a single failure of a single pair is
                raised as it is.
        """
        if self.failures and pairs == 1:
            raise next(iter(self.failures.values()))
        if self.failures:
            raise SweepError(
                "; ".join(f"{what}: {error}".rstrip(".") for what, error in self.failures.items()),
                where=f"{len(self.failures)} of {pairs} model and dataset pairs",
                fix="What worked is done and kept",
            )


def run_sweep(
    store: Store,
    models: Sequence[str],
    tasks: Sequence[str],
    sweep: Sweep = "full",
    *,
    patch_size: int | None = None,
    settings: SweepSettings | None = None,
    hub: ModelHub | None = None,
    build: Build | None = None,
    force: bool = False,
    report: Report = silent,
) -> SweepResult:
    """Encode what is not encoded, probe what is not probed, and write the leaderboard.

    A model that fails on a dataset does not stop the others: it is named at the end.

    Args:
        store: with the registry and the datasets.
        models: names, as `build_model` takes them.
        tasks: names of registered datasets.
        sweep: kind.
        patch_size: instead of each model's own.
        settings: everything else; wins over `sweep` and `patch_size`.
        hub: where weights are fetched from; None: only weights on this machine.
        build: instead of `build_model`.
        force: encode and probe also what is in the store.
        report: told of steps done.

    Raises:
        ConfigError: no such model.
        RegistryError: no such dataset.
        ModelInputError: no patch size of a model divides a dataset's windows.
        WeightsError: weights or a checkpoint are not there.
        SweepError: some models failed, the others are done. What fails of a single model on a
            single dataset is raised as it is.
    """
    settings = settings or SweepSettings(sweep=sweep, patch_size=patch_size)
    require_possible(  # refuses now what would fail in hours
        store, models, tasks, settings, weights=build is None
    )
    registry = Registry(store)
    entries = [registry.get(name) for name in tasks]
    make = build or (lambda name: open_model(store, name, hub))
    done: list[SweptCell] = []
    failures: dict[str, GeofmError] = {}
    for name in models:
        try:
            model = make(name)
        except GeofmError as error:
            failures[name] = error
            continue
        for entry in entries:
            cell = Cell(name, entry.name)
            try:
                done.append(_run_cell(store, model, cell, entry, settings, force, report))
            except GeofmError as error:
                failures[f"{name} on {entry.name}"] = error
    if done:
        LeaderboardStage().make(store)
    result = SweepResult(tuple(done), f"{store.url}/{PAGE_KEY}" if done else "", failures)
    result.require_all_done(len(models) * len(tasks))
    return result


def open_model(store: Store, name: str, hub: ModelHub | None) -> EvalModel:
    """A model on the first visible GPU, or else on the CPU.

    Args:
        store: where checkpoints lie.
        name: as `build_model` takes it.
        hub: where weights are fetched from; None: only weights on this machine.
    """
    import torch

    from geofm_assets.evaluation.backbones.build import build_model

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return build_model(name, hub=hub, store=store, device=device)


class LastModel:
    """Opens models and keeps the last: the cells of a model then load its weights once.

    A model that could not be opened is not tried again for the cells that follow.

    Args:
        opening: of a model.
    """

    def __init__(self, opening: OpenModel = open_model) -> None:
        self._opening = opening
        self._name: str | None = None
        self._found: EvalModel | GeofmError | None = None

    def __call__(self, store: Store, name: str, hub: ModelHub | None) -> EvalModel:
        """The model of this name.

        Raises:
            GeofmError: it could not be opened.
        """
        if self._name != name or self._found is None:
            self._name, self._found = name, None  # two models need not fit into memory
            try:
                self._found = self._opening(store, name, hub)
            except GeofmError as error:
                self._found = error
        if isinstance(self._found, GeofmError):
            raise self._found
        return self._found

    def forget(self) -> None:
        """Open the next model anew, even one of the same name: its weights may have changed."""
        self._name = self._found = None

    def failed(self, name: str) -> bool:
        """Whether this was the last model asked for, and could not be opened."""
        return self._name == name and isinstance(self._found, GeofmError)


def open_samples(store: Store, entry: DatasetEntry) -> PackedSamples:
    """The samples of a registered dataset.

    Raises:
        DatasetError: they are missing, or are not what was registered.
    """
    samples = PackedSamples(store, entry.name)
    if samples.content != entry.content:
        raise DatasetError(
            "The samples are not those that were registered",
            where=f"{store.url}, dataset {entry.name}",
            fix=f"Run geofm evals ingest --name {entry.name} again, with --overwrite",
        )
    return samples


def _run_cell(
    store: Store,
    model: EvalModel,
    cell: Cell,
    entry: DatasetEntry,
    settings: SweepSettings,
    force: bool,
    report: Report,
) -> SweptCell:
    samples = open_samples(store, entry)

    told = named(report, cell)
    embeddings = EmbeddingsStage(settings).make(store, model, samples, entry, force, told)
    require_checks(embeddings, cell.partition)
    stage = ProbeScoresStage(settings)
    outcome: Outcome = stage.make(store, model.info, samples, entry, force, told)
    require_checks(outcome, cell.partition)
    encoded = int(embeddings.metadata["samples_encoded_now"])
    ours = scores_of(store, stage, model.info, entry)
    return SweptCell(cell, ours, encoded, outcome.skipped)


def named(report: Report, cell: Cell) -> Report:
    """A report that says of which cell it is."""
    return lambda done, total, note: report(done, total, f"{cell.model} on {cell.dataset}: {note}")


def scores_of(
    store: Store, stage: ProbeScoresStage, info: ModelInfo, entry: DatasetEntry
) -> pa.Table:
    """PROBE_SCORE rows of a sweep of a model on a dataset; none if it was never done."""
    scores = read_scores(store, stage.key(info, entry))
    return scores.filter(pc.equal(scores["inputs"], stage.inputs(info, entry)))
