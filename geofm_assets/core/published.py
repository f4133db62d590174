"""Folders of a bucket that appear whole: their objects first, one pointer to them last.

A folder `<prefix>` that was published has `<prefix>/published.json`, one object that names a
version and the size and hash of each of its files, and the files in
`<prefix>/published-<version>/`. A reader takes the pointer, then what it names. The next version
has other keys, its pointer replaces the old one in a single put that fails if another writer came
first, and only then the old objects go. A writer that is killed leaves objects nobody points to;
the next one removes them when they are a day old.
"""

import json
import re
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import xxhash

from geofm_assets.core.errors import StoreError
from geofm_assets.core.objects import Objects, safe_name

POINTER = "published.json"
_FORMAT = 1
_INSIDE = re.compile(r"(?:^|/)published-[0-9a-f]{32}/")
_LEFT_BEHIND_S = 86_400.0
_ATTEMPTS = 20
_CHUNK = 1 << 20


@dataclass(frozen=True)
class FileEntry:
    """A file of a published folder: bytes and xxh3_128."""

    size: int
    digest: str


@dataclass(frozen=True)
class Pointer:
    """What a pointer says.

    Attributes:
        version: of the folder.
        files: by name below the folder.
    """

    version: str
    files: Mapping[str, FileEntry]

    def key(self, prefix: str, name: str) -> str:
        """Key of a file's object."""
        return f"{prefix}/published-{self.version}/{name}"


def is_internal(key: str) -> bool:
    """Whether a key is of a version's object or a pointer, and no key of the store's."""
    return key.rsplit("/", 1)[-1] == POINTER or _INSIDE.search(key) is not None


def entry_of(path: Path) -> FileEntry:
    """Size and hash of a file."""
    digest, size = xxhash.xxh3_128(), 0
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return FileEntry(size, digest.hexdigest())


def files_below(folder: Path) -> dict[str, Path]:
    """Finished files of a folder by name, sorted; temporary ones are left out."""
    found = ((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*"))
    return {
        name: path for name, path in sorted(found) if path.is_file() and ".tmp/" not in f"{name}/"
    }


def read_pointer(objects: Objects, prefix: str) -> Pointer | None:
    """The pointer of a folder, None if it was never published.

    Raises:
        StoreError: it says what no pointer says.
    """
    key = f"{prefix}/{POINTER}"
    try:
        text = objects.read(key)
    except FileNotFoundError:
        return None
    where = objects.where(key)
    try:
        said = json.loads(text)
        if said["format"] != _FORMAT or not re.fullmatch(r"[0-9a-f]{32}", said["version"]):
            raise ValueError(f"format {said['format']}")
        files = {name: FileEntry(int(e[0]), str(e[1])) for name, e in said["files"].items()}
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise StoreError(
            f"Not a pointer to a folder ({error})", where=where, fix="Make the folder again"
        ) from error
    return Pointer(said["version"], {safe_name(name, where): files[name] for name in files})


def publish(objects: Objects, prefix: str, files: Mapping[str, Path]) -> None:
    """Make a folder's content these files, for every reader at once.

    Args:
        objects: of the store.
        prefix: of the folder.
        files: by name below it.

    Raises:
        StoreError: the bucket did not take them; readers have what they had.
    """
    entries = {name: entry_of(path) for name, path in files.items()}
    before = read_pointer(objects, prefix)
    if before is not None and before.files == entries:
        return
    ours = Pointer(uuid.uuid4().hex, entries)
    try:
        objects.upload({ours.key(prefix, name): path for name, path in files.items()})
    except BaseException:
        with suppress(OSError):  # what stays is found by a later writer
            objects.delete(ours.key(prefix, name) for name in files)
        raise
    # from here on nothing of ours is removed: a put whose answer was lost may yet be done
    before = _replace(objects, prefix, ours)
    if before is not None:
        objects.delete(before.key(prefix, name) for name in before.files)
    _sweep(objects, prefix, ours)


def _replace(objects: Objects, prefix: str, ours: Pointer) -> Pointer | None:
    """Put a pointer in the place of the one that is there, and say which that was."""
    key = f"{prefix}/{POINTER}"
    files = {name: [entry.size, entry.digest] for name, entry in sorted(ours.files.items())}
    said = {"format": _FORMAT, "version": ours.version, "files": files}
    data = (json.dumps(said, indent=1, sort_keys=True) + "\n").encode()
    error: StoreError | FileExistsError | None = None
    for _ in range(_ATTEMPTS):
        info = objects.info(key)
        before = read_pointer(objects, prefix) if info is not None else None
        if info != objects.info(key):
            continue  # it changed between the two looks
        conditions: dict[str, str] = {}
        if objects.is_s3:
            conditions = {"IfNoneMatch": "*"} if info is None else {"IfMatch": info.etag}
        try:
            objects.write(key, data, **conditions)
        except (StoreError, FileExistsError) as refused:
            found = read_pointer(objects, prefix)
            if found is not None and found.version == ours.version:
                return before  # the answer was lost, the put was not
            if objects.info(key) == info:
                raise
            error = refused
            continue
        return before
    raise StoreError(
        "The folder could not be published: other writers keep replacing it",
        where=objects.where(prefix),
        fix="Let one process at a time write it",
    ) from error


def _sweep(objects: Objects, prefix: str, ours: Pointer) -> None:
    """Remove what killed writers left, a day old by the bucket's own clock."""
    there = objects.listing(prefix)
    inside = re.compile(re.escape(prefix) + r"/published-([0-9a-f]{32})/")
    others = {
        k: info for k, info in there.items() if (m := inside.match(k)) and m[1] != ours.version
    }
    pointer = there.get(f"{prefix}/{POINTER}")
    now = 0.0 if pointer is None else pointer.modified
    objects.delete(k for k, info in others.items() if now - info.modified > _LEFT_BEHIND_S)
