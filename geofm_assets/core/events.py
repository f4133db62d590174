"""Outcomes as Dagster records them: metadata, materializations and checks, without secrets."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)

from geofm_assets.core.outcome import CheckOutcome, Columns, Json, Link, Location, Markdown, Outcome
from geofm_assets.core.redact import redacting

INPUTS_TAG = "geofm/inputs"


def to_metadata(values: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values and the wrappers of `core/outcome.py` as Dagster metadata, without secrets."""
    clean = redacting()
    return {name: _metadata_value(value, clean) for name, value in values.items()}


def _metadata_value(value: Any, clean: Callable[[Any], Any]) -> Any:
    match value:
        case Markdown(text):
            return dg.MetadataValue.md(clean(text))
        case Json(content):
            return dg.MetadataValue.json(clean(content))
        case Link(url):
            return dg.MetadataValue.url(clean(url))
        case Location(path):
            return dg.MetadataValue.path(clean(path))
        case Columns(schema):
            columns = [dg.TableColumn(f.name, str(f.type)) for f in schema]
            return dg.MetadataValue.table_schema(dg.TableSchema(columns))
        case str() | dict() | list():
            return clean(value)
        case _:
            return value


def record(
    instance: dg.DagsterInstance,
    log: Callable[[dg.AssetMaterialization | dg.AssetCheckEvaluation], None],
    key: dg.AssetKey,
    partition: str,
    outcome: Outcome,
    code_version: str,
    read: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Record a partition that was made: its materialization, then the checks of just that.

    Args:
        instance: that `log` writes to.
        log: writes an event at once.
        key: the asset's.
        partition: which.
        outcome: what making it came to.
        code_version: of what made it.
        read: tags of what it was made from.
    """
    log(materialization(key, partition, outcome, code_version, read))
    target = latest_materialization(instance, key, partition)
    for check in outcome.checks:
        log(evaluation(key, check, partition, target))


def latest_materialization(
    instance: dg.DagsterInstance, key: dg.AssetKey, partition: str
) -> AssetCheckEvaluationTargetMaterializationData | None:
    """What a check of a partition is about; the UI counts no check that does not say it."""
    wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition])
    records = instance.fetch_materializations(wanted, limit=1).records
    if not records:
        return None
    (found,) = records
    return AssetCheckEvaluationTargetMaterializationData(
        storage_id=found.storage_id, run_id=found.run_id, timestamp=found.timestamp
    )


def materialization(
    key: dg.AssetKey,
    partition: str,
    outcome: Outcome,
    code_version: str,
    read: Mapping[str, str],
) -> dg.AssetMaterialization:
    """A partition's materialization; `read` are tags of what it was made from."""
    return dg.AssetMaterialization(
        asset_key=key,
        partition=partition,
        metadata=to_metadata(outcome.metadata),
        tags={
            **read,
            "dagster/data_version": outcome.content,
            "dagster/code_version": code_version,
            INPUTS_TAG: outcome.inputs[:63],
        },
    )


def evaluation(
    key: dg.AssetKey,
    check: CheckOutcome,
    partition: str | None,
    target: AssetCheckEvaluationTargetMaterializationData | None = None,
) -> dg.AssetCheckEvaluation:
    """A check's outcome as an event of its own."""
    clean = redacting()
    return dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=check.name,
        passed=check.passed,
        description=clean(check.description),
        metadata=clean(check.metadata),
        partition=partition,
        blocking=check.blocking,
        severity=severity(check),
        target_materialization_data=target,
    )


def severity(check: CheckOutcome) -> dg.AssetCheckSeverity:
    """Those that do not block warn."""
    return dg.AssetCheckSeverity.ERROR if check.blocking else dg.AssetCheckSeverity.WARN


def check_results(key: dg.AssetKey, outcome: Outcome) -> list[dg.AssetCheckResult]:
    """All checks of an outcome, for the result of a step."""
    clean = redacting()
    return [
        dg.AssetCheckResult(
            asset_key=key,
            check_name=check.name,
            passed=check.passed,
            description=clean(check.description),
            metadata=clean(check.metadata),
            severity=severity(check),
        )
        for check in outcome.checks
    ]
