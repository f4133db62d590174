"""What a collection's metadata says about its files."""

from collections.abc import Mapping
from typing import Any

from geofm_assets.core.errors import SourceUnavailableError

FULL_FILE = "GeoParquetDownloadUrl"
"""The metadata item of the whole collection. `SampleDownloadUrl` beside it is a subset of the same
rows: taking both would count them twice."""


def full_file_value(items: Any, where: str) -> str:
    """The address of the full file among a collection's metadata items.

    Raises:
        SourceUnavailableError: the items cannot be read, or the full file is not among them.
    """
    if isinstance(items, list) and all(isinstance(item, dict) for item in items):
        values = [str(i["value"]) for i in items if i.get("name") == FULL_FILE and i.get("value")]
        if values:
            return values[0]
        found = ", ".join(sorted(str(i.get("name")) for i in items)) or "nothing"
        what = f"The collection has no {FULL_FILE} (its metadata names {found})"
    else:
        what = "The collection's metadata is not a list of items"
    raise SourceUnavailableError(
        what, where=where, fix="Ask its provider for the full file, or leave the collection out"
    )


def listed_id(record: Mapping[str, Any]) -> str:
    """The id as the listing writes it, from a record or a COLLECTION row."""
    return str(record.get("collectionId") or record.get("rdm_id") or "")
