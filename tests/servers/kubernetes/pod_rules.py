"""Rules of pod specs that the published schemas cannot say, and what the stand-in cannot run."""

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from tests.servers.kubernetes.errors import Problem, unsupported
from tests.servers.kubernetes.quantities import parse_quantity

_CONTAINER = re.compile(r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
_VARIABLE = re.compile(r"^[-._a-zA-Z][-._a-zA-Z0-9]*$")
_STANDARD = ("cpu", "memory", "ephemeral-storage")
_FIELDS = {
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.podIP",
}
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def pod_problems(spec: dict[str, Any], path: str, *, in_job: bool) -> Iterator[Problem]:
    """What is wrong with a pod spec; `in_job` where a Job checks the restart policy itself."""
    if not spec.get("containers"):
        yield Problem(f"{path}.containers", "FieldValueRequired", "Required value")
    policy = spec.get("restartPolicy", "Always")
    if not in_job and policy not in ("Always", "OnFailure", "Never"):
        yield _unsupported_value(f"{path}.restartPolicy", policy, ("Always", "OnFailure", "Never"))
    if spec.get("activeDeadlineSeconds") is not None and spec["activeDeadlineSeconds"] < 1:
        yield _invalid(
            f"{path}.activeDeadlineSeconds",
            spec["activeDeadlineSeconds"],
            "must be between 1 and 2147483647, inclusive",
        )
    volumes = spec.get("volumes") or []
    yield from _volume_problems(volumes, f"{path}.volumes")
    names = {volume.get("name") for volume in volumes}
    for place, toleration in enumerate(spec.get("tolerations") or []):
        yield from _toleration_problems(toleration, f"{path}.tolerations[{place}]")
    seen: set[str] = set()
    for place, container in enumerate(spec.get("containers") or []):
        where = f"{path}.containers[{place}]"
        if container["name"] in seen:
            yield Problem(
                f"{where}.name", "FieldValueDuplicate", f'Duplicate value: "{container["name"]}"'
            )
        seen.add(container["name"])
        yield from _container_problems(container, where, names)


def refuse_unsupported_pod(spec: dict[str, Any]) -> None:
    """Refuse what the stand-in would get wrong.

    Raises:
        ApiError: 501.
    """
    if len(spec["containers"]) != 1:
        raise unsupported("more than one container in a pod")
    for field in ("initContainers", "affinity", "topologySpreadConstraints", "schedulingGates"):
        if spec.get(field):
            raise unsupported(f"a pod's {field}")
    if spec.get("restartPolicy", "Always") != "Never":
        raise unsupported("a pod's restartPolicy other than Never")
    for field in ("lifecycle", "livenessProbe", "startupProbe", "readinessProbe"):
        if spec["containers"][0].get(field):
            raise unsupported(f"a container's {field}")
    for variable in spec["containers"][0].get("env") or []:
        source = variable.get("valueFrom") or {}
        path = (source.get("fieldRef") or {}).get("fieldPath", "metadata.name")
        if path not in _FIELDS or source.get("resourceFieldRef") or source.get("fileKeyRef"):
            raise unsupported(f"valueFrom of the variable {variable['name']}")


def _container_problems(
    container: dict[str, Any], where: str, volumes: set[Any]
) -> Iterator[Problem]:
    if not _CONTAINER.match(container["name"]):
        yield _invalid(f"{where}.name", container["name"], "must be a lowercase RFC 1123 label")
    if not container.get("image"):
        yield Problem(f"{where}.image", "FieldValueRequired", "Required value")
    policies = ("Always", "IfNotPresent", "Never")
    if container.get("imagePullPolicy") not in (None, *policies):
        yield _unsupported_value(f"{where}.imagePullPolicy", container["imagePullPolicy"], policies)
    for place, variable in enumerate(container.get("env") or []):
        field = f"{where}.env[{place}]"
        if not _VARIABLE.match(variable["name"]):
            yield _invalid(f"{field}.name", variable["name"], "a valid environment variable name")
        if variable.get("value") and variable.get("valueFrom"):
            text = "may not be specified when `value` is not empty"
            yield _invalid(f"{field}.valueFrom", "", text)
    for place, source in enumerate(container.get("envFrom") or []):
        if sum(bool(source.get(name)) for name in ("secretRef", "configMapRef")) != 1:
            text = "must specify one of: `configMapRef` or `secretRef`"
            yield _invalid(f"{where}.envFrom[{place}]", "", text)
    paths: set[str] = set()
    for place, mount in enumerate(container.get("volumeMounts") or []):
        field = f"{where}.volumeMounts[{place}]"
        if mount["name"] not in volumes:
            yield Problem(f"{field}.name", "FieldValueNotFound", f'Not found: "{mount["name"]}"')
        if mount["mountPath"] in paths:
            yield _invalid(f"{field}.mountPath", mount["mountPath"], "must be unique")
        paths.add(mount["mountPath"])
    yield from _resource_problems(container.get("resources") or {}, f"{where}.resources")


def _resource_problems(resources: dict[str, Any], where: str) -> Iterator[Problem]:
    values: dict[tuple[str, str], Fraction] = {}
    for side in ("limits", "requests"):
        for name, text in (resources.get(side) or {}).items():
            field = f"{where}.{side}[{name}]"
            try:
                value = parse_quantity(text)
            except ValueError as error:
                yield _invalid(field, text, str(error))
                continue
            values[side, name] = value
            if value < 0:
                yield _invalid(field, text, "must be greater than or equal to 0")
            if name not in _STANDARD and "/" not in name and not name.startswith("hugepages-"):
                yield _invalid(field, name, "must be a standard resource for containers")
            if "/" in name and value.denominator != 1:
                yield _invalid(field, text, "must be an integer")
    for (side, name), value in values.items():
        limit = values.get(("limits", name))
        if side != "requests":
            continue
        field = f"{where}.requests[{name}]"
        if "/" in name and limit is None:
            text = "Required value: Limit must be set for non overcommitable resources"
            yield Problem(f"{where}.limits", "FieldValueRequired", text)
        elif "/" in name and limit != value:
            yield _invalid(field, value, f"must be equal to {name} limit of {limit}")
        elif limit is not None and value > limit:
            yield _invalid(field, value, f"must be less than or equal to {name} limit of {limit}")


def _volume_problems(volumes: list[dict[str, Any]], where: str) -> Iterator[Problem]:
    seen: set[str] = set()
    for place, volume in enumerate(volumes):
        field = f"{where}[{place}]"
        name = volume["name"]
        if not _CONTAINER.match(name):
            yield _invalid(f"{field}.name", name, "must be a lowercase RFC 1123 label")
        if name in seen:
            yield Problem(f"{field}.name", "FieldValueDuplicate", f'Duplicate value: "{name}"')
        seen.add(name)
        sources = [key for key, value in volume.items() if key != "name" and value is not None]
        if len(sources) > 1:
            text = f"may not specify more than 1 volume type: {', '.join(sorted(sources))}"
            yield Problem(field, "FieldValueForbidden", text)
        if not sources:
            yield Problem(field, "FieldValueRequired", "Required value: must specify a volume type")
        empty = volume.get("emptyDir") or {}
        if empty.get("medium", "") not in ("", "Memory"):
            yield _unsupported_value(f"{field}.emptyDir.medium", empty["medium"], ("", "Memory"))
        if "sizeLimit" in empty:
            try:
                parse_quantity(empty["sizeLimit"])
            except ValueError as error:
                yield _invalid(f"{field}.emptyDir.sizeLimit", empty["sizeLimit"], str(error))
        if volume.get("hostPath") and not volume["hostPath"].get("path"):
            yield Problem(f"{field}.hostPath.path", "FieldValueRequired", "Required value")


def _toleration_problems(toleration: dict[str, Any], where: str) -> Iterator[Problem]:
    operator = toleration.get("operator") or "Equal"
    if operator not in ("Equal", "Exists"):
        yield _unsupported_value(f"{where}.operator", operator, ("Equal", "Exists"))
    if operator == "Exists" and toleration.get("value"):
        text = "value must be empty when `operator` is 'Exists'"
        yield _invalid(f"{where}.operator", toleration["value"], text)
    if not toleration.get("key") and operator != "Exists":
        text = "operator must be Exists when `key` is empty, which means match all"
        yield _invalid(f"{where}.operator", operator, text)
    effect = toleration.get("effect")
    if effect and effect not in _EFFECTS:
        yield _unsupported_value(f"{where}.effect", effect, _EFFECTS)
    if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
        text = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        yield _invalid(f"{where}.effect", effect or "", text)


def _invalid(field: str, value: object, text: str) -> Problem:
    return Problem(field, "FieldValueInvalid", f'Invalid value: "{value}": {text}')


def _unsupported_value(field: str, value: object, choices: tuple[str, ...]) -> Problem:
    listed = ", ".join(f'"{choice}"' for choice in choices)
    text = f'Unsupported value: "{value}": supported values: {listed}'
    return Problem(field, "FieldValueNotSupported", text)
