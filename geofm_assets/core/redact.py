"""Secrets are taken out of whatever a person or a file gets to see: here, and nowhere else.

Errors (`core.errors`), log records (`redact_logs`), what Dagster records (`core.assets`) and saved
settings all pass through this module. A secret is the user and password of a URL, the value of a
query parameter that signs or authorises, `password=…` in a connection string, and the value of an
environment variable whose name says that it is one.
"""

import functools
import logging
import os
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote, unquote_plus

MARK = "***"
# longest first: in `http://user:p@ss@host` the last @ before the path ends the password
_USERINFO = re.compile(r"(?<=://)[^/?#\s'\"<>]*@")
_PARAMETER = re.compile(r"(?P<head>[?&;](?P<name>[^=&;?#\s'\"<>]+)=)(?P<value>[^&;#\s'\"<>)]+)")
# Parts of names of query parameters. Azure: sig; Amazon and Google: X-…-Signature, -Credential,
# -Security-Token, Key-Pair-Id, Policy; ArcGIS: token; others: api_key, subscription-key.
_SIGNING = re.compile(
    r"sig(nature)?$|token|key|secret|passw|pwd|credential|auth|jwt|session|policy|^sas$|^code$",
    re.IGNORECASE,
)
_ASSIGNED = re.compile(
    r"\b(password|passwd|pwd|secret|access_token|api_key)=(?!\*\*\*)[^\s&'\"]+", re.IGNORECASE
)
_BEARER = re.compile(r"\b(Bearer|bearer|Basic|basic)\s+[A-Za-z0-9._~+/\-]{16,}=*")
_SECRET_VARIABLES = ("SECRET", "TOKEN", "PASSWORD", "PASSWD", "PASSPHRASE", "_KEY")
# names: of a step, in every step's pod, and of a Secret
_NOT_SECRET = ("DAGSTER_RUN_STEP_KEY", "GEOFM_K8S_POSTGRES_SECRET")
_SHORTEST = 8  # of a variable's value: a shorter one would be found in ordinary words


class RedactedError(Exception):
    """Stands for an exception whose message held a secret, and keeps its kind and traceback."""


def redact(text: str) -> str:
    """A text without its secrets; the same text if it holds none."""
    return _redact(text, _secret_values())


def redact_all(value: Any) -> Any:
    """A JSON-like value with `redact` on every text in it, keys left alone."""
    return redacting()(value)


def redacting() -> Callable[[Any], Any]:
    """`redact_all` for several values, the environment looked at once."""
    return functools.partial(_walk, secrets=_secret_values())


def has_secret(text: str) -> bool:
    """Whether a text holds a secret."""
    return redact(text) != text


def secret_places(value: Any, path: str = "") -> Iterator[str]:
    """Dotted paths of the texts in a JSON-like value that hold a secret."""
    match value:
        case str():
            if has_secret(value):
                yield path
        case Mapping():
            for key, inner in value.items():
                yield from secret_places(inner, f"{path}.{key}" if path else str(key))
        case list() | tuple():
            for inner in value:
                yield from secret_places(inner, path)


def without_secrets(error: BaseException) -> BaseException:
    """The exception, where it and all that caused it hold no secret in their messages.

    What caused it is changed in place, since Dagster records the whole chain; an exception of
    another kind than ours that holds a secret itself is replaced.
    """
    secrets = _secret_values()
    if error.__cause__ is not None:
        error.__cause__ = without_secrets(error.__cause__)
    elif error.__context__ is not None and not error.__suppress_context__:
        error.__context__ = without_secrets(error.__context__)
    said = str(error)
    clean = _redact(said, secrets)
    if clean == said and _redact(repr(error), secrets) == repr(error):
        return error
    stand_in = RedactedError(f"{type(error).__name__}: {clean}").with_traceback(error.__traceback__)
    stand_in.__cause__, stand_in.__context__ = error.__cause__, error.__context__
    stand_in.__suppress_context__ = error.__suppress_context__
    return stand_in


def redact_logs() -> None:
    """Redact every log record of this process from now on, whatever library writes it."""
    make = logging.getLogRecordFactory()
    if getattr(make, "redacts", False):
        return

    def factory(*args: Any, **named: Any) -> logging.LogRecord:
        record = make(*args, **named)
        secrets = _secret_values()
        said = record.getMessage()
        clean = _redact(said, secrets)
        if clean != said:
            record.msg, record.args = clean, None
        if record.exc_info and record.exc_info[1] is not None:
            text = "".join(traceback.format_exception(record.exc_info[1])).rstrip("\n")
            clean = _redact(text, secrets)
            if clean != text:
                record.exc_text = clean  # formatters take it instead of formatting again
        return record

    factory.redacts = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(factory)


def redacted_traceback(error: BaseException) -> str:
    """What Python prints of an exception, without secrets."""
    return redact("".join(traceback.format_exception(error)))


def _redact(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, MARK)
    if "@" in text and "://" in text:
        text = _USERINFO.sub(f"{MARK}@", text)
    if "=" in text:
        text = _PARAMETER.sub(_parameter, text)
        text = _ASSIGNED.sub(rf"\1={MARK}", text)
    if "earer " in text or "uthorization" in text:
        text = _BEARER.sub(rf"\1 {MARK}", text)
    return text


def _parameter(found: re.Match[str]) -> str:
    if not _SIGNING.search(unquote_plus(found["name"])):
        return found[0]
    return f"{found['head']}{MARK}"


def _walk(value: Any, secrets: list[str]) -> Any:
    match value:
        case str():
            return _redact(value, secrets)
        case Mapping():
            return {key: _walk(inner, secrets) for key, inner in value.items()}
        case list() | tuple():
            return [_walk(inner, secrets) for inner in value]
    return value


def _secret_values() -> list[str]:
    """Values of secret variables and passwords of URLs in the environment, longest first."""
    found = set()
    for name, value in os.environ.items():
        if name.upper().endswith(_SECRET_VARIABLES) and name not in _NOT_SECRET:
            found.add(value)
        elif "@" in value and "://" in value:
            userinfo = value.partition("://")[2].split("/", 1)[0].rpartition("@")[0]
            password = userinfo.partition(":")[2]
            found |= {password, unquote(password)}
    return sorted((v for v in found if len(v) >= _SHORTEST), key=lambda v: (-len(v), v))
