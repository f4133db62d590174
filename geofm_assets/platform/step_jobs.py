"""Steps as Kubernetes Jobs, with the reason in the run's log when one cannot start or is lost.

Imports dagster_k8s, which costs seconds: import this module in a cluster only.
"""

import datetime as dt
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any, TypeVar

import kubernetes.client
import urllib3.exceptions
from dagster import DagsterEvent, DagsterRun, DagsterRunStatus
from dagster._core.events import EngineEventData
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.base import Executor
from dagster._core.executor.step_delegating import (
    CheckStepHealthResult,
    StepDelegatingExecutor,
    StepHandlerContext,
)
from dagster_k8s import K8sRunLauncher
from dagster_k8s.client import DagsterKubernetesClient, PatchedApiClient
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.executor import K8sStepHandler
from dagster_k8s.job import UserDefinedDagsterK8sConfig, get_job_name_from_run_id
from dagster_k8s.utils import load_kubernetes_config

from geofm_assets.core.compute import KubernetesSettings
from geofm_assets.core.errors import ConfigError
from geofm_assets.platform.pod_reasons import job_reasons, pod_reasons, waiting_since

# 401, 500, 503, 504: as dagster-k8s retries them; 410 and 429 ask for it; 502 is a proxy's 503
_PASSING = frozenset({401, 410, 429, 500, 502, 503, 504})
_THERE = 409
_PAUSES_S = (0.5, 1.0, 2.0, 4.0, 4.0, 4.0)  # an API server that is upgraded is back by then
_FAILURES = (kubernetes.client.ApiException, urllib3.exceptions.HTTPError)
T = TypeVar("T")


def jobs_of_steps(
    plan_context: PlanOrchestrationContext, settings: KubernetesSettings, limit: int | None
) -> Executor:
    """The executor that gives each step of a run a Job.

    Args:
        plan_context: of the run.
        settings: of pods.
        limit: Jobs of the run at once; None for no limit.

    Raises:
        ConfigError: the instance does not launch runs in Kubernetes.
    """
    launcher = require_kubernetes(plan_context.instance.run_launcher)
    return JobsExecutor(
        StepJobs(launcher, settings),
        RetryMode.ENABLED,
        check_step_health_interval_seconds=max(1, round(settings.poll_seconds)),
        max_concurrent=limit,
        should_verify_step=True,
    )


def require_kubernetes(launcher: object) -> K8sRunLauncher:
    """The run launcher, which tells pods of steps all they need to know.

    Raises:
        ConfigError: it is another one.
    """
    if not isinstance(launcher, K8sRunLauncher):
        raise ConfigError(
            f"The instance launches runs with {type(launcher).__name__}, not in Kubernetes",
            where="run_launcher in dagster.yaml",
            fix="Set GEOFM_EXECUTOR=kubernetes before dagster.yaml is written, or edit it "
            "(docs/execution.md)",
        )
    return launcher


class JobsExecutor(StepDelegatingExecutor):
    """Ends the Jobs of a run that is canceled.

    Dagster leaves them alone where runs are resumed, as if a run that is canceled would be.
    """

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[DagsterEvent]:
        """Execute a plan."""
        try:
            yield from super().execute(plan_context, execution_plan)
        finally:  # an interrupt ends it with an exception
            run = plan_context.instance.get_run_by_id(plan_context.run_id)
            if run is not None and run.status == DagsterRunStatus.CANCELING:
                launcher = require_kubernetes(plan_context.instance.run_launcher)
                if left := delete_step_jobs(launcher, run):
                    DagsterEvent.engine_event(plan_context, left, EngineEventData())


class PatientJobs(kubernetes.client.BatchV1Api):  # type: ignore[misc]
    """Creates a Job once, however often it is asked to.

    A create whose answer is lost may have been done, and a run that is resumed asks for the Job of
    a step it cannot see: the Job's name, one for each attempt of a step, tells. One that failed
    while nobody looked makes room.
    """

    def create_namespaced_job(self, namespace: str, body: Any, **kwargs: Any) -> Any:
        """Create a Job, trying again while the server is out of order for a moment.

        Returns:
            The Job; None if it was there already, since nobody reads what is returned.
        """

        def create() -> Any:
            try:
                return super(PatientJobs, self).create_namespaced_job(namespace, body, **kwargs)
            except kubernetes.client.ApiException as error:
                if error.status != _THERE or not self._goes_on(namespace, body.metadata.name):
                    raise
                return None

        return _patiently(create, {*_PASSING, _THERE})

    def _goes_on(self, namespace: str, name: str) -> bool:
        """Whether a Job is there and has not failed; one that has is deleted."""
        try:
            job = self.read_namespaced_job_status(name, namespace)
            if not job.status.failed:
                return job.metadata.deletion_timestamp is None
            self.delete_namespaced_job(name, namespace, propagation_policy="Background")
        except kubernetes.client.ApiException as error:
            if error.status != 404:
                raise
        return False


class StepJobs(K8sStepHandler):  # type: ignore[misc]
    """Starts, watches and ends the Jobs of steps.

    Args:
        launcher: whose namespace, service account, environment and volumes steps share.
        settings: of pods.
    """

    def __init__(self, launcher: K8sRunLauncher, settings: KubernetesSettings) -> None:
        load_kubernetes_config(
            load_incluster_config=launcher.load_incluster_config,
            kubeconfig_file=launcher.kubeconfig_file,
        )
        step = UserDefinedDagsterK8sConfig.from_dict(settings.cpu_pod(settings.step_hours))
        super().__init__(
            image=settings.image or None,
            container_context=K8sContainerContext(run_k8s_config=step),
            load_incluster_config=launcher.load_incluster_config,
            kubeconfig_file=launcher.kubeconfig_file,
            k8s_client_batch_api=PatientJobs(api_client=PatchedApiClient()),
        )
        self._start_seconds = settings.start_minutes * 60
        self._said: dict[str, str] = {}
        self._ended: set[str] = set()

    @property
    def name(self) -> str:
        """As it is called in a run's log."""
        return "Kubernetes Jobs"

    def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        """Whether a step's Job goes on; if not, why, as the cluster says it."""
        job_name = self._get_k8s_step_job_name(step_handler_context)
        # a launcher always has a namespace
        namespace = self._get_container_context(step_handler_context).namespace or "default"
        result = super().check_step_health(step_handler_context)
        job, pods = find_job(self._api_client, job_name, namespace)
        if job is None or job.status.succeeded:
            return self._check_ended(job_name)
        if not result.is_healthy:
            return CheckStepHealthResult.unhealthy(
                f"{result.unhealthy_reason} {reasons_of(job, pods)}".strip()
            )
        began = waiting_since(job, pods)
        if began is None:
            return CheckStepHealthResult.healthy()
        reasons = reasons_of(job, pods) or "it has no pod yet"
        waited = (dt.datetime.now(dt.UTC) - began).total_seconds()
        if waited > self._start_seconds:
            self._api_client.delete_job(job_name, namespace)  # else it might start yet
            return CheckStepHealthResult.unhealthy(
                f"Kubernetes job {job_name} did not start within {self._start_seconds / 60:g} "
                f"minutes: {reasons}"
            )
        if self._said.get(job_name) != reasons:
            self._said[job_name] = reasons
            key = self._get_step_key(step_handler_context)
            DagsterEvent.engine_event(
                step_handler_context.get_step_context(key),
                f"Kubernetes job {job_name} waits: {reasons}",
                EngineEventData(),
            )
        return CheckStepHealthResult.healthy()

    def _check_ended(self, job_name: str) -> CheckStepHealthResult:
        # its last events may be on their way; at the second look they are not
        if job_name in self._ended:
            return CheckStepHealthResult.unhealthy(
                f"Kubernetes job {job_name} ended, or was deleted, and its step had not."
            )
        self._ended.add(job_name)
        return CheckStepHealthResult.healthy()


def _patiently(call: Callable[[], T], passing: Collection[int] = _PASSING) -> T:
    """Ask the cluster's API, again while it is out of order for a moment."""
    for pause in _PAUSES_S:
        try:
            return call()
        except kubernetes.client.ApiException as error:
            if error.status not in passing:
                raise
        except urllib3.exceptions.HTTPError:
            pass
        time.sleep(pause)
    return call()


def find_job(client: DagsterKubernetesClient, name: str, namespace: str) -> tuple[Any, list[Any]]:
    """A Job and its pods; None and no pods if it is gone."""
    try:
        job = _patiently(lambda: client.batch_api.read_namespaced_job_status(name, namespace))
        return job, _patiently(lambda: client.get_pods_in_job(name, namespace))
    except kubernetes.client.ApiException as error:
        if error.status != 404:
            raise
        return None, []


def pod_of_run(launcher: K8sRunLauncher, run: DagsterRun, attempt: int) -> tuple[bool, str]:
    """Whether the pod of a run has yet to start, and why it waits or ended.

    Args:
        launcher: of the run.
        run: whose pod it is.
        attempt: how often the run was resumed.
    """
    namespace = launcher.get_container_context_for_run(run).namespace or "default"
    name = get_job_name_from_run_id(run.run_id, attempt)
    try:
        job, pods = find_job(DagsterKubernetesClient.production_client(), name, namespace)
    except _FAILURES as error:
        return False, f"the cluster does not answer: {type(error).__name__}"
    if job is None:
        return False, "its Job is gone"
    return waiting_since(job, pods) is not None, reasons_of(job, pods)


def delete_step_jobs(launcher: K8sRunLauncher, run: DagsterRun) -> str:
    """Delete the Jobs of a run's steps, and their pods with them.

    Returns:
        Why some of them may go on; empty if none does.
    """
    client = DagsterKubernetesClient.production_client()
    namespace = launcher.get_container_context_for_run(run).namespace or "default"
    selector = f"dagster/run-id={run.run_id},app.kubernetes.io/component=step_worker"

    def delete() -> None:
        for job in client.batch_api.list_namespaced_job(namespace, label_selector=selector).items:
            client.delete_job(job.metadata.name, namespace)

    try:
        _patiently(delete)
    except _FAILURES as error:
        return (
            "Jobs of its steps may go on, since the cluster does not answer "
            f"({type(error).__name__}): kubectl -n {namespace} delete jobs -l {selector}"
        )
    return ""


def reasons_of(job: Any, pods: list[Any]) -> str:
    """What the cluster says of a Job and its pods, each thing once."""
    found = [*job_reasons(job), *(reason for pod in pods for reason in pod_reasons(pod))]
    return "; ".join(dict.fromkeys(found))
