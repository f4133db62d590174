"""What the server says about itself: version, groups, resources, and who validates fields.

Enough for kubectl to map kinds to paths and to leave validation to the server. The OpenAPI
documents hold the parameters of patches and no schema.
"""

from typing import Any

from tests.servers.kubernetes.objects import (
    CLAIM,
    CONFIG_MAP,
    EVENT,
    KINDS,
    NAMESPACE,
    NETWORK_POLICY,
    NODE,
    POD,
    PRIORITY_CLASS,
    SERVICE_ACCOUNT,
    Kind,
    Manifest,
)
from tests.servers.kubernetes.validation import KUBERNETES_VERSION

_SHORT = {
    POD: "po",
    EVENT: "ev",
    NODE: "no",
    NAMESPACE: "ns",
    CONFIG_MAP: "cm",
    SERVICE_ACCOUNT: "sa",
    CLAIM: "pvc",
    PRIORITY_CLASS: "pc",
    NETWORK_POLICY: "netpol",
}
_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "watch"]


def discovery(path: str, prefix: str) -> Manifest | None:
    """Answers about the server itself; None for other paths.

    Args:
        path: of the request, without the prefix.
        prefix: first part of every path, for addresses in answers.
    """
    versions = sorted({kind.api_version for kind in KINDS})
    if path == "/version":
        major, minor = KUBERNETES_VERSION.split(".")
        return {"major": major, "minor": minor, "gitVersion": f"v{KUBERNETES_VERSION}.0"}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        groups = [_group(version) for version in versions if version != "v1"]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    if path == "/openapi/v3":
        paths = {_root(version): f"{prefix}/openapi/v3/{_root(version)}" for version in versions}
        return {"paths": {root: {"serverRelativeURL": url} for root, url in paths.items()}}
    for version in versions:
        if path == f"/{_root(version)}":
            return _resources(version)
        if path == f"/openapi/v3/{_root(version)}":
            return _parameters(version)
    return None


def _root(version: str) -> str:
    return "api/v1" if version == "v1" else f"apis/{version}"


def _kinds(version: str) -> list[Kind]:
    return [kind for kind in KINDS if kind.api_version == version]


def _group(version: str) -> dict[str, Any]:
    name, _, number = version.rpartition("/")
    entry = {"groupVersion": version, "version": number}
    return {"name": name, "versions": [entry], "preferredVersion": entry}


def _resources(version: str) -> Manifest:
    resources = [
        {
            "name": kind.plural,
            "singularName": kind.name.lower(),
            "namespaced": kind.namespaced,
            "kind": kind.name,
            "verbs": _VERBS,
            **({"shortNames": [_SHORT[kind]]} if kind in _SHORT else {}),
        }
        for kind in _kinds(version)
    ]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": version,
        "resources": resources,
    }


def _parameters(version: str) -> Manifest:
    parameters = [{"name": name, "in": "query"} for name in ("dryRun", "fieldValidation")]
    paths = {}
    for kind in _kinds(version):
        meant = {"group": kind.group, "version": version.rpartition("/")[2], "kind": kind.name}
        within = "/namespaces/{namespace}" if kind.namespaced else ""
        patch = {"parameters": parameters, "x-kubernetes-group-version-kind": meant}
        paths[f"/{_root(version)}{within}/{kind.plural}/{{name}}"] = {"patch": patch}
    info = {"title": "Kubernetes stand-in", "version": KUBERNETES_VERSION}
    return {"openapi": "3.0.0", "info": info, "paths": paths}
