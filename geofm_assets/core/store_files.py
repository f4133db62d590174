"""Bytes of the store by key, in a folder of this machine or in a bucket."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from upath import UPath

from geofm_assets.core.bucket import Bucket
from geofm_assets.core.errors import ConfigError
from geofm_assets.core.leases import Held
from geofm_assets.core.locks import hold
from geofm_assets.core.objects import remote_root, talking
from geofm_assets.core.temporary import appearing

_SAFE_KEY = re.compile(r"^[A-Za-z0-9_.=\-]+(/[A-Za-z0-9_.=\-]+)*\Z")


class StoreFiles:
    """Bytes by key under one URL; `StoreFolders` adds files and folders, `Store` tables.

    Args:
        url: a local folder or an fsspec URL such as `s3://bucket/prefix`.
    """

    def __init__(self, url: str | os.PathLike[str]) -> None:
        text = str(url)
        if not text:
            raise ConfigError("The store has no location", fix="Set GEOFM_STORE or pass --store")
        self._bucket: Bucket | None = None
        if UPath(text).protocol in ("", "file", "local"):
            self.root = UPath(Path(UPath(text).path).expanduser().resolve())
        else:
            self.root = remote_root(text)

    @property
    def url(self) -> str:
        """The store's location as given, with local paths absolute."""
        return str(self.root)

    @property
    def is_local(self) -> bool:
        """Whether the store is a folder of this machine."""
        return self.root.protocol in ("", "file", "local")

    @property
    def bucket(self) -> Bucket:
        """The objects of a store that is not a folder, connected to by this process."""
        assert not self.is_local
        if self._bucket is None or not self._bucket.objects.usable:
            self._bucket = Bucket(self.url)
        return self._bucket

    def path(self, key: str) -> UPath:
        """Location of a key.

        Raises:
            ConfigError: the key could leave the store (`..`, absolute) or holds odd characters.
        """
        if not _SAFE_KEY.match(key) or ".." in key.split("/"):
            raise ConfigError("Not a store key", where=repr(key))
        return (self.root if self.is_local else self.bucket.objects.root) / key

    def local_path(self, key: str) -> Path:
        """Local folder or file of a key, for libraries that only know local paths.

        Raises:
            ConfigError: the store is not a local folder.
        """
        if not self.is_local:
            raise ConfigError(
                "This step needs a local store", where=self.url, fix="Point --store at a folder"
            )
        return Path(self.path(key).path)

    def exists(self, key: str) -> bool:
        """Whether something was written under this key, or below it."""
        if self.is_local:
            return bool(self.path(key).exists())
        self.path(key)
        return self.bucket.objects.exists(key)

    def write_bytes(self, key: str, data: bytes) -> None:
        """Write bytes so that a reader sees the old content or the new, never a part."""
        self.path(key)
        if not self.is_local:
            self.bucket.objects.write(key, data)
            return
        with self.new_file(key) as temporary, temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())

    @contextmanager
    def new_file(self, key: str) -> Iterator[Path]:
        """A path of this machine to write one file to, however large, that then appears whole.

        Nothing appears, and nothing is left behind, if the block fails.

        Yields:
            A temporary path; whoever writes there brings it to disk (fsync).
        """
        target = self.path(key)
        if not self.is_local:
            with self.bucket.scratch.folder("file") as folder:
                yield folder / target.name
                self.bucket.objects.upload({key: folder / target.name})
            return
        with appearing(Path(target.path)) as temporary:
            yield temporary

    def read_bytes(self, key: str) -> bytes:
        """Bytes of a key; FileNotFoundError if it was never written."""
        path = self.path(key)
        if self.is_local:
            data: bytes = path.read_bytes()
            return data
        return self.bucket.objects.read(key)

    def read_part(self, key: str, begin: int, end: int) -> bytes:
        """Bytes [begin, end) of a key, fewer if it ends before; FileNotFoundError if not there."""
        path = self.path(key)
        if not self.is_local:
            return self.bucket.objects.read_part(key, begin, end)
        with path.open("rb") as stream:
            stream.seek(begin)
            data: bytes = stream.read(end - begin)
        return data

    def delete(self, key: str) -> None:
        """Remove a key, or everything below it; nothing if it is not there."""
        path = self.path(key)
        if not self.is_local:
            self.bucket.delete(key)
            return
        local = Path(path.path)
        if local.is_dir():
            shutil.rmtree(local)
        else:
            local.unlink(missing_ok=True)

    @property
    def locks_end(self) -> bool:
        """Whether the lock of a process that was killed ends by itself."""
        return self.is_local or self.bucket.objects.is_s3

    def lock(
        self,
        key: str,
        *,
        taken: str,
        wait_s: float = 0.0,
        waiting: Callable[[str], None] | None = None,
    ) -> AbstractContextManager[Held]:
        """Hold a lock across processes and machines; see `locks.hold`.

        Raises:
            LockError: another holds it, or the store cannot be locked.
        """
        self.path(key)
        where = Path(self.root.path) if self.is_local else self.bucket.objects
        return hold(where, key, taken=taken, wait_s=wait_s, waiting=waiting)

    def folders(self, prefix: str) -> list[str]:
        """Names of the folders right below a prefix, sorted."""
        base = self.path(prefix)
        if not self.is_local:
            return self.bucket.objects.folders(prefix)
        return sorted(p.name for p in base.iterdir() if p.is_dir()) if base.exists() else []

    def stamp(self, key: str) -> str:
        """Something that changes when a key is written again; FileNotFoundError if it never was."""
        path = self.path(key)
        if self.is_local:
            state = path.stat()
            return f"{state.st_size} {state.st_mtime}"
        info = self.bucket.objects.info(key)
        if info is None:
            raise FileNotFoundError(f"{self.url}/{key}")
        return info.etag

    def list_keys(self, prefix: str, suffix: str = "") -> list[str]:
        """Keys below a prefix, sorted, temporary files left out."""
        base = self.path(prefix)
        if not self.is_local:
            keys = [f"{prefix}/{name}" for name in self.bucket.content(prefix)]
        elif not base.exists():
            return []
        else:
            root_length = len(self.root.path.rstrip("/")) + 1
            keys = [str(p.path)[root_length:] for p in base.rglob("*") if p.is_file()]
        # a killed process leaves temporary files, and folders of them, behind
        return sorted(k for k in keys if k.endswith(suffix) and ".tmp/" not in f"{k}/")

    @contextmanager
    def reading(self, key: str) -> Iterator[UPath]:
        """A key's location while it is read, with errors that say where."""
        if self.is_local:
            yield self.path(key)
            return
        path = self.path(key)
        with talking(f"{self.url}/{key}"):
            yield path
