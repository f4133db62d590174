"""Reading a label file as batches of columns, be it CSV or GeoParquet."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from geofm_assets.core.errors import LabelFileError
from geofm_assets.labels.geoparquet import GeoParquet, open_geoparquet

_DELIMITERS = ",;\t|"
_BLOCK_BYTES = 8 << 20
_HEADER_BYTES = 1 << 16
_PARQUET_MAGIC = b"PAR1"


@dataclass
class LabelTable:
    """A label file that could be opened.

    Attributes:
        path: the file.
        columns: its column names.
        geometry: its WKB geometry column, None where there is none (always, in a CSV).
        malformed: after `batches` ran, the CSV rows with too many or too few fields, by row number
            (0 is the first after the header, blank lines not counted).
    """

    path: Path
    columns: tuple[str, ...]
    geometry: str | None
    malformed: dict[int, str] = field(default_factory=dict)
    _parquet: GeoParquet | None = None
    _delimiter: str = ","

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The well-formed rows in file order; every column of a CSV as text.

        Raises:
            LabelFileError: the file cannot be read to its end.
        """
        if self._parquet is not None:
            yield from self._parquet.batches()
            return
        self.malformed.clear()
        try:
            with pyarrow.csv.open_csv(
                self.path,
                # One thread: only then does Arrow number malformed rows.
                read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
                parse_options=pyarrow.csv.ParseOptions(
                    delimiter=self._delimiter,
                    newlines_in_values=True,
                    invalid_row_handler=self._skip,
                ),
                convert_options=pyarrow.csv.ConvertOptions(
                    column_types={name: pa.string() for name in self.columns}
                ),
            ) as reader:
                yield from reader
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(self.path, str(error)) from error

    def _skip(self, row: pyarrow.csv.InvalidRow) -> str:
        self.malformed[row.number - 2] = row.text  # Arrow counts from 1, the header included
        return "skip"

    def require(self, *names: str) -> None:
        """Raise LabelFileError naming the columns that are missing."""
        missing = [name for name in names if name not in self.columns]
        if missing:
            raise LabelFileError(
                f"Missing column{'s' if len(missing) > 1 else ''} {', '.join(missing)}",
                where=str(self.path),
                fix=f"Map labels.columns to what it has: {', '.join(self.columns)}",
            )


def open_table(path: Path) -> LabelTable:
    """Look at a label file's header.

    Parquet is told by its first bytes, everything else is read as CSV: UTF-8, delimited by comma,
    semicolon, tab or bar, with a header row.

    Raises:
        LabelFileError: it does not exist, is empty, or is neither.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEADER_BYTES)
    except OSError as error:
        raise LabelFileError(
            f"The label file cannot be opened ({error})", where=str(path)
        ) from error
    if head.startswith(_PARQUET_MAGIC):
        parquet = open_geoparquet(path)
        return LabelTable(path, parquet.columns, parquet.geometry, _parquet=parquet)
    if not head.strip():
        raise _unreadable(path, "it is empty")
    try:
        line = head.splitlines()[0].decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _unreadable(path, "its header is not UTF-8") from error
    delimiter = max(_DELIMITERS, key=line.count)
    columns = tuple(next(csv.reader([line], delimiter=delimiter)))
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    if repeated:
        raise _unreadable(path, f"column names repeat: {', '.join(repeated)}")
    if "\0" in line:
        raise _unreadable(path, "it is not text")
    return LabelTable(path, columns, None, _delimiter=delimiter)


def _unreadable(path: Path, reason: str) -> LabelFileError:
    return LabelFileError(
        f"Not a readable label file ({reason})",
        where=str(path),
        fix="Give a UTF-8 CSV with a header row, or a GeoParquet",
    )
