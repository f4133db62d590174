"""WorldCereal's reference data module (RDM), over HTTP or from a mirror folder."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urljoin, urlsplit

import requests

from geofm_assets.core.errors import ConfigError, SourceUnavailableError
from geofm_assets.core.hashing import sha256_file
from geofm_assets.labels.worldcereal.collections import normalise_id
from geofm_assets.labels.worldcereal.download import FetchedFile, download
from geofm_assets.labels.worldcereal.http import Allowed, Http, Patience, TransientError

FULL_FILE = "GeoParquetDownloadUrl"
"""The metadata item of the whole collection. `SampleDownloadUrl` beside it is a subset of the same
rows: taking both would count them twice."""
BLOB_HOST = "ewocstorage.blob.core.windows.net"
_LISTING_READS = 3


class RdmSource(Protocol):
    """Where reference collections are listed and fetched."""

    def list_collections(self) -> list[dict[str, Any]]:
        """Every record of the listing, as the RDM writes it."""
        ...

    def fetch(self, record: dict[str, Any], folder: Path) -> FetchedFile:
        """The collection's full GeoParquet as `<collection_id>.parquet` in `folder`.

        Args:
            record: a record of the listing (`collectionId`), or a COLLECTION row (`rdm_id`).
            folder: made if it does not exist.
        """
        ...


def open_rdm(location: str, **http: Any) -> RdmSource:
    """The source at a base URL or in a mirror folder.

    Args:
        location: `http://…`, `https://…` or a folder.
        **http: options of `HttpRdm`.

    Raises:
        ConfigError: another scheme, or no such folder.
    """
    scheme = urlsplit(location).scheme
    if scheme in ("http", "https"):
        return HttpRdm(location, **http)
    folder = Path(location).expanduser()
    if "://" in location or not folder.is_dir():
        raise ConfigError(
            "The reference data module is neither an http(s) address nor a folder",
            where=location or "(empty)",
            fix="Give the RDM's base URL, or the folder that holds collections.json",
        )
    return MirrorRdm(folder)


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


def _listed_id(record: Mapping[str, Any]) -> str:
    return str(record.get("collectionId") or record.get("rdm_id") or "")


class HttpRdm:
    """The RDM's HTTP interface.

    Args:
        base_url: such as `https://ewoc-rdm-api.iiasa.ac.at`.
        timeout_s: for connecting, and for each wait for bytes.
        retries: tries after the first, on 429, 5xx, time-outs and dropped connections.
        backoff_s: base of the exponential wait between them.
        page_size: collections asked for at a time; the RDM answers large pages with errors.
        allowed_hosts: hosts downloads may come from, beside the base URL's and WorldCereal's blob
            storage. Over https only, unless the base URL itself is http.
    """

    def __init__(
        self,
        base_url: str,
        timeout_s: float = 30.0,
        retries: int = 5,
        backoff_s: float = 0.5,
        page_size: int = 50,
        allowed_hosts: Sequence[str] = (),
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError("The RDM's base URL is not http(s)", where=base_url)
        if page_size < 1 or retries < 0 or timeout_s <= 0 or backoff_s < 0:
            raise ConfigError(
                "page_size and timeout_s must be positive, retries and backoff_s not negative",
                where=base_url,
            )
        self.base_url = base_url.rstrip("/")
        self.page_size = page_size
        hosts = frozenset({parts.hostname, BLOB_HOST, *allowed_hosts})
        allowed = Allowed(hosts, http=parts.scheme == "http")
        self._http = Http(requests.Session(), timeout_s, allowed)
        self._patience = Patience(retries, backoff_s)

    def list_collections(self) -> list[dict[str, Any]]:
        """Every record, page by page until `totalCount`.

        The listing is read again if it changes length meanwhile, since its pages then shift.

        Raises:
            SourceUnavailableError: no answer, or one that is not a listing.
        """
        for _ in range(_LISTING_READS):
            records = self._read_listing()
            if records is not None:
                return records
        raise SourceUnavailableError(
            f"The listing changed length during each of {_LISTING_READS} readings",
            where=f"{self.base_url}/collections",
            fix="Run again later",
        )

    def _read_listing(self) -> list[dict[str, Any]] | None:
        """One reading; None if the listing changed length meanwhile."""
        records: list[dict[str, Any]] = []
        first_total: int | None = None
        while first_total is None or len(records) < first_total:
            url = (
                f"{self.base_url}/collections"
                f"?SkipCount={len(records)}&MaxResultCount={self.page_size}"
            )
            items, total = _page(self._json(url), url)
            first_total = total if first_total is None else first_total
            if total != first_total:
                return None
            if not items and len(records) < total:
                raise SourceUnavailableError(
                    f"The listing ends after {len(records)} of {total} collections",
                    where=url,
                    fix="Run again; tell the RDM's operators if it stays so",
                )
            records += items
        return records

    def fetch(self, record: dict[str, Any], folder: Path) -> FetchedFile:
        """Download a collection's full file, see `RdmSource` and `download.download`."""
        rdm_id = _listed_id(record)
        collection_id = normalise_id(rdm_id)
        url = f"{self.base_url}/collections/{quote(rdm_id, safe='')}/metadata/items"
        address = urljoin(f"{self.base_url}/", full_file_value(self._json(url), url))
        return download(self._http, self._patience, address, folder / f"{collection_id}.parquet")

    def _json(self, url: str) -> Any:
        def once() -> bytes:
            with self._http.get(url) as response:
                if response.status_code != 200:
                    raise TransientError(f"status {response.status_code} {response.reason}")
                return response.content

        body = self._patience.call(url, once)
        try:
            return json.loads(body)
        except ValueError as error:
            raise SourceUnavailableError(
                f"The answer is not JSON (it begins {body[:60]!r})",
                where=url,
                fix="Check that the base URL is the RDM's API",
            ) from error


def _page(value: Any, where: str) -> tuple[list[dict[str, Any]], int]:
    """Items and totalCount of a listing page."""
    items = value.get("items") if isinstance(value, dict) else None
    total = value.get("totalCount") if isinstance(value, dict) else None
    if not isinstance(items, list) or not isinstance(total, int):
        raise SourceUnavailableError(
            "The answer is not a page of collections (items, totalCount)",
            where=where,
            fix="Check that this is the RDM's listing",
        )
    return items, total


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
        collection_id = normalise_id(_listed_id(record))
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
