"""Pods as objects: defaults on creation, conditions, states of their container."""

import copy
from typing import Any

from tests.servers.kubernetes.errors import ApiError
from tests.servers.kubernetes.objects import (
    POD,
    PRIORITY_CLASS,
    SERVICE_ACCOUNT,
    Manifest,
    ObjectStore,
    timestamp,
)
from tests.servers.kubernetes.pod_security import refuse_insecure

GRACE_S = 30  # the API's default
_TOLERATED_S = 300  # how long pods stay on a node that is lost, unless they say otherwise


def check_pod(store: ObjectStore, manifest: Manifest) -> None:
    """Refuse a pod that its namespace does not take.

    Raises:
        ApiError: 403, its service account or priority class does not exist, or Pod Security.
    """
    spec, metadata = manifest["spec"], manifest["metadata"]
    shown = metadata.get("name") or metadata["generateName"]
    account = spec.get("serviceAccountName") or "default"
    if store.find(SERVICE_ACCOUNT, metadata["namespace"], account) is None:
        text = f"error looking up service account {metadata['namespace']}/{account}: "
        raise _forbidden(shown, f'{text}serviceaccount "{account}" not found')
    priority = spec.get("priorityClassName")
    if priority and store.find(PRIORITY_CLASS, "", priority) is None:
        raise _forbidden(shown, f"no PriorityClass with name {priority} was found")
    refuse_insecure(store, manifest)


def create_pod(store: ObjectStore, manifest: Manifest) -> Manifest:
    """Store a pod with the API's defaults.

    Raises:
        ApiError: 403 as `check_pod` says; 409.
    """
    check_pod(store, manifest)
    spec = manifest["spec"]
    apply_pod_defaults(spec)
    account = spec.get("serviceAccountName") or "default"
    spec["serviceAccountName"] = spec["serviceAccount"] = account
    spec["tolerations"] = list(spec.get("tolerations") or [])
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        if not any(rule.get("key") == key for rule in spec["tolerations"]):
            rule = {"key": key, "operator": "Exists", "effect": "NoExecute"}
            spec["tolerations"].append({**rule, "tolerationSeconds": _TOLERATED_S})
    manifest["status"] = {"phase": "Pending", "qosClass": "Burstable", "conditions": []}
    return store.create(POD, manifest)


def apply_pod_defaults(spec: dict[str, Any]) -> None:
    """Fill in what the API server fills in."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", GRACE_S)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("schedulerName", "default-scheduler")
    spec.setdefault("securityContext", {})
    for container in spec["containers"]:
        latest = ":" not in container["image"].rpartition("/")[2]
        latest = latest or container["image"].endswith(":latest")
        container.setdefault("imagePullPolicy", "Always" if latest else "IfNotPresent")
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
        resources = container.setdefault("resources", {})
        if resources.get("limits"):
            resources["requests"] = {**resources["limits"], **(resources.get("requests") or {})}


def is_over(pod: Manifest) -> bool:
    """Whether a pod has ended."""
    return pod["status"]["phase"] in ("Succeeded", "Failed")


def is_ready(pod: Manifest) -> bool:
    """Whether a pod's container runs."""
    return any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in pod["status"]["conditions"]
    )


def set_condition(
    manifest: Manifest, type: str, status: str, reason: str = "", message: str = ""
) -> bool:
    """Set one condition of a pod, node or Job; False where it was so already."""
    conditions = manifest["status"].setdefault("conditions", [])
    old = next((found for found in conditions if found["type"] == type), None)
    new = {"type": type, "status": status}
    new |= {"reason": reason} if reason else {}
    new |= {"message": message} if message else {}
    if old is not None and {key: old.get(key) for key in new} == new:
        return False
    new["lastTransitionTime"] = timestamp()
    if old is None:
        conditions.append(new)
    else:
        conditions[conditions.index(old)] = new
    return True


def set_container(pod: Manifest, state: dict[str, Any]) -> None:
    """Set the state of a pod's only container."""
    container = pod["spec"]["containers"][0]
    running = "running" in state
    status: dict[str, Any] = {
        "name": container["name"],
        "image": container["image"],
        "imageID": "",
        "ready": running,
        "started": running,
        "restartCount": 0,
        "state": copy.deepcopy(state),
        "lastState": {},
    }
    if running or "terminated" in state:
        status["containerID"] = f"local://{pod['metadata']['uid']}"
        status["imageID"] = f"local://{container['image']}"
    pod["status"]["containerStatuses"] = [status]
    ready = "True" if running else "False"
    reason = "" if running else "PodCompleted" if is_over(pod) else "ContainersNotReady"
    for condition in ("Initialized", "ContainersReady", "Ready"):
        if condition == "Initialized":
            set_condition(pod, condition, "True")
        else:
            set_condition(pod, condition, ready, reason)


def container_state(pod: Manifest) -> dict[str, Any]:
    """State of a pod's only container; empty before there is one."""
    statuses = pod["status"].get("containerStatuses") or []
    return statuses[0]["state"] if statuses else {}


def _forbidden(name: str, text: str) -> ApiError:
    return ApiError(403, "Forbidden", f'pods "{name}" is forbidden: {text}', POD, name)
