"""How many steps may use a thing at once: pools, whose limits are kept in the Dagster instance."""

import os
from collections.abc import Mapping

import dagster as dg
from dagster import RunsFilter
from dagster._core.storage.dagster_run import FINISHED_STATUSES

from geofm_assets.core.compute import GPU_POOL, IMAGERY_POOL, RDM_POOL
from geofm_assets.core.errors import ConfigError

DEFAULT_LIMITS = {RDM_POOL: 2, IMAGERY_POOL: 4, GPU_POOL: 1}
"""Few, so that nobody's server is hammered and no pod waits for a GPU another one has."""
PREFIX = "GEOFM_POOL_"


def given_limits(environment: Mapping[str, str] | None = None) -> dict[str, int]:
    """Limits the environment names: `GEOFM_POOL_GPU=4` lets four GPU steps run at once.

    An empty variable counts as not set.

    Raises:
        ConfigError: a variable names no pool, or its value is not a whole number above 0.
    """
    variables = os.environ if environment is None else environment
    limits = {}
    for variable, text in variables.items():
        if not variable.startswith(PREFIX) or not text.strip():
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name not in DEFAULT_LIMITS or not text.isdecimal() or int(text) < 1:
            names = ", ".join(PREFIX + pool.upper() for pool in DEFAULT_LIMITS)
            raise ConfigError(
                f"{variable} is not a limit of a pool",
                where=repr(text),
                fix=f"Set {names} to whole numbers from 1",
            )
        limits[name] = int(text)
    return limits


def set_pool_limits(
    instance: dg.DagsterInstance, environment: Mapping[str, str] | None = None
) -> dict[str, int]:
    """Give every pool a limit: the environment's, else what it has (set in the UI), else its own.

    Args:
        instance: that keeps the limits.
        environment: variables to read instead of the process's own.

    Returns:
        The limit of each pool.

    Raises:
        ConfigError: as `given_limits`.
    """
    storage = instance.event_log_storage
    known = {p.name: p.limit for p in storage.get_pool_limits() if not p.from_default}
    wanted = {**DEFAULT_LIMITS, **known, **given_limits(environment)}
    limits = {name: wanted[name] for name in DEFAULT_LIMITS}
    for name, limit in limits.items():
        if known.get(name) != limit:
            storage.set_concurrency_slots(name, limit)
    return limits


def free_slots(instance: dg.DagsterInstance) -> list[str]:
    """Give back what runs that ended, and did not say so to their pools, still hold.

    Dagster's daemon does so too, a while after a run has ended, where it lives.

    Returns:
        Those runs.
    """
    storage = instance.event_log_storage
    holders = storage.get_concurrency_run_ids()
    if not holders:
        return []
    ended = instance.get_runs(RunsFilter(run_ids=list(holders), statuses=FINISHED_STATUSES))
    for run in ended:
        storage.free_concurrency_slots_for_run(run.run_id)
    return [run.run_id for run in ended]
