"""What an operator asks of a Dagster instance: where it is, and how it does.

Whether its tables are of this version of Dagster and the daemon lives, what waits and runs, and
what pools allow.
"""

import time
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from dagster import DagsterRunStatus, RunsFilter
from dagster._daemon.controller import DEFAULT_DAEMON_HEARTBEAT_TOLERANCE_SECONDS
from rich.console import Console
from rich.table import Table

from geofm_assets.core.errors import ConfigError
from geofm_assets.core.progress import Report
from geofm_assets.core.redact import redact
from geofm_assets.core.store import Store
from geofm_assets.platform.instance import (
    config_path,
    dagster_home,
    load_instance,
    storage_kind,
)

_GOING_ON = {
    "queued": [DagsterRunStatus.QUEUED],
    "starting": [DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING],
    "started": [DagsterRunStatus.STARTED],
    "canceling": [DagsterRunStatus.CANCELING],
}


def instance_state(store: Store) -> dict[str, Any]:
    """The state of a store's instance, as JSON can hold it; no passwords.

    Returns:
        storage, address, dagster_yaml, schema (current and latest revision of each part),
        schema_current, daemon (seconds since each part's last heartbeat, whether it is healthy),
        runs (how many are in which state), runs_at_once (from the queue), launcher,
        pools (limit, used, waiting).

    Raises:
        ConfigError: there is no instance yet, or as `open_instance`.
    """
    home = _existing_home(store)
    instance = load_instance(home)
    schema = _schema(instance)
    queue = instance.get_concurrency_config().run_queue_config
    launcher = _config(home).get("run_launcher", {}).get("class", "DefaultRunLauncher")
    return {
        "storage": storage_kind(home / "dagster.yaml"),
        "address": _address(instance, home),
        "dagster_yaml": str(home / "dagster.yaml"),
        "schema": schema,
        "schema_current": all(part["current"] == part["latest"] for part in schema.values()),
        "daemon": _daemon(instance),
        "runs": {
            name: instance.get_runs_count(RunsFilter(statuses=statuses))
            for name, statuses in _GOING_ON.items()
        },
        "runs_at_once": queue.max_concurrent_runs if queue else None,
        "launcher": launcher,
        "pools": _pools(instance),
    }


def migrate(store: Store, say: Report) -> bool:
    """Bring the tables of a store's instance to this version of Dagster; nothing else may use it.

    Args:
        store: whose instance it is.
        say: told of steps done, none in all.

    Returns:
        Whether there was anything to do.

    Raises:
        ConfigError: as `instance_state`.
    """
    instance = load_instance(_existing_home(store))
    before = _schema(instance)
    if all(part["current"] == part["latest"] for part in before.values()):
        return False
    instance.upgrade(lambda text: say(0, 0, str(text).strip()))
    return True


def print_state(console: Console, state: dict[str, Any]) -> None:
    """The state as a person reads it."""
    console.print(
        f"{state['storage']}: {state['address']}   ({state['dagster_yaml']})",
        highlight=False,
        soft_wrap=True,
    )
    if state["schema_current"]:
        console.print("Tables: of this version of Dagster", highlight=False)
    else:
        old = [name for name, s in state["schema"].items() if s["current"] != s["latest"]]
        console.print(
            f"Tables: {', '.join(old)} of another version of Dagster; geofm instance migrate",
            style="bold yellow",
        )
    if not state["daemon"]:
        console.print("Daemon: none has run; queued runs, schedules and sensors wait for one")
    for part in state["daemon"]:
        said = "healthy" if part["healthy"] else "NOT RUNNING"
        console.print(
            f"Daemon: {part['part']} {said}, last heard of {part['seconds_ago']:.0f} s ago",
            highlight=False,
        )
    runs = ", ".join(f"{count} {name}" for name, count in state["runs"].items())
    console.print(
        f"Runs: {runs}; the queue starts {state['runs_at_once']} at once ({state['launcher']})",
        highlight=False,
    )
    if state["pools"]:
        table = Table()
        for column in ("pool", "limit", "used", "waiting"):
            table.add_column(column)
        for pool in state["pools"]:
            table.add_row(*(str(pool[name]) for name in ("pool", "limit", "used", "waiting")))
        console.print(table)


def _existing_home(store: Store) -> Path:
    path = config_path(store)
    if not path.exists():
        raise ConfigError(
            "There is no Dagster instance yet",
            where=str(path),
            fix="geofm run, geofm ui or geofm instance write makes it",
        )
    return dagster_home(store)


def _config(home: Path) -> dict[str, Any]:
    return dict(yaml.safe_load((home / "dagster.yaml").read_text()) or {})


def _address(instance: dg.DagsterInstance, home: Path) -> str:
    """Where the storage is, without a password."""
    url = getattr(instance.event_log_storage, "postgres_url", None)
    return redact(str(url)) if url else str(home)


def _schema(instance: dg.DagsterInstance) -> dict[str, dict[str, str]]:
    storages = {
        "runs": instance.run_storage,
        "events": instance.event_log_storage,
        "schedules": instance.schedule_storage,
    }
    found = {name: s.alembic_version() for name, s in storages.items() if s is not None}
    return {n: {"current": str(v[0]), "latest": str(v[1])} for n, v in found.items() if v}


def _daemon(instance: dg.DagsterInstance) -> list[dict[str, Any]]:
    parts = []
    for name, heartbeat in sorted(instance.get_daemon_heartbeats().items()):
        age = time.time() - heartbeat.timestamp
        healthy = age < DEFAULT_DAEMON_HEARTBEAT_TOLERANCE_SECONDS and not heartbeat.errors
        parts.append({"part": name, "healthy": healthy, "seconds_ago": age})
    return parts


def _pools(instance: dg.DagsterInstance) -> list[dict[str, Any]]:
    storage = instance.event_log_storage
    pools = []
    for pool in sorted(storage.get_pool_limits(), key=lambda pool: pool.name):
        info = storage.get_concurrency_info(pool.name)
        used, waiting = len(info.claimed_slots), info.pending_step_count
        pools.append({"pool": pool.name, "limit": pool.limit, "used": used, "waiting": waiting})
    return pools
