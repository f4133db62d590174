"""Packed files read a window at a time: mapped on this machine, by byte ranges from a bucket.

Both give the same arrays and make the same checks; see docs/chips.md. Only what training needs is
kept of a header, so that a thousand open cells fit in memory.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec.asyn
import numpy as np
from fsspec.core import url_to_fs
from upath import UPath

from geofm_assets.core.errors import ImageryError, SourceUnavailableError
from geofm_assets.imagery.cell_file import open_cell_file
from geofm_assets.imagery.packed_header import (
    LENGTH_BYTES,
    PARTS,
    PackedHeader,
    Tensor,
    broken,
    header_length,
    missing,
    read_header,
    require_checksum,
)

HEAD_BYTES = 1 << 18
"""First read from a bucket: in general the header, and the small arrays right behind it."""
TIMEOUT_S = 60.0
ATTEMPTS = 4
_FIRST_PAUSE_S = 0.25


@dataclass(frozen=True)
class PackedLayer:
    """What is known of a layer without its pixels.

    Attributes:
        shape: (N, T, C, H, W) of its pixels.
        present: (N, T) bool: whether a mosaic has any valid pixel.
        timestamps: (N, T, 2) int64 microseconds since 1970 UTC: when a mosaic's scenes were taken.
        periods: (N, T, 2) int64 microseconds since 1970 UTC, oldest first.
        checksums: (N,) uint64: xxh3_64 of a window's pixels.
    """

    shape: tuple[int, ...]
    present: np.ndarray
    timestamps: np.ndarray
    periods: np.ndarray
    checksums: np.ndarray


class PackedChips(ABC):
    """A packed file that windows are read from.

    Attributes:
        where: path or URL, for errors.
        window_names: in row order.
        layers: by name.
    """

    def __init__(
        self, where: str, window_names: tuple[str, ...], layers: Mapping[str, PackedLayer]
    ) -> None:
        self.where, self.window_names, self.layers = where, window_names, layers

    def row(self, layer: str, row: int, verify: bool = True) -> np.ndarray:
        """Pixels of one window (T, C, H, W), stored values, read-only.

        Args:
            layer: name of one of `layers`.
            row: of `window_names`.
            verify: compare them with their checksum.

        Raises:
            ImageryError: the file is gone or cut short, or its pixels are not what was written.
            SourceUnavailableError: the bucket does not answer.
        """
        where = f"{self.where}, {layer}, row {row}, window {self.window_names[row]}"
        values = self._values(layer, row, where)
        if verify:
            require_checksum(values, int(self.layers[layer].checksums[row]), where)
        return values

    @abstractmethod
    def _values(self, layer: str, row: int, where: str) -> np.ndarray:
        """Pixels as they lie in the file."""


class MappedChips(PackedChips):
    """A packed file of this machine, memory-mapped.

    Args:
        path: of the file.

    Raises:
        ImageryError: there is no such file, or it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        opened = open_cell_file(path)
        # np.memmap checks itself on every slice; a plain view of it does not
        self._pixels = {name: np.asarray(m.values) for name, m in opened.layers.items()}
        layers = {
            name: PackedLayer(m.values.shape, m.present, m.timestamps, m.periods, m.checksums)
            for name, m in opened.layers.items()
        }
        super().__init__(str(path), opened.window_names, layers)

    def _values(self, layer: str, row: int, where: str) -> np.ndarray:
        values: np.ndarray = self._pixels[layer][row]
        return values


class RangedChips(PackedChips):
    """A packed file read by byte ranges: the head once, then a window at a time.

    Args:
        path: anything fsspec can read ranges of.

    Raises:
        ImageryError: there is no such file, or it cannot be used.
        SourceUnavailableError: it cannot be reached within `ATTEMPTS`.
    """

    def __init__(self, path: UPath) -> None:
        where = str(path)
        self._file = _RangedFile(path)
        header, head = _read_head(self._file, where)
        self._pixels = {name: header.tensors[f"{name}/values"] for name in header.meta["layers"]}
        small = self._small(header, head, where)
        layers = {
            name: PackedLayer(
                tensor.shape,
                **{part: small[f"{name}/{part}"] for part in PARTS if part != "values"},
            )
            for name, tensor in self._pixels.items()
        }
        super().__init__(where, header.window_names, layers)

    def _small(self, header: PackedHeader, head: bytes, where: str) -> dict[str, np.ndarray]:
        """Every tensor but pixels; those that lie side by side in one request."""
        wanted = sorted(
            ((n, t) for n, t in header.tensors.items() if not n.endswith("/values")),
            key=lambda named: named[1].begin,
        )
        runs: list[list[tuple[str, Tensor]]] = []
        for name, tensor in wanted:
            if runs and runs[-1][-1][1].end == tensor.begin:
                runs[-1].append((name, tensor))
            else:
                runs.append([(name, tensor)])
        found = {}
        for run in runs:
            begin, end = run[0][1].begin, run[-1][1].end
            data = head[begin:end] if end <= len(head) else self._file.read(begin, end, where)
            for name, tensor in run:
                found[name] = tensor.of(data[tensor.begin - begin : tensor.end - begin])
                header.require_digest(name, found[name], where)
        return found

    def _values(self, layer: str, row: int, where: str) -> np.ndarray:
        pixels = self._pixels[layer]
        size = (pixels.end - pixels.begin) // pixels.shape[0]
        begin = pixels.begin + row * size
        data = self._file.read(begin, begin + size, where)
        return np.frombuffer(data, pixels.dtype).reshape(pixels.shape[1:])


class _RangedFile:
    """Byte ranges of a file, with a time limit, some patience, and errors that say where."""

    def __init__(self, path: UPath) -> None:
        self._fs, self._name = url_to_fs(str(path), **path.storage_options)

    def read(self, begin: int, end: int, where: str, *, whole: bool = True) -> bytes:
        """Bytes [begin, end); fewer only if the file ends before and `whole` is not asked for."""
        import aiohttp

        pause = _FIRST_PAUSE_S
        for attempt in range(1, ATTEMPTS + 1):
            try:
                data = self._ask(begin, end)
                break
            except (FileNotFoundError, PermissionError) as error:
                raise _refused(where, error) from error
            except (OSError, aiohttp.ClientError) as error:  # a timeout is an OSError
                status = getattr(error, "status", 500)
                if status == 416:  # the file ends before
                    data = b""
                    break
                if status in (401, 403):
                    raise _refused(where, error) from error
                if attempt == ATTEMPTS or (400 <= status < 500 and status not in (408, 429)):
                    raise SourceUnavailableError(
                        f"Bytes {begin} to {end} could not be read in {attempt} attempts "
                        f"({type(error).__name__}: {error})",
                        where=where,
                        fix="Check the connection and run again",
                    ) from error
                time.sleep(pause)
                pause *= 2
        if len(data) > end - begin:
            raise ImageryError(
                f"The server sent {len(data)} bytes where {end - begin} were asked for",
                where=where,
                fix="Serve the store from something that understands Range requests",
            )
        if whole and len(data) < end - begin:
            raise broken(where, f"it ends {end - begin - len(data)} bytes early")
        return data

    def _ask(self, begin: int, end: int) -> bytes:
        if isinstance(self._fs, fsspec.asyn.AsyncFileSystem):
            asked = (self._fs._cat_file, self._name)  # cat_file itself takes no time limit
            data: Any = fsspec.asyn.sync(
                self._fs.loop, *asked, start=begin, end=end, timeout=TIMEOUT_S
            )
        else:
            data = self._fs.cat_file(self._name, start=begin, end=end)
        return bytes(data)


def open_packed(path: Path | UPath) -> PackedChips:
    """Open a packed file: mapped if it lies on this machine, by byte ranges if not.

    The header and all small arrays are checked; pixels when they are read.

    Raises:
        ImageryError: there is no such file, it was cut short or changed, or it is of another
            version.
        SourceUnavailableError: the bucket does not answer.
    """
    if not isinstance(path, UPath) or path.protocol in ("", "file", "local"):
        return MappedChips(Path(path.path) if isinstance(path, UPath) else path)
    return RangedChips(path)


def packed_meta(path: Path | UPath) -> Mapping[str, Any]:
    """What a packed file's header says of its cell; no pixel is read.

    Raises:
        ImageryError: there is no such file, or it cannot be used.
        SourceUnavailableError: the bucket does not answer.
    """
    if not isinstance(path, UPath) or path.protocol in ("", "file", "local"):
        return open_cell_file(Path(path.path) if isinstance(path, UPath) else path).meta
    where = str(path)
    return _read_head(_RangedFile(path), where)[0].meta


def _read_head(file: "_RangedFile", where: str) -> tuple[PackedHeader, bytes]:
    """The header, checked, and the file's first bytes."""
    head = file.read(0, HEAD_BYTES, where, whole=False)
    start = LENGTH_BYTES + header_length(head, where)
    if start > len(head):
        head += file.read(len(head), start, where)
    return read_header(head[LENGTH_BYTES:start], where), head


def _refused(where: str, error: Exception) -> ImageryError:
    if isinstance(error, FileNotFoundError):
        return missing(where)
    return ImageryError(
        f"The packed file may not be read: {error}", where=where, fix="Check the credentials"
    )
