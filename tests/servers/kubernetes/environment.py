"""The environment and command of a container, from its spec and the objects it refers to."""

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.servers.kubernetes.objects import CONFIG_MAP, SECRET, Kind, Manifest, ObjectStore

_REFERENCE = re.compile(r"\$\$|\$\(([-._a-zA-Z][-._a-zA-Z0-9]*)\)")


class ConfigMissingError(Exception):
    """A secret, config map or key that a container or volume needs is not there (yet)."""


def container_environment(
    store: ObjectStore, pod: Manifest, image: Mapping[str, str]
) -> dict[str, str]:
    """Variables of a pod's container: the image's, envFrom in order, then env in order.

    Raises:
        ConfigMissingError: an object or a key that is not optional is missing.
    """
    container, namespace = pod["spec"]["containers"][0], pod["metadata"]["namespace"]
    variables = {**image, "HOSTNAME": pod["metadata"]["name"]}
    for source in container.get("envFrom") or []:
        kind, reference = _referenced(source, "secretRef", "configMapRef")
        held = _held(store, kind, namespace, reference)
        prefix = source.get("prefix") or ""
        variables |= {f"{prefix}{key}": value for key, value in (held or {}).items()}
    for variable in container.get("env") or []:
        if variable.get("valueFrom"):
            value = _value_from(store, pod, variable["valueFrom"])
        else:
            value = expand(variable.get("value") or "", variables)
        if value is not None:
            variables[variable["name"]] = value
    return variables


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace `$(NAME)` by the variable, as the kubelet does; `$$` is a dollar sign."""

    def replaced(found: re.Match[str]) -> str:
        if found[1] is None:
            return "$"
        return variables.get(found[1], found[0])

    return _REFERENCE.sub(replaced, text)


def missing_volume(store: ObjectStore, pod: Manifest) -> str | None:
    """Why a volume cannot be mounted, or None."""
    namespace = pod["metadata"]["namespace"]
    for volume in pod["spec"].get("volumes") or []:
        for kind, field, key in (
            (SECRET, "secret", "secretName"),
            (CONFIG_MAP, "configMap", "name"),
        ):
            source = volume.get(field)
            if (
                source
                and not source.get("optional")
                and not store.find(kind, namespace, source[key])
            ):
                what = f'{kind.plural[:-1]} "{source[key]}" not found'
                return f'MountVolume.SetUp failed for volume "{volume["name"]}" : {what}'
    return None


def encode_string_data(manifest: Manifest) -> None:
    """Move `stringData` into `data`, as the server does when a secret is written."""
    plain = manifest.pop("stringData", None) or {}
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in plain.items()}
    manifest["data"] = {**(manifest.get("data") or {}), **encoded}
    manifest.setdefault("type", "Opaque")


def _value_from(store: ObjectStore, pod: Manifest, source: dict[str, Any]) -> str | None:
    if source.get("fieldRef"):
        part, name = source["fieldRef"]["fieldPath"].split(".")
        return str(pod[part][name])
    kind, reference = _referenced(source, "secretKeyRef", "configMapKeyRef")
    held = _held(store, kind, pod["metadata"]["namespace"], reference)
    if held is not None and reference["key"] in held:
        return held[reference["key"]]
    if reference.get("optional"):
        return None
    name = f"{pod['metadata']['namespace']}/{reference['name']}"
    raise ConfigMissingError(f"couldn't find key {reference['key']} in {kind.name} {name}")


def _referenced(source: dict[str, Any], secret: str, config: str) -> tuple[Kind, dict[str, Any]]:
    return (SECRET, source[secret]) if source.get(secret) else (CONFIG_MAP, source[config])


def _held(
    store: ObjectStore, kind: Kind, namespace: str, reference: dict[str, Any]
) -> dict[str, str] | None:
    found = store.find(kind, namespace, reference["name"])
    if found is None:
        if reference.get("optional"):
            return None
        raise ConfigMissingError(f'{kind.plural[:-1]} "{reference["name"]}" not found')
    return dict(_entries(kind, found))


def _entries(kind: Kind, manifest: Manifest) -> Iterator[tuple[str, str]]:
    for key, value in (manifest.get("data") or {}).items():
        yield key, base64.b64decode(value).decode() if kind is SECRET else value
