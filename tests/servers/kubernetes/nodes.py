"""Nodes: what they offer, who tolerates them, and which pod goes where."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from tests.servers.kubernetes.events import Recorder
from tests.servers.kubernetes.objects import CLAIM, NODE, POD, Manifest, ObjectStore, timestamp
from tests.servers.kubernetes.pods import is_over, set_condition
from tests.servers.kubernetes.quantities import GPU, parse_quantity, requests_of

PODS_PER_NODE = 110  # the kubelet's default
SCHEDULER = "default-scheduler"


@dataclass(frozen=True)
class Node:
    """A machine of the cluster.

    Attributes:
        name: of the node.
        cpu: cores to give away.
        memory_gb: GiB to give away.
        gpus: whole `nvidia.com/gpu` to give away, numbered from 0.
        labels: beside `kubernetes.io/hostname`.
        taints: `key=value:Effect` or `key:Effect`, as kubectl writes them.
    """

    name: str
    cpu: float
    memory_gb: float
    gpus: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[str] = ()

    def manifest(self) -> Manifest:
        """The node as the API shows it."""
        offered = {
            "cpu": f"{round(self.cpu * 1000)}m",
            "memory": f"{round(self.memory_gb * 1024)}Mi",
            "pods": str(PODS_PER_NODE),
        }
        if self.gpus:
            offered[GPU] = str(self.gpus)
        labels = {"kubernetes.io/hostname": self.name, "kubernetes.io/os": "linux", **self.labels}
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "message": "kubelet is posting ready status",
            "lastTransitionTime": timestamp(),
        }
        return {
            "metadata": {"name": self.name, "labels": labels},
            "spec": {"taints": [_taint(text) for text in self.taints]},
            "status": {"capacity": offered, "allocatable": dict(offered), "conditions": [ready]},
        }


def _taint(text: str) -> dict[str, str]:
    assigned, _, effect = text.rpartition(":")
    key, _, value = assigned.partition("=")
    if not key or effect not in ("NoSchedule", "PreferNoSchedule", "NoExecute"):
        raise ValueError(f"{text!r} is not a taint; write key=value:NoSchedule")
    return {"key": key, "effect": effect, **({"value": value} if value else {})}


def tolerates(pod: Manifest, taint: Mapping[str, str]) -> bool:
    """Whether a pod may run in spite of a taint."""
    return any(_tolerated(rule, taint) for rule in pod["spec"].get("tolerations") or [])


def _tolerated(rule: Mapping[str, Any], taint: Mapping[str, str]) -> bool:
    if rule.get("effect") and rule["effect"] != taint["effect"]:
        return False
    if rule.get("key") and rule["key"] != taint["key"]:
        return False
    exists = (rule.get("operator") or "Equal") == "Exists"
    return exists or (rule.get("value") or "") == taint.get("value", "")


class Scheduler:
    """Gives pods that wait a node with room, or says why there is none."""

    def __init__(self, store: ObjectStore, events: Recorder) -> None:
        self._store, self._events = store, events

    def reconcile(self) -> None:
        """Place what can be placed."""
        waiting = [pod for pod in self._store.live(POD) if _waits(pod)]
        waiting.sort(key=lambda pod: int(pod["metadata"]["resourceVersion"]))
        for pod in waiting:
            claim = self._missing_claim(pod)
            if claim is not None:
                self._refuse(pod, f'persistentvolumeclaim "{claim}" not found')
                continue
            reasons: Counter[str] = Counter()
            fitting: list[tuple[Fraction, str]] = []
            for node in self._store.live(NODE):
                objections = self._objections(pod, node)
                reasons.update(objections)
                if not objections:
                    fitting.append((self._load(node), node["metadata"]["name"]))
            if fitting:
                self._bind(pod, min(fitting)[1])
                continue
            total = len(self._store.live(NODE))
            listed = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
            self._refuse(pod, f"0/{total} nodes are available: {listed}.")

    def _objections(self, pod: Manifest, node: Manifest) -> list[str]:
        spec, labels = node["spec"], node["metadata"]["labels"]
        if spec.get("unschedulable"):
            return ["node(s) were unschedulable"]
        for taint in spec.get("taints") or []:
            if taint["effect"] != "PreferNoSchedule" and not tolerates(pod, taint):
                shown = f"{taint['key']}: {taint.get('value', '')}"
                return [f"node(s) had untolerated taint {{{shown}}}"]
        wanted = pod["spec"].get("nodeSelector") or {}
        if any(labels.get(key) != value for key, value in wanted.items()):
            return ["node(s) didn't match Pod's node affinity/selector"]
        used = self._used(node)
        objections = ["Too many pods"] if used["pods"] >= PODS_PER_NODE else []
        offered = node["status"]["allocatable"]
        for resource, amount in requests_of(pod).items():
            room = parse_quantity(offered.get(resource, 0)) - used.get(resource, Fraction(0))
            if amount > room:
                objections.append(f"Insufficient {resource}")
        return objections

    def _used(self, node: Manifest) -> dict[str, Fraction]:
        total = {"pods": Fraction(0)}
        for pod in self._store.live(POD):
            if pod["spec"].get("nodeName") == node["metadata"]["name"] and not is_over(pod):
                total["pods"] += 1
                for name, amount in requests_of(pod).items():
                    total[name] = total.get(name, Fraction(0)) + amount
        return total

    def _load(self, node: Manifest) -> Fraction:
        used, offered = self._used(node), node["status"]["allocatable"]
        return sum(
            (
                used.get(name, Fraction(0)) / parse_quantity(offered[name])
                for name in ("cpu", "memory")
            ),
            Fraction(0),
        )

    def _missing_claim(self, pod: Manifest) -> str | None:
        for volume in pod["spec"].get("volumes") or []:
            claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
            if claim and not self._store.find(CLAIM, pod["metadata"]["namespace"], claim):
                return str(claim)
        return None

    def _bind(self, pod: Manifest, node: str) -> None:
        pod["spec"]["nodeName"] = node
        set_condition(pod, "PodScheduled", "True")
        self._store.touch(POD, pod)
        name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        text = f"Successfully assigned {name} to {node}"
        self._events.record(POD, pod, "Normal", "Scheduled", text, SCHEDULER)

    def _refuse(self, pod: Manifest, message: str) -> None:
        if set_condition(pod, "PodScheduled", "False", "Unschedulable", message):
            self._store.touch(POD, pod)
            self._events.record(POD, pod, "Warning", "FailedScheduling", message, SCHEDULER)


def _waits(pod: Manifest) -> bool:
    return (
        not pod["spec"].get("nodeName")
        and pod["spec"]["schedulerName"] == SCHEDULER
        and "deletionTimestamp" not in pod["metadata"]
        and not is_over(pod)
    )
