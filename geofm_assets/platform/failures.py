"""Why steps failed, in the words of what failed."""

from collections.abc import Iterable

from dagster import DagsterEvent
from dagster_shared.error import SerializableErrorInfo


def why(events: Iterable[DagsterEvent]) -> str:
    """The messages of the steps that failed, one after the other; empty if none did."""
    reasons = []
    for event in events:
        if not event.is_step_failure:
            continue
        data = event.step_failure_data
        described = data.user_failure_data.description if data.user_failure_data else None
        reasons.append(described or message_of(data.error))
    return "; ".join(reasons)


def message_of(error: SerializableErrorInfo | None) -> str:
    """The message of our own error in a chain of causes, else of the one that began it."""
    last = ""
    while error is not None:
        head, separator, rest = error.message.strip().partition(": ")
        if separator and head.startswith("geofm_assets."):
            return rest
        last, error = error.message.strip(), error.cause
    return last or "unknown failure"
