"""The API's verbs over the object store: create, get, list, watch, delete, log."""

import copy
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from tests.servers.kubernetes.containers import Container, Line
from tests.servers.kubernetes.environment import encode_string_data
from tests.servers.kubernetes.errors import ApiError, unsupported
from tests.servers.kubernetes.jobs import job_defaults
from tests.servers.kubernetes.kubelet import Kubelet
from tests.servers.kubernetes.namespaces import create_namespace, dry_run, namespace_exists
from tests.servers.kubernetes.objects import (
    CLAIM,
    JOB,
    NAMESPACE,
    POD,
    SECRET,
    Kind,
    Manifest,
    ObjectStore,
)
from tests.servers.kubernetes.patching import patched, store_patched
from tests.servers.kubernetes.pods import container_state, create_pod, set_condition
from tests.servers.kubernetes.removal import delete, request_deletion
from tests.servers.kubernetes.routes import Target, is_true
from tests.servers.kubernetes.selectors import matches_fields, matches_labels
from tests.servers.kubernetes.validation import check_manifest

Query = Mapping[str, str]
_WATCH_S = 1800.0  # the real server ends a watch after 30 to 60 minutes


class Api:
    """Answers requests; `closing` ends every stream."""

    def __init__(self, store: ObjectStore, kubelet: Kubelet) -> None:
        self._store, self._kubelet = store, kubelet
        self.closing = False

    def answer(
        self, target: Target, query: Query, body: Any, content_type: str = ""
    ) -> tuple[int, Manifest]:
        """Status and body of a request that is not a stream.

        Raises:
            ApiError: any other answer.
        """
        if target.verb == "update" or (target.verb == "patch" and target.subresource):
            raise unsupported(f"{target.verb} of {target.resource}")
        if target.verb == "create" and not target.subresource:
            body = _manifest(target, body)  # not under the lock: it takes a dozen milliseconds
        with self._store.changed:
            if target.verb == "list":
                return 200, self._list(target, query)
            if target.verb == "create" and target.subresource == "eviction":
                return 201, self._evict(target)
            if target.verb == "create":
                return 201, self._create(target, query, body)
            if target.verb == "deletecollection":
                chosen = self._chosen(target, query)
                for manifest in chosen:
                    self._delete(target.kind, manifest, query, body)
                return 200, self._as_list(target.kind, chosen)
            assert target.name is not None
            found = self._store.get(target.kind, target.namespace or "", target.name)
            if target.verb == "patch":
                changed = patched(target.kind, found, body, content_type)
                if not query.get("dryRun"):
                    store_patched(self._store, target.kind, found, changed)
                return 200, copy.deepcopy(changed)
            if target.verb == "delete":
                return 200, copy.deepcopy(self._delete(target.kind, found, query, body))
            if target.subresource not in ("", "status"):
                raise unsupported(target.resource)
            return 200, copy.deepcopy(found)

    def watch(self, target: Target, query: Query) -> Iterator[bytes]:
        """Changes as JSON lines, until the time is up.

        Raises:
            ApiError: 400, a selector cannot be read.
        """
        self._chosen(target, query)
        version = query.get("resourceVersion") or "0"
        with self._store.changed:
            if version == "0":
                changes = [("ADDED", found) for found in copy.deepcopy(self._chosen(target, query))]
                last = self._store.version
            else:
                changes, last = [], int(version)
        return self._changes(target, query, changes, last)

    def log(self, target: Target, query: Query) -> Iterator[bytes]:
        """Output of a pod, line by line; with `follow` until it ends.

        Raises:
            ApiError: 400, there is none yet; 404; 500, its node is lost.
        """
        with self._store.changed:
            assert target.name is not None
            pod = self._store.get(POD, target.namespace or "", target.name)
            name = pod["spec"]["containers"][0]["name"]
            asked = query.get("container") or name
            if asked != name:
                text = f"container {asked} is not valid for pod {target.name}"
                raise ApiError(400, "BadRequest", text)
            if is_true(query.get("previous")):
                text = f'previous terminated container "{name}" in pod "{target.name}" not found'
                raise ApiError(400, "BadRequest", text)
            if not self._kubelet.is_reachable(pod):
                text = (
                    f"Get https://{pod['spec']['nodeName']}:10250/containerLogs: no route to host"
                )
                raise ApiError(500, "InternalError", text)
            container = self._kubelet.container(pod)
            if container is None:
                waiting = container_state(pod).get("waiting") or {}
                reason = waiting.get("reason", "ContainerCreating")
                text = f'container "{name}" in pod "{target.name}" is waiting to start: {reason}'
                raise ApiError(400, "BadRequest", text)
        return self._lines(container, query)

    def _create(self, target: Target, query: Query, manifest: Manifest) -> Manifest:
        kind = target.kind
        if kind.namespaced:
            namespace = manifest["metadata"].setdefault("namespace", target.namespace)
            if namespace != target.namespace:
                text = "the namespace of the provided object does not match the namespace sent on "
                raise ApiError(400, "BadRequest", f"{text}the request")
            namespace_exists(self._store.find(NAMESPACE, "", namespace), namespace)
        if kind is SECRET:
            encode_string_data(manifest)
        if query.get("dryRun"):
            return dry_run(self._store, kind, manifest)
        if kind is POD:
            return copy.deepcopy(create_pod(self._store, manifest))
        if kind is NAMESPACE:
            return copy.deepcopy(create_namespace(self._store, manifest))
        if kind is CLAIM:
            manifest["status"] = {"phase": "Bound"}
        created = self._store.create(kind, manifest)
        if kind is JOB:
            job_defaults(created)
            self._store.touch(JOB, created)
        return copy.deepcopy(created)

    def _list(self, target: Target, query: Query) -> Manifest:
        start, version = 0, self._store.version
        if token := query.get("continue"):
            version, start = (int(part) for part in token.split("."))
            if version < self._store.oldest:
                text = "The provided continue parameter is too old to display a consistent list"
                raise ApiError(410, "Expired", text)
        chosen = self._chosen(target, query)
        limit = int(query.get("limit") or 0) or len(chosen)
        listed = self._as_list(target.kind, chosen[start : start + limit])
        listed["metadata"] = {"resourceVersion": str(version)}
        if start + limit < len(chosen):
            listed["metadata"]["continue"] = f"{version}.{start + limit}"
            listed["metadata"]["remainingItemCount"] = len(chosen) - start - limit
        return listed

    def _as_list(self, kind: Kind, items: list[Manifest]) -> Manifest:
        return {
            "kind": f"{kind.name}List",
            "apiVersion": kind.api_version,
            "metadata": {"resourceVersion": str(self._store.version)},
            "items": copy.deepcopy(items),
        }

    def _chosen(self, target: Target, query: Query) -> list[Manifest]:
        found = self._store.live(target.kind, target.namespace)
        chosen = [manifest for manifest in found if _is_chosen(target, query, manifest)]
        return sorted(chosen, key=_place)

    def _delete(self, kind: Kind, manifest: Manifest, query: Query, body: Any) -> Manifest:
        options = body if isinstance(body, dict) else {}
        uid = (options.get("preconditions") or {}).get("uid")
        if uid is not None and uid != manifest["metadata"]["uid"]:
            text = "Precondition failed: UID in precondition does not match"
            raise ApiError(409, "Conflict", text, kind, manifest["metadata"]["name"])
        # A Job's pods outlive it unless the client says otherwise: batch/v1 kept that default.
        policy = query.get("propagationPolicy") or options.get("propagationPolicy")
        policy = policy or ("Orphan" if kind is JOB else "Background")
        if kind is NAMESPACE:
            raise unsupported("deletion of a namespace with all that is in it")
        if query.get("dryRun") or options.get("dryRun"):
            raise unsupported("dry run of a deletion")
        grace = query.get("gracePeriodSeconds", options.get("gracePeriodSeconds"))
        if not delete(self._store, kind, manifest, policy, None if grace is None else int(grace)):
            return manifest
        metadata = manifest["metadata"]
        details = {"name": metadata["name"], "group": kind.group, "kind": kind.plural}
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": {**details, "uid": metadata["uid"]},
        }

    def _evict(self, target: Target) -> Manifest:
        assert target.name is not None
        pod = self._store.get(POD, target.namespace or "", target.name)
        text = "Eviction API: evicting"
        set_condition(pod, "DisruptionTarget", "True", "EvictionByEvictionAPI", text)
        request_deletion(self._store, pod)
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}

    def _changes(
        self, target: Target, query: Query, first: list[tuple[str, Manifest]], last: int
    ) -> Iterator[bytes]:
        for type, found in first:
            yield _event(type, found)
        end = time.monotonic() + float(query.get("timeoutSeconds") or _WATCH_S)
        while not self.closing and time.monotonic() < end:
            with self._store.changed:
                try:
                    changes = self._store.since(last)
                except ApiError as error:
                    yield _event("ERROR", error.status())
                    return
                if not changes:
                    self._store.changed.wait(max(0.0, min(end - time.monotonic(), 1.0)))
                    continue
            for change in changes:
                last = change.version
                if change.kind is target.kind and _is_chosen(target, query, change.object):
                    yield _event(change.type, change.object)

    def _lines(self, container: Container, query: Query) -> Iterator[bytes]:
        stamped, follow = is_true(query.get("timestamps")), is_true(query.get("follow"))
        sent = 0
        with container.grown:
            lines = list(container.output)
        if "sinceSeconds" in query:
            since = time.time() - float(query["sinceSeconds"])
            sent = sum(line.time < since for line in lines)
        if "tailLines" in query:
            sent = max(sent, len(lines) - int(query["tailLines"]))
        while True:
            with container.grown:
                if follow and len(container.output) == sent and not container.finished:
                    if self.closing:
                        return
                    container.grown.wait(0.2)
                new: list[Line] = container.output[sent:]
                over = not follow or container.finished
            for line in new:
                yield line.stamped() if stamped else line.text
            sent += len(new)
            if over and (not follow or sent == len(container.output)):
                return


def _manifest(target: Target, body: Any) -> Manifest:
    kind = target.kind
    if not isinstance(body, dict) or body.get("kind", kind.name) != kind.name:
        raise ApiError(400, "BadRequest", f"the object provided is not a {kind.name}")
    if body.get("apiVersion", kind.api_version) != kind.api_version:
        text = "the API version in the data does not match the expected API version "
        raise ApiError(400, "BadRequest", f"{text}({kind.api_version})")
    manifest = {**copy.deepcopy(body), "kind": kind.name, "apiVersion": kind.api_version}
    check_manifest(kind, manifest)
    return manifest


def _is_chosen(target: Target, query: Query, manifest: Manifest) -> bool:
    if target.namespace not in (None, manifest["metadata"].get("namespace", "")):
        return False
    if target.name is not None and manifest["metadata"]["name"] != target.name:
        return False
    return matches_labels(manifest, query.get("labelSelector") or "") and matches_fields(
        target.kind, manifest, query.get("fieldSelector") or ""
    )


def _place(manifest: Manifest) -> tuple[str, str]:
    return manifest["metadata"].get("namespace", ""), manifest["metadata"]["name"]


def _event(type: str, manifest: Manifest) -> bytes:
    return json.dumps({"type": type, "object": manifest}).encode() + b"\n"
