"""What has been encoded so far, kept so that a killed run goes on where it was.

A shard is a safetensors file of consecutive rows, named by them; it is written whole or not at
all. Its folder is removed once the file of embeddings is in place.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from geofm_assets.core.store import Store

_NAME = re.compile(r"rows-(\d{9})-(\d{9})\.safetensors$")


def rows_in(store: Store, folder: str) -> int:
    """How many rows a folder of shards has got to, as far as its names say."""
    base = store.path(folder)
    try:
        found = [_NAME.match(path.name) for path in base.iterdir()] if base.exists() else []
    except FileNotFoundError:  # whoever fills it has just finished
        return 0
    return max((int(match[2]) for match in found if match), default=0)


@dataclass
class Shards:
    """Rows encoded so far, in order and without gaps.

    Args:
        store: that holds them.
        folder: their store prefix; ends in `.tmp`, so that listings leave it out.
    """

    store: Store
    folder: str
    _found: list[tuple[int, int]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        base = self.store.path(self.folder)
        there = {}
        if base.exists():
            for path in base.iterdir():
                match = _NAME.match(path.name)
                if match:
                    there[int(match[1])] = int(match[2])
        stop = 0
        while stop in there and self._readable(stop, there[stop]):
            self._found.append((stop, there[stop]))
            stop = there[stop]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self._found[-1][1] if self._found else 0

    def add(self, tensors: dict[str, np.ndarray]) -> None:
        """Keep the next rows."""
        start = self.rows
        stop = start + len(next(iter(tensors.values())))
        kept = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
        self.store.write_bytes(self._key(start, stop), save(kept))
        self._found.append((start, stop))

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        for start, stop in self._found:
            yield load(self.store.read_bytes(self._key(start, stop)))

    def remove(self) -> None:
        """Remove the folder."""
        self.store.delete(self.folder)
        self._found = []

    def _key(self, start: int, stop: int) -> str:
        return f"{self.folder}/rows-{start:09d}-{stop:09d}.safetensors"

    def _readable(self, start: int, stop: int) -> bool:
        """Whether a shard is whole; what is not is encoded again."""
        try:
            tensors = load(self.store.read_bytes(self._key(start, stop)))
        except (SafetensorError, OSError):
            return False
        return bool(tensors) and all(len(array) == stop - start for array in tensors.values())
