"""Names to write files under before they are renamed, and removal of what killed writers left.

A name says who writes: the machine (and the container there) and the process. The first time a
process writes into a folder it removes what dead ones left in it; what another machine left is
taken for dead when nothing was written to it for a week, longer than any run may take.
"""

import hashlib
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

ABANDONED_S = 7 * 24 * 3600.0
_OURS = re.compile(
    r"\..+\.(?P<place>[0-9a-f]{12})-(?P<process>\d+)-[0-9a-z_]+\.tmp(\.old\.tmp)?", re.DOTALL
)
_swept: set[Path] = set()


def temporary_beside(path: Path) -> Path:
    """A path in the same folder to write to; not made.

    Args:
        path: of the finished file, or folder.
    """
    sweep(path.parent)
    return path.with_name(f".{path.name}.{writer()}-{uuid.uuid4().hex[:8]}.tmp")


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """A path to write a file to that then appears whole; nothing does if the block fails.

    Args:
        path: of the finished file; its folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def writer() -> str:
    """This process, as names of temporary files have it."""
    return f"{_place()}-{os.getpid()}"


def sweep(folder: Path) -> None:
    """Remove what dead processes left in a folder, once a process; nothing a live one writes."""
    if folder in _swept:
        return
    _swept.add(folder)
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            found = _OURS.fullmatch(entry.name)
            if found is None or not _is_dead(found["place"], int(found["process"]), entry):
                continue
            # another process may remove it too
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                Path(entry.path).unlink(missing_ok=True)


def _is_dead(place: str, process: int, entry: os.DirEntry[str]) -> bool:
    if place != _place():
        try:
            written = entry.stat(follow_symlinks=False).st_mtime
        except FileNotFoundError:
            return False
        return time.time() - written > ABANDONED_S
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's
        return False
    return False


@cache
def _place() -> str:
    """Where a process has its number to itself: this machine since it started, this container."""
    known = [socket.gethostname()]
    with suppress(OSError):  # Linux alone has these
        known.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        known.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:12]
