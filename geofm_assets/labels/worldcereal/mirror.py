"""A folder shaped like WorldCereal's reference data module."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from geofm_assets.core.errors import SourceUnavailableError
from geofm_assets.core.hashing import sha256_file
from geofm_assets.labels.worldcereal.collections import normalise_id
from geofm_assets.labels.worldcereal.download import FetchedFile
from geofm_assets.labels.worldcereal.metadata import FULL_FILE, full_file_value, listed_id


@dataclass(frozen=True)
class MirrorRdm:
    """A folder shaped like the RDM.

    It holds `collections.json` (a listing page with every collection) and per collection a folder,
    named by its id in any spelling, with `metadata_items.json` and the GeoParquet. The item's value
    is a path relative to the mirror; where it is still the original URL, the file of that name in
    the collection's folder is taken.

    Attributes:
        folder: the mirror.
    """

    folder: Path

    def list_collections(self) -> list[dict[str, Any]]:
        """Every record of collections.json.

        Raises:
            SourceUnavailableError: there is no such file, or it is not a listing.
        """
        path = self.folder / "collections.json"
        value = _read_json(path)
        items = value if isinstance(value, list) else None
        if isinstance(value, dict):
            items = value.get("items")
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise SourceUnavailableError(
                "The file is not a listing of collections (items: [...])",
                where=str(path),
                fix="Save an answer of the RDM's /collections there",
            )
        return items

    def fetch(self, record: dict[str, Any], folder: Path) -> FetchedFile:
        """Copy a collection's full file, see `RdmSource`.

        Raises:
            SourceUnavailableError: its folder, metadata or file is missing, or the metadata points
                outside the mirror.
        """
        collection_id = normalise_id(listed_id(record))
        home = self._home(collection_id)
        metadata = home / "metadata_items.json"
        source = self._inside(full_file_value(_read_json(metadata), str(metadata)), home, metadata)
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{collection_id}.parquet"
        part = target.with_name(f".{target.name}.part")
        shutil.copyfile(source, part)
        size, sha256 = part.stat().st_size, sha256_file(part)
        part.replace(target)
        relative = source.relative_to(self.folder.resolve()).as_posix()
        return FetchedFile(target, sha256, size, relative, None)

    def _home(self, collection_id: str) -> Path:
        # Compared, never joined: an id from outside is no path.
        for child in sorted(self.folder.iterdir()):
            if child.is_dir() and _key_or_empty(child.name) == collection_id:
                return child
        raise SourceUnavailableError(
            f"The mirror has no folder for collection {collection_id}",
            where=str(self.folder),
            fix="Mirror it, or take it out of collections.json",
        )

    def _inside(self, value: str, home: Path, metadata: Path) -> Path:
        root = self.folder.resolve()
        parts = urlsplit(value)
        is_url = bool(parts.netloc)
        path = home / Path(parts.path).name if is_url else root / value
        path = path.resolve()
        if not path.is_relative_to(root):
            raise SourceUnavailableError(
                f"{FULL_FILE} {value!r} leads out of the mirror",
                where=str(metadata),
                fix="Give a path relative to the mirror folder",
            )
        if not path.is_file():
            raise SourceUnavailableError(
                f"{FULL_FILE} {value!r} is not in the mirror",
                where=str(path),
                fix="Put the file there, or correct the metadata",
            )
        return path


def _key_or_empty(name: str) -> str:
    return normalise_id(name) if any(c.isascii() and c.isalnum() for c in name) else ""


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise SourceUnavailableError(
            "The mirror lacks a file",
            where=str(path),
            fix="Point the mirror at the folder that holds collections.json and one folder per "
            "collection with metadata_items.json",
        ) from error
    except (OSError, ValueError) as error:
        raise SourceUnavailableError(
            f"The file is not JSON ({error})", where=str(path), fix="Save it again"
        ) from error
