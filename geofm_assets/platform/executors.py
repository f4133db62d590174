"""Where the steps of a run execute: its own process if that will do, else processes or Jobs.

A process of its own costs a step seconds of imports, a pod of its own also a node and an image.
So a run of one step, and in a cluster a run without a GPU step, executes in the process it has.
"""

from collections.abc import Callable, Iterator

import dagster as dg
from dagster import DagsterEvent
from dagster._core.definitions.executor_definition import multiple_process_executor_requirements
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.base import Executor
from dagster._core.executor.in_process import InProcessExecutor
from dagster._core.executor.init import InitExecutorContext
from dagster._core.executor.multiprocess import MultiprocessExecutor

from geofm_assets.core.compute import POD_TAG, KubernetesSettings
from geofm_assets.core.errors import GeofmError
from geofm_assets.core.settings import Settings

Apart = Callable[[PlanOrchestrationContext], Executor]


class RunLostError(GeofmError):
    """The process of a run ended before the run did."""


class InRunProcess(Executor):
    """Executes a run in its own process, unless its plan needs more.

    Args:
        needs_more: whether a plan does.
        apart: the executor of those that do.
    """

    def __init__(self, needs_more: Callable[[ExecutionPlan], bool], apart: Apart) -> None:
        self._needs_more, self._apart = needs_more, apart

    @property
    def retries(self) -> RetryMode:
        """Steps are retried as their policies say."""
        return RetryMode.ENABLED

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[DagsterEvent]:
        """Execute a plan.

        Raises:
            RunLostError: the process that had been executing it is gone, and its steps with it.
        """
        if self._needs_more(execution_plan):
            yield from self._apart(plan_context).execute(plan_context, execution_plan)
            return
        if plan_context.resume_from_failure:
            raise RunLostError(
                "The pod of this run was lost, and the steps it was executing with it",
                where=f"run {plan_context.run_id}",
                fix="Launch what is missing again; what was made is kept",
            )
        yield from InProcessExecutor(self.retries).execute(plan_context, execution_plan)


def has_pods(plan: ExecutionPlan) -> bool:
    """Whether a step to be executed asks for a pod of its own, as GPU steps do."""
    steps = (plan.get_step_by_key(key) for key in plan.step_keys_to_execute)
    return any(POD_TAG in (step.tags or {}) for step in steps)


def has_many_steps(plan: ExecutionPlan) -> bool:
    """Whether more than one step is to be executed."""
    return len(plan.step_keys_to_execute) > 1


@dg.executor(
    name="processes",
    config_schema={"max_concurrent": dg.Field(int, is_required=False)},
    requirements=multiple_process_executor_requirements(),
)
def processes_executor(context: InitExecutorContext) -> Executor:
    """A process for each step, on this machine; the run's own for one step, or one at a time."""
    limit = _limit(context)
    return InRunProcess(
        lambda plan: limit != 1 and has_many_steps(plan),
        lambda _: MultiprocessExecutor(RetryMode.ENABLED, limit),
    )


def jobs_executor(settings: KubernetesSettings) -> dg.ExecutorDefinition:
    """The executor of a cluster: a run with a GPU step gets a Job a step, other runs none.

    Args:
        settings: of pods.
    """

    @dg.executor(
        name="kubernetes",
        config_schema={"max_concurrent": dg.Field(int, is_required=False)},
        requirements=multiple_process_executor_requirements(),
    )
    def kubernetes(context: InitExecutorContext) -> Executor:
        def apart(plan_context: PlanOrchestrationContext) -> Executor:
            from geofm_assets.platform.step_jobs import jobs_of_steps  # imports dagster_k8s

            return jobs_of_steps(plan_context, settings, _limit(context))

        return InRunProcess(has_pods, apart)

    return kubernetes


def build_executor(settings: Settings) -> dg.ExecutorDefinition:
    """Where the steps of a run execute."""
    if settings.executor == "kubernetes":
        return jobs_executor(KubernetesSettings.load())
    if settings.executor == "multiprocess":
        return processes_executor
    return dg.in_process_executor


def _limit(context: InitExecutorContext) -> int | None:
    limit = context.executor_config.get("max_concurrent")
    return limit if isinstance(limit, int) else None
