"""A process that was given up for lost records nothing more."""

from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest
from dagster._core.events import DagsterEvent, StepRetryData
from dagster_shared.error import SerializableErrorInfo

from geofm_assets.core import fence
from geofm_assets.core.assets import emit
from geofm_assets.core.outcome import Outcome


@pytest.fixture(autouse=True)
def _asks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fence, "FENCE_SECONDS", 0.0)


def run(
    instance: dg.DagsterInstance, meanwhile: Callable[[dg.AssetExecutionContext], Any]
) -> dg.ExecuteInProcessResult:
    """Make an asset; `meanwhile` happens while its step works."""

    @dg.asset(retry_policy=dg.RetryPolicy(max_retries=2))
    def thing(context: dg.AssetExecutionContext):
        def work() -> Outcome:
            meanwhile(context)
            return Outcome("content", "inputs")

        yield from emit(context, work)

    return dg.materialize([thing], instance=instance, raise_on_error=False)


def give_up(context: dg.AssetExecutionContext) -> None:
    """Record that the step is to be tried again, as an executor does that has lost its pod."""
    step = context.op_execution_context.get_step_execution_context()
    DagsterEvent.step_retry_event(step, StepRetryData(SerializableErrorInfo("pod lost", [], None)))


def recorded(instance: dg.DagsterInstance) -> int:
    return len(instance.fetch_materializations(dg.AssetKey("thing"), limit=9).records)


def test_an_attempt_that_another_has_taken_the_place_of_records_nothing():
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(instance, give_up)
        assert not result.success
        (failure,) = [e for e in result.all_events if e.is_step_failure]
        assert "Another attempt of this step goes on" in str(failure.step_failure_data.error)
        assert recorded(instance) == 0


def test_the_attempt_that_goes_on_records():
    attempts = []

    def fail_first(context: dg.AssetExecutionContext) -> None:
        attempts.append(context.op_execution_context.retry_number)
        if len(attempts) == 1:
            raise ConnectionError("the node was lost")

    with dg.DagsterInstance.ephemeral() as instance:
        assert run(instance, fail_first).success
        assert attempts == [0, 1]
        assert recorded(instance) == 1


def test_retries_of_other_steps_do_not_count():
    @dg.asset(retry_policy=dg.RetryPolicy(max_retries=2))
    def other(context: dg.AssetExecutionContext):
        if context.op_execution_context.retry_number == 0:
            raise ConnectionError("the node was lost")

    @dg.asset(deps=[other])
    def thing(context: dg.AssetExecutionContext):
        yield from emit(context, lambda: Outcome("content", "inputs"))

    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize([other, thing], instance=instance).success
        assert recorded(instance) == 1


def test_a_run_that_has_ended_records_nothing():
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(instance, lambda context: instance.report_run_failed(context.run))
        assert not result.success
        assert recorded(instance) == 0
