"""Where requests may go: hosts by name, https unless told otherwise, every redirect looked at.

A source may be asked, and may send us on, to its own host, to hosts known to belong to it, and to
those named in `GEOFM_ALLOWED_HOSTS` (comma-separated; `*.example.org` for all below a domain). No
other host is reached, so an answer from outside cannot point us at a private one. The variable is
read from the environment alone: who can write to the store cannot widen it.
"""

import ipaddress
import os
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from geofm_assets.core.errors import AddressRefusedError, ConfigError
from geofm_assets.core.redact import has_secret

VARIABLE = "GEOFM_ALLOWED_HOSTS"
_MAX_REDIRECTS = 5
_ENTRY = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*|\[?[0-9a-f:]+\]?", re.IGNORECASE)
# A backslash or a space makes two readers of one URL see two hosts.
_ODD = re.compile(r"[\\\s\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Allowed:
    """Where requests may go: these hosts, over https (or over http too, if `http`).

    Attributes:
        hosts: names as URLs write them, lower case; `*.example.org` for every host below.
        http: whether http will do.
    """

    hosts: frozenset[str]
    http: bool

    def check(self, url: str) -> None:
        """Raise AddressRefusedError if a URL leads elsewhere."""
        schemes = ("https", "http") if self.http else ("https",)
        try:
            parts = urlsplit(url)
            scheme, host = parts.scheme, parts.hostname
        except ValueError:
            scheme, host = "", None
        if scheme not in schemes or host is None or _ODD.search(url) or not self._names(host):
            raise AddressRefusedError(
                f"The address is not on an allowed host ({', '.join(sorted(self.hosts))}; "
                f"{' or '.join(schemes)})",
                where=url,
                fix=f"Name the host in {VARIABLE} if you trust it",
            )

    def _names(self, host: str) -> bool:
        if host in self.hosts:
            return True
        return any(h.startswith("*.") and host.endswith(h[1:]) for h in self.hosts)


def allowed_for(base_url: str, *known: str) -> Allowed:
    """Where requests to a source may go.

    Args:
        base_url: of the source; over https only, unless it is http itself.
        *known: further hosts of the source.

    Raises:
        ConfigError: it is not http(s), it holds credentials, or `GEOFM_ALLOWED_HOSTS` cannot be
            read.
    """
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("The address of a source is not http(s)", where=base_url)
    if has_secret(base_url):
        raise ConfigError(
            "The address of a source holds credentials, which logs and saved settings would keep",
            where=base_url,
            fix="Put user and password into ~/.netrc (or the file NETRC names), and the address "
            "without them here",
        )
    hosts = {parts.hostname, *(host.lower() for host in known), *_from_environment()}
    return Allowed(frozenset(hosts), http=parts.scheme == "http")


def _from_environment() -> list[str]:
    hosts = [part.strip().lower() for part in os.environ.get(VARIABLE, "").split(",")]
    for host in hosts:
        if host and not _ENTRY.fullmatch(host):
            raise ConfigError(
                f"{host!r} is not the name of a host",
                where=VARIABLE,
                fix="Write names with commas between, such as data.example.org,*.example.com",
            )
    return [host.strip("[]") for host in hosts if host]


class CheckedAdapter(HTTPAdapter):
    """Sends nothing to a host that is not allowed; `requests` asks it at every redirect.

    Args:
        allowed: where requests may go.
        **options: of `HTTPAdapter`.
    """

    def __init__(self, allowed: Allowed, **options: Any) -> None:
        self.allowed = allowed
        super().__init__(**options)

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> Any:
        """Send, if the host is allowed.

        Raises:
            AddressRefusedError: it is not.
        """
        self.allowed.check(request.url or "")
        return super().send(request, *args, **kwargs)


def checked_session(allowed: Allowed, adapter: HTTPAdapter | None = None) -> requests.Session:
    """A session that goes nowhere but where it may.

    Args:
        allowed: where requests may go.
        adapter: a `CheckedAdapter` of another kind.
    """
    session = requests.Session()
    session.max_redirects = _MAX_REDIRECTS
    session.adapters.clear()
    session.mount("", adapter or CheckedAdapter(allowed))  # any scheme, so that it can refuse it
    return session


def is_loopback(host: str) -> bool:
    """Whether a server that listens on this address is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
