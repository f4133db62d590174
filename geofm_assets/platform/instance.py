"""The Dagster instance of a store: where it keeps runs, events and schedules.

By default in SQLite, in a folder beside the store; with `GEOFM_POSTGRES_URL` in PostgreSQL, which
any number of processes and machines may share (docs/postgres.md). dagster.yaml says which, and
names the variable, never what is in it.
"""

import os
import shutil
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from dagster import DagsterRunStatus, RunsFilter
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from geofm_assets.core.connections import keep_connected
from geofm_assets.core.errors import ConfigError
from geofm_assets.core.settings import Settings, load_settings
from geofm_assets.core.store import Store
from geofm_assets.platform.launched import alive
from geofm_assets.platform.launching import run_launcher_config
from geofm_assets.platform.pools import free_slots, set_pool_limits

HOME_KEY = "dagster_home"
DRIVER_TAG = "geofm/driver"
POSTGRES_VARIABLE = "GEOFM_POSTGRES_URL"
POSTGRES_DRIVER = "postgresql+psycopg2"
# Materializations that Dagster itself emits for a range are then stored in one statement. Only
# PostgreSQL can; more than any range has.
BATCH_VARIABLE, BATCH_SIZE = "DAGSTER_EVENT_BATCH_SIZE", "1000"
_CONFIG = {
    "telemetry": {"enabled": False},
    "nux": {"enabled": False},
    "concurrency": {"runs": {"max_concurrent_runs": 2}},
    # Dagster frees what lost runs held of a pool only if told so
    "run_monitoring": {
        "enabled": True,
        "start_timeout_seconds": 600,
        "free_slots_after_run_end_seconds": 60,
    },
}
# Dagster's own storages, but for events: it works out what checks say of each cell one by one.
# Those of SQLite that are not named are Dagster's.
_IN_SQLITE = {"module": "geofm_assets.platform.sqlite_events", "class": "SqliteEvents"}
_IN_POSTGRES = {
    "run_storage": ("dagster_postgres", "PostgresRunStorage"),
    "event_log_storage": ("geofm_assets.platform.postgres_events", "PostgresEvents"),
    "schedule_storage": ("dagster_postgres", "PostgresScheduleStorage"),
}
_KINDS = {
    "postgres": "PostgreSQL",
    "dagster_postgres": "PostgreSQL",
    "geofm_assets.platform.postgres_events": "PostgreSQL",
    "sqlite": "SQLite",
    "geofm_assets.platform.sqlite_events": "SQLite",
}


def dagster_home(store: Store, settings: Settings | None = None) -> Path:
    """Folder of the instance: `DAGSTER_HOME` if set, else a folder in the store; made if absent.

    Args:
        store: whose instance it is.
        settings: dagster.yaml is written for, where there is none; the store's if not given.

    Raises:
        ConfigError: the store is not local and `DAGSTER_HOME` is not set, or dagster.yaml and
            `GEOFM_POSTGRES_URL` contradict each other, or one of them is wrong.
    """
    path = config_path(store)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        _write(path, instance_config(settings or load_settings(store.url)))
    _require_agreement(path)
    return path.parent


def config_path(store: Store) -> Path:
    """Where dagster.yaml of a store's instance is, or would be.

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
    return home / "dagster.yaml"


def instance_config(
    settings: Settings, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What dagster.yaml says for an environment and settings.

    Args:
        settings: of the deployment; say where runs are launched.
        environment: variables to read instead of the process's own.

    Raises:
        ConfigError: `GEOFM_POSTGRES_URL` is no URL of a PostgreSQL database.
    """
    variables = os.environ if environment is None else environment
    config: dict[str, Any] = {**_CONFIG, **run_launcher_config(settings)}
    if url := variables.get(POSTGRES_VARIABLE):
        require_postgres(url)
        for name, (module, kind) in _IN_POSTGRES.items():
            database = {"postgres_url": {"env": POSTGRES_VARIABLE}}
            config[name] = {"module": module, "class": kind, "config": database}
    else:
        config["event_log_storage"] = _IN_SQLITE
    return config


def require_postgres(url: str) -> None:
    """Refuse a URL that Dagster and SQLAlchemy 2.1 would not take for PostgreSQL's.

    Raises:
        ConfigError: it is not; does not repeat it, since it may hold a password.
    """
    fix = f"Begin it with {POSTGRES_DRIVER}://, then user, host and database (docs/postgres.md)"
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise ConfigError("It is not a URL", where=POSTGRES_VARIABLE, fix=fix) from error
    if parsed.drivername != POSTGRES_DRIVER:
        raise ConfigError(
            f"The URL of the Dagster instance begins with {parsed.drivername}://",
            where=POSTGRES_VARIABLE,
            fix=fix,
        )
    if not parsed.database:
        raise ConfigError("The URL names no database", where=POSTGRES_VARIABLE, fix=fix)


def write_config(store: Store, settings: Settings) -> Path | None:
    """Write dagster.yaml for the present environment and settings.

    Returns:
        The copy of another one that was there, dagster.yaml.before; None if there was none or it
        said the same.

    Raises:
        ConfigError: as `config_path` and `instance_config`.
    """
    path, config = config_path(store), instance_config(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    before = None
    if path.exists():
        if _read(path) == config:
            return None
        before = path.with_name("dagster.yaml.before")
        shutil.copyfile(path, before)
    _write(path, config)
    return before


def open_instance(store: Store, settings: Settings | None = None) -> dg.DagsterInstance:
    """The instance of a store: runs whose process died marked as failed, pools with limits.

    Args:
        store: whose instance it is.
        settings: as `dagster_home`.

    Raises:
        ConfigError: as `dagster_home` and `set_pool_limits`, or the database does not answer.
    """
    instance = load_instance(dagster_home(store, settings))
    _fail_dead_runs(instance)
    free_slots(instance)
    set_pool_limits(instance)
    return instance


def load_instance(home: Path) -> dg.DagsterInstance:
    """The instance of a folder with dagster.yaml. An empty database gets its tables.

    Raises:
        ConfigError: the database does not answer, or refuses the user; or runs are launched in a
            cluster, and there is none.
    """
    if storage_kind(home / "dagster.yaml") != "PostgreSQL":
        return _loaded(home)
    from dagster_postgres.utils import DagsterPostgresException  # with psycopg2, 0.3 s

    os.environ.setdefault(BATCH_VARIABLE, BATCH_SIZE)
    try:
        instance = _loaded(home)
    except (DagsterPostgresException, SQLAlchemyError) as error:
        reason = getattr(error.__cause__, "orig", None) or error  # psycopg2's own words
        raise ConfigError(
            f"The database of the Dagster instance cannot be used: {str(reason).splitlines()[0]}",
            where=str(home / "dagster.yaml"),
            fix=f"Start it, or correct {POSTGRES_VARIABLE} (docs/postgres.md)",
        ) from error
    keep_connected(instance.event_log_storage)
    return instance


def _loaded(home: Path) -> dg.DagsterInstance:
    launcher = _read(home / "dagster.yaml").get("run_launcher", {})
    if launcher.get("module") != "dagster_k8s":
        return dg.DagsterInstance.from_config(str(home))
    from kubernetes.config import ConfigException  # Dagster imports it now anyway

    try:
        return dg.DagsterInstance.from_config(str(home))
    except ConfigException as error:
        raise ConfigError(
            f"Runs are launched in Kubernetes, and no cluster is known here: {error}",
            where=f"run_launcher in {home / 'dagster.yaml'}",
            fix="Run this in a pod, or name a kubeconfig in GEOFM_K8S_KUBECONFIG; for runs on this "
            "machine set GEOFM_EXECUTOR=multiprocess. Then geofm instance write",
        ) from error


def storage_kind(path: Path) -> str:
    """Where a dagster.yaml keeps runs, events and schedules: PostgreSQL, SQLite or another."""
    config = _read(path)
    storage = config.get("storage") or config.get("event_log_storage") or {"sqlite": {}}
    module = str(storage.get("module", next(iter(storage))))
    return _KINDS.get(module) or _KINDS.get(module.split(".")[0], module)


def driver_tag() -> str:
    """Names this process, so that a later one can tell whether it still lives."""
    return f"{socket.gethostname()}:{os.getpid()}"


def _read(path: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        raise ConfigError(
            "It is not YAML", where=str(path), fix="Correct it, or geofm instance write"
        ) from error
    return dict(config)


def _write(path: Path, config: Mapping[str, Any]) -> None:
    """Write a file whole or not at all."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".dagster.yaml.")
    with os.fdopen(handle, "w") as new:
        new.write(yaml.safe_dump(dict(config)))
    Path(name).chmod(0o644)  # of a temporary file only its owner could read
    Path(name).replace(path)


def _require_agreement(path: Path) -> None:
    """Neither start a second history beside the first, nor look for one in the wrong place."""
    kind, url = storage_kind(path), os.environ.get(POSTGRES_VARIABLE)
    if url:
        require_postgres(url)
        if kind != "PostgreSQL":
            raise ConfigError(
                f"{POSTGRES_VARIABLE} is set, and the Dagster instance is in {kind}",
                where=str(path),
                fix="geofm instance write moves it (docs/postgres.md says what stays behind)",
            )
    elif POSTGRES_VARIABLE in path.read_text():
        raise ConfigError(
            f"The Dagster instance is in PostgreSQL, and {POSTGRES_VARIABLE} is not set",
            where=str(path),
            fix="Set it; to go back to SQLite, geofm instance write",
        )


def _fail_dead_runs(instance: dg.DagsterInstance) -> None:
    """A killed command line leaves its run as started for ever; say what happened instead."""
    unfinished = [DagsterRunStatus.STARTED, DagsterRunStatus.STARTING, DagsterRunStatus.NOT_STARTED]
    for run in instance.get_runs(filters=RunsFilter(statuses=unfinished)):
        host, _, pid = run.tags.get(DRIVER_TAG, "").partition(":")
        if host == socket.gethostname() and pid.isdigit() and not alive(int(pid)):
            instance.report_run_failed(run, f"Process {pid} on {host} ended before the run did")
