"""Opening a GeoParquet file: what must hold for the file as a whole."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from geofm_assets.core.errors import LabelFileError

BATCH_ROWS = 131_072
CODED = ("valid_time", "h3_l3_cell")
"""Columns of WorldCereal's files that repeat few strings."""
_BUFFER_BYTES = 4 << 20  # without it a large row group is read whole
_WGS84 = frozenset({("OGC", "CRS84"), ("OGC", "CRS84H"), ("EPSG", "4326"), ("EPSG", "4979")})


@dataclass(frozen=True)
class GeoParquet:
    """A Parquet file that can be read as labels.

    Attributes:
        path: the file.
        columns: its column names.
        geometry: name of its WKB geometry column, None if it has none.
        rows: how many rows it has.
        coded: columns of `CODED` that can be read so.
    """

    path: Path
    columns: tuple[str, ...]
    geometry: str | None
    rows: int
    coded: tuple[str, ...] = ()

    def require(self, *names: str) -> None:
        """Raise LabelFileError naming the columns that are missing."""
        missing = [name for name in names if name not in self.columns]
        if missing:
            raise LabelFileError(
                f"Missing column{'s' if len(missing) > 1 else ''} {', '.join(missing)}",
                where=str(self.path),
                fix=f"It has {', '.join(self.columns)}",
            )

    def require_geometry(self) -> str:
        """Name of the geometry column; LabelFileError if there is none."""
        if self.geometry is None:
            raise LabelFileError(
                "There is no geometry column",
                where=str(self.path),
                fix=f"A GeoParquet with a WKB geometry is needed; it has {', '.join(self.columns)}",
            )
        return self.geometry

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows, a hundred thousand at a time, in file order, in flat memory.

        Args:
            columns: the only ones to read; all if not given. Strings that the file keeps
                dictionary-coded stay so for columns of `CODED`.

        Raises:
            LabelFileError: the file is damaged behind its footer.
        """
        try:
            with _open(self.path, self.coded) as parquet:
                yield from parquet.iter_batches(
                    BATCH_ROWS,
                    columns=None if columns is None else list(columns),
                    use_threads=False,
                )
        except (pa.ArrowException, OSError) as error:
            raise _damaged(self.path, error) from error


def open_geoparquet(path: Path) -> GeoParquet:
    """Look at a file's footer.

    The geometry column is the one its `geo` metadata names, else a binary column `geometry`.

    Raises:
        LabelFileError: it is missing, not Parquet, or its geometry is neither WKB nor degrees.
    """
    try:
        with _open(path) as parquet:
            schema, rows = parquet.schema_arrow, parquet.metadata.num_rows
    except FileNotFoundError as error:
        raise LabelFileError("There is no such file", where=str(path)) from error
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error
    coded = [n for n in CODED if n in schema.names and pa.types.is_string(schema.field(n).type)]
    geometry = _geometry_column(schema, path)
    return GeoParquet(path, tuple(schema.names), geometry, rows, tuple(coded))


def _open(path: Path, coded: Sequence[str] = ()) -> pq.ParquetFile:
    return pq.ParquetFile(
        path, pre_buffer=False, buffer_size=_BUFFER_BYTES, read_dictionary=list(coded)
    )


def _damaged(path: Path, error: Exception) -> LabelFileError:
    return LabelFileError(
        f"Not a readable Parquet file ({error})",
        where=str(path),
        fix="Fetch it again, or export it as GeoParquet",
    )


def _geometry_column(schema: pa.Schema, path: Path) -> str | None:
    raw = (schema.metadata or {}).get(b"geo")
    name = "geometry"
    if raw is not None:
        try:
            geo = json.loads(raw)
            name = geo["primary_column"]
            description = geo["columns"][name]
        except (ValueError, KeyError, TypeError) as error:
            raise LabelFileError(
                f"Its GeoParquet metadata cannot be read ({error!r})", where=str(path)
            ) from error
        if description.get("encoding", "WKB") != "WKB":
            raise LabelFileError(
                f"Geometry encoding {description['encoding']} is not WKB",
                where=f"{path}, column {name}",
                fix="Export the file with WKB geometry",
            )
        _require_degrees(description, f"{path}, column {name}")
    if name not in schema.names:
        return None
    kind = schema.field(name).type
    if isinstance(kind, pa.ExtensionType):
        kind = kind.storage_type
    is_binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    if not (is_binary or pa.types.is_null(kind)):
        raise LabelFileError(
            f"Geometry of type {kind} is not WKB",
            where=f"{path}, column {name}",
            fix="Export the file with WKB geometry",
        )
    return name


def _require_degrees(description: dict[str, Any], where: str) -> None:
    """No CRS means OGC:CRS84 (GeoParquet 1.1); anything but WGS 84 degrees is refused."""
    crs = description.get("crs")
    if crs is None:
        return
    identity = crs.get("id") or {}
    code = (str(identity.get("authority", "")).upper(), str(identity.get("code", "")).upper())
    if code not in _WGS84 and crs.get("name") not in ("WGS 84", "WGS 84 (CRS84)"):
        raise LabelFileError(
            f"The geometry is in {crs.get('name') or code}, not in WGS 84 longitude/latitude",
            where=where,
            fix="Reproject it to EPSG:4326",
        )
