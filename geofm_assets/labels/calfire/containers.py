"""What a file of perimeters really is, before GDAL opens it.

GDAL goes by a file's first bytes, not by its name: a `.geojson` may be the description of another
source, and opening it would read any file of this machine or any address of its network.
"""

import re
import zipfile
from pathlib import Path

from geofm_assets.core.errors import LabelFileError

_DATASETS = (".gdb", ".gpkg", ".shp", ".geojson", ".json", ".fgb")
_HEAD_BYTES = 1 << 16  # GDAL looks at far less
# Virtual sources and descriptions of services, and GDAL's stored algorithms.
_ELSEWHERE = re.compile(rb"<OGR[A-Za-z]+DataSource|gdal_streamed_alg")


def require_data(path: Path) -> None:
    """Refuse a file that only points at data elsewhere.

    Raises:
        LabelFileError: it does.
    """
    if path.is_file():
        with path.open("rb") as stream:
            _require_data(stream.read(_HEAD_BYTES), str(path))


def inside_zip(path: Path) -> str:
    """The GDAL name of the one dataset in an archive; nothing is unpacked.

    Raises:
        LabelFileError: it is no archive, holds no dataset or several, a member's name leads out of
            it, or the dataset only points at data elsewhere.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            # the name as written: zipfile cuts its own at a null byte
            names = [member.orig_filename for member in archive.infolist()]
            for name in names:
                _require_inside(name, path)
            dataset = _one_dataset(names, path)
            if dataset in names:
                with archive.open(dataset) as stream:
                    _require_data(stream.read(_HEAD_BYTES), f"{path}, {dataset}")
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError) as error:
        raise LabelFileError(
            f"Not a zip archive that can be read ({error})", where=str(path)
        ) from error
    return f"/vsizip/{path.resolve()}/{dataset}"


def _one_dataset(names: list[str], path: Path) -> str:
    found: set[str] = set()
    for name in names:
        parts = name.split("/")
        if parts[0] == "__MACOSX":
            continue
        depth = next((i for i, p in enumerate(parts) if p.lower().endswith(_DATASETS)), None)
        if depth is not None:
            found.add("/".join(parts[: depth + 1]))
    if len(found) != 1:
        raise LabelFileError(
            f"The archive holds {len(found)} files of perimeters ({', '.join(sorted(found))})",
            where=str(path),
            fix="Leave one in it, or unpack it",
        )
    return found.pop()


def _require_inside(name: str, path: Path) -> None:
    parts = re.split(r"[/\\]", name)
    if ".." in parts or parts[0] == "" or parts[0].endswith(":") or "\0" in name:
        raise LabelFileError(
            f"The archive's member {name!r} leads out of it",
            where=str(path),
            fix="Do not use this archive; get it again from where it is published",
        )


def _require_data(head: bytes, where: str) -> None:
    if _ELSEWHERE.search(head):
        raise LabelFileError(
            "The file holds no perimeters but points at another source",
            where=where,
            fix="Give the file with the perimeters itself",
        )
