"""Small Jobs and clients for tests on the Kubernetes stand-in."""

from typing import Any, NamedTuple

import kubernetes

from tests.servers.kubernetes import KubernetesServer

IMAGE = "registry.example.org/geofm:1"


class Clients(NamedTuple):
    """The real client's APIs of one cluster."""

    batch: kubernetes.client.BatchV1Api
    core: kubernetes.client.CoreV1Api


def clients_of(cluster: KubernetesServer) -> Clients:
    """Clients by the cluster's kubeconfig, without touching the process's default."""
    api = kubernetes.config.new_client_from_config(str(cluster.kubeconfig))
    api.configuration.proxy = None  # the environment may name one
    return Clients(kubernetes.client.BatchV1Api(api), kubernetes.client.CoreV1Api(api))


def shell_job(name: str, script: str, **changes: Any) -> dict[str, Any]:
    """A Job of one shell command; `changes` go to `container`, `pod`, `spec` and `metadata`."""
    container = {
        "name": "main",
        "image": IMAGE,
        "command": ["sh", "-c", script],
        **changes.get("container", {}),
    }
    pod = {"restartPolicy": "Never", "containers": [container], **changes.get("pod", {})}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, **changes.get("metadata", {})},
        "spec": {"backoffLimit": 0, "template": {"spec": pod}, **changes.get("spec", {})},
    }


def log_of(clients: Clients, pod: str, **options: Any) -> str:
    """Log of a pod in the namespace `default`, as `kubectl logs` shows it."""
    # Preloaded, client 36 hands out the repr of the bytes.
    answer = clients.core.read_namespaced_pod_log(pod, "default", _preload_content=False, **options)
    return str(answer.data.decode())


def start(cluster: KubernetesServer, name: str, script: str, **changes: Any) -> None:
    """Create a shell Job in the namespace `default`."""
    clients_of(cluster).batch.create_namespaced_job("default", shell_job(name, script, **changes))


def job_of(cluster: KubernetesServer, name: str) -> dict[str, Any]:
    """A Job, also a deleted one."""
    return next(job for job in cluster.jobs(all=True) if job["metadata"]["name"] == name)


def pods_of(cluster: KubernetesServer, name: str) -> list[dict[str, Any]]:
    """Pods of a Job by name, in order of their creation, also deleted ones."""
    found = [
        pod for pod in cluster.pods(all=True) if pod["metadata"]["labels"].get("job-name") == name
    ]
    return sorted(found, key=lambda pod: pod["metadata"]["creationTimestamp"])


def condition_of(cluster: KubernetesServer, name: str) -> str:
    """`Complete`, or the reason why a Job failed; empty while it is neither."""
    for condition in job_of(cluster, name)["status"].get("conditions", []):
        if condition["type"] == "Complete":
            return "Complete"
        if condition["type"] == "Failed":
            return str(condition["reason"])
    return ""


def finish(cluster: KubernetesServer, name: str) -> str:
    """Wait until a Job is over; what `condition_of` says then."""
    cluster.wait(lambda: condition_of(cluster, name) != "")
    return condition_of(cluster, name)


def state_of(cluster: KubernetesServer, name: str) -> dict[str, Any]:
    """State of the container of a Job's last pod; empty before there is one."""
    pods = pods_of(cluster, name)
    statuses = pods[-1]["status"].get("containerStatuses", []) if pods else []
    return dict(statuses[0]["state"]) if statuses else {}


def wait_until_running(cluster: KubernetesServer, name: str) -> dict[str, Any]:
    """Wait until the last pod of a Job runs; that pod."""
    cluster.wait(lambda: "running" in state_of(cluster, name))
    return pods_of(cluster, name)[-1]


def reasons(cluster: KubernetesServer, name: str) -> set[str]:
    """Reasons of the events about an object."""
    return {event["reason"] for event in cluster.events(name)}
