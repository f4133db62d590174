"""What a test orders to go wrong."""

import re
import threading
from dataclasses import dataclass
from signal import SIGKILL, Signals
from typing import Literal

from tests.servers.kubernetes.objects import Manifest, ObjectStore
from tests.servers.kubernetes.outages import Outages
from tests.servers.kubernetes.selectors import matches_labels


@dataclass
class RequestFault:
    """Something that goes wrong with the nth to (nth + times - 1)th matching request.

    Attributes:
        path: regular expression found in the path with its query.
        method: HTTP method; empty for any.
        nth: the first request it spoils, counted from 1 over those that match.
        times: how many it spoils; -1 for all from there.
        status: answer with this status; None to answer as usual.
        retry_after: seconds in the Retry-After header of that answer.
        delay_s: wait before answering.
        drop: close the connection: before the request has had any effect, or after.
        seen: matching requests so far.
    """

    path: str = ""
    method: str = ""
    nth: int = 1
    times: int = 1
    status: int | None = None
    retry_after: int | None = None
    delay_s: float = 0.0
    drop: Literal["", "request", "answer"] = ""
    seen: int = 0


@dataclass
class PodFault:
    """A signal for the nth to (nth + times - 1)th pod that starts and fits the selector.

    Attributes:
        selector: labels, as in a list request.
        nth: the first pod, counted from 1 over those that fit.
        times: how many pods; -1 for all from there.
        after_s: seconds from its start, or from the output below.
        after_output: wait until a line contains this.
        signal: what is sent to all processes of the pod.
        seen: fitting pods so far.
    """

    selector: str = ""
    nth: int = 1
    times: int = 1
    after_s: float = 0.0
    after_output: str = ""
    signal: Signals = SIGKILL
    seen: int = 0


class Faults:
    """Orders for the server; each takes effect at once and may be given at any time.

    Attributes:
        images: images that cannot be pulled, with the reason shown.
    """

    def __init__(self, store: ObjectStore, outages: Outages) -> None:
        self.images: dict[str, str] = {}
        self._store, self._outages = store, outages
        self._requests: list[RequestFault] = []
        self._pods: list[PodFault] = []
        self._lock = threading.Lock()

    def on_request(self, fault: RequestFault) -> RequestFault:
        """Order a fault of the API; the first that is due for a request decides."""
        self._requests.append(fault)
        return fault

    def answer(
        self, status: int, path: str = "", method: str = "", nth: int = 1, times: int = 1
    ) -> RequestFault:
        """Let matching requests fail with a status, without effect: 401, 410, 429, 500, 503 ..."""
        return self.on_request(RequestFault(path, method, nth, times, status=status))

    def slow(
        self, seconds: float, path: str = "", method: str = "", nth: int = 1, times: int = 1
    ) -> RequestFault:
        """Let matching requests wait before they are handled."""
        return self.on_request(RequestFault(path, method, nth, times, delay_s=seconds))

    def drop(
        self,
        path: str = "",
        method: str = "",
        nth: int = 1,
        times: int = 1,
        what: Literal["request", "answer"] = "request",
    ) -> RequestFault:
        """Close the connection of matching requests, before or after they took effect."""
        return self.on_request(RequestFault(path, method, nth, times, drop=what))

    def kill_pod(
        self,
        selector: str = "",
        nth: int = 1,
        times: int = 1,
        after_s: float = 0.0,
        after_output: str = "",
    ) -> PodFault:
        """Kill (SIGKILL) the nth fitting pod so long after its start or after a line of output."""
        fault = PodFault(selector, nth, times, after_s, after_output)
        self._pods.append(fault)
        return fault

    def cannot_pull(self, image: str, reason: str = "not found") -> None:
        """Let an image fail to be pulled from now on: ErrImagePull, then ImagePullBackOff."""
        self.images[image] = reason

    def can_pull(self, image: str) -> None:
        """Let it be pulled again."""
        with self._store.changed:
            self.images.pop(image, None)
            self._store.changed.notify_all()

    def evict_node(self, name: str) -> None:
        """Run a node out of memory: its pods fail with reason Evicted, it takes no others."""
        self._outages.evict(name)

    def drain_node(self, name: str) -> None:
        """Cordon a node and evict its pods through the API, with their grace period."""
        self._outages.drain(name)

    def lose_node(self, name: str, noticed_after_s: float = 0.5, partitioned: bool = False) -> None:
        """Let a node vanish: its processes die unseen, or run on where it is only cut off.

        After `noticed_after_s` (340 s in a real cluster) its pods are marked for deletion; they
        stay Terminating until the node is back.
        """
        self._outages.lose(name, noticed_after_s, partitioned)

    def recover_node(self, name: str) -> None:
        """End whatever a node suffers from."""
        self._outages.recover(name)

    def expire_watches(self) -> None:
        """Forget the history: watches from an older version are told 410 Gone."""
        self._store.compact()

    def next_for(self, method: str, path: str) -> RequestFault | None:
        """The fault of a request that comes in, or None."""
        due = None
        with self._lock:
            for fault in self._requests:
                if fault.method in ("", method) and re.search(fault.path, path):
                    fault.seen += 1
                    if due is None and _is_due(fault):
                        due = fault
        return due

    def for_pod(self, pod: Manifest) -> PodFault | None:
        """The fault of a pod that starts, or None."""
        due = None
        with self._lock:
            for fault in self._pods:
                if matches_labels(pod, fault.selector):
                    fault.seen += 1
                    if due is None and _is_due(fault):
                        due = fault
        return due


def _is_due(fault: RequestFault | PodFault) -> bool:
    last = float("inf") if fault.times < 0 else fault.nth + fault.times - 1
    return fault.nth <= fault.seen <= last
