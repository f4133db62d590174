"""Downloads that survive dropped connections and killed processes."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import requests

from geofm_assets.core.errors import DownloadError
from geofm_assets.core.hashing import sha256_file
from geofm_assets.core.redact import redact
from geofm_assets.labels.worldcereal.http import Http, Patience, TransientError, unavailable

_CHUNK = 1 << 16  # at most this much is lost when a connection drops
_PARQUET_MAGIC = b"PAR1"


@dataclass(frozen=True)
class FetchedFile:
    """A file that lies here in full.

    Attributes:
        path: where.
        sha256: of its bytes.
        size: in bytes.
        url: where it came from, without what signs it.
        etag: the server's name for this version, if it gave one.
    """

    path: Path
    sha256: str
    size: int
    url: str
    etag: str | None


class _Part:
    """The unfinished file and, beside it, which version of the URL it is a part of."""

    def __init__(self, target: Path, url: str) -> None:
        self.path = target.with_name(f".{target.name}.part")
        self._note = target.with_name(f".{target.name}.part.json")
        self._url = redact(url)  # signed anew each time, it is the same file still

    def resumable(self) -> tuple[int, str | None]:
        """Bytes that can be built on and the validator they belong to; (0, None) if none."""
        try:
            note = json.loads(self._note.read_text("utf-8"))
            size = self.path.stat().st_size
        except (OSError, ValueError):
            return 0, None
        if not isinstance(note, dict) or note.get("url") != self._url or not note.get("validator"):
            return 0, None
        return size, str(note["validator"])

    def begin(self, validator: str | None) -> None:
        """Start a new version."""
        self.path.unlink(missing_ok=True)
        self._note.write_text(json.dumps({"url": self._url, "validator": validator}), "utf-8")

    def discard(self) -> None:
        """Forget what was fetched."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def finish(self, target: Path) -> None:
        """Make the part the file, whole or not at all."""
        with self.path.open("rb") as stream:
            os.fsync(stream.fileno())
        self.path.replace(target)
        self._note.unlink(missing_ok=True)


def download(http: Http, patience: Patience, url: str, target: Path) -> FetchedFile:
    """Fetch a Parquet file into `target`, going on where an earlier try stopped.

    A try goes on from the bytes there are only if the server proves that they are of the same
    version (If-Range on a strong ETag, else on Last-Modified). Tries that bring new bytes do not
    count against the retries.

    Raises:
        SourceUnavailableError: the server did not answer within the retries.
        DownloadError: what arrived has another length than announced, or is no whole Parquet file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _Part(target, url)
    most, failed = part.resumable()[0], 0
    while True:
        try:
            etag, expected = _fetch_once(http, url, part)
            _check_whole(part, url, expected)
            break
        except (TransientError, DownloadError) as error:
            here = part.path.stat().st_size if part.path.exists() else 0
            failed = failed + 1 if here <= most else 1
            most = max(most, here)
            if isinstance(error, DownloadError):
                part.discard()
            if failed > patience.retries:
                if isinstance(error, DownloadError):
                    raise
                raise unavailable(url, str(error), failed) from error
            wait = error if isinstance(error, TransientError) else TransientError(str(error))
            patience.wait(failed - 1, wait)
    size, sha256 = part.path.stat().st_size, sha256_file(part.path)
    part.finish(target)
    return FetchedFile(target, sha256, size, redact(url), etag)


def _fetch_once(http: Http, url: str, part: _Part) -> tuple[str | None, int | None]:
    """One try: the ETag and the announced length of the whole file, once its bytes are here."""
    start, validator = part.resumable()
    # Without this a proxy may compress on the fly, and lengths and ranges mean something else.
    headers = {"Accept-Encoding": "identity"}
    if start and validator:
        headers |= {"Range": f"bytes={start}-", "If-Range": validator}
    with http.get(url, headers) as response:
        if response.status_code == 416:
            if response.headers.get("Content-Range") == f"bytes */{start}":
                return response.headers.get("ETag"), start  # killed between last byte and rename
            part.discard()
            raise TransientError("the server has fewer bytes than were fetched before")
        if response.status_code == 206:
            first, expected = _content_range(response)
            if first != start:
                part.discard()
                raise TransientError(f"asked for bytes from {start}, got them from {first}")
        else:
            expected = _length(response.headers)
            part.begin(_validator(response.headers))
        with part.path.open("ab") as stream:
            for chunk in response.iter_content(_CHUNK):
                stream.write(chunk)
        return response.headers.get("ETag"), expected


def _check_whole(part: _Part, url: str, expected: int | None) -> None:
    size = part.path.stat().st_size
    if expected is not None and size < expected:
        raise TransientError(f"{size} of {expected} bytes came")
    if expected is not None and size != expected:
        raise DownloadError(
            f"{size} bytes came where {expected} were announced", where=url, fix="Run again"
        )
    with part.path.open("rb") as stream:
        head = stream.read(4)
        stream.seek(max(0, size - 4))
        tail = stream.read(4)
    if size < 12 or head != _PARQUET_MAGIC or tail != _PARQUET_MAGIC:
        raise DownloadError(
            f"The {size} bytes that came are not a whole Parquet file",
            where=url,
            fix="Open the address in a browser: the provider may serve an error page or a cut file",
        )


def _length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("Content-Length", "")
    return int(text) if text.isdigit() else None


def _content_range(response: requests.Response) -> tuple[int, int | None]:
    """First byte and whole length of `bytes 5-9/10`."""
    text = response.headers.get("Content-Range", "")
    try:
        span, total = text.removeprefix("bytes ").split("/")
        return int(span.split("-")[0]), None if total == "*" else int(total)
    except ValueError as error:
        raise TransientError(f"Content-Range {text!r} cannot be read") from error


def _validator(headers: Mapping[str, str]) -> str | None:
    etag = headers.get("ETag")
    if etag and not etag.startswith("W/"):
        return etag
    return headers.get("Last-Modified")
