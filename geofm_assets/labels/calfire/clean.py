"""From the rows of a fire year to its perimeters: what is repaired, what is refused."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
import xxhash

from geofm_assets.labels import refusals as why
from geofm_assets.labels.calfire.columns import EPOCH_DAY, stated_years
from geofm_assets.labels.calfire.duplicates import refuse_duplicates
from geofm_assets.labels.calfire.groups import group_ids, normalised
from geofm_assets.labels.calfire.schema import PERIMETER, collection_id
from geofm_assets.labels.calfire.shapes import Shapes, clean_shapes, shape_hash
from geofm_assets.labels.dates import parse_dates
from geofm_assets.labels.points import to_float64, to_int64
from geofm_assets.labels.refusals import Refusals
from geofm_assets.labels.schema import QUARANTINED_ROW

MISSING_DATE = "missing_contained_date"
EPOCH_DATE = "epoch_date"
DATE_OUT_OF_YEAR = "date_out_of_year"
REVERSED_DATES = "reversed_dates"
MISSING_YEAR = "missing_year"

_ACRES_PER_HA = 2.471053814671653  # 1 international acre = 4046.8564224 m2
_AREA_TOLERANCE = 0.1
_TEXTS = ("state", "agency", "unit_id", "fire_name", "complex_id", "complex_name")


@dataclass(frozen=True)
class CleanYear:
    """What the rows of a fire year came to.

    Attributes:
        perimeters: PERIMETER, sorted by fire_id.
        quarantine: QUARANTINED_ROW, in the order of the rows: those that are no perimeter, and
            fires that no sample can be drawn from (`dated` false).
        counts: rows read, rows kept, and how many were repaired, by repair.
    """

    perimeters: pa.Table
    quarantine: pa.Table
    counts: dict[str, int]


@dataclass(frozen=True)
class _Dates:
    """Dates of a batch: datetime64[D], shape (n,), NaT where unknown; why fires are undated."""

    alarm: np.ndarray
    contained: np.ndarray
    problems: Refusals
    alarms_dropped: np.ndarray


def clean_year(records: pa.Table, year: int) -> CleanYear:
    """Perimeters of one fire year, independent of the order of its rows.

    A row is refused for its geometry (see `shapes.clean_shapes`) or as a duplicate (see
    `duplicates.refuse_duplicates`). A fire whose containment date is missing, unreadable,
    1970-01-01, in another year than the fire's or the next, or before its alarm, is kept undated,
    since it burnt, and put in quarantine as well, since no sample can be drawn from it. An alarm
    date that cannot be is dropped.

    Args:
        records: RECORD, all of this fire year.
        year: the fire year.
    """
    records = records.combine_chunks()
    size = records.num_rows
    refusals = Refusals(size)
    shapes = clean_shapes(_column(records, "geometry"), refusals)
    dates = _dates(records, year)
    ids = _fire_ids(records, shapes, year)
    refuse_duplicates(
        records, shapes.geometries, dates.problems.refused, ids, _incidents(records), refusals
    )
    keep = np.flatnonzero(~refusals.refused)
    keep = np.array(sorted(keep.tolist(), key=lambda row: str(ids[row])), dtype=np.int64)
    undated = dates.problems.refused & ~refusals.refused
    perimeters = _perimeters(records, shapes, dates, ids, year, keep)
    counts = {
        "rows_read": size,
        "perimeters": len(keep),
        "undated": int(undated.sum()),
        "alarm_dates_dropped": int(dates.alarms_dropped[keep].sum()),
        "years_from_dates": stated_years(records["year"]).take(pa.array(keep)).null_count,
        "rings_made_valid": shapes.made_valid,
        "heights_dropped": shapes.height_dropped,
        "lines_and_points_dropped": shapes.polygons_kept,
        "acres_disagree": _disagree(perimeters),
    }
    fires = ~_column(records, "prescribed").to_numpy(zero_copy_only=False)
    quarantine = _quarantine(records, ids, year, refusals, dates.problems, undated & fires)
    return CleanYear(perimeters, quarantine, counts)


def without_year(records: pa.Table) -> pa.Table:
    """QUARANTINED_ROW of rows whose fire year is stated nowhere."""
    refusals = Refusals(records.num_rows)
    refusals.add(
        np.asarray(records["fire_year"].is_null()),
        MISSING_YEAR,
        lambda i: f"year {records['year'][i].as_py()!r} is none, and no date has one",
    )
    return _numbered(refusals.to_table(records, "frap", 0, None, "geometry"), records)


def _column(records: pa.Table, name: str) -> pa.Array:
    """A column as one array."""
    return records[name].combine_chunks()


def _dates(records: pa.Table, year: int) -> _Dates:
    alarm = parse_dates(_column(records, "alarm_date"))
    contained = parse_dates(_column(records, "contained_date"))
    stated = records["contained_date"]
    epoch = np.datetime64(EPOCH_DAY)
    dropped = ~np.isnat(alarm) & ((alarm == epoch) | ~_in_years(alarm, year - 1, year))
    alarm[dropped] = np.datetime64("NaT")
    problems = Refusals(records.num_rows)
    problems.add(np.asarray(stated.is_null()), MISSING_DATE, "the containment date is missing")
    problems.add(
        np.isnat(contained),
        why.BAD_DATE,
        lambda i: f"containment date {stated[i].as_py()!r} is not an ISO 8601 day",
    )
    problems.add(contained == epoch, EPOCH_DATE, "the containment date is 1970-01-01, day zero")
    problems.add(
        ~_in_years(contained, year, year + 1),
        DATE_OUT_OF_YEAR,
        lambda i: f"contained on {contained[i]}, but the fire is of {year}",
    )
    problems.add(
        contained < alarm,
        REVERSED_DATES,
        lambda i: f"contained on {contained[i]}, before its alarm on {alarm[i]}",
    )
    contained[problems.refused] = np.datetime64(f"{year:04}-12-31")
    return _Dates(alarm, contained, problems, dropped)


def _in_years(days: np.ndarray, first: int, last: int) -> np.ndarray:
    years = days.astype("datetime64[Y]").astype(np.int64) + 1970
    return (years >= first) & (years <= last)


def _fire_ids(records: pa.Table, shapes: Shapes, year: int) -> list[str | None]:
    """Ids that stay when the source is published again; None where a row has nothing to go by.

    From `global_id`, else from what the row says and its polygons. FRAP numbers OBJECTID anew in
    every release, and perimeters of an incident share its IRWINID, so neither will do.
    """
    said = records.select(["agency", "unit_id", "fire_name", "alarm_date", "contained_date"])
    rows = zip(
        records["prescribed"].to_pylist(),
        records["global_id"].to_pylist(),
        said.to_pylist(),
        shapes.geometries,
        strict=True,
    )
    ids: list[str | None] = []
    for prescribed, global_id, values, geometry in rows:
        key = normalised(global_id)
        if key is None and geometry is not None:
            content = json.dumps([*values.values(), shape_hash(geometry)])
            key = xxhash.xxh3_64_hexdigest(content.encode())
        ids.append(f"{'rx' if prescribed else ''}{year}_{key}" if key else None)
    return ids


def _perimeters(
    records: pa.Table,
    shapes: Shapes,
    dates: _Dates,
    ids: Sequence[str | None],
    year: int,
    keep: np.ndarray,
) -> pa.Table:
    rows = records.take(pa.array(keep))
    fire_ids = [ids[i] or "" for i in keep]
    geometries = shapes.geometries[keep]
    cause = to_int64(_column(rows, "cause"))
    acres = to_float64(_column(rows, "acres"))
    known = np.isfinite(acres) & (acres >= 0)
    texts = {name: rows[name] for name in _TEXTS}
    groups = group_ids(
        fire_ids,
        year,
        rows["complex_id"].to_pylist(),
        rows["complex_name"].to_pylist(),
        _incidents(rows),
    )
    size = len(keep)
    columns = {
        **texts,
        "fire_id": pa.array(fire_ids, pa.string()),
        "fire_year": pa.array(np.full(size, year, dtype=np.int64)),
        "cause": pc.if_else(pc.greater_equal(cause, 1), cause, pa.scalar(None, pa.int64())),
        "group_id": pa.array(groups, pa.string()),
        "alarm_date": pa.array(dates.alarm[keep], pa.date32()),
        "contained_date": pa.array(dates.contained[keep], pa.date32()),
        "acres_stated": pa.array(np.where(known, acres, 0.0), mask=~known),
        "area_ha": pa.array(shapes.area_ha[keep]),
        "parts": pa.array(shapely.get_num_geometries(geometries).astype(np.int64)),
        "prescribed": rows["prescribed"],
        "source_row": rows["source_row"],
        "source_layer": rows["source_layer"],
        "simulated": rows["simulated"],
        "geometry": pa.array(shapely.to_wkb(geometries), pa.binary()),
        "dated": pa.array(~dates.problems.refused[keep]),
    }
    table = pa.table([columns[name] for name in PERIMETER.names], schema=PERIMETER)
    return table.combine_chunks()


def _incidents(rows: pa.Table) -> list[list[str | None]]:
    """Ids of the incident of each row, of each kind."""
    return [rows["irwin_id"].to_pylist(), _unit_numbers(rows)]


def _unit_numbers(rows: pa.Table) -> list[str | None]:
    """Unit and its number of the incident; None where either says nothing."""
    stated = zip(rows["unit_id"].to_pylist(), rows["inc_num"].to_pylist(), strict=True)
    both = [(normalised(unit), normalised(number)) for unit, number in stated]
    return [f"{unit}{number}" if unit and number else None for unit, number in both]


def _disagree(perimeters: pa.Table) -> int:
    """Perimeters whose stated acres are more than a tenth off their polygons' area."""
    stated = to_float64(_column(perimeters, "acres_stated"))
    acres = perimeters["area_ha"].to_numpy() * _ACRES_PER_HA
    with np.errstate(invalid="ignore"):
        return int((np.abs(stated - acres) > _AREA_TOLERANCE * acres).sum())


def _quarantine(
    records: pa.Table,
    ids: Sequence[str | None],
    year: int,
    refusals: Refusals,
    problems: Refusals,
    unsampled: np.ndarray,
) -> pa.Table:
    """Rows refused, and those of the problems' rows that no sample is drawn from."""
    said = (collection_id(year), 0, pa.array(ids, pa.string()), "geometry")
    dates = problems.to_table(records, *said)
    dates = dates.filter(pa.array(unsampled[dates["source_row"].to_numpy()]))
    both = pa.concat_tables([refusals.to_table(records, *said), dates])
    return _numbered(both.sort_by("source_row"), records)


def _numbered(quarantine: pa.Table, records: pa.Table) -> pa.Table:
    """Rows by their number in their source, not in `records`."""
    numbers = records["source_row"].take(quarantine["source_row"])
    index = QUARANTINED_ROW.get_field_index("source_row")
    return quarantine.set_column(index, QUARANTINED_ROW.field(index), numbers)
