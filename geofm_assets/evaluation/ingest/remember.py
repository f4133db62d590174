"""What was said of a dataset before, and is kept unless it is said anew."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from geofm_assets.core.errors import DatasetError
from geofm_assets.core.store import Store
from geofm_assets.evaluation.ingest.options import DESCRIBING, IngestOptions
from geofm_assets.evaluation.ingest.report import Fact

_SOURCE = "kept from the last ingest"


def record_key(name: str) -> str:
    """Store key of the note on a dataset's last ingest."""
    return f"evaluation/datasets/{name}/ingest.json"


def read_record(store: Store, name: str) -> dict[str, Any] | None:
    """The note on the last ingest that was finished; None if there is none.

    Raises:
        DatasetError: it is damaged.
    """
    key = record_key(name)
    if not store.exists(key):
        return None
    try:
        found = store.read_json(key)
    except ValueError as error:
        raise _damaged(store, name) from error
    if not isinstance(found, dict) or not {"inputs", "options"} <= found.keys():
        raise _damaged(store, name)
    return found


def keep_described(
    store: Store, options: IngestOptions, record: Mapping[str, Any] | None, source: str
) -> tuple[IngestOptions, tuple[Fact, ...]]:
    """Options with what the last ingest was told of the data, where nothing is said now.

    What describes one source says nothing of another: then nothing is kept, and that is said.

    Args:
        store: where the record lies.
        options: what is said now.
        record: of the last ingest.
        source: what is ingested now; local paths absolute, as the record has them.

    Returns:
        The options, and a fact for each that was kept or dropped.

    Raises:
        DatasetError: the record is damaged.
    """
    if record is None:
        return options, ()
    before = recorded_options(store, options.name, record)
    unsaid = [field for field in DESCRIBING if field not in options.model_fields_set]
    said = {field: getattr(before, field) for field in unsaid}
    told = {field: value for field, value in said.items() if value != _default(field)}
    if before.source != source:
        dropped = f"dropped: it was said of {before.source}"
        return options, tuple(Fact(_words(f), f"not {_text(v)}", dropped) for f, v in told.items())
    facts = tuple(Fact(_words(field), _text(value), _SOURCE) for field, value in told.items())
    return options.model_copy(update=told), facts


def recorded_options(store: Store, name: str, record: Mapping[str, Any]) -> IngestOptions:
    """Options of the last ingest.

    Raises:
        DatasetError: they are damaged.
    """
    try:
        return IngestOptions.model_validate(record["options"])
    except ValidationError as error:
        raise _damaged(store, name) from error


def changed_options(before: IngestOptions, now: IngestOptions) -> list[str]:
    """Options the samples depend on that are not what they were: `seed 4, now 0`."""
    old, new = before.making(), now.making()
    return [
        f"{field.replace('_', ' ')} {_text(old[field])}, now {_text(new[field])}"
        for field in new
        if old[field] != new[field]
    ]


def _default(field: str) -> Any:
    return IngestOptions.model_fields[field].default


def _words(field: str) -> str:
    return field.replace("_", " ")


def _text(value: Any) -> str:
    """As a person would type it."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "not said" if value is None else str(value)


def _damaged(store: Store, name: str) -> DatasetError:
    return DatasetError(
        "The note on the last ingest is damaged",
        where=f"{store.url}/{record_key(name)}",
        fix=f"Delete it, and ingest again with --overwrite and all options of {name}",
    )
