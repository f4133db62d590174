"""Reference points from anybody's label file, CSV or GeoParquet."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from geofm_assets.core.errors import LabelFileError
from geofm_assets.core.hashing import sha256_file
from geofm_assets.labels import refusals as why
from geofm_assets.labels.cells import H3_SOURCE_RESOLUTION, cell_ids, cell_strings
from geofm_assets.labels.config import ColumnMap
from geofm_assets.labels.csv.table import LabelTable, open_table
from geofm_assets.labels.dates import parse_dates
from geofm_assets.labels.geometry import Located, check_range, locate
from geofm_assets.labels.points import (
    PointsResult,
    assemble,
    blank_to_null,
    point_table,
    to_float64,
    to_int64,
)
from geofm_assets.labels.refusals import Refusals
from geofm_assets.labels.schema import QUARANTINED_ROW
from geofm_assets.labels.worldcereal.collections import UNSTATED, normalise_id

SIMULATED_COLUMN = "simulated"
_TRUE = pa.array(["true", "1", "yes", "t", "y"])
_OPTIONAL_COLUMNS = ("quality_score_lc", "quality_score_ct", "irrigation_status", "extract")
_TEXT_CHARACTERS = 1000  # of a malformed row kept
_DEFAULT_LON, _DEFAULT_LAT = "lon", "lat"
_ALIASES = {
    "lon": ("lon", "longitude", "lng", "long", "x"),
    "lat": ("lat", "latitude", "y"),
    "label": (
        *("label", "class", "class_name", "category", "crop_type", "crop", "landcover"),
        *("land_cover", "ewoc_code", "type", "name"),
    ),
    "valid_time": ("valid_time", "date", "valid_date", "obs_date", "time", "timestamp", "datetime"),
    "sample_id": ("sample_id", "sampleid", "id", "uid", "uuid", "fid"),
}


def csv_collection(file: Path) -> dict[str, Any]:
    """The COLLECTION row of a label file.

    Nobody vouches for it, so both confidences are null, and so is the box. `modified_at` is the
    sha256 of the content, so that copying or touching the file changes nothing. It counts as
    simulated if a column `simulated` is true in any row.

    Raises:
        LabelFileError: the file cannot be read.
    """
    table = open_table(file)
    rows, simulated = 0, False
    for batch in table.batches():
        rows += batch.num_rows
        if SIMULATED_COLUMN in table.columns:
            simulated |= bool(_truth(batch.column(SIMULATED_COLUMN)).any())
    digest = sha256_file(file)
    try:
        collection_id = normalise_id(file.stem)
    except LabelFileError:  # a name in another script
        collection_id = f"file{digest[:12]}"
    return {
        "collection_id": collection_id,
        "rdm_id": file.name,
        "title": file.stem,
        "feature_count": rows + len(table.malformed),
        "type": UNSTATED if table.geometry else "Point",
        "access_type": UNSTATED,
        "observation_method": UNSTATED,
        "confidence_land_cover": None,
        "confidence_crop_type": None,
        "modified_at": f"sha256:{digest}",
        "west": None,
        "south": None,
        "east": None,
        "north": None,
        "simulated": simulated,
    }


def read_points(file: Path, columns: ColumnMap, collection: dict[str, Any]) -> PointsResult:
    """Every row of a label file as a reference point or as a quarantined row.

    A row is quarantined for the first of these that applies: malformed_row (CSV: too many or too
    few fields), missing_sample_id (if a column is mapped), the reasons of `geometry.locate`,
    bad_coordinates, missing_label, bad_date, duplicate_sample_id. Without an id column the id
    follows from lon, lat, day and label, so that a row said twice is a duplicate.

    Args:
        file: CSV or GeoParquet, EPSG:4326 degrees.
        columns: which column holds what.
        collection: a COLLECTION row, see `csv_collection`.

    Raises:
        LabelFileError: the file cannot be read or lacks a mapped column.
    """
    table = open_table(file)
    columns = _resolve(table, columns)
    parts: list[pa.Table] = []
    refused: list[pa.Table] = []
    row = 0
    for batch in table.batches():
        points, quarantine = _read_batch(batch, columns, collection, table.geometry, row)
        parts.append(points)
        refused.append(quarantine)
        row += batch.num_rows
    total = row + len(table.malformed)
    if table.malformed:
        # Batches count well-formed rows only; give every row its number in the file.
        numbers = np.delete(np.arange(total, dtype=np.int64), sorted(table.malformed))
        parts = [_renumber(part, numbers) for part in parts]
        refused = [_renumber(part, numbers) for part in refused]
        refused.append(_malformed(table, collection["collection_id"]))
    return assemble(parts, refused, total)


def infer_columns(file: Path) -> ColumnMap:
    """Guess which column holds what, by their usual names in any case.

    Raises:
        LabelFileError: the file cannot be read, or label, day or place are under none of them.
    """
    table = open_table(file)
    by_name = {name.strip().lower(): name for name in reversed(table.columns)}
    found = {
        role: next((by_name[alias] for alias in aliases if alias in by_name), None)
        for role, aliases in _ALIASES.items()
    }
    if table.geometry is not None:
        found["lon"] = found["lat"] = None
    needed = [] if table.geometry else ["lon", "lat"]
    missing = [role for role in (*needed, "label", "valid_time") if found[role] is None]
    if missing:
        raise LabelFileError(
            f"No column looks like {', '.join(missing)} (it has {', '.join(table.columns)})",
            where=str(file),
            fix="Rename the columns, or write labels.columns of the task file by hand",
        )
    return ColumnMap.model_validate({k: v for k, v in found.items() if v is not None})


def distinct_labels(file: Path, columns: ColumnMap) -> list[str]:
    """The labels of a file, stripped, sorted, blank ones left out.

    Raises:
        LabelFileError: the file cannot be read or lacks the label column.
    """
    table = open_table(file)
    table.require(columns.label)
    labels: set[str] = set()
    for batch in table.batches():
        labels |= set(pc.unique(blank_to_null(batch.column(columns.label))).to_pylist())
    return sorted(label for label in labels if label is not None)


def _resolve(table: LabelTable, columns: ColumnMap) -> ColumnMap:
    """The map with lon and lat filled in unless the geometry is meant; all columns exist."""
    if columns.lon is None and table.geometry is None:
        columns = columns.model_copy(update={"lon": _DEFAULT_LON, "lat": _DEFAULT_LAT})
    wanted = (columns.lon, columns.lat, columns.label, columns.valid_time, columns.sample_id)
    table.require(*(name for name in wanted if name is not None))
    return columns


def _read_batch(
    batch: pa.RecordBatch,
    columns: ColumnMap,
    collection: dict[str, Any],
    geometry: str | None,
    first_row: int,
) -> tuple[pa.Table, pa.Table]:
    size = batch.num_rows
    collection_id = collection["collection_id"]
    refusals = Refusals(size)
    sample_ids = None
    if columns.sample_id is not None:
        sample_ids = blank_to_null(batch.column(columns.sample_id))
        refusals.add(
            np.asarray(sample_ids.is_null()), why.MISSING_SAMPLE_ID, f"{columns.sample_id} is blank"
        )
    located = _locate(batch, columns, geometry, refusals)
    check_range(located.lon, located.lat, refusals)
    labels = blank_to_null(batch.column(columns.label))
    refusals.add(np.asarray(labels.is_null()), why.MISSING_LABEL, f"{columns.label} is blank")
    days = parse_dates(batch.column(columns.valid_time))
    refusals.add(
        np.isnat(days),
        why.BAD_DATE,
        lambda i: (
            f"{columns.valid_time} {batch.column(columns.valid_time)[i].as_py()!r} "
            "is not an ISO 8601 day"
        ),
    )
    keep = ~refusals.refused
    quarantine = refusals.to_table(batch, collection_id, first_row, sample_ids, geometry)
    if sample_ids is None:
        sample_ids = _content_ids(collection_id, located, days, labels, keep)
    simulated = np.full(size, bool(collection["simulated"]))
    if SIMULATED_COLUMN in batch.schema.names:
        simulated = _truth(batch.column(SIMULATED_COLUMN))
    values: dict[str, pa.Array | np.ndarray] = {
        "sample_id": sample_ids,
        "collection_id": pa.repeat(pa.scalar(collection_id, pa.string()), size),
        "lon": located.lon,
        "lat": located.lat,
        "h3_l3_cell": cell_strings(cell_ids(located.lon, located.lat, H3_SOURCE_RESOLUTION)),
        "valid_time": pa.array(days, pa.date32()),
        "label_raw": labels,
        "point_rule": located.rule_names(),
        "simulated": simulated,
        "source_row": np.arange(first_row, first_row + size, dtype=np.int64),
    }
    for name in _OPTIONAL_COLUMNS:
        if name in batch.schema.names:
            values[name] = to_int64(batch.column(name))
    return point_table(values, keep), quarantine


def _locate(
    batch: pa.RecordBatch, columns: ColumnMap, geometry: str | None, refusals: Refusals
) -> Located:
    if columns.lon is None or columns.lat is None:
        return locate(batch.column(geometry), refusals)
    lon, lat = to_float64(batch.column(columns.lon)), to_float64(batch.column(columns.lat))
    lon_name, lat_name = columns.lon, columns.lat
    refusals.add(
        ~(np.isfinite(lon) & np.isfinite(lat)),
        why.BAD_COORDINATES,
        lambda i: (
            f"{lon_name} {batch.column(lon_name)[i].as_py()!r}, "
            f"{lat_name} {batch.column(lat_name)[i].as_py()!r} are not two numbers"
        ),
    )
    return Located(lon, lat, np.zeros(batch.num_rows, dtype=np.int8))


def _content_ids(
    collection_id: str, located: Located, days: np.ndarray, labels: pa.Array, keep: np.ndarray
) -> pa.Array:
    """Ids from what a row says; null where the row is not kept."""
    digest = xxhash.xxh3_128_hexdigest
    ids: list[str | None] = [None] * len(keep)
    lon, lat, texts = located.lon.tolist(), located.lat.tolist(), labels.to_pylist()
    for i in np.flatnonzero(keep).tolist():
        content = f"{lon[i]!r},{lat[i]!r},{days[i]},{texts[i]}"
        ids[i] = f"{collection_id}_{digest(content.encode())}"
    return pa.array(ids, pa.string())


def _truth(column: pa.Array) -> np.ndarray:
    if pa.types.is_boolean(column.type):
        return np.asarray(pc.fill_null(column, False))
    text = pc.utf8_lower(pc.utf8_trim_whitespace(column.cast(pa.string())))
    return np.asarray(pc.fill_null(pc.is_in(text, value_set=_TRUE), False))


def _renumber(part: pa.Table, numbers: np.ndarray) -> pa.Table:
    index = part.schema.get_field_index("source_row")
    rows = numbers[part["source_row"].to_numpy()]
    return part.set_column(index, part.schema.field(index), pa.array(rows, pa.int64()))


def _malformed(table: LabelTable, collection_id: str) -> pa.Table:
    rows = [
        {
            "collection_id": collection_id,
            "source_row": number,
            "sample_id": None,
            "reason": why.MALFORMED_ROW,
            "detail": f"the row does not have {len(table.columns)} fields",
            "row_json": json.dumps({"text": text[:_TEXT_CHARACTERS]}, ensure_ascii=False),
        }
        for number, text in sorted(table.malformed.items())
    ]
    return pa.Table.from_pylist(rows, schema=QUARANTINED_ROW)
