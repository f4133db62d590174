"""One launched run as its launcher sees it: what it made, what it says, whether it still lives."""

import logging
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import dagster as dg
from dagster import DagsterEvent, DagsterEventType, DagsterRunStatus
from dagster._core.launcher.base import WorkerStatus
from dagster._core.workspace.context import BaseWorkspaceRequestContext
from dagster._daemon.daemon import MonitoringDaemon
from dagster._daemon.monitoring.run_monitoring import count_resume_run_attempts

from geofm_assets.core.fence import FENCE_SECONDS, find_run
from geofm_assets.platform.failures import message_of, why

LAUNCHED_TAG = "geofm/launched_by"
_LOOKS = 3  # in a row that must find nothing before a run counts as lost
_EVENTS = 1000
_STRAGGLE_SECONDS = 3 * FENCE_SECONDS
_ENDS = {
    DagsterEventType.RUN_SUCCESS: DagsterRunStatus.SUCCESS,
    DagsterEventType.RUN_FAILURE: DagsterRunStatus.FAILURE,
    DagsterEventType.RUN_CANCELED: DagsterRunStatus.CANCELED,
}


@dataclass
class LaunchedRun:
    """A run that goes on elsewhere.

    Attributes:
        run_id: of the run.
        keys: assets it makes.
        partitions: of them, neighbours in Dagster's order; empty if they have none.
        resumable: whether another process can take it up; one whose steps are Jobs.
        deaths: runs for the same partitions that were lost before, without making one; of assets
            that have none, all that were lost.
        made: partitions it has recorded ("" for an asset that has none).
        note: the last line of its log.
        said: warnings in its log that nobody has been told of.
        ended: how it ended; None while it goes on.
        began: when it was launched, or found, by time.monotonic().
    """

    run_id: str
    keys: Sequence[dg.AssetKey]
    partitions: Sequence[str]
    resumable: bool = False
    deaths: int = 0
    made: set[str] = field(default_factory=set)
    note: str = ""
    said: list[str] = field(default_factory=list)
    ended: DagsterRunStatus | None = None
    began: float = field(default_factory=time.monotonic)
    _failures: list[DagsterEvent] = field(default_factory=list)
    _last_message: str = ""
    _engine_error: str = ""
    _cursor: str | None = None
    _missed: int = 0
    _ended_at: float = 0.0

    @property
    def over(self) -> bool:
        """Whether it ended and nothing more comes of it.

        The process of a run that was given up for lost may go on, cut off from its cluster: what
        it records until it finds out is not to be made again.
        """
        if self.ended is None:
            return False
        said_so = self.ended == DagsterRunStatus.SUCCESS or bool(self._failures)
        return said_so or time.monotonic() - self._ended_at >= _STRAGGLE_SECONDS

    @property
    def reason(self) -> str:
        """Why steps of it failed; empty if none did."""
        return why(self._failures)

    @property
    def lost(self) -> str:
        """What became of it where no step failed."""
        said = [text for text in (self._last_message, self._engine_error) if text]
        return ". ".join(said) or "Its process ended without a word"

    def read(self, instance: dg.DagsterInstance) -> None:
        """Read what the run recorded since the last time."""
        more = True
        while more:
            found = instance.get_records_for_run(self.run_id, self._cursor, limit=_EVENTS)
            self._cursor, more = found.cursor, found.has_more
            for record in found.records:
                entry = record.event_log_entry
                event = entry.dagster_event
                if event is None:
                    self.note = entry.user_message or self.note
                    if entry.level == logging.WARNING:
                        self.said.append(entry.user_message)
                else:
                    self._note_event(event)

    def _note_event(self, event: DagsterEvent) -> None:
        kind = event.event_type
        if event.is_step_materialization:
            self.made.add(event.partition or "")
        elif event.is_step_failure and self.ended is None:
            self._failures.append(event)
        elif kind == DagsterEventType.ENGINE_EVENT and event.engine_event_data.error:
            self._engine_error = message_of(event.engine_event_data.error)
        elif kind in _ENDS and self.ended is None:
            self.ended, self._ended_at = _ENDS[kind], time.monotonic()
            self._last_message = (event.message or "").partition("\n")[0]

    def watch(
        self,
        instance: dg.DagsterInstance,
        workspace: BaseWorkspaceRequestContext,
        start_seconds: float,
    ) -> None:
        """Find out whether the run still lives; if not, have it resumed or marked as failed.

        Does nothing where Dagster's daemon does it.

        Args:
            instance: that has the run.
            workspace: to resume it in.
            start_seconds: a run may take to start.
        """
        run = find_run(instance, self.run_id)
        if run is None:  # somebody deleted it
            self.ended = DagsterRunStatus.CANCELED
            return
        if run.is_finished or monitored(instance):
            return
        trouble = self._trouble(instance, run)
        starting = run.status in (DagsterRunStatus.STARTING, DagsterRunStatus.NOT_STARTED)
        if trouble is None:
            self._missed = 0
            if starting and time.monotonic() - self.began > start_seconds:
                waits, reasons = self._pod(instance, run)
                if waits:
                    late = f"The run's pod did not start within {start_seconds / 60:g} minutes"
                    self._end(instance, run, late, reasons)
            return
        self._missed += 1
        if trouble.startswith(WorkerStatus.UNKNOWN.value) and self._missed < _LOOKS:
            return  # the API may be out of order for a moment
        now = find_run(instance, self.run_id)
        if now is None or now.status != run.status:
            return
        attempts = count_resume_run_attempts(instance, self.run_id)
        most = instance.run_monitoring_max_resume_run_attempts if self.resumable else 0
        if not starting and attempts < most:
            self._missed = 0
            try:
                instance.resume_run(self.run_id, workspace, attempts + 1)
            except Exception as error:  # noqa: BLE001 - the run is marked as failed, with the error
                self.note = f"not resumed: {error}"
            return
        reasons = self._pod(instance, run)[1]
        self._end(instance, run, f"The process of the run was lost ({trouble})", reasons)

    def _trouble(self, instance: dg.DagsterInstance, run: dg.DagsterRun) -> str | None:
        """What is wrong with the process of the run; None if it lives."""
        launcher = instance.run_launcher
        if launcher.supports_check_run_worker_health:
            health = launcher.check_run_worker_health(run)
            lives = health.status in (WorkerStatus.RUNNING, WorkerStatus.SUCCESS)
            return None if lives else str(health)
        return _local_trouble(instance, run)

    def _pod(self, instance: dg.DagsterInstance, run: dg.DagsterRun) -> tuple[bool, str]:
        """Whether the pod of the run has yet to start, and what the cluster says of it."""
        if not instance.run_launcher.supports_check_run_worker_health:  # a process, not a pod
            return False, ""
        from geofm_assets.platform.step_jobs import pod_of_run, require_kubernetes

        attempt = count_resume_run_attempts(instance, self.run_id)
        return pod_of_run(require_kubernetes(instance.run_launcher), run, attempt)

    def _end(
        self, instance: dg.DagsterInstance, run: dg.DagsterRun, what: str, reasons: str
    ) -> None:
        launcher = instance.run_launcher
        if launcher.supports_check_run_worker_health:
            from geofm_assets.platform.step_jobs import delete_step_jobs, require_kubernetes

            launcher.terminate(run.run_id)  # else it might start, or go on, unseen
            left = delete_step_jobs(require_kubernetes(launcher), run)
            reasons = "; ".join(part for part in (reasons, left) if part)
        instance.report_run_failed(run, f"{what}: {reasons}" if reasons else what)


def launched_by() -> str:
    """Names this process in the runs it launches."""
    return f"{socket.gethostname()}:{os.getpid()}"


def monitored(instance: dg.DagsterInstance) -> bool:
    """Whether Dagster's daemon watches the processes of runs."""
    watched = instance.run_launcher.supports_check_run_worker_health
    if not (watched and instance.run_monitoring_enabled):
        return False
    kind = MonitoringDaemon.daemon_type()
    return bool(instance.get_daemon_statuses([kind])[kind].healthy)


def _local_trouble(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str | None:
    """Whether the process of a run on this machine is gone; its first event names it."""
    host, _, launcher_pid = run.tags.get(LAUNCHED_TAG, "").partition(":")
    if host != socket.gethostname():
        return None
    found = instance.get_records_for_run(run.run_id, of_type=DagsterEventType.ENGINE_EVENT)
    for record in found.records:
        event = record.event_log_entry.dagster_event
        pid = event.engine_event_data.metadata.get("pid") if event else None
        if pid is not None:
            return None if alive(int(str(pid.value))) else f"process {pid.value} is gone"
    # not started yet: it is up to the process that launches it
    return None if alive(int(launcher_pid)) else f"process {launcher_pid}, its launcher, is gone"


def alive(pid: int) -> bool:
    """Whether a process of this machine exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
