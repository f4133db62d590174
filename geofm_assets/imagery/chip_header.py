"""The header of a folder of chips."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geofm_assets.core.errors import ImageryError
from geofm_assets.core.hashing import json_digest
from geofm_assets.imagery.chip_files import FIX

FORMAT = "geofm-chips"
VERSION = 1
HEADER = "header.json"


@dataclass(frozen=True)
class ChipHeader:
    """What header.json says.

    Attributes:
        cell: the H3 cell.
        window_names: in row order.
        layers: by layer name its bands, dtype, unit, nodata and array files.
        content_digest: digest of everything the header says, arrays by their hash.
        simulated: whether any window or scene was simulated.
        raw: the parsed JSON.
    """

    cell: str
    window_names: tuple[str, ...]
    layers: Mapping[str, Any]
    content_digest: str
    simulated: bool
    raw: Mapping[str, Any]


def read_header(folder: Path) -> ChipHeader:
    """The header of a folder of chips.

    Raises:
        ImageryError: there is none, or it is not one this code reads.
    """
    path = folder / HEADER
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ImageryError("There are no chips", where=str(folder), fix=FIX) from error
    except json.JSONDecodeError as error:
        raise ImageryError(f"Not JSON: {error}", where=str(path), fix=FIX) from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ImageryError("Not a chips header", where=str(path), fix=FIX)
    if header.get("version") != VERSION:
        raise ImageryError(
            f"Chips of version {header.get('version')}, this reads {VERSION}",
            where=str(path),
            fix=FIX,
        )
    said = {k: v for k, v in header.items() if k != "content_digest"}
    if json_digest(said) != header.get("content_digest"):
        raise ImageryError("The header was changed after it was written", where=str(path), fix=FIX)
    return parsed(header)


def parsed(header: Mapping[str, Any]) -> ChipHeader:
    """A header from its JSON value."""
    return ChipHeader(
        cell=header["h3_cell"],
        window_names=tuple(w["window_name"] for w in header["windows"]),
        layers=header["layers"],
        content_digest=header["content_digest"],
        simulated=header["simulated"],
        raw=header,
    )
