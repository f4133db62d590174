"""Reference points of one WorldCereal collection, from its GeoParquet."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from geofm_assets.core.errors import LabelFileError
from geofm_assets.labels import refusals as why
from geofm_assets.labels.cells import (
    H3_SOURCE_RESOLUTION,
    cell_ids,
    coded_cells,
    near_cells,
    parse_cells,
)
from geofm_assets.labels.claimed_cells import claimed_cell_ids
from geofm_assets.labels.dates import parse_dates
from geofm_assets.labels.geometry import check_range, locate
from geofm_assets.labels.geoparquet import open_geoparquet
from geofm_assets.labels.points import (
    PointsResult,
    assemble,
    blank_to_null,
    point_table,
    to_int64,
)
from geofm_assets.labels.refusals import Refusals
from geofm_assets.labels.worldcereal.legend import code_strings, known_codes, parse_codes

REQUIRED_COLUMNS = ("sample_id", "ewoc_code", "valid_time")
OPTIONAL_COLUMNS = ("quality_score_lc", "quality_score_ct", "irrigation_status", "extract")
SOURCE_CELL = "h3_l3_cell"
BBOX_TOLERANCE_DEG = 0.01
"""How far outside its collection's bounding box a point may lie: listings round their boxes."""


def read_points(path: Path, collection: dict[str, Any]) -> PointsResult:
    """Every row of a collection's file as a reference point or as a quarantined row.

    Streams the file: geometries of one batch at a time are held, of the rest only the points.

    A row is quarantined for the first of these that applies: missing_sample_id, missing_geometry,
    unreadable_geometry, empty_geometry, unsupported_geometry, degenerate_geometry,
    swapped_coordinates, bad_coordinates, unknown_code (see `legend`), bad_date; and
    duplicate_sample_id, see `labels.points.assemble`. Coordinates count as swapped if the row's own
    `h3_l3_cell` is the cell of the swapped point, or, where that column does not settle it, if the
    point lies outside the collection's bounding box and the swapped one inside. Near the diagonal,
    where lon and lat are about equal, a swap moves a point less than a cell and cannot be told.

    Args:
        path: the full GeoParquet; WKB points or polygons in degrees.
        collection: a COLLECTION row.

    Raises:
        LabelFileError: the file is not Parquet, has no geometry, or lacks a required column.
    """
    parts = list(read_batches(path, collection))
    rows = sum(part.rows_read for part in parts)
    return assemble([p.points for p in parts], [p.quarantine for p in parts], rows)


def read_batches(path: Path, collection: dict[str, Any]) -> Iterator[PointsResult]:
    """`read_points` batch by batch, repeated ids left in; only one batch is held at a time.

    Yields:
        POINT_BATCH and QUARANTINED_ROW of each batch, in the order of the file.

    Raises:
        LabelFileError: as `read_points`.
    """
    file = open_geoparquet(path)
    geometry = file.require_geometry()
    file.require(*REQUIRED_COLUMNS)
    wanted = (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS, SOURCE_CELL, geometry)
    row = 0
    for batch in file.batches([name for name in file.columns if name in wanted]):
        points, quarantine = _read_batch(batch, collection, geometry, row)
        yield PointsResult(points, quarantine, batch.num_rows)
        row += batch.num_rows
    if row != file.rows:
        raise LabelFileError(f"Read {row} of {file.rows} rows", where=str(path))


def _read_batch(
    batch: pa.RecordBatch, collection: dict[str, Any], geometry: str, first_row: int
) -> tuple[pa.Table, pa.Table]:
    size = batch.num_rows
    refusals = Refusals(size)
    sample_ids = blank_to_null(batch.column("sample_id"))
    refusals.add(np.asarray(sample_ids.is_null()), why.MISSING_SAMPLE_ID, "sample_id is blank")
    located = locate(batch.column(geometry), refusals)
    source = parse_cells(batch.column(SOURCE_CELL)) if SOURCE_CELL in batch.schema.names else None
    claimed = np.zeros(size, np.uint64) if source is None else source
    cells = claimed_cell_ids(located.lon, located.lat, claimed, H3_SOURCE_RESOLUTION)
    _refuse_swapped(located.lon, located.lat, cells, source, collection, refusals)
    check_range(located.lon, located.lat, refusals)
    codes = parse_codes(batch.column("ewoc_code"))
    refusals.add(
        ~known_codes(codes),
        why.UNKNOWN_CODE,
        lambda i: f"ewoc_code {batch.column('ewoc_code')[i].as_py()!r} is not in the legend",
    )
    days = parse_dates(batch.column("valid_time"))
    refusals.add(
        np.isnat(days),
        why.BAD_DATE,
        lambda i: f"valid_time {batch.column('valid_time')[i].as_py()!r} is not an ISO 8601 day",
    )
    keep = ~refusals.refused
    columns: dict[str, pa.Array | np.ndarray] = {
        "sample_id": sample_ids,
        "collection_id": _same(collection["collection_id"], size),
        "lon": located.lon,
        "lat": located.lat,
        "h3_l3_cell": coded_cells(cells),
        "valid_time": pa.array(days, pa.date32()),
        "label_raw": code_strings(np.maximum(codes, 0)),
        "ewoc_code": codes,
        "point_rule": located.rule_names(),
        "simulated": np.full(size, bool(collection["simulated"])),
        "source_row": np.arange(first_row, first_row + size, dtype=np.int64),
    }
    for name in OPTIONAL_COLUMNS:
        if name in batch.schema.names:
            columns[name] = to_int64(batch.column(name))
    quarantine = refusals.to_table(
        batch, collection["collection_id"], first_row, sample_ids, geometry
    )
    return point_table(columns, keep), quarantine


def _same(value: str, size: int) -> pa.DictionaryArray:
    """One string in every row."""
    return pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(size, np.int32)), pa.array([value], pa.string())
    )


def _refuse_swapped(
    lon: np.ndarray,
    lat: np.ndarray,
    cells: np.ndarray,
    source: np.ndarray | None,
    collection: dict[str, Any],
    refusals: Refusals,
) -> None:
    """Refuse points that the row's own cell, or the collection's box, shows to be swapped."""
    open_rows = ~refusals.refused
    unsettled = open_rows
    if source is not None:
        asked = open_rows & (source != 0) & (source != cells)
        by_cell = np.zeros_like(asked)
        by_cell[asked] = cell_ids(lat[asked], lon[asked], H3_SOURCE_RESOLUTION) == source[asked]
        by_cell &= ~near_cells(cells, source, by_cell)
        refusals.add(
            by_cell,
            why.SWAPPED_COORDINATES,
            lambda i: f"lon {lon[i]}, lat {lat[i]}: {SOURCE_CELL} is the cell of lat, lon",
        )
        unsettled = open_rows & ~by_cell & (source != cells)
    box = [collection[side] for side in ("west", "south", "east", "north")]
    if any(value is None for value in box) or not unsettled.any():
        return
    here, there = _inside(lon, lat, box), _inside(lat, lon, box)
    refusals.add(
        unsettled & ~here & there,
        why.SWAPPED_COORDINATES,
        lambda i: f"lon {lon[i]}, lat {lat[i]} lie outside the collection's box, swapped inside",
    )


def _inside(lon: np.ndarray, lat: np.ndarray, box: list[float]) -> np.ndarray:
    """Whether points lie in a box w, s, e, n, which may cross the antimeridian (w > e)."""
    west, south, east, north = box
    pad = BBOX_TOLERANCE_DEG
    with np.errstate(invalid="ignore"):
        after, before = lon >= west - pad, lon <= east + pad
        across = (after | before) if west > east else (after & before)
        return across & (lat >= south - pad) & (lat <= north + pad)
