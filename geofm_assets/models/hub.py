"""Fetching model files from a hub: one base URL, timeouts, retries, checksums, a cache."""

import hashlib
import os
import random
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import requests

from geofm_assets.core.errors import (
    AddressRefusedError,
    DownloadError,
    SourceUnavailableError,
    WeightsError,
)
from geofm_assets.core.hashing import sha256_file
from geofm_assets.core.hosts import allowed_for, checked_session
from geofm_assets.core.temporary import temporary_beside

_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CHUNK = 1 << 20
_RETRIED = {429, 500, 502, 503, 504}
_PUBLISHED = "huggingface.co"
# where it sends downloads to, by region and kind of storage
_STORAGE = ("*.huggingface.co", "*.hf.co")


def default_cache() -> Path:
    """`$XDG_CACHE_HOME/geofm_assets/hub`, or the same below `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "geofm_assets" / "hub"


@dataclass(frozen=True)
class HubBundle:
    """Files of one repository at one revision, on this machine.

    Attributes:
        name: `owner/name@revision`.
        folder: where they lie.
        sha256: of each file, by name.
    """

    name: str
    folder: Path
    sha256: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelHub:
    """A model hub, spoken to as `{base_url}/{repo}/resolve/{revision}/{file}`.

    Attributes:
        base_url: the hub. Files come from its host, and from those of `core.hosts`.
        cache: folder that keeps what was fetched; a file in it is used again only while its
            sha256 is the one kept beside it. By default below the user's cache folder.
        timeout_s: for connecting, and for each wait for bytes.
        retries: further attempts after the first on 429, 5xx, dropped or truncated answers.
        backoff_s: wait before the first retry; doubled each time, with jitter.
    """

    base_url: str = "https://huggingface.co"
    cache: Path = field(default_factory=default_cache)
    timeout_s: float = 30.0
    retries: int = 3
    backoff_s: float = 1.0

    def fetch(self, location: str, files: tuple[str, ...]) -> HubBundle:
        """Files of a repository, from the cache or over HTTP.

        Args:
            location: `owner/name` or `owner/name@revision` (a branch, tag or commit).
            files: names of the files wanted.

        Raises:
            WeightsError: the location is not a repository, or the hub has no such file.
            SourceUnavailableError: the hub did not answer within the retries, or sends us to a
                host that is not allowed.
            DownloadError: a file kept arriving truncated or with the wrong checksum.
        """
        repo, _, revision = location.partition("@")
        revision = revision or "main"
        if not _REPO.fullmatch(repo) or not _REVISION.fullmatch(revision):
            raise WeightsError(
                "Not a hub repository",
                where=repr(location),
                fix="Write owner/name or owner/name@tag",
            )
        # one folder a hub, so that two hubs never answer for each other
        folder = self.cache / hashlib.sha256(self.base_url.encode()).hexdigest()[:16]
        folder = folder / repo.replace("/", "--") / revision
        folder.mkdir(parents=True, exist_ok=True)
        digests = {name: self._file(repo, revision, name, folder / name) for name in files}
        return HubBundle(f"{repo}@{revision}", folder, digests)

    def _file(self, repo: str, revision: str, name: str, target: Path) -> str:
        """One file into the cache; its sha256."""
        target.parent.mkdir(parents=True, exist_ok=True)  # a name may lie in folders of its own
        kept = target.with_name(target.name + ".sha256")
        if target.is_file() and kept.is_file():
            digest = sha256_file(target)
            if digest == kept.read_text().strip():
                return digest
        url = f"{self.base_url.rstrip('/')}/{repo}/resolve/{revision}/{name}"
        problem: requests.RequestException | DownloadError | SourceUnavailableError
        for attempt in range(self.retries + 1):
            try:
                digest = self._download(url, target)
            except AddressRefusedError:
                raise
            except (requests.RequestException, DownloadError, SourceUnavailableError) as error:
                problem = error
            else:
                kept.write_text(digest + "\n")
                return digest
            if attempt < self.retries:
                time.sleep(self.backoff_s * 2**attempt * (1 + random.random() / 4))
        if isinstance(problem, DownloadError):
            raise problem
        raise SourceUnavailableError(
            f"The model hub did not answer after {self.retries + 1} attempts ({problem})",
            where=url,
            fix="Check the network and the hub's URL, or give the weights as a folder",
        ) from problem

    def _download(self, url: str, target: Path) -> str:
        """Stream to a temporary name, check length and checksum, rename."""
        host = urlsplit(self.base_url).hostname
        allowed = allowed_for(self.base_url, *(_STORAGE if host == _PUBLISHED else ()))
        with (
            checked_session(allowed) as session,
            session.get(url, stream=True, timeout=self.timeout_s) as answer,
        ):
            if answer.status_code in _RETRIED:
                raise SourceUnavailableError(f"HTTP status {answer.status_code}", where=url)
            if answer.status_code != 200:
                raise WeightsError(
                    f"The model hub refused the file with HTTP status {answer.status_code}",
                    where=url,
                    fix="Check repository, revision and file; give gated files as a folder",
                )
            temporary = temporary_beside(target)
            try:
                with temporary.open("wb") as stream:
                    for chunk in answer.iter_content(_CHUNK):
                        stream.write(chunk)
                digest = sha256_file(temporary)
                self._verify(answer, temporary.stat().st_size, digest, url)
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
        return digest

    @staticmethod
    def _verify(answer: requests.Response, size: int, digest: str, url: str) -> None:
        """Compare with what the hub promised; the first answer of a redirect carries the hash."""
        length = answer.headers.get("Content-Length")
        encoded = answer.headers.get("Content-Encoding", "identity") != "identity"
        if length is not None and not encoded and int(length) != size:
            raise DownloadError(f"{size} bytes came, {length} were promised", where=url)
        for part in [*answer.history, answer]:
            promised = part.headers.get("X-Linked-Etag", "").strip('"')
            if _SHA256.fullmatch(promised) and promised != digest:
                raise DownloadError(
                    f"sha256 is {digest}, the hub promised {promised}", where=url, fix="Try again"
                )
