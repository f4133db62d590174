"""Files that are seen whole or not at all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Have a file written under a temporary name beside its own, then rename it."""
    temporary = path.with_name(f".{path.name}.part")
    write(temporary)
    temporary.replace(path)


def remove_parts(folder: Path) -> None:
    """Remove what an interrupted `write_atomically` left below a folder."""
    for part in folder.rglob(".*.part"):
        part.unlink()
