"""Files of a chips folder: arrays named by their content, and atomic replacement."""

import io
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from geofm_assets.core.errors import ImageryError
from geofm_assets.core.hashing import sha256_file

FIX = "Pack the cell's chips again"


@contextmanager
def new_file(folder: Path, stem: str) -> Iterator[tuple[BinaryIO, Path]]:
    """A temporary file in the folder, on disk when the block ends."""
    temporary = folder / f".{stem}.{uuid.uuid4().hex}.tmp"
    with temporary.open("wb") as stream:
        yield stream, temporary
        stream.flush()
        os.fsync(stream.fileno())


def replace_file(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old content or the new."""
    with new_file(path.parent, path.name) as (stream, temporary):
        stream.write(data)
    temporary.replace(path)


def write_array(folder: Path, stem: str, array: np.ndarray) -> dict[str, Any]:
    """Write a small array; what the header says of it."""
    sink = io.BytesIO()
    np.save(sink, np.ascontiguousarray(array), allow_pickle=False)
    with new_file(folder, stem) as (stream, temporary):
        stream.write(sink.getvalue())
    return adopt(temporary, folder, stem, array.shape, array.dtype)


def adopt(
    temporary: Path, folder: Path, stem: str, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> dict[str, Any]:
    """Give a finished array file the name of its content; what the header says of it."""
    digest = sha256_file(temporary)
    name = f"{stem}-{digest[:16]}.npy"
    size = temporary.stat().st_size
    temporary.replace(folder / name)
    return {
        "name": name,
        "sha256": digest,
        "bytes": size,
        "shape": list(shape),
        "dtype": dtype.str,
    }


def remove_all_but(folder: Path, kept: set[str]) -> None:
    """Remove the folder's files that are not named; folders are left alone."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name not in kept:
            path.unlink()


def open_array(path: Path, said: Mapping[str, Any], verify: bool) -> np.ndarray:
    """Memory-map an array if it is what the header says.

    Args:
        path: the file.
        said: its entry in the header.
        verify: read it whole and compare its sha256.

    Raises:
        ImageryError: it is missing, cut short or changed.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise ImageryError("An array of the chips is missing", where=str(path), fix=FIX) from error
    if size != said["bytes"]:
        raise ImageryError(
            f"The array has {size} bytes, the header says {said['bytes']}",
            where=str(path),
            fix=FIX,
        )
    if verify and sha256_file(path) != said["sha256"]:
        raise ImageryError(
            "The array's content is not what the header says", where=str(path), fix=FIX
        )
    empty = 0 in said["shape"]
    try:
        array: np.ndarray = np.load(path, mmap_mode=None if empty else "r", allow_pickle=False)
    except ValueError as error:
        raise ImageryError(f"Not an array: {error}", where=str(path), fix=FIX) from error
    if list(array.shape) != said["shape"] or array.dtype.str != said["dtype"]:
        raise ImageryError("The array is not shaped as the header says", where=str(path), fix=FIX)
    return array
