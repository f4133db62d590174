"""Working copies of a bucket store's files on this machine.

`GEOFM_SCRATCH`, by default a folder of the user's cache, holds for each store

    copies/<key>/<version>/<name>   what was fetched, by its content's version; never changed
    work/                           what is being made, and claims on what is being fetched

All of it can be removed while nothing runs. A copy is taken into place by one rename, so another
process sees it whole or not at all.
"""

import fcntl
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from geofm_assets.core.errors import StoreError

VARIABLE = "GEOFM_SCRATCH"


def scratch_root() -> Path:
    """The folder for working copies, from the environment."""
    given = os.environ.get(VARIABLE)
    if given:
        return Path(given).expanduser().resolve()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser().resolve() / "geofm_assets"


class Scratch:
    """Working copies of one store.

    Args:
        url: of the store.
    """

    def __init__(self, url: str) -> None:
        digest = hashlib.sha256(url.encode()).hexdigest()[:12]
        readable = re.sub(r"[^A-Za-z0-9.\-]+", "_", url)[-40:].strip("_")
        self.root = scratch_root() / f"{readable}-{digest}"

    def kept_folder(self, key: str) -> Path:
        """A folder that stays between runs on this machine; not made."""
        return self.root / "work" / "kept" / key

    @contextmanager
    def folder(self, name: str) -> Iterator[Path]:
        """A new folder, called by the last part of a key, removed when the block ends.

        Raises:
            StoreError: it cannot be made.
        """
        outer = self.root / "work" / uuid.uuid4().hex
        made = outer / name.rsplit("/", 1)[-1]
        self._make(made)
        try:
            yield made
        finally:
            shutil.rmtree(outer, ignore_errors=True)

    def place(self, key: str, version: str) -> Path:
        """Where a version of what lies under a key is copied to."""
        return self.root / "copies" / key / version / key.rsplit("/", 1)[-1]

    @contextmanager
    def claim(self, place: Path) -> Iterator[None]:
        """Let one process fetch a copy while others wait for it.

        Raises:
            StoreError: the scratch folder cannot be written.
        """
        self._make(place.parent.parent)
        lock = place.parent.with_name(f".{place.parent.name}.lock")
        with lock.open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def _make(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"The scratch folder cannot be written: {error.strerror}",
                where=str(self.root),
                fix=f"Set {VARIABLE} to a folder with room",
            ) from error

    def settle(self, made: Path, place: Path) -> None:
        """Take a finished file or folder into place; one that is there is left to its readers."""
        files = [made] if made.is_file() else [p for p in made.rglob("*") if p.is_file()]
        for path in files:
            path.chmod(0o444)
        if place.parent.exists():  # cut short by a full disk or a person
            place.parent.rename(made.parent / "damaged")
        bundle = made.parent / "bundle"
        bundle.mkdir()
        made.rename(bundle / place.name)
        bundle.rename(place.parent)


def is_whole(place: Path, sizes: Mapping[str, int]) -> bool:
    """Whether a copy has every file, at its size.

    Args:
        place: a folder, or one file.
        sizes: bytes by name below it; of one file by the name `""`.
    """
    for name, size in sizes.items():
        try:
            found = (place / name if name else place).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return False
        if found != size:
            return False
    return True
