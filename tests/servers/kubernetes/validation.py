"""What the server refuses: schemas by kubernetes-validate, then rules that schemas cannot say."""

import re
from collections.abc import Iterator
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]

from tests.servers.kubernetes.errors import ApiError, Problem, invalid, unsupported
from tests.servers.kubernetes.objects import JOB, POD, Kind, Manifest
from tests.servers.kubernetes.plain_rules import plain_problems
from tests.servers.kubernetes.pod_rules import pod_problems, refuse_unsupported_pod

KUBERNETES_VERSION = "1.36"  # of the Python client the project is pinned to
DNS_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
DNS_SUBDOMAIN = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
LABEL_NAME = re.compile(r"^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$")
MAX_NAME, MAX_LABEL = 253, 63
MAX_ANNOTATIONS = 256 * 1024  # bytes of all keys and values


def check_manifest(kind: Kind, manifest: Manifest) -> None:
    """Refuse what a real server would refuse.

    Unknown fields are refused too: a real server drops them with a warning that no test would see.

    Raises:
        ApiError: 400 for what is not such an object, 422 for wrong values, 501 for what the
            stand-in cannot do.
    """
    name = _name_of(manifest)
    try:
        kubernetes_validate.validate(manifest, KUBERNETES_VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        path = ".".join(str(part) for part in error.path)
        if error.validator == "required":
            problem = Problem(path, "FieldValueRequired", f"Required value: {error.message}")
            raise invalid(kind, name, (problem,)) from error
        message = f'{kind.name} in version "{kind.api_version}" cannot be handled as a {kind.name}'
        message = f"{message}: strict decoding error: {path}: {error.message}"
        raise ApiError(400, "BadRequest", message, kind, name) from error
    problems = [*metadata_problems(kind, manifest["metadata"]), *plain_problems(kind, manifest)]
    if kind is POD:
        problems += pod_problems(manifest["spec"], "spec", in_job=False)
    if kind is JOB:
        problems += _job_problems(manifest["spec"])
    if problems:
        raise invalid(kind, name, tuple(problems))
    if kind is POD:
        refuse_unsupported_pod(manifest["spec"])
    if kind is JOB:
        _refuse_unsupported_job(manifest["spec"])


def metadata_problems(kind: Kind, metadata: dict[str, Any]) -> Iterator[Problem]:
    """What is wrong with names, labels and annotations."""
    if not metadata.get("name") and not metadata.get("generateName"):
        yield Problem(
            "metadata.name",
            "FieldValueRequired",
            "Required value: name or generateName is required",
        )
    for field in ("name", "generateName"):
        name = (metadata.get(field) or "").rstrip("-" if field == "generateName" else "")
        longest = MAX_LABEL if kind is JOB else MAX_NAME  # a Job's name becomes a label of its pods
        if name and len(name) > longest:
            text = f'Invalid value: "{name}": must be no more than {longest} characters'
            yield Problem(f"metadata.{field}", "FieldValueInvalid", text)
        elif name and not DNS_SUBDOMAIN.match(name):
            text = f'Invalid value: "{name}": a lowercase RFC 1123 subdomain must consist of lower '
            text += "case alphanumeric characters, '-' or '.', and must start and end with an "
            yield Problem(f"metadata.{field}", "FieldValueInvalid", f"{text}alphanumeric character")
    yield from label_problems(metadata.get("labels") or {}, "metadata.labels")
    annotations = metadata.get("annotations") or {}
    yield from (
        problem for key in annotations for problem in _key_problems(key, "metadata.annotations")
    )
    size = sum(len(key) + len(value) for key, value in annotations.items())
    if size > MAX_ANNOTATIONS:
        text = f"Too long: may not be more than {MAX_ANNOTATIONS} bytes"
        yield Problem("metadata.annotations", "FieldValueTooLong", text)


def label_problems(labels: dict[str, str], field: str) -> Iterator[Problem]:
    """What is wrong with keys and values of labels."""
    for key, value in labels.items():
        yield from _key_problems(key, field)
        if value and len(value) > MAX_LABEL:
            text = f'Invalid value: "{value}": must be no more than {MAX_LABEL} bytes'
            yield Problem(field, "FieldValueInvalid", text)
        elif value and not LABEL_NAME.match(value):
            text = f'Invalid value: "{value}": a valid label must be an empty string or consist of '
            text += "alphanumeric characters, '-', '_' or '.', and must start and end with an "
            yield Problem(field, "FieldValueInvalid", f"{text}alphanumeric character")


def _key_problems(key: str, field: str) -> Iterator[Problem]:
    prefix, slash, name = key.rpartition("/")
    well_formed = LABEL_NAME.match(name) and (
        not slash or (len(prefix) <= MAX_NAME and DNS_SUBDOMAIN.match(prefix))
    )
    if not well_formed:
        text = f'Invalid value: "{key}": a qualified name must consist of alphanumeric characters, '
        text += "'-', '_' or '.', and must start and end with an alphanumeric character, with an "
        yield Problem(field, "FieldValueInvalid", f"{text}optional DNS subdomain prefix and '/'")


def _job_problems(spec: dict[str, Any]) -> Iterator[Problem]:
    for field in (
        "activeDeadlineSeconds",
        "backoffLimit",
        "completions",
        "parallelism",
        "ttlSecondsAfterFinished",
    ):
        if (spec.get(field) or 0) < 0:
            text = f"Invalid value: {spec[field]}: must be greater than or equal to 0"
            yield Problem(f"spec.{field}", "FieldValueInvalid", text)
    if spec.get("selector") and not spec.get("manualSelector"):
        text = "Invalid value: `selector` not auto-generated"
        yield Problem("spec.selector", "FieldValueInvalid", text)
    template = spec["template"]
    labels = (template.get("metadata") or {}).get("labels") or {}
    yield from label_problems(labels, "spec.template.metadata.labels")
    if not template.get("spec"):
        yield Problem("spec.template.spec", "FieldValueRequired", "Required value")
        return
    policy = template["spec"].get("restartPolicy")
    if policy not in ("Never", "OnFailure"):
        text = f'{"Required" if policy is None else "Unsupported"} value: "{policy or ""}": '
        text += 'supported values: "OnFailure", "Never"'
        yield Problem("spec.template.spec.restartPolicy", "FieldValueNotSupported", text)
    if spec.get("podFailurePolicy") and policy != "Never":
        text = f'Invalid value: "{policy}": only "Never" is supported when podFailurePolicy is set'
        yield Problem("spec.template.spec.restartPolicy", "FieldValueInvalid", text)
    yield from pod_problems(template["spec"], "spec.template.spec", in_job=True)


def _refuse_unsupported_job(spec: dict[str, Any]) -> None:
    usual = {
        "completionMode": "NonIndexed",
        "suspend": False,
        "manualSelector": False,
        "parallelism": 1,
        "completions": 1,
    }
    for field, value in usual.items():
        if spec.get(field) not in (None, value):
            raise unsupported(f"spec.{field} other than {value}")
    for field in ("successPolicy", "backoffLimitPerIndex", "maxFailedIndexes", "managedBy"):
        if spec.get(field) is not None:
            raise unsupported(f"spec.{field}")
    refuse_unsupported_pod(spec["template"]["spec"])


def _name_of(manifest: Manifest) -> str:
    metadata = manifest.get("metadata")
    if not isinstance(metadata, dict):
        raise ApiError(400, "BadRequest", "metadata is missing")
    return str(metadata.get("name") or metadata.get("generateName") or "")
