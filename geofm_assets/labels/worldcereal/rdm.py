"""WorldCereal's reference data module (RDM), over HTTP or from a mirror folder."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urljoin, urlsplit

from geofm_assets.core.errors import ConfigError, SourceUnavailableError
from geofm_assets.core.hosts import allowed_for, checked_session
from geofm_assets.labels.worldcereal.collections import normalise_id
from geofm_assets.labels.worldcereal.download import FetchedFile, download
from geofm_assets.labels.worldcereal.http import Http, Patience, TransientError
from geofm_assets.labels.worldcereal.metadata import full_file_value, listed_id
from geofm_assets.labels.worldcereal.mirror import MirrorRdm

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
    if not location or "://" in location or not folder.is_dir():
        raise ConfigError(
            "The reference data module is neither an http(s) address nor a folder",
            where=location or "(empty)",
            fix="Give the RDM's base URL, or the folder that holds collections.json",
        )
    return MirrorRdm(folder)


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
        allowed = allowed_for(base_url, BLOB_HOST, *allowed_hosts)
        self._http = Http(checked_session(allowed), timeout_s)
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
        rdm_id = listed_id(record)
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
