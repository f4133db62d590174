"""Exclusive locks in a store.

In a folder a lock is one of the operating system's (`flock`): it ends with its holder, so a killed
process leaves none behind. On S3 it is an object with a lease (`leases`), which a killed process
loses in a minute, or `GEOFM_LEASE_SECONDS`. In any other bucket it is an object that only one
writer can create, which needs a file system with a conditional put; one left by a killed process
has to be deleted by a person, and the error says which.
"""

import fcntl
import inspect
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fsspec import AbstractFileSystem
from fsspec.asyn import AsyncFileSystem

from geofm_assets.core.errors import LockError
from geofm_assets.core.leases import Held, signature, take_lease
from geofm_assets.core.objects import Objects

_POLL_S = 0.05
_POLL_BUCKET_S = 0.5
_LOCAL_FIX = "Wait until it has ended, or stop it"
_LEASE_FIX = (
    "Wait until it has ended; if it was killed, its lock ends within a minute, or after the "
    "GEOFM_LEASE_SECONDS it was given"
)
_OBJECT_FIX = "Wait until it has ended; if it was killed, delete that file"


@contextmanager
def hold(
    where: Path | Objects,
    key: str,
    *,
    taken: str,
    wait_s: float = 0.0,
    waiting: Callable[[str], None] | None = None,
) -> Iterator[Held]:
    """Hold a lock of a store; other processes and threads wait or are refused.

    Args:
        where: the store's folder, or its bucket.
        key: of the lock's file. It stays, empty, when the lock is let go (not in other buckets).
        taken: what to say if another holds it: the first half of a sentence that ends in who.
        wait_s: seconds to wait for another holder before giving up.
        waiting: told who holds it, each time it was asked for in vain.

    Yields:
        The lock; `Held.require` says whether it still is.

    Raises:
        LockError: another holds it; the store cannot be locked; or the lease was lost meanwhile.
    """
    deadline = time.monotonic() + wait_s
    poll_s = _POLL_S if isinstance(where, Path) else _POLL_BUCKET_S
    while (held := _take(where, key)) is None:
        if time.monotonic() >= deadline:
            raise LockError(
                f"{taken} ({_holder(where, key)})", where=_place(where, key), fix=_fix(where)
            )
        if waiting is not None:
            waiting(_holder(where, key))
        time.sleep(min(poll_s, max(0.0, deadline - time.monotonic())) or _POLL_S)
    try:
        yield held
        held.require()
    finally:
        held.release()


def _take(where: Path | Objects, key: str) -> Held | None:
    if isinstance(where, Path):
        return _take_file(where / key)
    return take_lease(where, key) if where.is_s3 else _take_object(where, key)


class _Simple(Held):
    """A lock that cannot be lost."""

    def __init__(self, release: Callable[[], None]) -> None:
        self._release = release

    def require(self) -> None:
        """Pass."""

    def release(self) -> None:
        """Let it go."""
        self._release()


def _take_file(path: Path) -> Held | None:
    """The lock of a folder, or None if another has it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise _cannot_lock(str(path), error) from error
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(number, 0)
        os.write(number, signature()[0])
    except BlockingIOError:
        os.close(number)
        return None
    except OSError as error:
        os.close(number)
        raise _cannot_lock(str(path), error) from error

    def release() -> None:
        os.ftruncate(number, 0)
        # said aloud, because a forked child that still holds the file would keep the lock
        fcntl.flock(number, fcntl.LOCK_UN)
        os.close(number)

    return _Simple(release)


def _take_object(objects: Objects, key: str) -> Held | None:
    """The lock of a bucket without leases, or None if another has it."""
    files, path = objects.files, objects.path(key)
    if not _may_create_once(files):
        raise _no_conditional_put(objects)
    ours, _ = signature()
    try:
        files.pipe_file(path, ours, mode="create")
    except OSError as error:
        # which error says "it is there" differs between file systems; the object itself does not
        found = _content(files, path)
        if found is None:
            raise _cannot_lock(objects.where(key), error) from error
        if found != ours:
            return None
    if _overwrites(files, path, ours):
        files.rm_file(path)
        raise _no_conditional_put(objects)

    def release() -> None:
        if _content(files, path) == ours:  # else a person deleted it, and another took it since
            files.rm_file(path)

    return _Simple(release)


def _may_create_once(files: AbstractFileSystem) -> bool:
    """Whether a file system's put knows `mode`; fsspec's own stand-in looks first, then writes."""
    put = getattr(type(files), "_pipe_file", None) or type(files).pipe_file
    emulated = (AbstractFileSystem.pipe_file, AsyncFileSystem._pipe_file)
    return put not in emulated and "mode" in inspect.signature(put).parameters


def _overwrites(files: AbstractFileSystem, path: str, ours: bytes) -> bool:
    """Whether a put that must fail, because the lock is there, does not: `mode` is not heeded."""
    try:
        files.pipe_file(path, ours, mode="create")
    except OSError:
        return False
    return True


def _content(files: AbstractFileSystem, path: str) -> bytes | None:
    """Bytes of an object, None if there is none that can be read."""
    try:
        data: bytes = files.cat_file(path)
    except OSError:
        return None
    return data


def _holder(where: Path | Objects, key: str) -> str:
    """Who holds a lock, in words."""
    try:
        text = (where / key).read_bytes() if isinstance(where, Path) else where.read(key)
        held = json.loads(text)
        return f"process {held['process']} on {held['host']}, since {held['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "it has not said which"  # between taking a lock and signing it


def _place(where: Path | Objects, key: str) -> str:
    return str(where / key) if isinstance(where, Path) else where.where(key)


def _fix(where: Path | Objects) -> str:
    if isinstance(where, Path):
        return _LOCAL_FIX
    return _LEASE_FIX if where.is_s3 else _OBJECT_FIX


def _cannot_lock(where: str, error: OSError) -> LockError:
    return LockError(
        f"The store cannot be locked: {error.strerror or error}",
        where=where,
        fix="The store must be writable and its file system must know locks",
    )


def _no_conditional_put(objects: Objects) -> LockError:
    return LockError(
        f"The store cannot be locked: {type(objects.files).__name__} has no conditional put, so "
        "two writers could not be kept apart",
        where=str(objects.root),
        fix="Keep the store in a folder, or in a bucket whose fsspec file system heeds "
        'mode="create"',
    )
