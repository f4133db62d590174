"""A task of many small cells whose sample is drawn, ready for runs that make the cells."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import h3
import numpy as np
import pytest

from geofm_assets.core.settings import Settings, load_settings
from geofm_assets.core.store import Store
from geofm_assets.platform.instance import open_instance
from geofm_assets.platform.workers import QUIET, open_workers
from geofm_assets.sampling.stages import FilteredPointsStage
from geofm_assets.sampling.task import planned_cells
from tests.code_locations import enter, load

LOCATION = Path(__file__).with_name("cells_location")
TASK = "fields"
POINTS = dg.AssetKey([TASK, "filtered_points"])
_ABOVE_POINTS = ("collections", "reference_collection", "reference_points", "candidates")
_MIDDLE = (43.6, 1.4)
_POINTS_A_CELL = 2
_RESOLUTION = 9


@dataclass
class CellsWorld:
    """A store with an instance, and the job of the code location."""

    settings: Settings
    instance: dg.DagsterInstance
    job: dg.JobDefinition
    stage: FilteredPointsStage
    said: list[str] = field(default_factory=list)

    @property
    def store(self) -> Store:
        return Store(self.settings.store)

    @property
    def cells(self) -> list[str]:
        return planned_cells(self.store, TASK)

    def make_cells(self, workers: int) -> list[str]:
        """Make the points of all cells in launched runs; what failed."""
        with open_workers(self.instance, self.job, self.settings, workers) as opened:
            order = list(self.instance.get_dynamic_partitions(f"{TASK}_cells"))
            return opened.make([POINTS], order, self.cells, lambda *_: None, say=self.said.append)

    def records(self) -> list[tuple[str, str]]:
        """Cell and data version of every materialization on record, sorted."""
        found = self.instance.fetch_materializations(POINTS, limit=10_000).records
        return sorted(
            (str(r.partition_key), r.asset_materialization.tags["dagster/data_version"])
            for r in found
            if r.asset_materialization is not None and r.asset_materialization.tags is not None
        )


def write_labels(path: Path, cells: int) -> None:
    """Points in at least so many neighbouring cells, two in each."""
    rings = 0
    while 1 + 3 * rings * (rings + 1) < cells:
        rings += 1
    middle = h3.latlng_to_cell(*_MIDDLE, _RESOLUTION)
    rng = np.random.default_rng(7)
    lines = ["lon,lat,label,valid_time"]
    for cell in sorted(h3.grid_disk(middle, rings))[:cells]:
        lat, lon = h3.cell_to_latlng(cell)
        for _ in range(_POINTS_A_CELL):
            # within 60 m of the middle of a hexagon with sides of 200 m
            north, east = rng.uniform(-0.0005, 0.0005, 2)
            label = rng.choice(["crop", "other"])
            lines.append(f"{lon + east:.6f},{lat + north:.6f},{label},2022-06-01")
    path.write_text("\n".join(lines) + "\n")


def open_cells_world(
    root: Path, monkeypatch: pytest.MonkeyPatch, executor: str, cells: int, **variables: str
) -> CellsWorld:
    """A store with the sample of so many cells drawn; its runs are launched by `executor`."""
    enter(root, monkeypatch, LOCATION, executor, **variables)
    write_labels(root / "labels.csv", cells)
    settings = load_settings()
    instance = open_instance(Store(settings.store), settings)
    found = load(LOCATION)
    job = found.defs.resolve_implicit_global_asset_job_def()
    world = CellsWorld(settings, instance, job, FilteredPointsStage(found.task))
    above = [dg.AssetKey([TASK, name]) for name in _ABOVE_POINTS]
    for key in above:
        known = instance.get_dynamic_partitions(f"{TASK}_collections")
        _execute(world, key, known[0] if key != above[0] else None)
    _execute(world, dg.AssetKey([TASK, "sampling_plan"]), None)
    return world


def _execute(world: CellsWorld, key: dg.AssetKey, partition: str | None) -> None:
    done = world.job.execute_in_process(
        instance=world.instance,
        asset_selection=[key],
        partition_key=partition,
        run_config=QUIET,
    )
    assert done.success


def contents(store: Store, below: str) -> dict[str, str]:
    """sha256 of every file below a prefix."""
    keys = store.list_keys(below)
    return {key: hashlib.sha256(store.read_bytes(key)).hexdigest() for key in keys}
