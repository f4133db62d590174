"""Deletion: grace periods of pods, what becomes of pods whose Job, owner or node is gone."""

import time
from typing import Any

from tests.servers.kubernetes.objects import JOB, NODE, POD, Kind, Manifest, ObjectStore, timestamp
from tests.servers.kubernetes.pods import is_over

_BLOCKING = "foregroundDeletion"


def request_deletion(store: ObjectStore, pod: Manifest, grace_s: int | None = None) -> None:
    """Mark a pod for deletion; the kubelet ends its process, then it is removed."""
    metadata = pod["metadata"]
    grace = pod["spec"]["terminationGracePeriodSeconds"] if grace_s is None else grace_s
    if "deletionTimestamp" in metadata and grace >= metadata["deletionGracePeriodSeconds"]:
        return  # a grace period can only be shortened
    metadata["deletionTimestamp"] = timestamp(time.time() + grace)
    metadata["deletionGracePeriodSeconds"] = grace
    store.touch(POD, pod)


def delete(
    store: ObjectStore, kind: Kind, manifest: Manifest, policy: str, grace_s: int | None
) -> bool:
    """Delete an object as `propagationPolicy` says; True if it went at once."""
    if kind is POD:
        request_deletion(store, manifest, grace_s)
        return False
    dependents = dependents_of(store, manifest)
    if policy == "Foreground" and dependents:
        manifest["metadata"]["deletionTimestamp"] = timestamp()
        manifest["metadata"]["finalizers"] = [_BLOCKING]
        store.touch(kind, manifest)
        for dependent_kind, dependent in dependents:
            _delete_dependent(store, dependent_kind, dependent)
        return False
    if policy == "Orphan":
        for dependent_kind, dependent in dependents:
            owners = dependent["metadata"]["ownerReferences"]
            kept = [owner for owner in owners if owner["uid"] != manifest["metadata"]["uid"]]
            dependent["metadata"]["ownerReferences"] = kept
            store.touch(dependent_kind, dependent)
    store.remove(kind, manifest)
    return True


def dependents_of(store: ObjectStore, owner: Manifest) -> list[tuple[Kind, Manifest]]:
    """Objects that name this one as their owner."""
    uid = owner["metadata"]["uid"]
    return [
        (kind, manifest)
        for kind in (POD, JOB)
        for manifest in store.live(kind)
        if any(found["uid"] == uid for found in _owners(manifest))
    ]


class GarbageCollector:
    """Removes what is marked and what has lost its owner."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def reconcile(self, is_running: Any) -> None:
        """Remove pods whose process is gone (`is_running(pod)` is False), Jobs, and orphans."""
        for pod in self._store.live(POD):
            if "deletionTimestamp" in pod["metadata"] and not is_running(pod):
                self._store.remove(POD, pod)
            elif self._has_lost_its_node(pod):
                # As the controller of deleted nodes' pods does, which asks no kubelet.
                pod["status"]["phase"] = "Failed"
                request_deletion(self._store, pod, 0)
        for job in self._store.live(JOB):
            if _BLOCKING in job["metadata"].get("finalizers", []) and not dependents_of(
                self._store, job
            ):
                del job["metadata"]["finalizers"]
                self._store.remove(JOB, job)
        for kind in (JOB, POD):
            for manifest in self._store.live(kind):
                owners = _owners(manifest)
                if owners and not any(self._store.has_uid(owner["uid"]) for owner in owners):
                    _delete_dependent(self._store, kind, manifest)

    def _has_lost_its_node(self, pod: Manifest) -> bool:
        node = pod["spec"].get("nodeName")
        return bool(node) and self._store.find(NODE, "", node) is None


def _delete_dependent(store: ObjectStore, kind: Kind, manifest: Manifest) -> None:
    if kind is POD:
        if "deletionTimestamp" not in manifest["metadata"]:
            request_deletion(store, manifest, 0 if is_over(manifest) else None)
    else:
        delete(store, kind, manifest, "Background", None)


def _owners(manifest: Manifest) -> list[dict[str, Any]]:
    return manifest["metadata"].get("ownerReferences") or []
