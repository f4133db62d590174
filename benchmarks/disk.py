"""Room on the disk, asked for before it is used."""

import shutil
from pathlib import Path

GIB = 1 << 30
_KEEP_FREE = 2 * GIB


class DiskSpaceError(OSError):
    """There is not enough room for what is to be written."""


def require_space(folder: Path, size: int, what: str) -> None:
    """Refuse to begin what will not fit.

    Args:
        folder: where it goes; need not exist yet.
        size: bytes it will take.
        what: named in the message.

    Raises:
        DiskSpaceError: less than that and 2 GiB are free.
    """
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if size >= 64 << 20:
        print(f"{what}: {size / GIB:.1f} GiB of {free / GIB:.1f} GiB free", flush=True)
    if free < size + _KEEP_FREE:
        raise DiskSpaceError(
            f"{what} needs {size / GIB:.1f} GiB, {free / GIB:.1f} GiB are free at {there}; "
            "give another --cache folder or smaller sizes"
        )
