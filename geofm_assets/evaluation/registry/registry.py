"""The registry of evaluation datasets: one JSON file in the store, changed under a lock."""

import difflib
import json
import math
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from pydantic import ValidationError

from geofm_assets.core.errors import RegistryError
from geofm_assets.core.store import Store
from geofm_assets.evaluation.registry.entry import REGISTRY_VERSION, DatasetEntry, RegistryFile
from geofm_assets.evaluation.registry.lock import exclusive

REGISTRY_KEY = "evaluation/registry.json"
DATASETS_KEY = "evaluation/datasets"
LOCK_KEY = "evaluation/.registry.lock"
_WAIT_S = 30.0  # a change takes milliseconds; whoever waits longer waits for something stuck
_KEEP = "Move it away and ingest the datasets again, or put back a copy of it"
_NAME = re.compile(DatasetEntry.model_json_schema()["properties"]["name"]["pattern"])


def dataset_folder(name: str) -> str:
    """Store key of the folder that holds a dataset's files."""
    return f"{DATASETS_KEY}/{name}"


class Registry:
    """The evaluation datasets of a store.

    Reading needs no lock, because the file is replaced whole. Changes are made under one; a
    process that holds it and is killed leaves the registry as it was.

    Args:
        store: where `evaluation/registry.json` lies.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: set[tuple[int, str]] = set()

    @property
    def url(self) -> str:
        """Where the registry's file lies."""
        return f"{self._store.url}/{REGISTRY_KEY}"

    def read(self) -> RegistryFile:
        """The whole registry, empty if nothing was registered yet.

        Raises:
            RegistryError: the file is damaged or unreadable, or a newer version of this package
                wrote it.
        """
        try:
            data = self._store.read_bytes(REGISTRY_KEY)
        except FileNotFoundError:
            return RegistryFile()
        except OSError as error:
            raise RegistryError(
                f"The registry cannot be read: {error.strerror or error}",
                where=self.url,
                fix="Make it a file this user may read, or use another --store",
            ) from error
        try:
            document = json.loads(data)
        except ValueError as error:
            raise RegistryError(
                f"The registry is damaged: it is not JSON ({error})", where=self.url, fix=_KEEP
            ) from error
        version = document.get("version") if isinstance(document, dict) else None
        if not isinstance(version, int) or isinstance(version, bool):
            raise RegistryError(
                "The registry is damaged: it has no version", where=self.url, fix=_KEEP
            )
        if version > REGISTRY_VERSION:
            raise RegistryError(
                f"The registry was written by a newer version of geofm_assets (format {version}, "
                f"this one knows {REGISTRY_VERSION})",
                where=self.url,
                fix="Update geofm_assets, or use another --store",
            )
        return self._validated(data)

    def names(self) -> list[str]:
        """Names of the registered datasets, sorted."""
        return sorted(self.read().datasets)

    def get(self, name: str) -> DatasetEntry:
        """What the registry says of a dataset.

        Raises:
            RegistryError: no such dataset; names those there are, the nearest first.
        """
        datasets = self.read().datasets
        if name not in datasets:
            raise self._unknown(name, sorted(datasets))
        return datasets[name]

    def put(self, entry: DatasetEntry, *, overwrite: bool) -> None:
        """Register a dataset. Registering what is there already changes nothing.

        Args:
            entry: what to say of it.
            overwrite: whether an entry that says something else may be replaced.

        Raises:
            RegistryError: another dataset has this name, a number is not finite, or the registry
                cannot be read or locked. The registry is then as it was.
        """
        _require_finite(entry)
        with self.lock():
            found = self.read()
            there = found.datasets.get(entry.name)
            if there == entry:
                return
            if there is not None and not overwrite:
                raise RegistryError(
                    f"A dataset named {entry.name!r} is registered already, with other content",
                    where=f"{self.url}, made from {there.source}",
                    fix="Choose another --name, or replace it with --overwrite",
                )
            self._write(RegistryFile(datasets={**found.datasets, entry.name: entry}))

    def leftovers(self) -> list[str]:
        """Names of datasets that have files and are not registered, sorted.

        An ingest was killed, is running, or was told not to register.
        """
        names = self._store.folders(DATASETS_KEY)
        known = self.read().datasets if names else {}
        return sorted(name for name in names if _NAME.fullmatch(name) and name not in known)

    def remove(self, name: str) -> DatasetEntry | None:
        """Take a dataset out of the registry and delete its files, or those of a leftover.

        Embeddings and scores stay. Killed half-way, it is finished by removing again.

        Returns:
            What the registry said of it, None of a leftover.

        Raises:
            RegistryError: no such dataset, it is being ingested, or the registry cannot be read
                or locked.
        """
        with self.claim(name):
            if name in self.leftovers():
                self._delete_files(name)
                return None
            entry = self.get(name)
            self._delete_files(name)
            with self.lock():
                kept = {n: e for n, e in self.read().datasets.items() if n != name}
                self._write(RegistryFile(datasets=kept))
        return entry

    def has_files(self, name: str) -> bool:
        """Whether a dataset's samples lie in the store."""
        return self._store.exists(f"{dataset_folder(name)}/samples.parquet")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep every other writer out. One that holds it may take it again.

        Raises:
            RegistryError: another writer held it for half a minute, or the store has no locks.
        """
        with self._once(LOCK_KEY, "Another process keeps the registry locked", _WAIT_S):
            yield

    @contextmanager
    def claim(self, name: str) -> Iterator[None]:
        """Be the only one to ingest or remove a dataset of this name. One that holds it may again.

        Raises:
            RegistryError: another process or thread is at it; said at once.
        """
        _require_name(name)
        taken = f"Dataset {name!r} is being ingested or removed by another process"
        with self._once(f"evaluation/.claim-{name}.lock", taken, 0.0):
            yield

    @contextmanager
    def _once(self, key: str, taken: str, wait_s: float) -> Iterator[None]:
        """A lock that its holding thread may take again."""
        mine = (threading.get_ident(), key)
        if mine in self._held:
            yield
            return
        with ExitStack() as stack:
            stack.enter_context(exclusive(self._store, key, taken=taken, wait_s=wait_s))
            self._held.add(mine)
            stack.callback(self._held.discard, mine)
            yield

    def _validated(self, data: bytes) -> RegistryFile:
        try:
            found = RegistryFile.model_validate_json(data)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise RegistryError(
                f"The registry is damaged: {field}: {first['msg']}", where=self.url, fix=_KEEP
            ) from error
        for name, entry in found.datasets.items():
            if entry.name != name:
                raise RegistryError(
                    f"The registry is damaged: the entry of {name!r} names itself {entry.name!r}",
                    where=self.url,
                    fix=_KEEP,
                )
        return found

    def _write(self, registry: RegistryFile) -> None:
        self._store.write_json(REGISTRY_KEY, registry.model_dump(mode="json"))

    def _delete_files(self, name: str) -> None:
        key = dataset_folder(name)
        try:
            self._store.delete(key)
        except OSError as error:
            raise RegistryError(
                f"The files of dataset {name!r} cannot be deleted: {error.strerror or error}",
                where=f"{self._store.url}/{key}",
                fix="Make the folder writable and remove the dataset again",
            ) from error

    def _unknown(self, name: str, names: list[str]) -> RegistryError:
        close = difflib.get_close_matches(name, names, n=len(names) or 1)
        ordered = close + [other for other in names if other not in close]
        hint = f"Did you mean {close[0]}? " if close else ""
        if ordered:
            fix = f"{hint}Registered are {', '.join(ordered)}"
        else:
            fix = "Nothing is registered yet: geofm evals ingest --name NAME --source DIR"
        return RegistryError(f"No dataset named {name!r} is registered", where=self.url, fix=fix)


def _require_name(name: str) -> None:
    """Refuse what is no dataset's name.

    Raises:
        RegistryError: it has another form than an entry's name may have.
    """
    if not _NAME.fullmatch(name):
        raise RegistryError(
            f"{name!r} cannot be the name of a dataset",
            where="--name",
            fix="Use lower case letters, digits and _, a letter first, 64 at most",
        )


def _require_finite(entry: DatasetEntry) -> None:
    """Refuse numbers JSON has no word for.

    Raises:
        RegistryError: names the field.
    """
    for path, value in _leaves(entry.model_dump(), ()):
        if isinstance(value, float) and not math.isfinite(value):
            raise RegistryError(
                f"A number of the entry is not finite: {'.'.join(path)} is {value}",
                where=f"dataset {entry.name}",
                fix="Look for NaN or infinite pixels or labels in its source",
            )


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _leaves(inner, (*path, str(number)))
    else:
        yield path, value
