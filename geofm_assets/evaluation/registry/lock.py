"""Exclusive locks in a store.

In a folder a lock is one of the operating system's (`flock`): it ends with its holder, so a killed
process leaves none behind. In a bucket it is an object that only one writer can create, which needs
a file system with a conditional put; one left by a killed process has to be deleted by a person,
and the error says which.
"""

import fcntl
import inspect
import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.asyn import AsyncFileSystem

from geofm_assets.core.errors import RegistryError
from geofm_assets.core.store import Store

_POLL_S = 0.05
_Release = Callable[[], None]


@contextmanager
def exclusive(
    store: Store,
    key: str,
    *,
    taken: str,
    wait_s: float = 0.0,
    waiting: Callable[[str], None] | None = None,
) -> Iterator[None]:
    """Hold a lock of a store; other processes and threads wait or are refused.

    Args:
        store: a folder, or a bucket with conditional puts.
        key: of the lock's file. A local one stays, empty, when the lock is let go.
        taken: what to say if another holds it: the first half of a sentence that ends in who.
        wait_s: seconds to wait for another holder before giving up.
        waiting: told who holds it, each time it was asked for in vain.

    Raises:
        RegistryError: another holds it; or the store cannot be locked.
    """
    take = _take_file if store.is_local else _take_object
    deadline = time.monotonic() + wait_s
    while (release := take(store, key)) is None:
        if time.monotonic() >= deadline:
            raise RegistryError(
                f"{taken} ({_holder(store, key)})",
                where=f"{store.url}/{key}",
                fix="Wait until it has ended, or stop it"
                if store.is_local
                else "Wait until it has ended; if it was killed, delete that file",
            )
        if waiting is not None:
            waiting(_holder(store, key))
        time.sleep(_POLL_S)
    try:
        yield
    finally:
        release()


def _take_file(store: Store, key: str) -> _Release | None:
    """The lock of a folder, or None if another has it."""
    path = store.local_path(key)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise _cannot_lock(path, error) from error
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(number)
        return None
    except OSError as error:
        os.close(number)
        raise _cannot_lock(path, error) from error

    def release() -> None:
        os.ftruncate(number, 0)
        # said aloud, because a forked child that still holds the file would keep the lock
        fcntl.flock(number, fcntl.LOCK_UN)
        os.close(number)

    os.ftruncate(number, 0)
    os.write(number, _signature())
    return release


def _take_object(store: Store, key: str) -> _Release | None:
    """The lock of a bucket, or None if another has it."""
    location = store.path(key)
    files, path = location.fs, location.path
    if not _may_create_once(files):
        raise _no_conditional_put(store, files)
    ours = _signature()
    try:
        files.pipe_file(path, ours, mode="create")
    except OSError as error:
        # which error says "it is there" differs between file systems; the object itself does not
        found = _content(files, path)
        if found is None:
            raise _cannot_lock(f"{store.url}/{key}", error) from error
        if found != ours:
            return None
    if _overwrites(files, path, ours):
        files.rm_file(path)
        raise _no_conditional_put(store, files)

    def release() -> None:
        if _content(files, path) == ours:  # else a person deleted it, and another took it since
            files.rm_file(path)

    return release


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


def _signature() -> bytes:
    """Who holds a lock, since when, and a token no other holder has."""
    held: dict[str, Any] = {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "token": uuid.uuid4().hex,
    }
    return json.dumps(held).encode()


def _holder(store: Store, key: str) -> str:
    """Who holds a lock, in words."""
    try:
        held = json.loads(store.read_bytes(key))
        return f"process {held['process']} on {held['host']}, since {held['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "it has not said which"  # between taking a lock and signing it


def _cannot_lock(where: Path | str, error: OSError) -> RegistryError:
    return RegistryError(
        f"The registry cannot be locked: {error.strerror or error}",
        where=str(where),
        fix="The store must be writable and its file system must know locks",
    )


def _no_conditional_put(store: Store, files: AbstractFileSystem) -> RegistryError:
    return RegistryError(
        f"The registry cannot be changed here: {type(files).__name__} has no conditional put, so "
        "two writers could not be kept apart",
        where=store.url,
        fix="Keep the evaluation store in a folder, or in a bucket whose fsspec file system heeds "
        'mode="create"',
    )
