"""Everything Dagster serves, put together from task files and settings."""

import os
from pathlib import Path

import dagster as dg

import geofm_assets.tasks
from geofm_assets.core.settings import Settings, load_settings
from geofm_assets.evaluation.ingest.assets import build_dataset_assets
from geofm_assets.evaluation.sweeps.assets import build_sweep_assets
from geofm_assets.labels.assets import build_worldcereal_assets
from geofm_assets.platform.resources import build_executor, build_resources
from geofm_assets.platform.sensors import (
    collections_sensor,
    experiments_sensor,
    listing_job,
    reconcile_sensor,
    weekly_refresh,
)
from geofm_assets.platform.sql_assets import build_sql_assets
from geofm_assets.tasks.component import FineTuneTask, training_task
from geofm_assets.tasks.config import TaskFile, find_task_files, load_task_file

TASKS_VARIABLE = "GEOFM_TASKS"


def task_folders() -> list[Path]:
    """The package's own tasks, then the folders named by GEOFM_TASKS."""
    extra = [Path(f) for f in os.environ.get(TASKS_VARIABLE, "").split(os.pathsep) if f]
    return [Path(geofm_assets.tasks.__file__).parent, *extra]


def load_tasks(settings: Settings) -> dict[str, TaskFile]:
    """Every task by name, with the settings' overrides."""
    files = find_task_files(task_folders())
    return {
        name: load_task_file(path, settings.task_overrides(name)) for name, path in files.items()
    }


def build_definitions(settings: Settings | None = None) -> dg.Definitions:
    """Assets, checks, jobs, sensors, schedules, resources and executor."""
    settings = settings or load_settings()
    tasks = load_tasks(settings)
    worldcereal = [
        t.config.labels.min_confidence
        for t in tasks.values()
        if t.config.labels.source == "worldcereal"
    ]
    training = {name: training_task(task.config) for name, task in tasks.items()}
    prefixes = {name: t.imagery.sampling.source.prefix for name, t in training.items()}
    names = {name: [e.name for e in task.grid().feasible] for name, task in tasks.items()}
    shared = dg.Definitions(
        assets=[
            *build_worldcereal_assets(worldcereal),
            *build_sql_assets(prefixes),
            *build_dataset_assets(),
            *build_sweep_assets(),
        ],
        jobs=[listing_job()],
        schedules=[weekly_refresh()],
        sensors=[
            collections_sensor(worldcereal),
            *(reconcile_sensor(t) for t in training.values()),
            *(experiments_sensor(t, names[name]) for name, t in training.items()),
        ],
        resources=build_resources(settings),
        executor=build_executor(settings),
    )
    return dg.Definitions.merge(shared, *(FineTuneTask(t).build_defs() for t in tasks.values()))
