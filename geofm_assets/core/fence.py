"""A process whose run was given up for lost records nothing more.

A node that is cut off from its cluster goes on working. Whoever launched its run has counted it as
lost by then, and another one makes what is left: the end state is the same, since files are
written whole, but each partition would be recorded twice.
"""

import time

import dagster as dg

FENCE_SECONDS = 1.0
"""How long a process may go on believing that its run is still its own."""


def find_run(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRun | None:
    """A run, or None if somebody has deleted it, for those who ask again and again.

    `get_run_by_id` of dagster 1.13 looks into the database's catalogue each time, which takes
    longer than the question.
    """
    return next(iter(instance.get_runs(filters=dg.RunsFilter(run_ids=[run_id]))), None)


class Fence:
    """Asks now and then whether the run of a step is still this process's.

    Args:
        context: of the step.
    """

    def __init__(self, context: dg.AssetExecutionContext) -> None:
        self._instance, self._run_id = context.instance, context.run.run_id
        self._attempt = context.op_execution_context.retry_number
        self._step = context.op_execution_context.get_step_execution_context().step.key
        self._asked = time.monotonic()

    def require(self) -> None:
        """Pass if it is, or was less than a second ago.

        Raises:
            dagster.Failure: the run has ended, or a later attempt of the step goes on.
        """
        if time.monotonic() - self._asked < FENCE_SECONDS:
            return
        run = find_run(self._instance, self._run_id)
        if run is not None and run.is_finished:
            raise dg.Failure(
                "The run was given up for lost while this process went on with it; what it had "
                "not recorded is left to another",
                allow_retries=False,
            )
        if self._attempts() > self._attempt:
            raise dg.Failure(
                "Another attempt of this step goes on: this one was given up for lost",
                allow_retries=False,
            )
        self._asked = time.monotonic()

    def _attempts(self) -> int:
        """How often the step was given up, to be tried again."""
        kind = dg.DagsterEventType.STEP_UP_FOR_RETRY
        found = self._instance.get_records_for_run(self._run_id, of_type=kind).records
        return sum(record.event_log_entry.step_key == self._step for record in found)
