"""Changes of stored objects: merge patches, and strategic ones where they come to the same."""

import copy
from typing import Any

from tests.servers.kubernetes.environment import encode_string_data
from tests.servers.kubernetes.errors import ApiError, Problem, invalid, unsupported
from tests.servers.kubernetes.objects import (
    CLAIM,
    CONFIG_MAP,
    EVENT,
    JOB,
    POD,
    ROLE_BINDING,
    SECRET,
    Kind,
    Manifest,
    ObjectStore,
)
from tests.servers.kubernetes.validation import check_manifest

_MERGE = "application/merge-patch+json"
_STRATEGIC = "application/strategic-merge-patch+json"
# Lists that a strategic patch merges item by item, where a merge patch replaces them.
_MERGED_LISTS = {"secrets", "imagePullSecrets", "ownerReferences", "finalizers", "conditions"}
_FIXED = {CLAIM: ("spec.accessModes", "spec.storageClassName"), ROLE_BINDING: ("roleRef",)}
_SERVERS_OWN = ("uid", "creationTimestamp", "deletionTimestamp", "resourceVersion", "name")


def patched(kind: Kind, found: Manifest, patch: Any, content_type: str) -> Manifest:
    """A changed copy of an object, checked as a new one would be.

    Raises:
        ApiError: 409, it was changed meanwhile; 422, not valid or a field that cannot change; 501,
            what the stand-in cannot do.
    """
    if kind in (POD, JOB, EVENT):
        raise unsupported(f"patch of {kind.plural}")
    if content_type not in (_MERGE, _STRATEGIC) or not isinstance(patch, dict):
        raise unsupported(f"patches of type {content_type or 'none'}")
    if content_type == _STRATEGIC:
        _refuse_directives(patch)
    metadata = patch.get("metadata") or {}
    version = metadata.get("resourceVersion")
    if version not in (None, found["metadata"]["resourceVersion"]):
        text = "the object has been modified; please apply your changes to the latest version"
        raise ApiError(409, "Conflict", f"{text} and try again", kind, found["metadata"]["name"])
    changed: Manifest = merged(found, patch)
    for field in _SERVERS_OWN:
        if field in found["metadata"]:
            changed["metadata"][field] = found["metadata"][field]
    if kind is SECRET:
        encode_string_data(changed)
    check_manifest(kind, changed)
    _refuse_fixed(kind, found, changed)
    return changed


def store_patched(store: ObjectStore, kind: Kind, found: Manifest, changed: Manifest) -> None:
    """Put a changed copy in the place of the object; nothing happens where they are equal."""
    if changed != found:
        found.clear()
        found.update(copy.deepcopy(changed))
        store.touch(kind, found)


def merged(found: Any, patch: Any) -> Any:
    """An object or part of it after a merge patch (RFC 7396)."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(copy.deepcopy(found)) if isinstance(found, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def _refuse_directives(patch: dict[str, Any]) -> None:
    for name, value in patch.items():
        if name.startswith("$") or (name in _MERGED_LISTS and value is not None):
            raise unsupported(f"{name} in a strategic merge patch")
        if isinstance(value, dict):
            _refuse_directives(value)


def _refuse_fixed(kind: Kind, found: Manifest, changed: Manifest) -> None:
    fields = _FIXED.get(kind, ())
    if kind in (SECRET, CONFIG_MAP) and found.get("immutable"):
        fields = ("data", "immutable")
    name = found["metadata"]["name"]
    for field in fields:
        if _at(found, field) != _at(changed, field):
            problem = Problem(field, "FieldValueInvalid", "Invalid value: field is immutable")
            raise invalid(kind, name, (problem,))


def _at(manifest: Manifest, path: str) -> Any:
    value: Any = manifest
    for name in path.split("."):
        value = (value or {}).get(name)
    return value
