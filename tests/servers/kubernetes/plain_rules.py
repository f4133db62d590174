"""Rules that schemas cannot say, of kinds that are only stored."""

import base64
import binascii
import re
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

from tests.servers.kubernetes.errors import Problem
from tests.servers.kubernetes.objects import (
    CONFIG_MAP,
    NETWORK_POLICY,
    ROLE,
    ROLE_BINDING,
    SECRET,
    Kind,
    Manifest,
)

_KEY = re.compile(r"^[-._a-zA-Z0-9]{1,253}$")
_LARGEST = 1024 * 1024  # bytes of all values of a Secret or ConfigMap


def plain_problems(kind: Kind, manifest: Manifest) -> Iterator[Problem]:
    """What is wrong with a ConfigMap, Secret, Role, RoleBinding or NetworkPolicy."""
    if kind in (CONFIG_MAP, SECRET):
        yield from _data_problems(kind, manifest)
    if kind is ROLE:
        for place, rule in enumerate(manifest.get("rules") or []):
            for field in ("verbs", "apiGroups", "resources"):
                if not rule.get(field):
                    yield _required(f"rules[{place}].{field}")
    if kind is ROLE_BINDING:
        for place, subject in enumerate(manifest.get("subjects") or []):
            if subject["kind"] == "ServiceAccount" and not subject.get("namespace"):
                yield _required(f"subjects[{place}].namespace")
    if kind is NETWORK_POLICY:
        spec = manifest["spec"]
        for side, peers in (("ingress", "from"), ("egress", "to")):
            for place, rule in enumerate(spec.get(side) or []):
                for peer_place, peer in enumerate(rule.get(peers) or []):
                    where = f"spec.{side}[{place}].{peers}[{peer_place}]"
                    yield from _peer_problems(peer, where)


def _data_problems(kind: Kind, manifest: Manifest) -> Iterator[Problem]:
    size = 0
    for field in ("data", "stringData", "binaryData"):
        for key, value in (manifest.get(field) or {}).items():
            where = f"{field}[{key}]"
            size += len(value)
            if not _KEY.match(key):
                text = f'Invalid value: "{key}": a valid config key must consist of alphanumeric '
                yield Problem(where, "FieldValueInvalid", f"{text}characters, '-', '_' or '.'")
            if field == "binaryData" or (kind is SECRET and field == "data"):
                try:
                    base64.b64decode(value, validate=True)
                except binascii.Error as error:
                    yield Problem(where, "FieldValueInvalid", f"Invalid value: {error}")
    if size > _LARGEST:
        text = f"Too long: may not be more than {_LARGEST} bytes"
        yield Problem("data", "FieldValueTooLong", text)


def _peer_problems(peer: dict[str, Any], where: str) -> Iterator[Problem]:
    block = peer.get("ipBlock")
    if not peer:
        yield _required(where)
    if not block:
        return
    if len(peer) > 1:
        text = "may not specify both ipBlock and another peer"
        yield Problem(where, "FieldValueForbidden", f"Forbidden: {text}")
    try:
        whole = ip_network(block["cidr"])
        parts = [ip_network(part) for part in block.get("except") or []]
    except ValueError as error:
        yield Problem(f"{where}.ipBlock", "FieldValueInvalid", f"Invalid value: {error}")
        return
    for part in parts:
        if part.version != whole.version or not part.subnet_of(whole) or part == whole:  # type: ignore[arg-type]
            text = f'Invalid value: "{part}": must be a strict subset of `cidr`'
            yield Problem(f"{where}.ipBlock.except", "FieldValueInvalid", text)


def _required(field: str) -> Problem:
    return Problem(field, "FieldValueRequired", "Required value")
