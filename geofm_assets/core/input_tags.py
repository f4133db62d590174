"""What a partition was made from, in the tags Dagster tells synced from unsynced by."""

from dagster import AssetExecutionContext
from dagster._core.definitions.data_version import (
    DEFAULT_DATA_VERSION,
    NULL_EVENT_POINTER,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)


def input_tags(context: AssetExecutionContext) -> dict[str, str]:
    """Tags of what a run's partitions were made from, as Dagster sets them where it records itself.

    Without them the UI takes every dependency for a new one and calls the partition unsynced.
    """
    step = context.get_step_execution_context()
    tags = {}
    for key in sorted(context.job_def.asset_layer.get(context.asset_key).parent_keys):
        seen = step.maybe_fetch_and_get_input_asset_version_info(key)
        version = (seen.data_version if seen else None) or DEFAULT_DATA_VERSION
        tags[get_input_data_version_tag(key)] = version.value
        tags[get_input_event_pointer_tag(key)] = (
            str(seen.storage_id) if seen else NULL_EVENT_POINTER
        )
    return tags
