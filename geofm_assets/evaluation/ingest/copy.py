"""Copy a source into the store: only what is missing or differs, every byte verified.

A journal beside the copy says what each file was when it was copied. Where the source says a file
did not change since (size and time, or a tag of its bytes), it is not read again, unless the copy
is to be refreshed: then every file is compared by hash, and files the source lost are removed.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from fsspec import AbstractFileSystem
from upath import UPath

from geofm_assets.core.errors import DatasetError, StoreError
from geofm_assets.core.hashing import json_digest, sha256_file
from geofm_assets.core.progress import Report, silent
from geofm_assets.core.store import Store
from geofm_assets.core.temporary import appearing
from geofm_assets.evaluation.ingest.from_chips import is_task_dataset, task_content
from geofm_assets.evaluation.ingest.source import read_config, source_path

_CHUNK = 1 << 22
_JOURNAL_EVERY = 500
# rslearn's index goes stale; its tile store is where imagery came from, not what windows are.
_LEFT_OUT = (".rslearn_dataset_index", "tiles")
_MARKS = ("ETag", "etag", "md5Hash", "md5", "mtime", "ino", "LastModified", "last_modified")


@dataclass(frozen=True)
class CopyResult:
    """What a copy came to.

    Attributes:
        folder: the copy, an rslearn dataset; the source itself if it is a task's own.
        content: digest of every file's path and bytes.
        files: how many there are.
        copied: how many were written just now.
        removed: how many were taken away, because the source has them no more.
        simulated: whether a task says that its points were simulated; scenes say it themselves.
    """

    folder: UPath
    content: str
    files: int
    copied: int
    removed: int
    simulated: bool = False


def source_key(name: str) -> str:
    """Store key of a dataset's copied source."""
    return f"evaluation/datasets/{name}/source"


def copy_source(
    source: str | Path | UPath,
    store: Store,
    name: str,
    overwrite: bool = False,
    report: Report = silent,
) -> CopyResult:
    """Make the store's copy what the source is.

    Killed and run again it goes on. A task's own dataset is not copied but read where it lies.

    Args:
        source: an rslearn dataset, a folder or any URL fsspec knows.
        store: where to.
        name: of the dataset.
        overwrite: compare every file by hash, whatever the source says of changes.
        report: told of files done.

    Raises:
        DatasetError: the source is not there, goes away meanwhile, or a copy cannot be verified.
    """
    root = source_path(source)
    config = read_config(root)
    target = store.path(source_key(name))
    if is_task_dataset(config):
        removed = _remove_others(target, set())  # earlier versions exported it
        content, simulated = task_content(root)
        return CopyResult(root, content, 0, 0, removed, simulated)
    _require_apart(root, store)
    listed = _listed(root)
    journal = _read_journal(store, name)
    copied = 0
    entries: dict[str, dict[str, Any]] = {}
    for number, (path, info) in enumerate(sorted(listed.items()), start=1):
        mark, held = _mark(info), journal.get(path)
        to = target / path
        same = held is not None and held["mark"] == mark and mark and _size(to) == held["size"]
        if held is not None and same and not overwrite:
            entries[path] = held
        else:
            digest, wrote = _bring(root, path, store, name)
            entries[path] = {"mark": mark, "size": int(info["size"]), "sha256": digest}
            copied += wrote
        if number % _JOURNAL_EVERY == 0:
            store.write_json(_journal_key(name), {**journal, **entries})
        report(number, len(listed), path)
    removed = _remove_others(target, set(entries))
    store.write_json(_journal_key(name), entries)
    content = json_digest({path: entry["sha256"] for path, entry in entries.items()})
    return CopyResult(target, content, len(entries), copied, removed)


def source_state(source: str | Path | UPath, store: Store, name: str) -> tuple[str, bool]:
    """What `copy_source` would come to, with nothing of the copy changed.

    Files that did not change since they were copied, as far as the source says, are not read.

    Returns:
        `CopyResult.content` and `CopyResult.simulated`.

    Raises:
        DatasetError: the source is not there, or goes away meanwhile.
    """
    root = source_path(source)
    if is_task_dataset(read_config(root)):
        return task_content(root)
    journal = _read_journal(store, name)
    digests = {}
    for path, info in _listed(root).items():
        mark, held = _mark(info), journal.get(path)
        same = held is not None and mark and held["mark"] == mark
        digests[path] = held["sha256"] if held is not None and same else _sha256(root / path, root)
    return json_digest(digests), False


def _journal_key(name: str) -> str:
    return f"evaluation/datasets/{name}/source.json"


def _read_journal(store: Store, name: str) -> dict[str, dict[str, Any]]:
    key = _journal_key(name)
    if not store.exists(key):
        return {}
    try:
        found = store.read_json(key)
    except ValueError:  # a journal only saves work: without one every file is compared
        return {}
    return found if isinstance(found, dict) else {}


def _require_apart(root: UPath, store: Store) -> None:
    """Refuse a source that holds the store: each copy would hold the one before it.

    Raises:
        DatasetError: it does.
    """
    local = root.protocol in ("", "file", "local")
    if local and store.is_local and Path(store.root.path).is_relative_to(Path(root.path)):
        raise DatasetError(
            "The store lies inside the source, so the copy would hold itself",
            where=f"--source {root}, store {store.url}",
            fix="Point --source at a folder beside the store, or use another --store",
        )


def _listed(root: UPath) -> dict[str, Mapping[str, Any]]:
    """Files to copy by path below the source, with what its file system says of each."""
    fs: AbstractFileSystem = root.fs
    base = str(root.path).rstrip("/")
    try:
        found = fs.find(base, detail=True)
    except OSError as error:
        raise _vanished(root, error) from error
    listed = {}
    for path, info in found.items():
        relative = PurePosixPath(path).relative_to(PurePosixPath(base)).as_posix()
        parts = relative.split("/")
        if parts[0] in _LEFT_OUT or parts[-1].endswith(".tmp") or ".." in parts:
            continue
        listed[relative] = info
    return listed


def _mark(info: Mapping[str, Any]) -> str:
    """What changes when a file does, as far as its file system says; empty if it says nothing."""
    said = {key: str(info[key]) for key in _MARKS if info.get(key) is not None}
    return json_digest({**said, "size": info["size"]}) if said else ""


def _size(path: UPath) -> int:
    try:
        return int(path.stat().st_size)
    except FileNotFoundError:
        return -1


def _bring(root: UPath, path: str, store: Store, name: str) -> tuple[str, bool]:
    """Make one file of the copy equal the source's; its sha256, and whether it was written."""
    digest, to = _sha256(root / path, root), store.path(source_key(name)) / path
    if _size(to) >= 0 and _sha256(to, to) == digest:
        return digest, False
    try:
        with _new_file(store, name, path) as temporary:
            with (root / path).open("rb") as source, temporary.open("wb") as sink:
                while chunk := source.read(_CHUNK):
                    sink.write(chunk)
            if sha256_file(temporary) != digest:
                raise DatasetError(
                    "The copy of a file is not what the source says, it may be changing",
                    where=f"{root}/{path}",
                    fix="Run again when nobody writes to the source",
                )
    except StoreError:
        raise
    except FileNotFoundError as error:
        raise _vanished(root, error) from error
    except OSError as error:
        raise DatasetError(
            f"A file cannot be copied: {error}",
            where=f"{root}/{path}",
            fix="Make room or try again; what was copied is kept",
        ) from error
    return digest, True


@contextmanager
def _new_file(store: Store, name: str, path: str) -> Iterator[Path]:
    """`Store.new_file` for a file of the copy, whose name may hold what no key does."""
    key = f"{source_key(name)}/{path}"
    if not store.is_local:
        with store.bucket.scratch.folder("copy") as folder:
            yield folder / "file"
            store.bucket.objects.upload({key: folder / "file"})
        return
    with appearing(Path(store.root.path) / key) as temporary:
        yield temporary


def _sha256(path: UPath, root: UPath) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise _vanished(root, error) from error
    return digest.hexdigest()


def _vanished(root: UPath, error: OSError) -> DatasetError:
    return DatasetError(
        f"The source went away while it was copied ({error})",
        where=str(root),
        fix="Run again when it is back; what was copied is kept",
    )


def _remove_others(target: UPath, kept: set[str]) -> int:
    """Take away files the source does not have, and folders left empty."""
    removed = 0
    for path, _ in _everything(target):
        if path not in kept:
            (target / path).unlink()
            removed += 1
    if target.protocol in ("", "file", "local"):
        folders = [p for p in Path(target.path).rglob("*") if p.is_dir()]
        for folder in sorted(folders, key=lambda p: len(p.parts), reverse=True):
            if not any(folder.iterdir()):
                folder.rmdir()
    return removed


def _everything(target: UPath) -> list[tuple[str, Mapping[str, Any]]]:
    base = str(target.path).rstrip("/")
    found = target.fs.find(base, detail=True) if target.exists() else {}
    return [
        (PurePosixPath(path).relative_to(PurePosixPath(base)).as_posix(), info)
        for path, info in sorted(found.items())
    ]
