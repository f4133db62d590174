"""Why a pod waits or ended, in the words the cluster has for it."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

_OUT_OF_MEMORY = "OOMKilled"


def pod_reasons(pod: Any) -> list[str]:
    """What is wrong with a pod (`kubernetes.client.V1Pod`); empty if nothing is.

    Reads what a person would look for: why it has no node, why its image does not come, the signal
    or exit code its container ended with, that it was evicted.
    """
    found = []
    status = pod.status
    if status.reason:
        found.append(_joined(status.reason, status.message))
    for condition in status.conditions or []:
        if condition.type == "PodScheduled" and condition.status == "False":
            found.append(_joined(condition.reason, condition.message))
    for container in status.container_statuses or []:
        state = container.state
        if state is None:
            continue
        if state.waiting is not None and state.waiting.reason:
            found.append(_joined(state.waiting.reason, state.waiting.message))
        if state.terminated is not None and state.terminated.exit_code:
            found.append(_ended(state.terminated))
    return found


def job_reasons(job: Any) -> list[str]:
    """Why a Job (`kubernetes.client.V1Job`) failed; empty if it did not."""
    return [
        _joined(condition.reason, condition.message)
        for condition in job.status.conditions or []
        if condition.type == "Failed" and condition.status == "True"
    ]


def waiting_since(job: Any, pods: Sequence[Any]) -> dt.datetime | None:
    """When the wait of a Job began for a pod of it to run; None if one runs or ran."""
    if any(pod.status.phase not in ("Pending", None) for pod in pods):
        return None
    began: dt.datetime = job.metadata.creation_timestamp
    return began


def _ended(terminated: Any) -> str:
    code = terminated.exit_code
    text = f"ended with exit code {code}"
    if code > 128:
        text += f" (signal {code - 128})"
    if terminated.reason == _OUT_OF_MEMORY:
        text += ": OOMKilled, more memory than its limit (GEOFM_K8S_MEMORY, GEOFM_K8S_GPU_MEMORY)"
    return text


def _joined(reason: str | None, message: str | None) -> str:
    return ": ".join(part for part in (reason, message) if part)
