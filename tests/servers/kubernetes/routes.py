"""Which object or list a request path means, and the verb that access rights call it by."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from tests.servers.kubernetes.errors import ApiError
from tests.servers.kubernetes.objects import KINDS, Kind

_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True)
class Target:
    """What a request is about.

    Attributes:
        kind: of object.
        namespace: None for all of them.
        name: None for the list.
        subresource: `status`, `log`, `eviction`, or empty.
        verb: of RBAC: get, list, watch, create, delete, deletecollection, update, patch.
    """

    kind: Kind
    namespace: str | None
    name: str | None
    subresource: str
    verb: str

    @property
    def resource(self) -> str:
        """Resource as a Role names it: `pods/log`."""
        return f"{self.kind.plural}/{self.subresource}".rstrip("/")


def target_of(method: str, path: str, query: Mapping[str, str]) -> Target:
    """Read a request path.

    Raises:
        ApiError: 404, the server has no such resource.
    """
    parts = [unquote(part) for part in path.strip("/").split("/")]
    if parts[:2] == ["api", "v1"]:
        version, rest = "v1", parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        version, rest = "/".join(parts[1:3]), parts[3:]
    else:
        raise not_found()
    namespace: str | None = None
    if len(rest) > 2 and rest[0] == "namespaces" and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    kinds = [kind for kind in KINDS if (kind.api_version, kind.plural) == (version, rest[0])]
    if not kinds or len(rest) > 3 or (namespace is not None and not kinds[0].namespaced):
        raise not_found()
    kind, name = kinds[0], rest[1] if len(rest) > 1 else None
    if not kind.namespaced:
        namespace = ""
    verb = _VERBS[method]
    if name is None and verb == "get":
        verb = "watch" if is_true(query.get("watch")) else "list"
    if name is None and verb == "delete":
        verb = "deletecollection"
    return Target(kind, namespace, name, rest[2] if len(rest) > 2 else "", verb)


def is_true(text: str | None) -> bool:
    """How the API reads a boolean of the query: everything but false and 0 is true."""
    return text is not None and text.lower() not in ("false", "0")


def not_found() -> ApiError:
    """404 for a path."""
    return ApiError(404, "NotFound", "the server could not find the requested resource")
