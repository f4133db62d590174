"""Locks on S3: an object that says who holds it, renewed while it is held.

Every change is a conditional put: taking a lock that is free (no object, or an empty one) and one
whose lease has run out, renewing one's own, and letting it go by emptying it. A lease runs out
when its object was not renewed for the seconds it names, by the server's own clock, so clocks of
machines need not agree.
"""

import json
import math
import os
import socket
import threading
import time
import uuid
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from geofm_assets.core.errors import ConfigError, LockError, StoreError
from geofm_assets.core.objects import Objects, talking

LEASE_S = 60.0
VARIABLE = "GEOFM_LEASE_SECONDS"
_SHORTEST_S, _LONGEST_S = 5.0, 3600.0  # the server's clock tells seconds
_RENEWALS = 4  # of a lease while it lasts
_checked: set[str] = set()


class Held(ABC):
    """A lock that is held."""

    @abstractmethod
    def require(self) -> None:
        """Pass if it still is.

        Raises:
            LockError: it was lost; another may have it.
        """

    @abstractmethod
    def release(self) -> None:
        """Let it go."""


@dataclass(frozen=True)
class _State:
    """What a lock's object looks like: its version, and whose it is."""

    etag: str
    holder: str
    free: bool


class Lease(Held):
    """A lease that is renewed until it is released.

    Args:
        objects: of the store.
        key: of the lock.
        etag: of the lock's object as it was put.
        data: its content.
        token: that no other holder has.
        lease_s: seconds without a renewal after which others may take it.
        begun: monotonic clock before it was put.
    """

    def __init__(
        self,
        objects: Objects,
        key: str,
        etag: str,
        data: bytes,
        token: str,
        lease_s: float,
        begun: float,
    ) -> None:
        self._objects, self._key, self._etag = objects, key, etag
        self._said, self._token, self._lease_s = json.loads(data), token, lease_s
        self._until = begun + lease_s
        self._lost = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease {key}", daemon=True)
        self._thread.start()

    def require(self) -> None:
        """Pass if the lease has not run out and nobody took it."""
        if self._lost or time.monotonic() > self._until:
            raise LockError(
                "The lock was lost: it could not be renewed in time, and another may have it",
                where=self._objects.where(self._key),
                fix="Run again; check the connection to the bucket",
            )

    def release(self) -> None:
        """Empty the object, unless it is another's by now."""
        self._ended.set()
        self._thread.join()
        # one that cannot be reached runs out by itself
        with suppress(StoreError, FileNotFoundError, FileExistsError):
            self._objects.write(self._key, b"", IfMatch=self._etag)

    def _keep(self) -> None:
        renewals = 0
        while not self._ended.wait(self._lease_s / _RENEWALS):
            begun, renewals = time.monotonic(), renewals + 1
            # each says something else, or its ETag could not tell it from the one before
            data = json.dumps({**self._said, "renewals": renewals}).encode()
            try:
                etag = _put(self._objects, self._key, data, self._token, self._lease_s, self._etag)
                if etag is None:
                    now = _state(self._objects, self._key)
                    self._lost = now is None or now.holder != self._token
                    if self._lost:
                        return
                    continue
            except OSError:  # StoreError among them
                continue  # until it runs out
            self._etag, self._until = etag, begun + self._lease_s


def lease_seconds() -> float:
    """How long leases of this process last without a renewal, by its environment.

    Raises:
        ConfigError: the variable is no number of seconds, or too small or large.
    """
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return LEASE_S
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not _SHORTEST_S <= seconds <= _LONGEST_S:
        raise ConfigError(
            f"{VARIABLE} is not a number of seconds from {_SHORTEST_S:g} to {_LONGEST_S:g}",
            where=f"the environment, {VARIABLE}={text}",
            fix=f"Correct or unset it; {LEASE_S:g} is used where it is not set",
        )
    return seconds


def signature() -> tuple[bytes, str]:
    """Who holds a lock, since when, and a token no other holder has."""
    token = uuid.uuid4().hex
    held = {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "token": token,
    }
    return json.dumps(held).encode(), token


def take_lease(objects: Objects, key: str, lease_s: float | None = None) -> Lease | None:
    """A lease on a lock, None if another has it.

    Args:
        objects: of the store.
        key: of the lock.
        lease_s: seconds it lasts without a renewal; those of the environment if None.

    Raises:
        ConfigError: the environment's are not allowed.
        LockError: the server does not heed conditions of a put.
        StoreError: it does not answer or refuses.
    """
    lease_s = lease_seconds() if lease_s is None else lease_s
    data, token = signature()
    before = _state(objects, key)
    if before is not None and not before.free:
        return None
    begun = time.monotonic()
    etag = _put(objects, key, data, token, lease_s, None if before is None else before.etag)
    if etag is None:
        return None
    _require_conditions(objects, key, data)
    return Lease(objects, key, etag, data, token, lease_s, begun)


def _put(
    objects: Objects, key: str, data: bytes, token: str, lease_s: float, before: str | None
) -> str | None:
    """Put a lock's object in the place of the one known; its ETag, None if that has changed."""
    conditions = {"IfNoneMatch": "*"} if before is None else {"IfMatch": before}
    metadata = {"holder": token, "lease-s": repr(lease_s)}
    try:
        with talking(objects.where(key)):
            out = objects.files.pipe_file(objects.path(key), data, Metadata=metadata, **conditions)
        return str(out["ETag"])
    except (StoreError, FileExistsError, FileNotFoundError) as error:
        now = _state(objects, key)
        if now is not None and now.holder == token and now.etag != before:
            return now.etag  # the answer was lost, or asked for twice; the put was done
        # all free locks look alike: it may have been taken and let go between the two looks
        if (None if now is None else now.etag) != before or _was_later(error):
            return None
        raise


def _was_later(error: BaseException | None) -> bool:
    """Whether the server refused a put because another came first."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            return response.get("ResponseMetadata", {}).get("HTTPStatusCode") in (409, 412)
        error = error.__cause__
    return False


def _state(objects: Objects, key: str) -> _State | None:
    bucket, name, _ = objects.files.split_path(objects.path(key))
    try:
        with talking(objects.where(key)):
            found = objects.files.call_s3("head_object", Bucket=bucket, Key=name)
    except FileNotFoundError:
        return None
    said = found.get("Metadata", {})
    now = parsedate_to_datetime(found["ResponseMetadata"]["HTTPHeaders"]["date"])
    age = (now - found["LastModified"]).total_seconds()
    free = found["ContentLength"] == 0 or age > float(said.get("lease-s", LEASE_S))
    return _State(str(found["ETag"]), str(said.get("holder", "")), free)


def _require_conditions(objects: Objects, key: str, data: bytes) -> None:
    """Find out, once a process and bucket, whether puts that must fail do."""
    bucket = str(objects.root)
    if bucket in _checked:
        return
    for conditions in ({"IfNoneMatch": "*"}, {"IfMatch": '"0"'}):
        try:
            with talking(objects.where(key)):
                objects.files.pipe_file(objects.path(key), data, **conditions)
        except (StoreError, FileExistsError):
            continue
        objects.delete([key])
        raise LockError(
            f"The store cannot be locked: the server does not heed {next(iter(conditions))}, so "
            "two writers could not be kept apart",
            where=bucket,
            fix="Use a server with conditional puts",
        )
    _checked.add(bucket)
