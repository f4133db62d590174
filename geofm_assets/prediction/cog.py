"""One correction to files of GDAL's COG driver, made without moving a byte."""

import struct
from pathlib import Path
from typing import BinaryIO

from geofm_assets.core.errors import MapError

_EXTRA_SAMPLES = 338  # TIFF 6.0, section 18
_CLASSIC, _BIG = 42, 43  # versions of TIFF and BigTIFF


def without_alpha(path: Path) -> None:
    """Call the second band of a file with a palette plain data.

    GDAL, when it copies two bands of which the first has a palette, calls the second one opacity,
    and viewers then fade what is uncertain and resample it as if it were. The tag ExtraSamples
    says so; its value is two bytes in each directory, and 0 means data.

    Args:
        path: a little-endian TIFF or BigTIFF.

    Raises:
        MapError: the file is not such a TIFF.
    """
    with path.open("r+b") as file:
        head = file.read(16)
        version = struct.unpack("<H", head[2:4])[0] if head[:2] == b"II" else 0
        if version not in (_CLASSIC, _BIG):
            raise MapError("Not a little-endian TIFF", where=str(path))
        big = version == _BIG
        offset = struct.unpack("<Q", head[8:16])[0] if big else struct.unpack("<I", head[4:8])[0]
        while offset:
            offset = _correct(file, offset, big)


def _correct(file: BinaryIO, offset: int, big: bool) -> int:
    """Correct one directory; gives the offset of the next, 0 after the last."""
    count_form, entry_size, value_at, next_form = (
        ("<Q", 20, 12, "<Q") if big else ("<H", 12, 8, "<I")
    )
    file.seek(offset)
    (count,) = struct.unpack(count_form, file.read(struct.calcsize(count_form)))
    start = file.tell()
    entries = file.read(count * entry_size)
    (following,) = struct.unpack(next_form, file.read(struct.calcsize(next_form)))
    for number in range(count):
        (tag,) = struct.unpack_from("<H", entries, number * entry_size)
        if tag == _EXTRA_SAMPLES:
            file.seek(start + number * entry_size + value_at)
            file.write(struct.pack("<H", 0))
    return int(following)
