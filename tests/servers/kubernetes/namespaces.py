"""Namespaces, and what a dry run of a creation finds out."""

import copy

from tests.servers.kubernetes.errors import ApiError
from tests.servers.kubernetes.objects import (
    NAMESPACE,
    POD,
    SERVICE_ACCOUNT,
    Kind,
    Manifest,
    ObjectStore,
)
from tests.servers.kubernetes.pods import check_pod


def create_namespace(store: ObjectStore, manifest: Manifest) -> Manifest:
    """Store a namespace with the label and the service account that every one gets.

    Raises:
        ApiError: 409.
    """
    name = manifest["metadata"]["name"]
    labels = manifest["metadata"].get("labels") or {}
    manifest["metadata"]["labels"] = {**labels, "kubernetes.io/metadata.name": name}
    manifest |= {"spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
    created = store.create(NAMESPACE, manifest)
    store.create(SERVICE_ACCOUNT, {"metadata": {"name": "default", "namespace": name}})
    return created


def namespace_exists(found: Manifest | None, name: str) -> None:
    """Refuse a namespace that is not there.

    Raises:
        ApiError: 404.
    """
    if found is None:
        raise ApiError(404, "NotFound", f'namespaces "{name}" not found', NAMESPACE, name)


def dry_run(store: ObjectStore, kind: Kind, manifest: Manifest) -> Manifest:
    """What would be stored, but for the server's own fields; nothing is.

    Raises:
        ApiError: 403 or 409, as the creation would.
    """
    metadata = manifest["metadata"]
    name = metadata.get("name")
    if name and store.find(kind, metadata.get("namespace", ""), name) is not None:
        message = f'{kind.qualified} "{name}" already exists'
        raise ApiError(409, "AlreadyExists", message, kind, name)
    if kind is POD:
        check_pod(store, manifest)
    return copy.deepcopy(manifest)
