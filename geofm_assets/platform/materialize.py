"""Materializes assets in this process, with errors as plain functions raise them."""

import dagster as dg

from geofm_assets.core.errors import GeofmError
from geofm_assets.core.progress import Report, listening
from geofm_assets.platform.instance import DRIVER_TAG, driver_tag
from geofm_assets.platform.workers import QUIET


class UnexpectedError(GeofmError):
    """A step failed in a way nobody foresaw; its traceback is in the run's log."""


def materialize(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    keys: list[dg.AssetKey],
    config: dg.Config | None = None,
    partition: str | None = None,
    *,
    report: Report,
) -> dg.ExecuteInProcessResult:
    """Materialize assets in one run.

    Args:
        job: that has them.
        instance: that records the run.
        keys: of the assets.
        config: of each of them.
        partition: of them.
        report: told of steps done.

    Raises:
        GeofmError: what the step raised.
        UnexpectedError: it raised something else.
    """
    ops = {key.to_python_identifier(): {"config": dict(config)} for key in keys if config}
    with listening(report):
        try:
            return job.execute_in_process(
                instance=instance,
                asset_selection=keys,
                partition_key=partition,
                run_config={**QUIET, "ops": ops},
                tags={DRIVER_TAG: driver_tag()},
            )
        except GeofmError:
            raise
        except Exception as failure:
            cause = failure.__cause__ or failure
            if isinstance(cause, GeofmError):
                raise cause from None
            reason = (str(cause) or repr(cause)).splitlines()[0]
            raise UnexpectedError(
                f"{type(cause).__name__}: {reason}",
                where=partition or keys[0].to_user_string(),
                fix="The log of the failed run, in geofm ui, has the traceback",
            ) from failure
