"""Objects of a bucket: what the store needs of one, and errors that say where.

A put is seen whole or not at all, a listing and a read show every put that ended before them: what
S3 promises, and every server that speaks its protocol well. Listings are never cached, since other
machines write too. Credentials come from the environment alone and stand in no error.
"""

import datetime as dt
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from fsspec import AbstractFileSystem
from upath import UPath

from geofm_assets.core.errors import ConfigError, StoreError

_AT_ONCE = 8  # files that travel side by side; one below 100 MB is held in memory meanwhile
_PART_BYTES: int | None = None  # of a multipart upload; s3fs chooses


@dataclass(frozen=True)
class Listed:
    """An object: bytes, and what changes when it is written again."""

    size: int
    etag: str
    modified: float


class Objects:
    """Objects under one URL, by keys relative to it.

    Args:
        root: an fsspec location that is not a folder of this machine.
    """

    def __init__(self, root: UPath) -> None:
        self.root = root
        self.files: AbstractFileSystem = root.fs
        self._base = str(root.path).rstrip("/")
        self._process = os.getpid()

    @property
    def is_s3(self) -> bool:
        """Whether puts can be made to depend on what is there."""
        protocol = self.files.protocol
        return "s3" in ([protocol] if isinstance(protocol, str) else protocol)

    @property
    def usable(self) -> bool:
        """False in a process forked since: connections are not shared between processes."""
        return self._process == os.getpid()

    def path(self, key: str) -> str:
        """A key as the file system calls it."""
        return f"{self._base}/{key}" if key else self._base

    def where(self, key: str) -> str:
        """A key as a person calls it."""
        return f"{self.root}/{key}"

    def listing(self, prefix: str) -> dict[str, Listed]:
        """Every object below a prefix, by key."""
        with talking(self.where(prefix)):
            found: dict[str, Any] = self.files.find(self.path(prefix), detail=True)
        start = len(self._base) + 1
        below = f"{prefix}/" if prefix else ""
        keys = ((path[start:], info) for path, info in sorted(found.items()))
        return {
            key: _listed(info) for key, info in keys if key.startswith(below) and key[-1:] != "/"
        }

    def folders(self, prefix: str) -> list[str]:
        """Names of what lies right below a prefix and has something below it, sorted."""
        with talking(self.where(prefix)):
            try:
                found = self.files.ls(self.path(prefix), detail=True)
            except FileNotFoundError:
                return []
        paths = (str(info["name"]).rstrip("/") for info in found if info["type"] == "directory")
        return sorted(path.rsplit("/", 1)[-1] for path in paths)

    def info(self, key: str) -> Listed | None:
        """One object, None if there is none under this key."""
        try:
            with talking(self.where(key)):
                info = self.files.info(self.path(key))
        except FileNotFoundError:
            return None
        return None if info["type"] == "directory" else _listed(info)

    def exists(self, key: str) -> bool:
        """Whether there is an object under a key, or any below it."""
        with talking(self.where(key)):
            return bool(self.files.exists(self.path(key)))

    def read(self, key: str) -> bytes:
        """An object's bytes; FileNotFoundError if there is none."""
        with talking(self.where(key)):
            data: bytes = self.files.cat_file(self.path(key))
        return data

    def read_part(self, key: str, begin: int, end: int) -> bytes:
        """Bytes [begin, end) of an object; FileNotFoundError if there is none."""
        info = self.info(key)
        if info is None:
            raise FileNotFoundError(self.where(key))
        end = min(end, info.size)
        if begin >= end:  # S3 refuses a range without a byte
            return b""
        with talking(self.where(key)):
            data: bytes = self.files.cat_file(self.path(key), start=begin, end=end)
        return data

    def write(self, key: str, data: bytes, **conditions: str) -> None:
        """Put an object, seen whole or not at all.

        Args:
            key: of it.
            data: its bytes.
            conditions: `IfMatch` or `IfNoneMatch`, on S3 only.
        """
        with _writing(self.where(key)):
            self.files.pipe_file(self.path(key), data, **conditions)

    def upload(self, files: Mapping[str, Path]) -> None:
        """Put files under keys, each seen whole or not at all, some at a time."""
        if not files:
            return
        with _writing(self.where(next(iter(files)))):
            self.files.put(
                [str(path) for path in files.values()],
                [self.path(key) for key in files],
                batch_size=_AT_ONCE,
                **({"chunksize": _PART_BYTES} if _PART_BYTES and self.is_s3 else {}),
            )

    def download(self, files: Mapping[str, Path]) -> None:
        """Copy objects to files; FileNotFoundError if one is gone."""
        if not files:
            return
        for path in files.values():
            path.parent.mkdir(parents=True, exist_ok=True)
        with talking(self.where(next(iter(files)))):
            self.files.get(
                [self.path(key) for key in files],
                [str(path) for path in files.values()],
                batch_size=_AT_ONCE,
            )

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; those that are gone already are no error."""
        for key in keys:
            with talking(self.where(key)):
                try:
                    self.files.rm_file(self.path(key))
                except FileNotFoundError:
                    continue


def remote_root(text: str) -> UPath:
    """The location of a bucket.

    Raises:
        ConfigError: the URL holds credentials or a query.
    """
    scheme, _, rest = text.partition("://")
    if "@" in rest.partition("/")[0] or "?" in rest:
        raise ConfigError(
            "The store's URL may hold neither credentials nor a query",
            where=f"a {scheme}:// URL, not shown",
            fix="Give credentials in the environment, such as AWS_ACCESS_KEY_ID",
        )
    return UPath(text, use_listings_cache=False)


def safe_name(name: str, where: str) -> str:
    """A name that came from a bucket and is to become a path below a folder.

    Raises:
        StoreError: it could leave that folder.
    """
    parts = name.split("/")
    odd = "\\" in name or "\0" in name or any(part in ("", ".", "..") for part in parts)
    if odd or PurePosixPath(name).is_absolute():
        raise StoreError(
            f"An object's name is no path that can be used: {name!r}",
            where=where,
            fix="Remove the object; nothing here wrote it",
        )
    return name


@contextmanager
def talking(where: str) -> Iterator[None]:
    """Say where a bucket failed; FileNotFoundError and FileExistsError pass as they are.

    Raises:
        StoreError: it did not answer or refused.
    """
    try:
        yield
    except (FileNotFoundError, FileExistsError, StoreError):
        raise
    except PermissionError as error:
        raise StoreError(
            f"The bucket refuses ({error})",
            where=where,
            fix="Check the credentials in the environment and what they may do",
        ) from error
    except _failures() as error:
        raise StoreError(
            f"The bucket could not be used ({type(error).__name__}: {error})",
            where=where,
            fix="Check the connection, AWS_ENDPOINT_URL and the credentials in the environment",
        ) from error


@contextmanager
def _writing(where: str) -> Iterator[None]:
    """`talking` of a put, for which "not found" means the bucket."""
    try:
        with talking(where):
            yield
    except FileNotFoundError as error:
        raise StoreError(
            f"Nothing can be written there ({error})", where=where, fix="Make the bucket first"
        ) from error


def _failures() -> tuple[type[BaseException], ...]:
    """What file systems raise; botocore's own errors are no OSError and it loads slowly."""
    botocore = sys.modules.get("botocore.exceptions")
    return (OSError,) if botocore is None else (OSError, botocore.BotoCoreError)


def _listed(info: Mapping[str, Any]) -> Listed:
    modified: Any = info.get("LastModified") or info.get("created")
    seconds = modified.timestamp() if isinstance(modified, dt.datetime) else 0.0
    etag = str(info.get("ETag") or seconds)
    return Listed(int(info["size"] or 0), etag, seconds)
