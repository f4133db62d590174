"""Bodies in Kubernetes' protobuf encoding, which `kubectl create secret` sends.

Secrets and ConfigMaps only. Field numbers are those of core/v1 and meta/v1 (generated.proto of
k8s.io/api and k8s.io/apimachinery).
"""

import base64
from collections.abc import Iterator
from typing import Any

from tests.servers.kubernetes.errors import ApiError, unsupported
from tests.servers.kubernetes.objects import Manifest

CONTENT_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
_VARINT, _BYTES = 0, 2  # wire types
_NAME, _GENERATE_NAME, _NAMESPACE, _LABELS, _ANNOTATIONS = 1, 2, 3, 11, 12  # of ObjectMeta


def decode(body: bytes) -> Manifest:
    """A Secret or ConfigMap.

    Raises:
        ApiError: 400, it is cut off; 501, another kind.
    """
    if not body.startswith(_MAGIC):
        raise ApiError(400, "BadRequest", "the body is not protobuf of Kubernetes")
    try:
        envelope = dict(_fields(body[len(_MAGIC) :]))
        type_meta = {number: _text(value) for number, value in _fields(envelope[1])}
        content = list(_fields(envelope[2]))
    except (IndexError, KeyError) as error:
        raise ApiError(400, "BadRequest", f"the body cannot be decoded: {error}") from error
    api_version, kind = type_meta.get(1, ""), type_meta.get(2, "")
    if kind not in ("Secret", "ConfigMap"):
        raise unsupported(f"protobuf of a {kind}")
    manifest: Manifest = {"apiVersion": api_version, "kind": kind, "data": {}}
    for number, value in content:
        if number == 1:
            manifest["metadata"] = _metadata(value)
        elif number == 2:
            key, held = _entry(value)
            encoded = base64.b64encode(held).decode() if kind == "Secret" else held.decode()
            manifest["data"][key] = encoded
        elif (kind, number) == ("Secret", 3):
            manifest["type"] = _text(value) or "Opaque"
        else:
            raise unsupported(f"field {number} of a {kind} in protobuf")
    return manifest


def _metadata(body: bytes) -> dict[str, Any]:
    names = {_NAME: "name", _GENERATE_NAME: "generateName", _NAMESPACE: "namespace"}
    maps = {_LABELS: "labels", _ANNOTATIONS: "annotations"}
    metadata: dict[str, Any] = {}
    for number, value in _fields(body):
        if number in names and value:
            metadata[names[number]] = _text(value)
        elif number in maps:
            key, held = _entry(value)
            metadata.setdefault(maps[number], {})[key] = held.decode()
    return metadata


def _entry(body: bytes) -> tuple[str, bytes]:
    fields = dict(_fields(body))
    return fields.get(1, b"").decode(), fields.get(2, b"")


def _text(value: bytes) -> str:
    return value.decode()


def _fields(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of each field that is not a number."""
    place = 0
    while place < len(body):
        tag, place = _varint(body, place)
        if tag & 7 == _VARINT:
            _, place = _varint(body, place)
            continue
        if tag & 7 != _BYTES:
            raise IndexError(f"wire type {tag & 7}")
        size, place = _varint(body, place)
        if place + size > len(body):
            raise IndexError("cut off")
        yield tag >> 3, body[place : place + size]
        place += size


def _varint(body: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (body[place] & 0x7F) << shift
        shift, place = shift + 7, place + 1
        if body[place - 1] < 0x80:
            return value, place
