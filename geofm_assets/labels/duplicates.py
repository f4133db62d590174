"""Which sample ids of a collection repeat, without holding the ids.

Ids are hashed to 64 bits; hashes go to bucket files on disk by their leading bits, and equal ones
are found bucket by bucket. Two different ids may share a hash (one pair in 2**64), so what repeats
is a suspicion, settled by looking at those ids themselves.
"""

import tempfile
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from geofm_assets.core.temporary import sweep, writer
from geofm_assets.core.xxh3 import xxh3_64

_ROWS_A_BUCKET = 2_000_000


class IdHashes:
    """Hashes of the ids seen so far.

    Args:
        rows: about how many there will be; decides the number of bucket files.
        folder: where the bucket files go; removed at the end.
    """

    def __init__(self, rows: int, folder: Path) -> None:
        self._bits = max(0, int(np.ceil(np.log2(max(1, rows) / _ROWS_A_BUCKET))))
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        self._folder = tempfile.TemporaryDirectory(
            prefix=f".ids.{writer()}-", suffix=".tmp", dir=folder
        )
        self._files: list[BinaryIO] = [
            (Path(self._folder.name) / str(bucket)).open("w+b") for bucket in range(2**self._bits)
        ]

    def __enter__(self) -> "IdHashes":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for file in self._files:
            file.close()
        self._folder.cleanup()

    def add(self, hashes: np.ndarray) -> None:
        """Take note of ids by their `id_hashes`."""
        if self._bits == 0:
            self._files[0].write(hashes.tobytes())
            return
        bucket = (hashes >> np.uint64(64 - self._bits)).astype(np.uint16)
        order = np.argsort(bucket, kind="stable")
        ends = np.searchsorted(bucket[order], np.arange(len(self._files)), side="right")
        hashes = hashes[order]
        start = 0
        for file, end in zip(self._files, ends.tolist(), strict=True):
            file.write(hashes[start:end].tobytes())
            start = end

    def repeated(self) -> np.ndarray:
        """Hashes that were seen more than once, sorted, uint64."""
        found = []
        for file in self._files:
            file.flush()
            file.seek(0)
            hashes = np.fromfile(file, dtype=np.uint64)
            hashes.sort()
            again = hashes[1:] == hashes[:-1]
            found.append(np.unique(hashes[1:][again]))
        return np.concatenate(found)


def id_hashes(sample_ids: pa.ChunkedArray) -> np.ndarray:
    """The hash each id is noted under: xxh3_64 with seed 0, uint64 (n,)."""
    found = [xxh3_64(chunk, 0) for chunk in sample_ids.chunks]
    return np.concatenate([np.zeros(0, np.uint64), *found])
