"""From rows of the manifest to pixels: packed files opened when first needed, in any process."""

import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from upath import UPath

from geofm_assets.core.errors import ExperimentError, ImageryError
from geofm_assets.imagery.chip_reader import PackedChips, open_packed

MAX_OPEN = 4096
"""Packed files kept open at once. A system maps 65,530 regions by default (vm.max_map_count)."""
REMAKE = "Make the split manifest again: it is older than the chips"


class ChipRows:
    """Pixels of a manifest's windows.

    Nothing but the manifest is read at first. It can be pickled and forked: files are opened,
    window names compared and pixels verified by each process for itself, when it first needs them.

    Args:
        manifest: MANIFEST rows; rows keep their order.
        chips_root: folder with `h3_cell=<cell>` folders, here or in a bucket.
        max_open: how many packed files are kept open.
    """

    def __init__(
        self, manifest: pa.Table, chips_root: Path | UPath, max_open: int = MAX_OPEN
    ) -> None:
        self.chips_root, self.max_open = chips_root, max_open
        files = pc.binary_join_element_wise(
            pc.binary_join_element_wise("h3_cell=", manifest["h3_cell"], ""),
            manifest["chip_file"],
            "/",
        )
        encoded = files.combine_chunks().dictionary_encode()
        self.files: list[str] = encoded.dictionary.to_pylist()
        self._file_of = encoded.indices.to_numpy().astype(np.int32)
        self._row_of = manifest["chip_row"].to_numpy().astype(np.int32)
        self._names = manifest["window_name"].combine_chunks()
        self._forget()

    def __len__(self) -> int:
        return len(self._row_of)

    def __getstate__(self) -> dict[str, Any]:
        """Everything but what this process has open."""
        return {key: value for key, value in vars(self).items() if key not in _OF_THE_PROCESS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()

    def _forget(self) -> None:
        """Start anew in this process."""
        self._process = os.getpid()
        self._open: OrderedDict[int, PackedChips] = OrderedDict()
        self._known = np.zeros(len(self), dtype=bool)
        self._verified: dict[str, np.ndarray] = {}

    def by_file(self) -> list[int]:
        """All rows of the manifest, in the order in which they lie in the packed files."""
        order: list[int] = np.lexsort((self._row_of, self._file_of)).tolist()
        return order

    def at(self, index: int) -> tuple[PackedChips, int]:
        """The packed file of a row of the manifest, and the window's row in it.

        Raises:
            ExperimentError: the manifest is older than the chips.
            ImageryError: the packed file is missing or cannot be used.
            SourceUnavailableError: the bucket does not answer.
        """
        if self._process != os.getpid():
            self._forget()
        file, row = int(self._file_of[index]), int(self._row_of[index])
        chips = self._open.get(file)
        if chips is None:
            chips = self._open[file] = self._opened(file)
            if len(self._open) > self.max_open:
                self._open.popitem(last=False)
        else:
            self._open.move_to_end(file)
        if not self._known[index]:
            self._require_same(chips, row, index)
            self._known[index] = True
        return chips, row

    def pixels(self, index: int, layer: str) -> np.ndarray:
        """Stored pixels (T, C, H, W) of a row of the manifest, read-only.

        They are compared with their checksum the first time this process reads them.

        Raises:
            ExperimentError: the manifest is older than the chips.
            ImageryError: the packed file or its pixels cannot be used.
            SourceUnavailableError: the bucket does not answer.
        """
        chips, row = self.at(index)
        verified = self._verified.get(layer)
        if verified is None:
            verified = self._verified[layer] = np.zeros(len(self), dtype=bool)
        if verified[index]:
            return chips.row(layer, row, verify=False)
        values = chips.row(layer, row)
        verified[index] = True
        return values

    def where(self, index: int) -> str:
        """A row of the manifest, for errors."""
        return f"{self.files[self._file_of[index]]}, window {self._names[index]}"

    def _opened(self, file: int) -> PackedChips:
        path = self.chips_root / self.files[file]
        try:
            return open_packed(path)
        except ImageryError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            raise ExperimentError(
                "The packed file the manifest names is not there", where=str(path), fix=REMAKE
            ) from error

    def _require_same(self, chips: PackedChips, row: int, index: int) -> None:
        names, wanted = chips.window_names, self._names[index].as_py()
        if row >= len(names) or names[row] != wanted:
            held = f"window {names[row]!r}" if row < len(names) else "nothing"
            raise ExperimentError(
                f"Row {row} of the packed file holds {held}", where=self.where(index), fix=REMAKE
            )


_OF_THE_PROCESS = ("_process", "_open", "_known", "_verified")


def open_chips(manifest: pa.Table, chips_root: Path | UPath) -> ChipRows:
    """Pixels of a manifest's windows; no file is opened yet.

    Args:
        manifest: MANIFEST rows.
        chips_root: folder with `h3_cell=<cell>` folders, here or in a bucket.
    """
    return ChipRows(manifest, chips_root)
