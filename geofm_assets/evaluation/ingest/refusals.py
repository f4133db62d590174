"""When an ingest is refused: before it has written anything, or what then is taken away."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from upath import UPath

from geofm_assets.core.errors import DatasetError, RegistryError
from geofm_assets.core.hashing import json_digest
from geofm_assets.core.store import Store
from geofm_assets.evaluation.ingest.copy import source_state
from geofm_assets.evaluation.ingest.options import CODE_VERSION, IngestOptions
from geofm_assets.evaluation.ingest.remember import (
    changed_options,
    record_key,
    recorded_options,
)
from geofm_assets.evaluation.registry.entry import DatasetEntry
from geofm_assets.evaluation.registry.registry import Registry


def inputs_digest(content: str, options: IngestOptions) -> str:
    """Digest of all that samples are made from: the source's bytes, the options, the code."""
    return json_digest([CODE_VERSION, content, options.making()])


def require_free(
    registry: Registry, registered: DatasetEntry | None, options: IngestOptions, source: UPath
) -> None:
    """Refuse what would leave a registered dataset without its samples, or with another's.

    Raises:
        RegistryError: the name is another source's, or the samples would be replaced and the entry
            would not.
    """
    if registered is None:
        return
    if not options.overwrite and registered.source != str(source):
        raise RegistryError(
            f"A dataset named {options.name!r} is registered already, from another source",
            where=f"{registry.url}, made from {registered.source}",
            fix="Choose another --name, or replace it with --overwrite",
        )
    if options.overwrite and not options.register:
        raise RegistryError(
            f"The samples of {options.name!r} would be replaced, and its entry would not",
            where=registry.url,
            fix="Choose another --name, or leave out --no-register",
        )


def require_unchanged(
    store: Store, options: IngestOptions, source: UPath, record: Mapping[str, Any] | None
) -> None:
    """Refuse a source or options that changed, before anything is written.

    Raises:
        RegistryError: they did.
        DatasetError: the source is not there.
    """
    name = options.name
    if record is None:
        raise RegistryError(
            f"The files of {name!r} are not in the store any more",
            where=f"{store.url}/{record_key(name)}",
            fix="Say --overwrite to make them anew",
        )
    content, simulated = source_state(source, store, name)
    options = options.model_copy(update={"simulated": options.simulated or simulated})
    require_inputs(store, options, source, record, inputs_digest(content, options))


def require_inputs(
    store: Store, options: IngestOptions, source: UPath, record: Mapping[str, Any], inputs: str
) -> None:
    """Refuse inputs that are not those of the last ingest.

    Raises:
        RegistryError: they are not; says whether it is the options or the source.
    """
    name = options.name
    if record["inputs"] == inputs:
        return
    changed = changed_options(recorded_options(store, name, record), options)
    raise RegistryError(
        f"Options of {name!r} are not those it was registered with: {'; '.join(changed)}"
        if changed
        else f"The source of {name!r}, or the code that reads it, changed since it was registered",
        where=str(source),
        fix="Say --overwrite to make it anew, or choose another --name",
    )


@contextmanager
def removed_if_refused(registry: Registry, name: str, *, fresh: bool) -> Iterator[None]:
    """Take away what an ingest wrote if the dataset is refused inside.

    Killed, or stopped by anything but the dataset, it leaves its files for the next run to go on.

    Args:
        registry: of the store.
        name: of the dataset.
        fresh: nothing of this name was there before; else nothing is taken away.

    Raises:
        RegistryError: it is refused, and its files cannot be deleted.
    """
    try:
        yield
    except DatasetError:
        if fresh and name in registry.leftovers():
            registry.remove(name)
        raise
