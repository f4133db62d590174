"""What exists, what is current and what could be run, for the command line."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from geofm_assets.core.errors import GeofmError
from geofm_assets.core.settings import Settings
from geofm_assets.core.stage import MissingUpstreamError
from geofm_assets.core.store import Store
from geofm_assets.evaluation.sweeps.assets import register_datasets, register_models
from geofm_assets.imagery.resources import ImagerySource
from geofm_assets.platform.definitions import load_tasks
from geofm_assets.platform.instance import open_instance
from geofm_assets.platform.stages import StageView, task_stages, wanted_partitions
from geofm_assets.tasks.component import training_task
from geofm_assets.tasks.config import TaskFile
from geofm_assets.training.stages import TrainingTask, experiments_partitions

OFFERED_MODELS = ("raw_pixels", "image_statistics", "olmoearth_v1_2_nano", "presto")
"""Models the grid has from the start: the floors, and what runs on a laptop without a download."""


def _wanted(view: StageView, task: TrainingTask, store: Store) -> list[str]:
    try:
        if view.axis == "experiments":
            keys = store.list_keys(f"tasks/{task.name}/experiments", "/config.yaml")
            return [key.split("/")[-2] for key in keys]
        return wanted_partitions(view, task, store)
    except MissingUpstreamError:
        return []


def task_status(settings: Settings) -> list[dict[str, Any]]:
    """One record a task and stage: partitions wanted, current and out of date."""
    store = Store(settings.store)
    source = ImagerySource(scenes=settings.scenes, stac_url=settings.stac_url)
    rows = []
    for name, file in load_tasks(settings).items():
        task = training_task(file.config)
        for view in task_stages(task, source):
            wanted = _wanted(view, task, store)
            stale = _stale(view, store, wanted)
            rows.append(
                {
                    "task": name,
                    "stage": view.name,
                    "partitioned_by": view.axis,
                    "wanted": len(wanted),
                    "current": len(wanted) - len(stale),
                    "out_of_date": stale,
                }
            )
    return rows


def _stale(view: StageView, store: Store, wanted: list[str]) -> list[str]:
    try:
        return view.stale(store, wanted)
    except GeofmError:
        # its source is not set in this deployment, so nothing of it can be current
        return wanted


def print_status(console: Console, settings: Settings, rows: list[dict[str, Any]]) -> None:
    """The status as a table."""
    console.print(f"Store: {settings.store}   profile: {settings.profile}")
    table = Table()
    for column in ("task", "stage", "by", "current", "out of date"):
        table.add_column(column)
    for row in rows:
        missing = row["wanted"] - row["current"]
        text = f"{row['current']}/{row['wanted']}" if row["wanted"] else "-"
        table.add_row(row["task"], row["stage"], row["partitioned_by"], text, str(missing or ""))
    console.print(table)


def find_task(settings: Settings, name: str) -> TaskFile:
    """A task's file by name.

    Raises:
        GeofmError: there is no such task.
    """
    tasks = load_tasks(settings)
    if name not in tasks:
        known = ", ".join(sorted(tasks))
        raise GeofmError("There is no such task", where=name, fix=f"Choose one of {known}")
    return tasks[name]


def register(settings: Settings, task: str, names: Sequence[str]) -> None:
    """Make experiments partitions of a task.

    Raises:
        ExperimentError: a name is not an experiment, or cannot be run on this task.
    """
    file = find_task(settings, task)
    parsed = [training_task(file.config).feasible(name) for name in names]
    instance = open_instance(Store(settings.store))
    partition_set = experiments_partitions(task)
    known = set(instance.get_dynamic_partitions(partition_set))
    instance.add_dynamic_partitions(partition_set, [e.name for e in parsed if e.name not in known])


def register_all(settings: Settings) -> None:
    """Make every task's grid partitions, and that of models and evaluation datasets, for the UI."""
    for name, file in load_tasks(settings).items():
        register(settings, name, [e.name for e in file.grid().feasible])
    store = Store(settings.store)
    instance = open_instance(store)
    trained = store.list_keys("tasks", "/checkpoint.json")
    checkpoints = [f"checkpoint:{k.split('/')[1]}/{k.split('/')[-2]}" for k in trained]
    register_models(instance, [*OFFERED_MODELS, *checkpoints])
    register_datasets(instance, store)


def print_experiments(console: Console, settings: Settings, task: str) -> None:
    """Experiments that can be run, with what has been done of each, and those that cannot."""
    file, store = find_task(settings, task), Store(settings.store)
    grid = file.grid()
    scored = store.list_keys(f"tasks/{task}/experiments", "/metrics.parquet")
    done = {key.split("/")[-2] for key in scored}
    table = Table(title=f"{task}: {len(grid.feasible)} experiments", title_justify="left")
    table.add_column("experiment")
    table.add_column("state")
    names = [e.name for e in grid.feasible]
    for name in names + sorted(d for d in done if d not in names and not d.startswith("base")):
        default = ", the default" if name == grid.default.name else ""
        table.add_row(name, ("scored" if name in done else "not run") + default)
    console.print(table)
    for name, reason in grid.excluded:
        console.print(f"left out: {name}: {reason}", style="dim", highlight=False)
