"""A stage over many H3 cells: through `geofm run`'s driver, and by calling its functions."""

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h3
from rich.console import Console

from benchmarks import ours
from benchmarks.generate_points import BLOCK, draw_block
from benchmarks.harness import Arguments, Measured, Side, done, measured, side_main
from benchmarks.mirror import write_collection, write_listing
from benchmarks.places import CollectionPlan
from benchmarks.platform_world import cpu_of_tree, environment
from geofm_assets.core.hashing import json_digest
from geofm_assets.core.settings import load_settings
from geofm_assets.core.store import Store
from geofm_assets.platform.driver import Driver
from geofm_assets.platform.report import Reporter
from geofm_assets.sampling.stages import FilteredPointsStage
from geofm_assets.sampling.task import planned_cells

TASK = "worldcereal_cropland"
STAGE = f"{TASK}/filtered_points"
_BEFORE = f"{TASK}/sampling_plan"
_MIDDLE = (47.0, 10.0)  # degrees north and east; cells around it
_POINTS = 20  # in each cell; so many that none is left without a useful label
_TITLE = "2021_SIM_CELLS_POINT_110"


def prepare(arguments: Arguments) -> Side:
    """A store whose plan has so many cells, none of them made."""
    folder = Path(arguments["folder"])
    store, task = Store(folder / "store"), ours.sites_task()
    with measured() as taken:
        _write_mirror(folder / "mirror", arguments["cells"], arguments["seed"])
        ids = ours.fetch(store, folder / "mirror")
        ours.make_points(store, task, ids, force=False)
        ours.make_plan(store, task)
    cells = planned_cells(store, task.name)
    assert len(cells) == arguments["cells"], len(cells)
    return done(taken, len(cells))


def direct(arguments: Arguments) -> Side:
    """Each cell by the stage's own function, as anybody can who imports the package."""
    store, stage, cells = _opened(arguments)
    with _own() as taken:
        for cell in cells:
            stage.make(store, cell, False)
    return done(taken, len(cells), content=_content(store, stage, cells))


def driven(arguments: Arguments) -> Side:
    """The same cells by the driver on the platform's code location: one run of one range.

    Everything the driver does for the stage counts: asking which cells are out of date, the run,
    what it records. The plan before it is not counted; SQL models, which come after, are not run.
    """
    store, stage, cells = _opened(arguments)
    folder = Path(arguments["folder"])
    home, no_models = folder / f"home-{arguments['name']}", folder / "no-models"
    no_models.mkdir(exist_ok=True)
    given = {**arguments["environment"], "GEOFM_SQL_MODELS": str(no_models)}
    with environment(home, arguments["url"], **given):
        settings = load_settings(store.url, rdm=str(folder / "mirror"))
        settings = settings.model_copy(update={"overrides": {TASK: ours.NO_BUFFER}})
        clock = _Clock(arguments["server"])
        driver = Driver(settings, TASK, clock)
        driver.stages = [v for v in driver.stages if v.name in (_BEFORE, STAGE)]
        driver.run([])
        recorded = driver.instance.get_materialized_partitions(driver.stages[-1].key)
        (run,) = [
            run
            for run in driver.instance.get_runs()
            if run.asset_selection == {driver.stages[-1].key}
        ]
        events = len(driver.instance.all_logs(run.run_id))
    assert set(recorded) == set(cells)
    return done(
        clock.taken(), len(cells),
        content=_content(store, stage, cells), server_cpu_s=clock.server_cpu_s, events=events,
    )  # fmt: skip


class _Clock(Reporter):
    """Notes what the driver had taken whenever a stage ended.

    Args:
        server: process of the database; 0 for none.
    """

    def __init__(self, server: int) -> None:
        super().__init__(Console(file=io.StringIO()))
        self._server = server
        self._at: dict[str, tuple[float, float, float]] = {}

    def stage_ended(self, place: tuple[int, int], name: str, seconds: float) -> None:
        super().stage_ended(place, name, seconds)
        self._at[name] = (time.process_time(), time.perf_counter(), cpu_of_tree(self._server))

    def taken(self) -> Measured:
        """What the stage took."""
        cpu, wall, _ = self._differences()
        return Measured(cpu, wall)

    @property
    def server_cpu_s(self) -> float:
        """CPU seconds of the database in the meantime."""
        return self._differences()[2]

    def _differences(self) -> tuple[float, ...]:
        return tuple(
            after - before for before, after in zip(self._at[_BEFORE], self._at[STAGE], strict=True)
        )


@contextmanager
def _own() -> Iterator[Measured]:
    """CPU of this process alone: a database may be its child."""
    taken = Measured()
    cpu, wall = time.process_time(), time.perf_counter()
    yield taken
    taken.wall_s = time.perf_counter() - wall
    taken.cpu_s = time.process_time() - cpu


def _opened(arguments: Arguments) -> tuple[Store, FilteredPointsStage, list[str]]:
    """A side's store and its cells, of which one was made: kernels and checks are loaded."""
    store = Store(Path(arguments["folder"]) / arguments["name"])
    task = ours.sites_task()
    stage, cells = FilteredPointsStage(task.imagery.sampling), planned_cells(store, task.name)
    stage.make(store, cells[0], True)
    return store, stage, cells


def _content(store: Store, stage: FilteredPointsStage, cells: list[str]) -> str:
    found = [store.provenance(stage.key(cell)) for cell in cells]
    return json_digest([one.content if one else "" for one in found])


def _write_mirror(folder: Path, cells: int, seed: int) -> None:
    """One survey with points in so many cells of resolution 3, about a place in Europe."""
    rings = 0
    while 1 + 3 * rings * (rings + 1) < cells:
        rings += 1
    disk = sorted(h3.grid_disk(h3.latlng_to_cell(*_MIDDLE, 3), rings))[:cells]
    plan = CollectionPlan(
        0, _TITLE, _POINTS * cells, 0.0, tuple(disk), (1 / cells,) * cells, lpis=False
    )
    blocks = [draw_block(plan, block, seed) for block in range(-(-plan.rows // BLOCK))]
    box = (-180.0, -90.0, 180.0, 90.0)
    write_listing(folder, [write_collection(folder, _TITLE, blocks, box=box, polygons=False)])


SIDES = {f.__name__: f for f in (prepare, direct, driven)}

if __name__ == "__main__":
    side_main(SIDES)
