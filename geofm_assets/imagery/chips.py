"""Chips: the windows of one H3 cell that can be trained on. See docs/chips.md.

A cell's folder holds one packed file (`cell_file`), written with the rasters, and chips.json,
which names it and says which of its windows are chips. chips.json is replaced last and atomically,
so a reader sees the old chips or the new.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from geofm_assets.core.errors import ImageryError
from geofm_assets.core.hashing import json_digest
from geofm_assets.imagery.cell_file import CellFile, open_cell_file
from geofm_assets.imagery.chip_files import remove_all_but, replace_file

NOTE = "chips.json"
FIX = "Pack the cell's chips again"


@dataclass(frozen=True)
class CellChips:
    """Chips of a cell.

    Attributes:
        file: the packed file, opened.
        file_name: its name, which changes with its content.
        rows: rows of the packed file that are chips.
        window_names: names of their windows.
        simulated: whether any window or scene was simulated.
    """

    file: CellFile
    file_name: str
    rows: tuple[int, ...]
    window_names: tuple[str, ...]
    simulated: bool


def pack_cell(folder: Path, file_name: str, refused: Sequence[str], inputs: str) -> CellChips:
    """Declare the windows of a packed file chips, refused ones left out.

    Every byte of the packed file is verified. Packed files no longer named are removed.

    Args:
        folder: of the cell's chips.
        file_name: the packed file in it.
        refused: names of windows that get no chip.
        inputs: digest of what the chips are made from.

    Raises:
        ImageryError: the packed file is missing or not what was written.
    """
    opened = open_cell_file(folder / file_name, verify=True)
    out = set(refused)
    rows = [row for row, name in enumerate(opened.window_names) if name not in out]
    names = [opened.window_names[row] for row in rows]
    note = {
        "inputs": inputs,
        "content": json_digest([opened.meta["content_digest"], names]),
        "file": file_name,
        "rows": rows,
        "window_names": names,
        "simulated": opened.meta["simulated"],
    }
    replace_file(folder / NOTE, (json.dumps(note, indent=1, sort_keys=True) + "\n").encode())
    remove_all_but(folder, {NOTE, file_name})
    return _chips(opened, note)


def read_chips(folder: Path, verify: bool = False) -> CellChips:
    """Open the chips of a cell.

    Args:
        folder: what `pack_cell` wrote.
        verify: compare every byte with its hash, which reads them all.

    Raises:
        ImageryError: there are no chips, or the packed file is missing, cut short or changed.
    """
    note = chips_note(folder)
    return _chips(open_cell_file(folder / note["file"], verify), note)


def chips_note(folder: Path) -> dict[str, Any]:
    """What chips.json says.

    Raises:
        ImageryError: there is none, or it is not one.
    """
    path = folder / NOTE
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ImageryError("There are no chips", where=str(folder), fix=FIX) from error
    except ValueError as error:
        raise ImageryError(f"Not JSON: {error}", where=str(path), fix=FIX) from error
    if not isinstance(note, dict) or "file" not in note:
        raise ImageryError("Not a note on chips", where=str(path), fix=FIX)
    return note


def packed_file(rasters: pa.Table) -> str | None:
    """The packed file an inventory speaks of; None for a cell without windows."""
    names = rasters["file"].unique().to_pylist()
    return names[0] if names else None


def _chips(opened: CellFile, note: dict[str, Any]) -> CellChips:
    names = tuple(opened.window_names[row] for row in note["rows"])
    if list(names) != note["window_names"]:
        raise ImageryError(
            "chips.json names other windows than its packed file", where=str(opened.path), fix=FIX
        )
    return CellChips(opened, str(note["file"]), tuple(note["rows"]), names, bool(note["simulated"]))
