"""HTTP with patience: retries, waits, redirects that stay on known hosts."""

import email.utils
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

import requests

from geofm_assets.core.errors import SourceUnavailableError

Answer = TypeVar("Answer")
RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_MAX_WAIT_S = 60.0
_MAX_RETRY_AFTER_S = 300.0


class TransientError(Exception):
    """Worth another try: a dropped connection, a time-out, a busy or broken server.

    Args:
        reason: what happened.
        wait_s: how long the server asked us to wait, if it did.
    """

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


@dataclass
class Patience:
    """How often and how long to wait between tries.

    Attributes:
        retries: tries after the first.
        backoff_s: base of the wait, doubled at each try, times a random 0.5-1.5, at most 60 s.
        sleep: replaced in tests.
    """

    retries: int
    backoff_s: float
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    def wait(self, attempt: int, error: TransientError) -> None:
        """Wait after a failed try, as long as the server asked for (at most 300 s) or longer."""
        own = min(_MAX_WAIT_S, self.backoff_s * 2**attempt) * random.uniform(0.5, 1.5)
        asked = min(_MAX_RETRY_AFTER_S, error.wait_s or 0.0)
        self.sleep(max(own, asked))

    def call(self, url: str, attempt_once: Callable[[], Answer]) -> Answer:
        """Call until it succeeds.

        Raises:
            SourceUnavailableError: every try failed; names the URL and the last reason.
        """
        for attempt in range(self.retries + 1):
            try:
                return attempt_once()
            except TransientError as error:
                if attempt == self.retries:
                    raise unavailable(url, str(error), self.retries + 1) from error
                self.wait(attempt, error)
        raise AssertionError("unreachable")


def unavailable(url: str, reason: str, tries: int = 1) -> SourceUnavailableError:
    """The error of a source that did not answer."""
    times = f" after {tries} tries" if tries > 1 else ""
    return SourceUnavailableError(
        f"The source did not answer{times}: {reason}",
        where=url,
        fix="Check the address and the network and run again (what is done is kept), "
        "or use a mirror folder or a local file",
    )


@dataclass(frozen=True)
class Http:
    """A session with a time-out.

    Attributes:
        session: reused connections; see `core.hosts.checked_session`.
        timeout_s: for connecting, and for each wait for bytes.
    """

    session: requests.Session
    timeout_s: float

    @contextmanager
    def get(self, url: str, headers: dict[str, str] | None = None) -> Iterator[requests.Response]:
        """A streamed answer with a status below 400; also one of 416.

        Raises:
            TransientError: worth another try, also when the connection breaks inside the block.
            SourceUnavailableError: the address is refused by the server or by the allow-list.
        """
        try:
            with self.session.get(
                url, headers=headers or {}, timeout=self.timeout_s, stream=True
            ) as response:
                _raise_for_status(response)
                yield response
        except requests.exceptions.Timeout as error:
            raise TransientError(f"no bytes within {self.timeout_s:g} s") from error
        except (
            requests.exceptions.ConnectionError,
            requests.exceptions.ChunkedEncodingError,
        ) as error:
            raise TransientError(f"the connection broke ({error})") from error
        except requests.exceptions.RequestException as error:
            raise unavailable(url, str(error)) from error


def _raise_for_status(response: requests.Response) -> None:
    status = response.status_code
    if status in RETRIED_STATUS:
        wait_s = retry_after_s(response.headers.get("Retry-After"))
        raise TransientError(f"status {status} {response.reason}", wait_s)
    if status >= 400 and status != 416:
        raise unavailable(response.url, f"status {status} {response.reason}")


def retry_after_s(value: str | None) -> float | None:
    """Seconds of a Retry-After header (a number or an HTTP date); None if there is none."""
    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    parsed = email.utils.parsedate_tz(value)
    if parsed is None:
        return None
    return max(0.0, email.utils.mktime_tz(parsed) - datetime.now(UTC).timestamp())
