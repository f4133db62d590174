"""A store that is a bucket: its content by key, copies of it on this machine, and changes to it."""

import fnmatch
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import xxhash

from geofm_assets.core.errors import StoreError
from geofm_assets.core.objects import Listed, Objects, remote_root, safe_name
from geofm_assets.core.published import (
    POINTER,
    FileEntry,
    entry_of,
    files_below,
    is_internal,
    publish,
    read_pointer,
)
from geofm_assets.core.scratch import Scratch, is_whole

_ATTEMPTS = 5
_PAUSE_S = 0.2


@dataclass(frozen=True)
class _Source:
    """Where a file of the store lies: its object, and what says that a copy is right.

    Attributes:
        key: of the object.
        size: in bytes.
        version: its hash if it was published in a folder, else the object's ETag.
        entry: its size and hash if it was published in a folder.
    """

    key: str
    size: int
    version: str
    entry: FileEntry | None = None


class Bucket:
    """Content of a store that is no folder of this machine.

    Args:
        url: of the store.
    """

    def __init__(self, url: str) -> None:
        self.objects = Objects(remote_root(url))
        self.scratch = Scratch(url)

    def content(self, prefix: str) -> dict[str, _Source]:
        """Every file below a prefix by its name there, published folders read as such."""
        listed = self.objects.listing(prefix)
        start = len(prefix) + 1
        found = {
            safe_name(key[start:], self.objects.where(key)): _loose(key, info)
            for key, info in listed.items()
            if not is_internal(key)
        }
        for key in listed:
            folder, _, name = key.rpartition("/")
            if name == POINTER and not is_internal(folder + "/"):
                below = folder[start:] + "/" if len(folder) > len(prefix) else ""
                found |= {f"{below}{n}": s for n, s in self._pointed(folder).items()}
        if not found:
            found = self._inside_published(prefix)
        return dict(sorted(found.items()))

    def source(self, key: str) -> _Source | None:
        """Where the file of a key lies, None if there is none."""
        info = self.objects.info(key)
        return self._published(key) if info is None else _loose(key, info)

    def fetch(self, key: str, *, one: bool) -> Path:
        """A verified copy of one file, or of everything below a prefix.

        Raises:
            FileNotFoundError: there is nothing.
            StoreError: what is there keeps changing, or is not what was written.
        """
        error: Exception | None = None
        for attempt in range(_ATTEMPTS):
            sources = self._sources(key, one)
            if not sources:
                raise FileNotFoundError(self.objects.where(key))
            place = self.scratch.place(key, _version(sources))
            sizes = {name: source.size for name, source in sources.items()}
            if is_whole(place, sizes):
                return place
            with self.scratch.claim(place):
                if is_whole(place, sizes):
                    return place
                try:
                    self._copy(key, sources, place, one)
                except (FileNotFoundError, _ChangedError) as changed:
                    error = changed  # written again meanwhile: what is there now?
                    time.sleep(_PAUSE_S * attempt)
                    continue
                return place
        raise self._never_whole(key, error) from error

    @contextmanager
    def publishing(self, prefix: str, keep: Sequence[str]) -> Iterator[Path]:
        """A folder whose files are the prefix's when the block ends well; see `Store`."""
        with self.scratch.folder(prefix) as folder:
            if keep:
                self._bring(prefix, folder, lambda: self._kept(prefix, keep))
            yield folder
            publish(self.objects, prefix, files_below(folder))

    @contextmanager
    def adding(self, prefix: str, have: Sequence[str], last: str, *, only: bool) -> Iterator[Path]:
        """A folder whose new files are put under their own keys at the end; see `Store`."""
        with self.scratch.folder(prefix) as folder:
            self._bring(prefix, folder, lambda: self._named(prefix, have))
            brought = {name: _mark(path) for name, path in files_below(folder).items()}
            yield folder
            files = files_below(folder)
            new = {n: path for n, path in files.items() if brought.get(n) != _mark(path)}
            final = {f"{prefix}/{name}": new.pop(name) for name in (last,) if name in new}
            self.objects.upload({f"{prefix}/{name}": path for name, path in new.items()})
            self.objects.upload(final)
            if only:
                kept = {f"{prefix}/{name}" for name in files}
                self.objects.delete(key for key in self.objects.listing(prefix) if key not in kept)

    def delete(self, key: str) -> None:
        """Remove a key and everything below it, pointers first."""
        below = sorted(self.objects.listing(key), key=lambda k: (not k.endswith(POINTER), k))
        self.objects.delete([key, *below] if self.objects.info(key) else below)

    def _bring(self, prefix: str, folder: Path, look: Callable[[], dict[str, _Source]]) -> None:
        """Fill a new folder with files of a prefix; `look` says which there are now."""
        error: Exception | None = None
        for attempt in range(_ATTEMPTS):
            try:
                self._download(look(), folder)
                return
            except (FileNotFoundError, _ChangedError) as changed:
                error = changed
                time.sleep(_PAUSE_S * attempt)
        raise self._never_whole(prefix, error) from error

    def _never_whole(self, key: str, error: Exception | None) -> StoreError:
        return StoreError(
            f"What is read is not what was written, {_ATTEMPTS} times ({error})",
            where=self.objects.where(key),
            fix="If nothing writes there now, it was changed by hand or damaged: make it again",
        )

    def _kept(self, prefix: str, patterns: Sequence[str]) -> dict[str, _Source]:
        """Files of a published folder whose names match."""
        return {
            name: source
            for name, source in self._pointed(prefix).items()
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
        }

    def _named(self, prefix: str, names: Sequence[str]) -> dict[str, _Source]:
        """Those of some files that are there."""
        found = ((name, self.source(f"{prefix}/{name}")) for name in names)
        return {name: source for name, source in found if source is not None}

    def _sources(self, key: str, one: bool) -> dict[str, _Source]:
        if not one:
            return self.content(key)
        source = self.source(key)
        return {} if source is None else {"": source}

    def _copy(self, key: str, sources: Mapping[str, _Source], place: Path, one: bool) -> None:
        with self.scratch.folder(key) as folder:
            made = folder / "file" if one else folder
            self._download(sources, made)
            # what has no hash of its own is right if it is still the same object
            loose = any(source.entry is None for source in sources.values())
            if loose and self._sources(key, one) != sources:
                raise _ChangedError("it was written meanwhile")
            self.scratch.settle(made, place)

    def _download(self, sources: Mapping[str, _Source], made: Path) -> None:
        """Bring files, each at its size and with its hash if it has one."""
        paths = {name: made / name if name else made for name in sources}
        self.objects.download({sources[name].key: path for name, path in paths.items()})
        for name, path in paths.items():
            _require(sources[name], path)

    def _pointed(self, folder: str) -> dict[str, _Source]:
        pointer = read_pointer(self.objects, folder)
        if pointer is None:
            return {}
        return {
            name: _Source(pointer.key(folder, name), entry.size, entry.digest, entry)
            for name, entry in pointer.files.items()
        }

    def _published(self, key: str) -> _Source | None:
        """A file of a folder that was published whole, from the nearest pointer above it."""
        parts = key.split("/")
        for end in range(len(parts) - 1, 0, -1):
            found = self._pointed("/".join(parts[:end])).get("/".join(parts[end:]))
            if found is not None:
                return found
        return None

    def _inside_published(self, prefix: str) -> dict[str, _Source]:
        """Files below a prefix that is itself inside a published folder."""
        parts = prefix.split("/")
        for end in range(len(parts) - 1, 0, -1):
            below = "/".join(parts[end:]) + "/"
            pointed = self._pointed("/".join(parts[:end]))
            found = {n.removeprefix(below): s for n, s in pointed.items() if n.startswith(below)}
            if found:
                return found
        return {}


class _ChangedError(Exception):
    """A copy is not of the moment it should be of."""


def _mark(path: Path) -> tuple[int, int, int]:
    """Changes when a file is written again or replaced."""
    state = path.stat()
    return state.st_ino, state.st_mtime_ns, state.st_size


def _loose(key: str, info: Listed) -> _Source:
    return _Source(key, info.size, info.etag)


def _version(sources: Mapping[str, _Source]) -> str:
    said = [[name, source.size, source.version] for name, source in sorted(sources.items())]
    return xxhash.xxh3_128_hexdigest(json.dumps(said).encode())


def _require(source: _Source, path: Path) -> None:
    if path.stat().st_size != source.size:
        raise _ChangedError(f"{source.key} has {path.stat().st_size} bytes, not {source.size}")
    if source.entry is not None and entry_of(path) != source.entry:
        raise _ChangedError(f"{source.key} does not match its hash")
