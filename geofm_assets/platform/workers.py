"""Launches runs through the instance's run launcher, several at once, and waits for them.

What a lost run had recorded stays; the rest of it is launched again. The command line can be ended
and started again at any time: runs it left behind are waited for, not made twice.
"""

import json
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    MAX_RETRIES_TAG,
    PARTITION_NAME_TAG,
)
from dagster._core.workspace.context import BaseWorkspaceRequestContext

from geofm_assets.core.compute import POD_TAG, KubernetesSettings
from geofm_assets.core.errors import ConfigError
from geofm_assets.core.progress import Report, Say, unsaid
from geofm_assets.core.settings import Settings
from geofm_assets.platform.code_location import code_origin, open_workspace, remote_origin
from geofm_assets.platform.launched import LAUNCHED_TAG, LaunchedRun, launched_by
from geofm_assets.platform.pieces import pieces, stretches
from geofm_assets.platform.pools import free_slots, set_pool_limits

GIVE_UP_AFTER = 3  # lost runs in a row for the same partitions, none of which made one
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
# The terminal is the command line's. What goes on at once are runs, whose processes have paid for
# their imports; steps of one run take their turn in it.
_HERE = {**QUIET, "execution": {"config": {"max_concurrent": 1}}}
_UNFINISHED = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]
_ENDING_SECONDS = 20.0
_POLL_SECONDS = 1.0
_WATCH_SECONDS = 5.0  # processes of this machine


@contextmanager
def open_workers(
    instance: dg.DagsterInstance, job: dg.JobDefinition, settings: Settings, count: int
) -> Iterator["Workers"]:
    """Workers of an instance.

    Args:
        instance: whose run launcher starts the runs.
        job: that has the assets to be made.
        settings: of the deployment.
        count: how many runs go on at once, at least 1.

    Raises:
        ConfigError: there are no workers, or the instance launches runs elsewhere than the
            settings' executor says, or for another store.
    """
    if count < 1:
        raise ConfigError("A run needs workers", where=f"--workers {count}", fix="Give 1 or more")
    set_pool_limits(instance)
    with open_workspace(instance, settings) as workspace:
        yield Workers(instance, job, settings, count, workspace)


class Workers:
    """Makes assets in launched runs.

    Args:
        instance: whose run launcher starts the runs.
        job: that has the assets.
        settings: of the deployment; runs find theirs in their own environment and the store.
        count: how many runs go on at once, at least 1.
        workspace: runs are launched in.
    """

    def __init__(
        self,
        instance: dg.DagsterInstance,
        job: dg.JobDefinition,
        settings: Settings,
        count: int,
        workspace: BaseWorkspaceRequestContext,
    ) -> None:
        self._instance, self._job, self._count = instance, job, count
        self._workspace = workspace
        self._cluster = settings.executor == "kubernetes"
        self._pods = KubernetesSettings.load()
        self._watch_seconds = self._pods.poll_seconds if self._cluster else _WATCH_SECONDS
        self._watched = 0.0

    def make(
        self,
        keys: Sequence[dg.AssetKey],
        order: Sequence[str] | None,
        todo: Sequence[str],
        report: Report,
        ops: Mapping[str, Any] | None = None,
        say: Say = unsaid,
    ) -> list[str]:
        """Make partitions of assets.

        Args:
            keys: the assets, of one run.
            order: all of their partitions as Dagster keeps them; None if they have none.
            todo: partitions to make; [""] for assets that have none.
            report: told of partitions made.
            ops: run config of the assets' steps, by name.
            say: told what the stages say in the log of their runs.

        Returns:
            Why something could not be made; empty if all was.
        """
        parts: list[list[str]] = [[]] if todo else []
        if order is not None:
            parts = pieces(order, todo, self._count, self._most(keys))
        waiting = deque(LaunchedRun("", keys, part, self._has_pods(keys)) for part in parts)
        running: list[LaunchedRun] = []
        failures: list[str] = []
        made = 0
        try:
            while waiting or running:
                while waiting and len(running) < self._count:
                    running.append(self._launch(waiting.popleft(), ops or {}))
                self._look(running)
                for run in running:
                    while run.said:
                        say(run.said.pop(0))
                for run in [run for run in running if run.over]:
                    running.remove(run)
                    made += len(run.made)
                    waiting.extend(self._rest(run, order, failures))
                if running:
                    going = sum(len(run.made) for run in running)
                    report(made + going, max(len(todo), 1), _note(running))
                    time.sleep(_POLL_SECONDS)
        except KeyboardInterrupt:
            self._end(running)
            raise
        report(made, max(len(todo), 1), "recorded")
        return failures

    def settle(self, keys: Sequence[dg.AssetKey], say: Say) -> None:
        """Wait for runs of assets that an earlier process launched and did not see end.

        Args:
            keys: the assets.
            say: told if there are any.
        """
        earlier = [
            run
            for run in self._instance.get_runs(filters=RunsFilter(statuses=_UNFINISHED))
            if LAUNCHED_TAG in run.tags and (run.asset_selection or set()) & set(keys)
        ]
        if earlier:
            by = ", ".join(sorted({run.tags[LAUNCHED_TAG] for run in earlier}))
            say(
                f"{len(earlier)} runs launched by {by} still go on; waiting for them. If their "
                "machine is gone, end them in the UI"
            )
        found = [LaunchedRun(run.run_id, keys, (), self._has_pods(keys)) for run in earlier]
        while found:
            self._look(found)
            found = [run for run in found if not run.over]
            time.sleep(_POLL_SECONDS if found else 0)

    def _launch(self, run: LaunchedRun, ops: Mapping[str, Any]) -> LaunchedRun:
        tags = {LAUNCHED_TAG: launched_by(), MAX_RETRIES_TAG: "0"}
        if len(run.partitions) == 1:
            tags[PARTITION_NAME_TAG] = run.partitions[0]
        elif run.partitions:
            tags[ASSET_PARTITION_RANGE_START_TAG] = run.partitions[0]
            tags[ASSET_PARTITION_RANGE_END_TAG] = run.partitions[-1]
        if self._cluster and run.resumable:
            tags[POD_TAG] = json.dumps(self._pods.waiting_pod())
        created = self._instance.create_run_for_job(
            self._job,
            tags=tags,
            run_config={**({} if self._cluster else _HERE), "ops": ops},
            asset_selection=frozenset(run.keys),
            remote_job_origin=remote_origin(self._job.name),
            job_code_origin=code_origin(self._job.name, self._pods.image),
        )
        run.run_id, run.began = created.run_id, time.monotonic()
        try:
            self._instance.launch_run(created.run_id, self._workspace)
        except Exception as error:  # noqa: BLE001 - whatever the launcher met is in the run's log
            run.note = f"not launched: {error}"
        return run

    def _look(self, runs: Sequence[LaunchedRun]) -> None:
        for run in runs:
            run.read(self._instance)
        if time.monotonic() - self._watched >= self._watch_seconds:
            for run in runs:
                run.watch(self._instance, self._workspace, self._pods.start_minutes * 60)
            self._watched = time.monotonic()

    def _rest(
        self, run: LaunchedRun, order: Sequence[str] | None, failures: list[str]
    ) -> list[LaunchedRun]:
        """What to launch again of a run that ended; notes why it failed if it did."""
        free_slots(self._instance)  # a lost or resumed run does not, and others would wait for it
        if run.ended == DagsterRunStatus.SUCCESS:
            return []
        if run.reason:
            failures.append(run.reason)
            return []
        # without partitions nothing is left out the next time, whatever was made
        deaths = 0 if run.made and run.partitions else run.deaths + 1
        missing = [p for p in run.partitions if p not in run.made]
        if run.partitions and not missing:
            return []
        if deaths >= GIVE_UP_AFTER or run.ended == DagsterRunStatus.CANCELED:
            what = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
            failures.append(f"{what}: {run.lost}" if what else run.lost)
            return []
        parts = stretches(order, missing) if order is not None else [[]]
        return [LaunchedRun("", run.keys, part, run.resumable, deaths) for part in parts]

    def _end(self, runs: Sequence[LaunchedRun]) -> None:
        """End runs, and wait a little for their processes to do so in order."""
        for run in runs:
            self._instance.run_launcher.terminate(run.run_id)
        until = time.monotonic() + _ENDING_SECONDS
        while time.monotonic() < until and not all(run.ended for run in runs):
            time.sleep(_POLL_SECONDS)
            self._look(runs)

    def _most(self, keys: Sequence[dg.AssetKey]) -> int | None:
        """Partitions the assets take in one run."""
        graph = self._job.asset_layer.asset_graph
        policies = [graph.get(key).backfill_policy for key in keys]
        limits = [p.max_partitions_per_run for p in policies if p is not None]
        return min((limit for limit in limits if limit is not None), default=None)

    def _has_pods(self, keys: Sequence[dg.AssetKey]) -> bool:
        """Whether steps of the assets ask for pods of their own."""
        names = {key.to_python_identifier() for key in keys}
        return any(POD_TAG in n.definition.tags for n in self._job.nodes if n.name in names)


def _note(running: Sequence[LaunchedRun]) -> str:
    """What one of the runs says, and how many others go on."""
    said = next((run.note for run in running if run.note), "starting")
    others = len(running) - 1
    return f"{said} (and {others} more runs)" if others else said
