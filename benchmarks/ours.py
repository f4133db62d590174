"""The platform's side of every comparison: all calls into geofm_assets are here.

Stages are made as the platform makes them, checks included; what Dagster itself takes for events
and partitions is not measured. If a stage's inside changes, nothing here needs to; if storage of
chips or the reader of a task's windows changes, `write_cell_chips` and `open_training` do.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.generate_points import generate
from geofm_assets.core.outcome import Outcome, require_checks
from geofm_assets.core.stage import is_current
from geofm_assets.core.store import Store
from geofm_assets.imagery.bands import LAYERS
from geofm_assets.imagery.resources import ImagerySource
from geofm_assets.imagery.stages import ChipsStage, DatasetStage, RastersStage
from geofm_assets.labels.source import WORLDCEREAL
from geofm_assets.labels.stages import CollectionFileStage, CollectionsStage, ReferencePointsStage
from geofm_assets.labels.worldcereal.collections import normalise_id
from geofm_assets.labels.worldcereal.mirror import MirrorRdm
from geofm_assets.sampling.stages import CandidatesStage, FilteredPointsStage, PlanStage
from geofm_assets.sampling.task import planned_cells
from geofm_assets.tasks.component import training_task
from geofm_assets.tasks.config import load_task_file
from geofm_assets.training.experiments import Experiment
from geofm_assets.training.stages import ManifestStage, TrainingTask
from geofm_assets.windows.stages import WindowGroupStage

TASK_FILE = (
    Path(__file__).resolve().parents[1] / "geofm_assets/tasks/worldcereal_cropland/defs.yaml"
)
# points of one site are near each other: the reference's split keeps every one of them
NO_BUFFER = {"split.by": "ai2_hash"}
EPOCH_PX = 4
"""Side of the windows that only the start of an epoch is measured on, pixels."""
Mosaics = dict[str, tuple[np.ndarray, np.ndarray]]
_ENCODER = "olmoearth_v1_2_nano"


def task(**overrides: Any) -> TrainingTask:
    """The reference task, with dotted keys of its file replaced (`windows__size` for a dot)."""
    given = {key.replace("__", "."): value for key, value in overrides.items()}
    axes = {
        "experiments.patch_size": [4],
        "experiments.window_size": [min(32, int(given.get("windows.size", 32)))],
        "experiments.timesteps": [12],
        "experiments.default": None,
    }
    return training_task(load_task_file(TASK_FILE, {**axes, **given}).config)


def sites_task() -> TrainingTask:
    """The task for generated scenes: every point of a site gets a window."""
    return task(**NO_BUFFER)


def fetch(store: Store, mirror: Path) -> list[str]:
    """List a mirror and copy its files into the store; ids of its collections, sorted."""
    rdm = MirrorRdm(mirror)
    records = rdm.list_collections()
    _checked(CollectionsStage(WORLDCEREAL).make(store, records), "collections")
    ids = sorted(normalise_id(str(record["collectionId"])) for record in records)
    for collection in ids:
        _checked(CollectionFileStage(WORLDCEREAL).make(store, rdm, collection, False), collection)
    return ids


def listed(store: Store) -> dict[str, int]:
    """Rows of each listed collection, by id, sorted."""
    table = store.read_table(WORLDCEREAL.collections_key, ["collection_id", "feature_count"])
    return dict(sorted(zip(*(column.to_pylist() for column in table.columns), strict=True)))


def make_points(store: Store, of: TrainingTask, ids: Iterable[str], force: bool) -> None:
    """Reference points and candidates of collections."""
    sampling = of.imagery.sampling
    points, candidates = ReferencePointsStage(sampling.source), CandidatesStage(sampling)
    for collection in ids:
        _checked(points.make(store, collection, force), collection)
        _checked(candidates.make(store, collection, force), collection)


def warm_up(scratch: Path) -> None:
    """Load what the first collection of a process loads: compiled kernels, pandera's backends."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        store = Store(f"{folder}/store")
        mirror = generate(Path(folder) / "mirror", 300, collections=3)
        make_points(store, task(), fetch(store, mirror), force=True)


def make_plan(store: Store, of: TrainingTask) -> str:
    """The sampling plan; digest of the sample."""
    plan = PlanStage(of.imagery.sampling)
    _checked(plan.make(store), "sampling_plan")
    found = store.provenance(plan.sample_key)
    assert found is not None
    return found.content


def quarantined(store: Store, ids: Iterable[str]) -> int:
    """Rows that collections' points refused."""
    root = WORLDCEREAL.root
    return sum(store.rows(f"{root}/quarantine/{one}.parquet") for one in ids)


def cells(store: Store, of: TrainingTask) -> list[str]:
    """Cells of the plan."""
    return planned_cells(store, of.name)


def make_cell_points(store: Store, of: TrainingTask, wanted: Sequence[str], force: bool) -> int:
    """Tables of sampled points of cells that are out of date; how many were made."""
    stage = FilteredPointsStage(of.imagery.sampling)
    stale = list(wanted) if force else [c for c in wanted if not is_current(store, stage, c)]
    for _ in _made(stage, store, stale, force):
        pass
    return len(stale)


def make_windows(store: Store, of: TrainingTask, wanted: Sequence[str], force: bool) -> int:
    """Windows and labels of cells; how many windows they have."""
    stage = WindowGroupStage(of.imagery.sampling, of.imagery.windows)
    for _ in _made(stage, store, wanted, force):
        pass
    return sum(store.rows(stage.key(cell)) for cell in wanted)


def windows(store: Store, of: TrainingTask, cell: str) -> pa.Table:
    """Windows of a cell: window_name, h3_cell, crs, bounds, time range, class_name, options."""
    return store.read_table(WindowGroupStage(of.imagery.sampling, of.imagery.windows).key(cell))


def set_up_imagery(store: Store, of: TrainingTask, scenes: Path) -> None:
    """The rslearn dataset's configuration and the contract of its scenes."""
    _checked(DatasetStage(of.imagery).make(store, ImagerySource(scenes=str(scenes))), "dataset")


def make_rasters(store: Store, of: TrainingTask, wanted: Sequence[str], force: bool) -> None:
    """Rasters of cells."""
    for _ in _made(RastersStage(of.imagery), store, wanted, force):
        pass


def make_chips(store: Store, of: TrainingTask, wanted: Sequence[str], force: bool) -> None:
    """Chips of cells."""
    for _ in _made(ChipsStage(of.imagery), store, wanted, force):
        pass


def make_manifest(store: Store, of: TrainingTask, *, whole: bool = True) -> int:
    """The split manifest; how many windows it has.

    Args:
        store: where the cells' chips are.
        of: the task.
        whole: whether its checks must pass; they cannot where chips were drawn at random.
    """
    outcome = ManifestStage(of).make(store)
    if whole:
        _checked(outcome, "split_manifest")
    return store.rows(ManifestStage(of).key())


def cell_mosaics(store: Store, of: TrainingTask, cell: str) -> dict[str, Mosaics]:
    """Stored mosaics of a cell's chips by window name and layer.

    Returns:
        pixels (T, C, H, W), and start and end of each in microseconds since 1970 (T, 2).
    """
    from geofm_assets.imagery.chips import read_chips

    chips = read_chips(store.local_path(ChipsStage(of.imagery).folder(cell)))
    layers = chips.file.layers
    return {
        name: {
            layer: (np.array(chips.file.row(layer, row)), np.array(layers[layer].timestamps[row]))
            for layer in layers
        }
        for name, row in zip(chips.window_names, chips.rows, strict=True)
    }


def write_cell_chips(
    store: Store, of: TrainingTask, cell: str, values: Mapping[str, np.ndarray], periods: np.ndarray
) -> None:
    """Lay ready pixels of a cell's windows as chips, without scenes.

    Args:
        store: holds the cell's windows.
        of: the task.
        cell: the H3 cell.
        values: by layer (N, T, C, H, W), in the order of the windows' names.
        periods: (T, 2) microseconds since 1970.
    """
    from geofm_assets.imagery.cell_file import LayerMosaics, checksums, write_cell_file
    from geofm_assets.imagery.chips import pack_cell

    rows = windows(store, of, cell).to_pylist()
    layers = {}
    for name, pixels in values.items():
        times = np.broadcast_to(periods, (len(rows), *periods.shape)).astype(np.int64)
        present = np.ones(pixels.shape[:2], dtype=bool)
        scene = [{"name": "SIMULATED", "simulated": True}]
        groups = [[[0]] * pixels.shape[1]] * len(rows)
        layers[name] = LayerMosaics(
            pixels.astype(LAYERS[name].dtype),
            present,
            times,
            times,
            checksums(pixels),
            scene,
            groups,
        )
    said = [
        {
            "window_name": row["window_name"],
            "sample_id": row["sample_id"],
            "crs": row["crs"],
            "resolution": row["resolution"],
            "bounds_px": [row["col_min"], row["row_min"], row["col_max"], row["row_max"]],
            "bounds": [0.0, 0.0, 0.0, 0.0],
        }
        for row in rows
    ]
    folder = store.local_path(ChipsStage(of.imagery).folder(cell))
    name = write_cell_file(folder, cell, said, layers, simulated=True)
    pack_cell(folder, name, [], "simulated for benchmarks")


@dataclass(frozen=True)
class Training:
    """What a training loop of ours asks for its samples.

    Attributes:
        dataset: item `i` is a window's inputs and target.
        loader: batches of the training windows, as `fit` makes them.
        order: window names in the dataset's order.
        train: rows of the training windows.
    """

    dataset: Any
    loader: Any
    order: list[str]
    train: list[int]


def open_training(store: Store, of: TrainingTask, window_px: int, batch_size: int = 16) -> Training:
    """From the stored manifest to the point where the first batch can be asked for."""
    from geofm_assets.training.data import WindowDataset, open_chips
    from geofm_assets.training.loading import loaders

    manifest = store.read_table(ManifestStage(of).key())
    experiment = Experiment(
        encoder=_ENCODER, modality="s1_s2", patch_size=4, window_size=window_px, timesteps=12
    )
    root = store.local_path(f"tasks/{of.name}/chips")
    dataset = WindowDataset(manifest, open_chips(manifest, root), experiment)
    splits = np.array(manifest["split"].to_pylist(), dtype=object)
    train, val = (np.flatnonzero(splits == split).tolist() for split in ("train", "val"))
    config = of.training.model_copy(update={"batch_size": batch_size})
    learn, _ = loaders(dataset, train, val, config)
    return Training(dataset, learn, manifest["window_name"].to_pylist(), train)


def model_inputs(training: Training, name: str) -> dict[str, np.ndarray]:
    """Normalised pixels (C, T, H, W) by layer of a window, as the model gets them."""
    example = training.dataset[training.order.index(name)]
    return {layer: np.asarray(image.image) for layer, image in example.inputs.items()}


def classifier(device: Any) -> tuple[Any, Any]:
    """The model an experiment trains, from a random start, and its optimiser."""
    import torch

    from geofm_assets.models.config import EncoderSpec
    from geofm_assets.models.encoders import build_encoder
    from geofm_assets.training.window_model import WindowClassifier

    built = build_encoder(EncoderSpec(name=_ENCODER), 4, autocast=True)
    model = WindowClassifier(built.module, built.embedding_size, 2).to(device).train()
    return model, torch.optim.AdamW(model.parameters(), lr=1e-4)


def sample_table(store: Store, of: TrainingTask) -> pa.Table:
    """The plan's sample: which rows were chosen."""
    return store.read_table(PlanStage(of.imagery.sampling).sample_key)


def rows_a_cell(sample: pa.Table) -> int:
    """The largest number of rows a cell has in a sample."""
    counts = sample["h3_cell"].value_counts()
    return int(pc.max(counts.field("counts")).as_py() or 0)


def _made(stage: Any, store: Store, keys: Sequence[str], force: bool) -> Iterator[Outcome]:
    """A stage's outcomes for keys in order, many at once where the stage can."""
    make: Callable[[str], Outcome]
    if hasattr(stage, "maker"):
        make = stage.maker(store, keys, force)
    else:
        make = lambda key: stage.make(store, key, force)  # noqa: E731
    for key in keys:
        yield _checked(make(key), key)


def _checked(outcome: Outcome, what: str) -> Outcome:
    require_checks(outcome, what)
    return outcome
