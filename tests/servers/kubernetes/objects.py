"""Objects of the stand-in's API server, their versions, and the history that watches read."""

import copy
import threading
import uuid
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.servers.kubernetes.errors import ApiError

Manifest = dict[str, Any]
HISTORY = 5000  # changes kept for watches, about five minutes of a real server's cache


@dataclass(frozen=True)
class Kind:
    """A resource the server knows."""

    plural: str
    name: str
    api_version: str = "v1"
    namespaced: bool = True

    @property
    def group(self) -> str:
        """API group; empty for the core."""
        return self.api_version.rpartition("/")[0]

    @property
    def qualified(self) -> str:
        """Name in error messages: `jobs.batch`, `pods`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


POD = Kind("pods", "Pod")
JOB = Kind("jobs", "Job", "batch/v1")
EVENT = Kind("events", "Event")
NODE = Kind("nodes", "Node", namespaced=False)
NAMESPACE = Kind("namespaces", "Namespace", namespaced=False)
SECRET = Kind("secrets", "Secret")
CONFIG_MAP = Kind("configmaps", "ConfigMap")
SERVICE_ACCOUNT = Kind("serviceaccounts", "ServiceAccount")
CLAIM = Kind("persistentvolumeclaims", "PersistentVolumeClaim")
PRIORITY_CLASS = Kind("priorityclasses", "PriorityClass", "scheduling.k8s.io/v1", False)
ROLE = Kind("roles", "Role", "rbac.authorization.k8s.io/v1")
ROLE_BINDING = Kind("rolebindings", "RoleBinding", "rbac.authorization.k8s.io/v1")
NETWORK_POLICY = Kind("networkpolicies", "NetworkPolicy", "networking.k8s.io/v1")
KINDS = (
    POD,
    JOB,
    EVENT,
    NODE,
    NAMESPACE,
    SECRET,
    CONFIG_MAP,
    SERVICE_ACCOUNT,
    CLAIM,
    PRIORITY_CLASS,
    ROLE,
    ROLE_BINDING,
    NETWORK_POLICY,
)


@dataclass(frozen=True)
class Change:
    """One entry of the history."""

    version: int
    type: str  # ADDED, MODIFIED, DELETED
    kind: Kind
    object: Manifest


def timestamp(seconds: float | None = None) -> str:
    """RFC 3339 time in whole seconds, UTC; now unless given (seconds since 1970)."""
    moment = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


class ObjectStore:
    """All live objects, those deleted, and the last changes.

    Every reader and writer holds `changed`; who alters an object in place calls `touch` after it.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.version = 1
        self.history: deque[Change] = deque()
        self.oldest = 1  # watches from before this version are told 410 Gone
        self._live: dict[Kind, dict[tuple[str, str], Manifest]] = {kind: {} for kind in KINDS}
        self._uids: set[str] = set()
        self._deleted: dict[Kind, list[Manifest]] = {kind: [] for kind in KINDS}

    def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Store a new object; it gets uid, creation time and version.

        Raises:
            ApiError: 409, there is one of that name.
        """
        with self.changed:
            metadata = manifest["metadata"]
            if "name" not in metadata:
                metadata["name"] = f"{metadata['generateName'][:58]}{uuid.uuid4().hex[:5]}"
            key = (metadata.get("namespace", ""), metadata["name"])
            if key in self._live[kind]:
                message = f'{kind.qualified} "{key[1]}" already exists'
                raise ApiError(409, "AlreadyExists", message, kind, key[1])
            manifest["apiVersion"], manifest["kind"] = kind.api_version, kind.name
            metadata["uid"] = str(uuid.uuid4())
            metadata["creationTimestamp"] = timestamp()
            self._live[kind][key] = manifest
            self._uids.add(metadata["uid"])
            self._record("ADDED", kind, manifest)
            return manifest

    def get(self, kind: Kind, namespace: str, name: str) -> Manifest:
        """One live object.

        Raises:
            ApiError: 404.
        """
        found = self.find(kind, namespace, name)
        if found is None:
            raise ApiError(404, "NotFound", f'{kind.qualified} "{name}" not found', kind, name)
        return found

    def find(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """One live object, or None."""
        with self.changed:
            return self._live[kind].get((namespace, name))

    def live(self, kind: Kind, namespace: str | None = None) -> list[Manifest]:
        """Live objects in order of their creation; of all namespaces where None."""
        with self.changed:
            found = self._live[kind].items()
            return [manifest for key, manifest in found if namespace in (None, key[0])]

    def has_uid(self, uid: str) -> bool:
        """Whether the object of this uid lives."""
        with self.changed:
            return uid in self._uids

    def touch(self, kind: Kind, manifest: Manifest) -> None:
        """Record that an object was altered."""
        with self.changed:
            self._record("MODIFIED", kind, manifest)

    def remove(self, kind: Kind, manifest: Manifest) -> None:
        """Take an object out; it stays among the deleted ones."""
        with self.changed:
            metadata = manifest["metadata"]
            del self._live[kind][metadata.get("namespace", ""), metadata["name"]]
            self._uids.discard(metadata["uid"])
            self._deleted[kind].append(manifest)
            self._record("DELETED", kind, manifest)

    def deleted(self, kind: Kind) -> list[Manifest]:
        """Objects as they were when they went, in that order."""
        with self.changed:
            return list(self._deleted[kind])

    def since(self, version: int) -> list[Change]:
        """Changes after a version.

        Raises:
            ApiError: 410, they are no longer kept.
        """
        with self.changed:
            if version < self.oldest:
                raise ApiError(
                    410, "Expired", f"too old resource version: {version} ({self.oldest})"
                )
            return [change for change in self.history if change.version > version]

    def compact(self) -> None:
        """Forget the history: versions handed out so far are too old for a watch."""
        with self.changed:
            self.version += 1
            self.oldest = self.version
            self.history.clear()
            self.changed.notify_all()

    def _record(self, type: str, kind: Kind, manifest: Manifest) -> None:
        self.version += 1
        manifest["metadata"]["resourceVersion"] = str(self.version)
        self.history.append(Change(self.version, type, kind, copy.deepcopy(manifest)))
        if len(self.history) > HISTORY:
            self.oldest = self.history.popleft().version
        self.changed.notify_all()
