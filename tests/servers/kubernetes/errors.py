"""Errors as the Kubernetes API words them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.servers.kubernetes.objects import Kind


@dataclass(frozen=True)
class Problem:
    """One field that is wrong.

    Attributes:
        field: its path, `spec.template.spec.restartPolicy`.
        reason: of the API's: FieldValueInvalid, FieldValueRequired, FieldValueDuplicate,
            FieldValueNotSupported, FieldValueForbidden.
        message: what is wrong with it.
    """

    field: str
    reason: str
    message: str


class ApiError(Exception):
    """An answer other than success.

    Args:
        code: HTTP status.
        reason: machine-readable reason of the API's.
        message: for people.
        kind: of the object it is about.
        name: of that object.
        causes: fields at fault, for 422.
        retry_after: seconds, for 429 and 503.
    """

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        kind: "Kind | None" = None,
        name: str | None = None,
        causes: tuple[Problem, ...] = (),
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message
        self.kind, self.name, self.causes, self.retry_after = kind, name, causes, retry_after

    def status(self) -> dict[str, Any]:
        """The Status object of the answer."""
        details: dict[str, Any] = {}
        if self.kind is not None:
            details = {"name": self.name, "group": self.kind.group, "kind": self.kind.plural}
        if self.causes:
            details["causes"] = [
                {"reason": cause.reason, "message": cause.message, "field": cause.field}
                for cause in self.causes
            ]
        if self.retry_after is not None:
            details["retryAfterSeconds"] = self.retry_after
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "details": details,
            "code": self.code,
        }


def invalid(kind: "Kind", name: str, problems: tuple[Problem, ...]) -> ApiError:
    """422 for an object with wrong fields."""
    shown = [f"{problem.field}: {problem.message}" for problem in problems]
    listed = shown[0] if len(shown) == 1 else f"[{', '.join(shown)}]"
    title = f"{kind.name}.{kind.group}" if kind.group else kind.name
    message = f'{title} "{name}" is invalid: {listed}'
    return ApiError(422, "Invalid", message, kind, name, problems)


def unsupported(what: str) -> ApiError:
    """501: real Kubernetes can do it, this stand-in cannot, and says so."""
    message = f"this stand-in for Kubernetes does not support {what}; tests must not rely on it"
    return ApiError(501, "NotImplemented", message)
