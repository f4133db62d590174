"""The Dagster glue every stage shares: steps that report an outcome, or one a partition.

A run may cover a range of partitions. Each good partition is then logged as its own
materialization with its own metadata, data version and checks, in key order, and the step fails
at the end, without retry, if any partition failed. Other ways of reporting a range mark good
partitions as failed or failed ones as good (measured with dagster 1.13; DESIGN.md section 3).
"""

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import dagster as dg
from dagster import AssetExecutionContext

from geofm_assets.core.check_descriptions import CHECK_DESCRIPTIONS
from geofm_assets.core.claims import claimed
from geofm_assets.core.connections import keep_connected
from geofm_assets.core.errors import GeofmError
from geofm_assets.core.events import (
    INPUTS_TAG,
    check_results,
    evaluation,
    latest_materialization,
    record,
    severity,
    to_metadata,
)
from geofm_assets.core.fence import Fence
from geofm_assets.core.input_tags import input_tags
from geofm_assets.core.outcome import Outcome, require_checks
from geofm_assets.core.progress import notify, speaking
from geofm_assets.core.redact import redact, without_secrets
from geofm_assets.core.resources import StoreResource


class PartitionConfig(dg.Config):
    """Settings of a per-partition stage that can be changed at launch.

    Attributes:
        force: make the partition again even if its inputs have not changed.
    """

    force: bool = False


def check_specs(
    asset: dg.AssetKey,
    *names: str,
    partitions_def: dg.PartitionsDefinition[str] | None = None,
    blocking: bool = True,
) -> list[dg.AssetCheckSpec]:
    """Check specs of an asset, by name; per partition where the asset has any.

    Those that are not blocking warn.
    """
    return [
        dg.AssetCheckSpec(
            name,
            asset=asset,
            blocking=blocking,
            partitions_def=partitions_def,
            description=CHECK_DESCRIPTIONS.get(name),
        )
        for name in names
    ]


@contextmanager
def _no_secrets_in_errors() -> Iterator[None]:
    """Dagster records an exception with all that caused it, so none of them may tell a secret."""
    try:
        yield
    except Exception as error:
        clean = without_secrets(error)
        if clean is error:
            raise
        raise clean from clean.__cause__


def _alone(context: AssetExecutionContext, partition: str = "") -> AbstractContextManager[None]:
    """Be the only one to make an asset, or a partition of it; an asset of no store needs not."""
    opened: StoreResource | None = getattr(context.resources, "store", None)
    if opened is None:
        return nullcontext()
    parts = [*context.asset_key.path, partition] if partition else context.asset_key.path
    return claimed(opened.open(), "/".join(parts), context.log.info)


def _said_in_log(context: AssetExecutionContext) -> AbstractContextManager[None]:
    """What a stage says goes into the run's log too, where whoever launched the run finds it."""
    return speaking(lambda text: context.log.warning(redact(text)))


def emit(
    context: AssetExecutionContext, work: Callable[[], Outcome]
) -> Iterator[dg.MaterializeResult[Any]]:
    """Run an unpartitioned stage and report it, its checks included.

    Failed blocking checks are recorded before the step fails, so that the UI shows why. Runs that
    make the same asset take turns, until what they made is recorded.
    """
    fence = Fence(context)
    with _no_secrets_in_errors(), _alone(context):
        with _said_in_log(context):
            outcome = work()
        fence.require()
        results = check_results(context.asset_key, outcome)
        failed = [c for c in outcome.checks if c.blocking and not c.passed]
        if failed:
            for check in outcome.checks:
                context.log_event(evaluation(context.asset_key, check, None))
            raise dg.Failure(
                "; ".join(f"check {c.name} failed: {c.description}" for c in failed),
                allow_retries=False,
            )
        yield dg.MaterializeResult(
            metadata=to_metadata(outcome.metadata),
            data_version=dg.DataVersion(outcome.content),
            check_results=results,
            tags={INPUTS_TAG: outcome.inputs[:63]},
        )


def emit_partitions(
    context: AssetExecutionContext,
    work: Callable[[str], Outcome],
    *,
    code_version: str,
    alone: bool = False,
) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
    """Run a per-partition stage over the run's partitions and report each by itself.

    Args:
        context: of a partitioned asset with `output_required=False` and declared check specs.
        work: makes one partition; raises if it cannot.
        code_version: recorded with each partition.
        alone: whether one process at a time makes a partition, see `claims`.

    Raises:
        dagster.Failure: at the end, naming every partition that failed and why; caused by what
            failed if that is one partition. At once if the run was given up for lost meanwhile.
    """
    keys = list(context.partition_keys)
    order = {key: i for i, key in enumerate(_ordered_keys(context))}
    keys.sort(key=lambda key: order.get(key, len(order)))
    # A step that yields nothing for its output makes Dagster skip the steps after it, so where
    # other stages wait in the same run (a job's backfill) the framework records the range, whole.
    only_asset = len(set(context.job_def.asset_layer.executable_asset_keys)) == 1
    failures: dict[str, str] = {}
    causes: list[BaseException] = []
    done: list[Outcome] = []
    fence = Fence(context)
    keep_connected(context.instance.event_log_storage)
    read = input_tags(context) if len(keys) > 1 and only_asset else {}
    with _said_in_log(context):
        for number, key in enumerate(keys, start=1):
            try:
                with _alone(context, key) if alone else nullcontext():
                    outcome = work(key)
                fence.require()
                _log_failed(context, outcome, key)
                require_checks(outcome, f"partition {key}")
            except dg.Failure:  # the fence
                raise
            except GeofmError as error:
                failures[key] = str(error)
                causes.append(without_secrets(error))
                context.log.error(f"{key}: {error}")
                continue
            except Exception as error:  # noqa: BLE001 - one bad cell must not lose the others; reported below
                failures[key] = redact(f"{type(error).__name__}: {error}")
                causes.append(without_secrets(error))
                context.log.error(f"{key}: {redact(traceback.format_exc())}")
                continue
            done.append(outcome)
            if len(keys) > 1 and only_asset:
                record(
                    context.instance,
                    context.log_event,
                    context.asset_key,
                    key,
                    outcome,
                    code_version,
                    read,
                )
            elif len(keys) > 1:
                for check in outcome.checks:
                    context.log_event(evaluation(context.asset_key, check, key))
                context.add_asset_metadata(to_metadata(outcome.metadata), partition_key=key)
            note = "unchanged" if outcome.skipped else "made"
            context.log.info(f"[{number}/{len(keys)}] {key}: {note}")
            notify(number, len(keys), f"{key}: {note}")
    if failures:
        listed = "; ".join(f"{key}: {why}" for key, why in sorted(failures.items()))
        others = (
            "the others are done" if only_asset else "none is recorded: other stages wait for all"
        )
        raise dg.Failure(
            f"{len(failures)} of {len(keys)} partitions failed, {others}. {listed}",
            metadata={"failed": dg.MetadataValue.json(failures)},
            allow_retries=False,
        ) from (causes[0] if len(causes) == 1 else None)
    if len(keys) == 1:
        yield dg.MaterializeResult(
            metadata=to_metadata(done[0].metadata),
            data_version=dg.DataVersion(done[0].content),
            check_results=check_results(context.asset_key, done[0]),
            tags={INPUTS_TAG: done[0].inputs[:63]},
        )
        return
    summaries = []
    for spec in context.assets_def.check_specs_by_output_name.values():
        results = [c for o in done for c in o.checks if c.name == spec.name]
        passed = sum(c.passed for c in results)
        failed = [c for c in results if not c.passed]
        summary = dg.AssetCheckResult(
            asset_key=context.asset_key,
            check_name=spec.name,
            passed=passed == len(keys),
            metadata={"partitions": len(keys), "passed": passed},
            severity=severity(failed[0]) if failed else dg.AssetCheckSeverity.ERROR,
            description="summary of the run's range; each partition has its own record",
        )
        summaries.append(summary)
    if only_asset:
        yield from summaries
    else:
        yield dg.MaterializeResult(check_results=summaries)


def _ordered_keys(context: AssetExecutionContext) -> Sequence[str]:
    definition = context.assets_def.partitions_def
    if definition is None:
        return ()
    return definition.get_partition_keys(dynamic_partitions_store=context.instance)


def _log_failed(context: AssetExecutionContext, outcome: Outcome, partition: str) -> None:
    """Record checks that keep a partition from being recorded as made, and those beside them."""
    if all(check.passed or not check.blocking for check in outcome.checks):
        return
    target = latest_materialization(context.instance, context.asset_key, partition)
    for check in outcome.checks:
        context.log_event(evaluation(context.asset_key, check, partition, target))
