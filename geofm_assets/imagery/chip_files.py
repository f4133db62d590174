"""Files of a chips folder: atomic replacement, and clearing what a killed run left."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from geofm_assets.core.temporary import temporary_beside


@contextmanager
def new_file(folder: Path, stem: str) -> Iterator[tuple[BinaryIO, Path]]:
    """A temporary file in the folder, on disk when the block ends."""
    temporary = temporary_beside(folder / stem)
    with temporary.open("wb") as stream:
        yield stream, temporary
        stream.flush()
        os.fsync(stream.fileno())


def replace_file(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old content or the new."""
    with new_file(path.parent, path.name) as (stream, temporary):
        stream.write(data)
    temporary.replace(path)


def remove_all_but(folder: Path, kept: set[str]) -> None:
    """Remove the folder's files that are not named; folders are left alone."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name not in kept:
            path.unlink()
