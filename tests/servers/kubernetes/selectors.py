"""Label and field selectors, as in list and watch."""

import re
from typing import Any

from tests.servers.kubernetes.errors import ApiError
from tests.servers.kubernetes.objects import EVENT, JOB, NODE, POD, Kind, Manifest

_IN = re.compile(r"^(\S+)\s+(in|notin)\s+\(([^()]*)\)$")
_EQUAL = re.compile(r"^([^=!\s]+)\s*(==|=|!=)\s*([^=!\s]*)$")
_EXISTS = re.compile(r"^(!?)\s*([^=!\s()]+)$")
FIELDS = {
    POD: {
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    },
    JOB: {"status.successful"},
    NODE: {"spec.unschedulable"},
    EVENT: {
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    },
}


def matches_labels(manifest: Manifest, selector: str) -> bool:
    """Whether an object's labels fit `a=b,c!=d,e in (f,g),h,!i`.

    Raises:
        ApiError: 400, the selector cannot be read.
    """
    labels = manifest["metadata"].get("labels") or {}
    return all(_label_holds(labels, part.strip()) for part in _parts(selector))


def matches_fields(kind: Kind, manifest: Manifest, selector: str) -> bool:
    """Whether an object's fields fit `a.b=c,d!=e`.

    Raises:
        ApiError: 400, a field the API cannot select this kind by.
    """
    for part in filter(None, selector.split(",")):
        found = _EQUAL.match(part.strip())
        if found is None:
            raise ApiError(400, "BadRequest", f'invalid selector: "{part}"')
        field, operator, wanted = found.groups()
        if field not in FIELDS.get(kind, set()) | {"metadata.name", "metadata.namespace"}:
            message = f'Unable to find "{kind.api_version}, Resource={kind.plural}" that match '
            message += f'field selector "{selector}": field label not supported: {field}'
            raise ApiError(400, "BadRequest", message)
        if (_field(manifest, field) == wanted) == (operator == "!="):
            return False
    return True


def _parts(selector: str) -> list[str]:
    return [part for part in re.split(r",(?![^()]*\))", selector) if part.strip()]


def _label_holds(labels: dict[str, str], part: str) -> bool:
    if found := _IN.match(part):
        key, operator, values = found.groups()
        inside = key in labels and labels[key] in {value.strip() for value in values.split(",")}
        return inside if operator == "in" else not inside
    if found := _EQUAL.match(part):
        key, operator, value = found.groups()
        return (labels.get(key) == value) != (operator == "!=")
    if found := _EXISTS.match(part):
        negated, key = found.groups()
        return (key in labels) != bool(negated)
    raise ApiError(400, "BadRequest", f'unable to parse requirement: "{part}"')


def _field(manifest: Manifest, path: str) -> str:
    if path == "status.successful":
        path = "status.succeeded"
    value: Any = manifest
    for name in path.split("."):
        value = value.get(name, "") if isinstance(value, dict) else ""
    if isinstance(value, dict):
        value = value.get("component", "")
    return str(value)
