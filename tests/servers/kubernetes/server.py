"""The cluster: API server, controllers, scheduler and kubelets of a handful of nodes."""

import copy
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import yaml

from tests.servers.forks import shared_template
from tests.servers.kubernetes.api import Api
from tests.servers.kubernetes.environment import encode_string_data
from tests.servers.kubernetes.events import Recorder
from tests.servers.kubernetes.faults import Faults
from tests.servers.kubernetes.http_server import HttpServer, Request
from tests.servers.kubernetes.jobs import JobController
from tests.servers.kubernetes.kubelet import Kubelet
from tests.servers.kubernetes.namespaces import create_namespace
from tests.servers.kubernetes.nodes import Node, Scheduler
from tests.servers.kubernetes.objects import (
    CLAIM,
    CONFIG_MAP,
    EVENT,
    JOB,
    NODE,
    POD,
    PRIORITY_CLASS,
    SECRET,
    SERVICE_ACCOUNT,
    Kind,
    Manifest,
    ObjectStore,
)
from tests.servers.kubernetes.outages import Outages
from tests.servers.kubernetes.removal import GarbageCollector

_TICK_S = 0.1  # how often times are looked at: deadlines, grace, memory


class KubernetesServer:
    """A stand-in for a Kubernetes cluster; a context manager.

    Pods run as local processes: their container's command and args, in a session of their own,
    with only the container's variables above those of `environment`. Images, volumes, limits of
    cores and security contexts are validated, not applied; memory is watched. What the stand-in
    cannot do it refuses with 501.

    Args:
        root: folder for the kubeconfig and the home folder of pods.
        nodes: machines of the cluster.
        environment: variables that stand for those of the image. PATH (the interpreter of the
            tests first) and HOME (a folder under root) are given unless named here.
        working_directory: where commands start unless the container has a workingDir; root if None.
        namespaces: that exist; the first is the kubeconfig's.
        job_backoff_s: wait before the second pod of a Job (10 s in a real cluster).
        forks: whether `dagster` commands are forks of a process that has done their imports
            (forks.py); else each is started anew, as in a cluster.

    Attributes:
        kubeconfig: file for clients.
        url: of the API; who knows it may run commands.
        faults: what is to go wrong.
        requests: what came in, in order.
    """

    def __init__(
        self,
        root: Path,
        nodes: Sequence[Node],
        environment: Mapping[str, str] | None = None,
        working_directory: Path | None = None,
        namespaces: Sequence[str] = ("default",),
        job_backoff_s: float = 0.5,
        forks: bool = False,
    ) -> None:
        self._store = ObjectStore()
        self._namespaces = tuple(namespaces)
        events = Recorder(self._store)
        self._outages = Outages(self._store, events)
        self.faults = Faults(self._store, self._outages)
        home = root / "home"
        home.mkdir(parents=True, exist_ok=True)
        path = os.pathsep.join([str(Path(sys.executable).parent), os.defpath])
        image = {"PATH": path, "HOME": str(home), **(environment or {})}
        template = shared_template() if forks else None
        self._kubelet = Kubelet(
            *(self._store, events, self.faults, self._outages, image, working_directory or root),
            template,
        )
        self._jobs = JobController(self._store, events, job_backoff_s)
        self._scheduler = Scheduler(self._store, events)
        self._garbage = GarbageCollector(self._store)
        self._api = Api(self._store, self._kubelet)
        self._http = HttpServer(self._store, self._api, self.faults)
        self.requests: list[Request] = self._http.requests
        self.url = self._http.url
        self.kubeconfig = root / "kubeconfig.yaml"
        self._write_kubeconfig(self.kubeconfig, self.url, self._namespaces[0])
        for namespace in self._namespaces:
            create_namespace(self._store, {"metadata": {"name": namespace}})
        for node in nodes:
            self._store.create(NODE, node.manifest())
        self._threads = [
            threading.Thread(target=self._control, daemon=True),
            threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True),
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, failure: object, *_: object) -> None:
        with self._store.changed:
            self._api.closing = True
            self._store.changed.notify_all()
        self._http.shutdown()
        self._http.close_connections()
        for thread in self._threads:
            thread.join()
        self._kubelet.close()
        self._http.server_close()
        if failure is None:
            self._raise_errors()

    def jobs(self, all: bool = False) -> list[Manifest]:
        """Jobs in order of their creation; with `all` first deleted ones, as they were last."""
        return self._known(JOB, all)

    def pods(self, all: bool = False) -> list[Manifest]:
        """Pods in order of their creation; with `all` first deleted ones, as they were last."""
        return self._known(POD, all)

    def events(self, name: str = "") -> list[Manifest]:
        """Events about objects of this name; all of them without one."""
        return [
            event
            for event in self._known(EVENT, False)
            if name in ("", event["involvedObject"]["name"])
        ]

    def log(self, pod: Manifest) -> str:
        """Output of a pod so far, also of a deleted one; empty if it never started."""
        container = self._kubelet.container(pod)
        if container is None:
            return ""
        with container.grown:
            return b"".join(line.text for line in container.output).decode(errors="replace")

    def pid(self, pod: Manifest) -> int | None:
        """Process number of a pod's container; None if it never started."""
        container = self._kubelet.container(pod)
        return None if container is None else container.pid

    def wait(self, condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
        """Wait until something holds of the cluster.

        Raises:
            TimeoutError: it did not.
            ExceptionGroup: the stand-in itself failed.
        """
        end = time.monotonic() + timeout_s
        while not condition():  # without the lock: it may ask the API
            self._raise_errors()
            if time.monotonic() > end:
                states = {pod["metadata"]["name"]: pod["status"] for pod in self.pods()}
                raise TimeoutError(f"not after {timeout_s} s; pods: {states}")
            with self._store.changed:
                self._store.changed.wait(0.05)

    def add_secret(self, name: str, values: Mapping[str, str], namespace: str = "") -> None:
        """Register a secret with plain values."""
        manifest: Manifest = {"stringData": dict(values)}
        encode_string_data(manifest)
        self._add(SECRET, namespace, name, manifest)

    def add_config_map(self, name: str, values: Mapping[str, str], namespace: str = "") -> None:
        """Register a config map."""
        self._add(CONFIG_MAP, namespace, name, {"data": dict(values)})

    def add_service_account(self, name: str, namespace: str = "") -> None:
        """Register a service account beside `default`."""
        self._add(SERVICE_ACCOUNT, namespace, name, {})

    def kubeconfig_of(self, name: str, namespace: str = "") -> Path:
        """Write a kubeconfig with the rights of a service account, in place of a pod's token."""
        namespace = namespace or self._namespaces[0]
        path = self.kubeconfig.with_name(f"kubeconfig-{namespace}-{name}.yaml")
        self._write_kubeconfig(path, self._http.url_for((namespace, name)), namespace)
        return path

    def add_claim(self, name: str, namespace: str = "") -> None:
        """Register a bound persistent volume claim; nothing is mounted."""
        self._add(CLAIM, namespace, name, {"status": {"phase": "Bound"}})

    def add_priority_class(self, name: str, value: int) -> None:
        """Register a priority class; it is not acted on."""
        self._store.create(PRIORITY_CLASS, {"metadata": {"name": name}, "value": value})

    def _raise_errors(self) -> None:
        if self._http.errors:
            raise ExceptionGroup("the Kubernetes stand-in failed", self._http.errors)

    def _known(self, kind: Kind, deleted: bool) -> list[Manifest]:
        with self._store.changed:
            found = self._store.deleted(kind) if deleted else []
            return copy.deepcopy([*found, *self._store.live(kind)])

    def _add(self, kind: Kind, namespace: str, name: str, content: Manifest) -> None:
        metadata = {"name": name}
        if kind.namespaced:
            metadata["namespace"] = namespace or self._namespaces[0]
        self._store.create(kind, {"metadata": metadata, **content})

    def _control(self) -> None:
        while not self._api.closing:
            with self._store.changed:
                before = self._store.version
                try:
                    self._jobs.reconcile()
                    self._outages.reconcile()
                    self._scheduler.reconcile()
                    self._kubelet.reconcile()
                    self._jobs.reconcile()  # counts pods before they are removed
                    self._garbage.reconcile(self._kubelet.is_running)
                except Exception as error:  # noqa: BLE001 - raised when the server closes
                    traceback.print_exc()
                    self._http.errors.append(error)
                    return
                if self._store.version == before and not self._api.closing:
                    self._store.changed.wait(_TICK_S)

    @staticmethod
    def _write_kubeconfig(path: Path, url: str, namespace: str) -> None:
        context = {"cluster": "stand-in", "user": "tests", "namespace": namespace}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "stand-in", "cluster": {"server": url}}],
            "users": [{"name": "tests", "user": {}}],
            "contexts": [{"name": "stand-in", "context": context}],
            "current-context": "stand-in",
        }
        path.write_text(yaml.safe_dump(content))
