"""Runs pods as local processes and reports what becomes of them, for all nodes."""

import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.servers.forks import Template
from tests.servers.kubernetes.containers import Container
from tests.servers.kubernetes.environment import (
    ConfigMissingError,
    container_environment,
    expand,
    missing_volume,
)
from tests.servers.kubernetes.events import Recorder
from tests.servers.kubernetes.faults import Faults, PodFault
from tests.servers.kubernetes.objects import POD, Manifest, ObjectStore, timestamp
from tests.servers.kubernetes.outages import Outages
from tests.servers.kubernetes.pods import container_state, is_over, set_condition, set_container
from tests.servers.kubernetes.quantities import GPU, limit_of

START_ERROR = 128  # exit code of a container that could not be started
PULL_RETRY_S = 0.3  # 10 s and more in a real cluster


class Kubelet:
    """Starts, watches and ends the processes of pods.

    Args:
        store: objects of the API server.
        events: where it reports.
        faults: what is to go wrong.
        outages: nodes that are ill.
        image: variables that stand for those of every image: PATH, HOME, PYTHONPATH.
        folder: where commands start, unless the container has a workingDir.
        template: of `dagster` commands; None to start each anew.
    """

    def __init__(
        self,
        store: ObjectStore,
        events: Recorder,
        faults: Faults,
        outages: Outages,
        image: Mapping[str, str],
        folder: Path,
        template: Template | None = None,
    ) -> None:
        self._template = template
        self._store, self._events, self._faults, self._outages = store, events, faults, outages
        self._image, self._folder = image, folder
        self._containers: dict[str, Container] = {}
        self._orders: dict[str, PodFault] = {}
        self._asked_to_end: dict[str, float] = {}
        self._pull_failed: dict[str, float] = {}
        self._gpus: dict[str, tuple[str, list[int]]] = {}
        self._closed = False

    def container(self, pod: Manifest) -> Container | None:
        """The process of a pod, running or over; None if it never started."""
        return self._containers.get(pod["metadata"]["uid"])

    def is_reachable(self, pod: Manifest) -> bool:
        """Whether the node of a pod answers; True for a pod without a node."""
        return pod["spec"].get("nodeName") not in self._outages.lost

    def is_running(self, pod: Manifest) -> bool:
        """Whether the API server must still wait for a pod that is marked for deletion."""
        if is_over(pod) or pod["metadata"].get("deletionGracePeriodSeconds") == 0:
            return False
        return not self.is_reachable(pod) or self.container(pod) is not None

    def reconcile(self) -> None:
        """Bring processes and pods together."""
        live = set()
        for pod in self._store.live(POD):
            live.add(pod["metadata"]["uid"])
            node = pod["spec"].get("nodeName")
            if node in self._outages.lost:
                if not self._outages.lost[node] and (container := self.container(pod)):
                    container.end()
            elif node and not is_over(pod):
                self._tend(pod)
        for uid, container in self._containers.items():
            if uid not in live:
                container.end()  # removed by force

    def close(self) -> None:
        """End every process."""
        with self._store.changed:
            self._closed = True
            containers = list(self._containers.values())
        for container in containers:
            container.end()
        for container in containers:
            container.join(10)

    def _tend(self, pod: Manifest) -> None:
        container, uid = self.container(pod), pod["metadata"]["uid"]
        if pod["spec"]["nodeName"] in self._outages.evicted:
            if container is None:
                self._evicted(pod)
                return
            container.end("Evicted")
        deleted = "deletionTimestamp" in pod["metadata"]
        if container is None:
            if not deleted and not self._closed:
                self._prepare(pod)
            return
        if container.finished:
            self._report(pod, container)
            return
        if container.kill_at is not None and time.monotonic() >= container.kill_at:
            container.kill_at = None
            container.signal(self._orders[uid].signal)
        if deleted:
            if uid not in self._asked_to_end:
                self._asked_to_end[uid] = time.monotonic()
                text = f"Stopping container {pod['spec']['containers'][0]['name']}"
                self._events.record(POD, pod, "Normal", "Killing", text, "kubelet")
                container.signal(signal.SIGTERM)
            waited = time.monotonic() - self._asked_to_end[uid]
            if waited >= pod["metadata"]["deletionGracePeriodSeconds"]:
                container.end()
            return
        if container.exceeds_memory():
            container.end("OOMKilled")
        deadline = pod["spec"].get("activeDeadlineSeconds")
        if deadline is not None and time.time() - container.started >= deadline:
            container.end("DeadlineExceeded")

    def _prepare(self, pod: Manifest) -> None:
        image = pod["spec"]["containers"][0]["image"]
        if volume := missing_volume(self._store, pod):
            if self._wait(pod, "ContainerCreating", ""):
                self._events.record(POD, pod, "Warning", "FailedMount", volume, "kubelet")
            return
        if image in self._faults.images:
            self._cannot_pull(pod, image, self._faults.images[image])
            return
        pod["status"] |= {
            "startTime": timestamp(),
            "hostIP": "127.0.0.1",
            "podIP": f"10.244.0.{len(self._containers) % 250 + 1}",
        }
        try:
            variables = container_environment(self._store, pod, self._image)
        except ConfigMissingError as missing:
            if self._wait(pod, "CreateContainerConfigError", str(missing)):
                text = f"Error: {missing}"
                self._events.record(POD, pod, "Warning", "Failed", text, "kubelet")
            return
        self._events.record(POD, pod, "Normal", "Pulled", f'Image "{image}" present', "kubelet")
        self._start(pod, variables)

    def _start(self, pod: Manifest, variables: dict[str, str]) -> None:
        spec, uid = pod["spec"]["containers"][0], pod["metadata"]["uid"]
        words = [*(spec.get("command") or []), *(spec.get("args") or [])]
        argv = [expand(word, variables) for word in words]
        folder = Path(spec["workingDir"]) if spec.get("workingDir") else self._folder
        gpus = self._take_gpus(pod)
        # As the NVIDIA runtime does: a container sees the devices it asked for, and no other.
        variables["CUDA_VISIBLE_DEVICES"] = ",".join(str(index) for index in gpus)
        limit = limit_of(pod, "memory")
        if (order := self._faults.for_pod(pod)) is not None:
            self._orders[uid] = order
        try:
            container = Container(
                argv,
                variables,
                folder,
                None if limit is None else int(limit),
                on_exit=self._wake,
                on_line=lambda container, text: self._seen(uid, container, text),
                template=self._template if argv[0] == "dagster" else None,
            )
        except (OSError, IndexError) as error:
            self._not_started(pod, argv, error)
            return
        self._containers[uid] = container
        if order is not None and not order.after_output:
            container.kill_at = time.monotonic() + order.after_s
        pod["status"]["phase"] = "Running"
        set_container(pod, {"running": {"startedAt": timestamp()}})
        self._store.touch(POD, pod)
        text = f"Started container {spec['name']}"
        self._events.record(POD, pod, "Normal", "Started", text, "kubelet")

    def _not_started(self, pod: Manifest, argv: list[str], error: Exception) -> None:
        name = argv[0] if argv else ""
        text = f'failed to create containerd task: exec: "{name}": {error}'
        pod["status"]["phase"] = "Failed"
        moment = timestamp()
        terminated = {"exitCode": START_ERROR, "reason": "StartError", "message": text}
        set_container(
            pod, {"terminated": {**terminated, "startedAt": moment, "finishedAt": moment}}
        )
        self._store.touch(POD, pod)
        self._events.record(POD, pod, "Warning", "Failed", f"Error: {text}", "kubelet")

    def _cannot_pull(self, pod: Manifest, image: str, reason: str) -> None:
        state = container_state(pod).get("waiting") or {}
        uid = pod["metadata"]["uid"]
        if not state:
            text = f'failed to pull and unpack image "{image}": {reason}'
            self._wait(pod, "ErrImagePull", text)
            self._pull_failed[uid] = time.monotonic()
            text = f'Failed to pull image "{image}": {reason}'
            self._events.record(POD, pod, "Warning", "Failed", text, "kubelet")
        elif time.monotonic() - self._pull_failed[uid] > PULL_RETRY_S:
            text = f'Back-off pulling image "{image}"'
            if self._wait(pod, "ImagePullBackOff", text):
                self._events.record(POD, pod, "Normal", "BackOff", text, "kubelet")

    def _wait(self, pod: Manifest, reason: str, message: str) -> bool:
        waiting: dict[str, Any] = {"reason": reason, **({"message": message} if message else {})}
        if container_state(pod) == {"waiting": waiting}:
            return False
        set_container(pod, {"waiting": waiting})
        self._store.touch(POD, pod)
        return True

    def _report(self, pod: Manifest, container: Container) -> None:
        assert container.exit_code is not None
        pod["status"]["phase"] = "Failed" if container.exit_code else "Succeeded"
        reason = "Error" if container.exit_code else "Completed"
        terminated = {
            "exitCode": container.exit_code,
            "reason": "OOMKilled" if container.verdict == "OOMKilled" else reason,
            "startedAt": timestamp(container.started),
            "finishedAt": timestamp(),
            "containerID": f"local://{pod['metadata']['uid']}",
        }
        set_container(pod, {"terminated": terminated})
        if container.verdict == "Evicted":
            self._evicted(pod)
        if container.verdict == "DeadlineExceeded":
            text = "Pod was active on the node longer than the specified deadline"
            pod["status"] |= {"reason": "DeadlineExceeded", "message": text}
        self._store.touch(POD, pod)

    def _evicted(self, pod: Manifest) -> None:
        text = "The node was low on resource: memory."
        pod["status"] |= {"phase": "Failed", "reason": "Evicted", "message": text}
        set_condition(pod, "DisruptionTarget", "True", "TerminationByKubelet", text)
        self._store.touch(POD, pod)
        self._events.record(POD, pod, "Warning", "Evicted", text, "kubelet")

    def _take_gpus(self, pod: Manifest) -> list[int]:
        node, count = pod["spec"]["nodeName"], int(limit_of(pod, GPU) or 0)
        taken = {
            index
            for uid, (where, indices) in self._gpus.items()
            if where == node and not self._is_over(uid)
            for index in indices
        }
        free = (index for index in range(len(taken) + count) if index not in taken)
        indices = [next(free) for _ in range(count)]
        self._gpus[pod["metadata"]["uid"]] = (node, indices)
        return indices

    def _is_over(self, uid: str) -> bool:
        container = self._containers.get(uid)
        return container is None or container.finished

    def _seen(self, uid: str, container: Container, text: bytes) -> None:
        order = self._orders.get(uid)
        if order is None or not order.after_output or container.kill_at is not None:
            return
        if order.after_output.encode() in text:
            container.kill_at = time.monotonic() + order.after_s
            self._wake(container)

    def _wake(self, _: Container) -> None:
        with self._store.changed:
            self._store.changed.notify_all()
