"""Chips of a cell as the split manifest reads them, from a folder or from a bucket."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from geofm_assets.core.errors import ImageryError
from geofm_assets.core.store import Store
from geofm_assets.imagery.chip_reader import open_packed
from geofm_assets.imagery.chips import FIX, NOTE, read_chips


class Layer(Protocol):
    """One layer of a packed file."""

    @property
    def present(self) -> np.ndarray:
        """(N, T) bool: whether a mosaic has any valid pixel."""
        ...


class Packed(Protocol):
    """A packed file, whichever way it is read."""

    @property
    def layers(self) -> Mapping[str, Layer]:
        """By layer name."""
        ...

    def row(self, layer: str, row: int) -> np.ndarray:
        """Pixels of one window (T, C, H, W), compared with their checksum."""
        ...


class Chips(Protocol):
    """Chips of a cell; `imagery.chips.CellChips` is one."""

    @property
    def file(self) -> Packed:
        """The packed file."""
        ...

    @property
    def file_name(self) -> str:
        """Its name, which changes with its content."""
        ...

    @property
    def rows(self) -> tuple[int, ...]:
        """Rows of the packed file that are chips."""
        ...

    @property
    def window_names(self) -> tuple[str, ...]:
        """Names of their windows."""
        ...


@dataclass(frozen=True)
class RemoteChips:
    """Chips of a cell in a bucket, read by byte ranges; see `Chips`."""

    file: Packed
    file_name: str
    rows: tuple[int, ...]
    window_names: tuple[str, ...]


def cell_chips(store: Store, folder: str) -> Chips:
    """Open the chips of a cell; of a bucket only what is asked for is read.

    Args:
        store: that holds them.
        folder: their store prefix.

    Raises:
        ImageryError: there are no chips, or their packed file is missing or not what was written.
        SourceUnavailableError: the bucket does not answer.
    """
    if store.is_local:
        return read_chips(store.fetch_folder(folder))
    where = f"{store.url}/{folder}"
    try:
        note = store.read_json(f"{folder}/{NOTE}")
        name, rows, names = str(note["file"]), tuple(note["rows"]), tuple(note["window_names"])
    except FileNotFoundError as error:
        raise ImageryError("There are no chips", where=where, fix=FIX) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ImageryError("Not a note on chips", where=f"{where}/{NOTE}", fix=FIX) from error
    opened = open_packed(store.path(f"{folder}/{name}"))
    if tuple(opened.window_names[row] for row in rows) != names:
        raise ImageryError(
            "chips.json names other windows than its packed file", where=opened.where, fix=FIX
        )
    return RemoteChips(opened, name, rows, names)
