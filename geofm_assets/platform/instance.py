"""The Dagster instance kept beside the store."""

import os
import socket
from pathlib import Path

import dagster as dg
import yaml
from dagster import DagsterRunStatus, RunsFilter

from geofm_assets.core.errors import ConfigError
from geofm_assets.core.store import Store

HOME_KEY = "dagster_home"
DRIVER_TAG = "geofm/driver"
_CONFIG = {
    "telemetry": {"enabled": False},
    "nux": {"enabled": False},
    "concurrency": {"runs": {"max_concurrent_runs": 2}},
}


def dagster_home(store: Store) -> Path:
    """Folder of the instance: `DAGSTER_HOME` if set, else a folder in the store; made if absent.

    Raises:
        ConfigError: the store is not local and `DAGSTER_HOME` is not set.
    """
    given = os.environ.get("DAGSTER_HOME")
    if not given and not store.is_local:
        raise ConfigError(
            "A store that is not a local folder cannot hold the Dagster instance",
            where=store.url,
            fix="Set DAGSTER_HOME to a folder",
        )
    home = Path(given) if given else store.local_path(HOME_KEY)
    home.mkdir(parents=True, exist_ok=True)
    config = home / "dagster.yaml"
    if not config.exists():
        config.write_text(yaml.safe_dump(_CONFIG))
    return home


def open_instance(store: Store) -> dg.DagsterInstance:
    """The instance of a store, with runs whose process died marked as failed."""
    instance = dg.DagsterInstance.from_config(str(dagster_home(store)))
    _fail_dead_runs(instance)
    return instance


def driver_tag() -> str:
    """Names this process, so that a later one can tell whether it still lives."""
    return f"{socket.gethostname()}:{os.getpid()}"


def _fail_dead_runs(instance: dg.DagsterInstance) -> None:
    """A killed command line leaves its run as started for ever; say what happened instead."""
    unfinished = [DagsterRunStatus.STARTED, DagsterRunStatus.STARTING, DagsterRunStatus.NOT_STARTED]
    for run in instance.get_runs(filters=RunsFilter(statuses=unfinished)):
        host, _, pid = run.tags.get(DRIVER_TAG, "").partition(":")
        if host == socket.gethostname() and pid.isdigit() and not _alive(int(pid)):
            instance.report_run_failed(run, f"Process {pid} on {host} ended before the run did")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
