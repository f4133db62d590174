"""Everything Dagster serves, put together from task files and settings."""

import os
from collections.abc import Iterable
from pathlib import Path

import dagster as dg

import geofm_assets.tasks
from geofm_assets.core.errors import ConfigError
from geofm_assets.core.settings import Settings, load_settings
from geofm_assets.evaluation.ingest.assets import build_dataset_assets
from geofm_assets.evaluation.sweeps.assets import build_sweep_assets
from geofm_assets.labels.assets import build_worldcereal_assets
from geofm_assets.labels.calfire.assets import (
    build_calfire_assets,
    perimeters_sensor,
)
from geofm_assets.labels.calfire.assets import listing_job as fires_listing_job
from geofm_assets.labels.source import LabelSource
from geofm_assets.platform.executors import build_executor
from geofm_assets.platform.resources import build_resources
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


def fire_sources(sources: Iterable[LabelSource]) -> list[LabelSource]:
    """The source of fire perimeters tasks share: one, or none if no task has any.

    Raises:
        ConfigError: two tasks have other perimeters, or sample them in another way.
    """
    found: list[LabelSource] = []
    for source in sources:
        config = source.config
        if config is None or config.calfire is None:
            continue
        known = found[0].config.calfire if found and found[0].config else None
        if known is not None and known != config.calfire:
            raise ConfigError(
                "Two tasks read fire perimeters in different ways, and the assets calfire/... "
                "can be made in one",
                where="labels.calfire",
                fix="Give both the same section, or each a deployment of its own (GEOFM_TASKS)",
            )
        found = [source]
    return found


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
    fires = fire_sources(t.imagery.sampling.source for t in training.values())
    prefixes = {name: t.imagery.sampling.source.prefix for name, t in training.items()}
    names = {name: [e.name for e in task.grid().feasible] for name, task in tasks.items()}
    shared = dg.Definitions(
        assets=[
            *build_worldcereal_assets(worldcereal),
            *(asset for source in fires for asset in build_calfire_assets(source)),
            *build_sql_assets(prefixes),
            *build_dataset_assets(),
            *build_sweep_assets(),
        ],
        jobs=[listing_job(), *(fires_listing_job(source) for source in fires)],
        schedules=[weekly_refresh()],
        sensors=[
            collections_sensor(worldcereal),
            *(perimeters_sensor(source) for source in fires),
            *(reconcile_sensor(t) for t in training.values()),
            *(experiments_sensor(t, names[name]) for name, t in training.items()),
        ],
        resources=build_resources(settings),
        executor=build_executor(settings),
    )
    return dg.Definitions.merge(shared, *(FineTuneTask(t).build_defs() for t in tasks.values()))
