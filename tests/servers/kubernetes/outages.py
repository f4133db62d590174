"""Nodes that run out of memory, are drained, or vanish."""

import time

from tests.servers.kubernetes.events import Recorder
from tests.servers.kubernetes.objects import NODE, POD, Manifest, ObjectStore
from tests.servers.kubernetes.pods import is_over, set_condition
from tests.servers.kubernetes.removal import request_deletion

UNREACHABLE = "node.kubernetes.io/unreachable"
PRESSURE = "node.kubernetes.io/memory-pressure"


class Outages:
    """State of ill nodes; the kubelet asks it what to do with their pods.

    Attributes:
        lost: nodes out of reach, and whether their processes run on.
        evicted: nodes whose pods the kubelet is to evict.
    """

    def __init__(self, store: ObjectStore, events: Recorder) -> None:
        self._store, self._events = store, events
        self.lost: dict[str, bool] = {}
        self.evicted: set[str] = set()
        self._noticed_at: dict[str, float] = {}

    def evict(self, name: str) -> None:
        """The node's kubelet evicts all pods for want of memory."""
        with self._store.changed:
            node = self._store.get(NODE, "", name)
            self.evicted.add(name)
            self._taint(node, PRESSURE, "NoSchedule")
            set_condition(node, "MemoryPressure", "True", "KubeletHasInsufficientMemory")
            self._store.touch(NODE, node)
            text = "Attempting to reclaim memory"
            self._events.record(NODE, node, "Warning", "EvictionThresholdMet", text, "kubelet")

    def drain(self, name: str) -> None:
        """Cordon, then delete the pods gracefully."""
        with self._store.changed:
            node = self._store.get(NODE, "", name)
            node["spec"]["unschedulable"] = True
            self._store.touch(NODE, node)
            for pod in self.pods_on(name):
                text = "Eviction API: evicting"
                set_condition(pod, "DisruptionTarget", "True", "EvictionByEvictionAPI", text)
                request_deletion(self._store, pod)

    def lose(self, name: str, noticed_after_s: float, partitioned: bool) -> None:
        """The node no longer answers."""
        with self._store.changed:
            self._store.get(NODE, "", name)
            self.lost[name] = partitioned
            self._noticed_at[name] = time.monotonic() + noticed_after_s
            self._store.changed.notify_all()

    def recover(self, name: str) -> None:
        """The node is as it was."""
        with self._store.changed:
            node = self._store.get(NODE, "", name)
            self.lost.pop(name, None)
            self._noticed_at.pop(name, None)
            self.evicted.discard(name)
            node["spec"].pop("unschedulable", None)
            ours = (UNREACHABLE, PRESSURE)
            node["spec"]["taints"] = [
                taint for taint in node["spec"].get("taints") or [] if taint["key"] not in ours
            ]
            set_condition(node, "Ready", "True", "KubeletReady")
            set_condition(node, "MemoryPressure", "False", "KubeletHasSufficientMemory")
            self._store.touch(NODE, node)

    def reconcile(self) -> None:
        """Notice lost nodes: taint them and mark their pods for deletion."""
        for name, moment in list(self._noticed_at.items()):
            if time.monotonic() < moment:
                continue
            del self._noticed_at[name]
            node = self._store.find(NODE, "", name)
            if node is None:  # deleted meanwhile
                continue
            for effect in ("NoSchedule", "NoExecute"):
                self._taint(node, UNREACHABLE, effect)
            text = "Kubelet stopped posting node status."
            set_condition(node, "Ready", "Unknown", "NodeStatusUnknown", text)
            self._store.touch(NODE, node)
            for pod in self.pods_on(name):
                text = "Taint manager: deleting due to NoExecute taint"
                set_condition(pod, "Ready", "False", "NodeNotReady")
                set_condition(pod, "DisruptionTarget", "True", "DeletionByTaintManager", text)
                request_deletion(self._store, pod)
                text = f"Marking for deletion Pod {pod['metadata']['name']}"
                component = "taint-eviction-controller"
                self._events.record(POD, pod, "Normal", "TaintManagerEviction", text, component)

    def pods_on(self, name: str) -> list[Manifest]:
        """Pods of a node that have not ended."""
        return [
            pod
            for pod in self._store.live(POD)
            if pod["spec"].get("nodeName") == name and not is_over(pod)
        ]

    def _taint(self, node: Manifest, key: str, effect: str) -> None:
        taint = {"key": key, "effect": effect}
        if taint not in node["spec"].setdefault("taints", []):
            node["spec"]["taints"].append(taint)
