"""Which columns FRAP writes, and rows of any source with them as records."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.core.errors import LabelFileError
from geofm_assets.labels.calfire.config import PerimeterColumns
from geofm_assets.labels.calfire.schema import FIRST_FIRE_YEAR, LAST_FIRE_YEAR, RECORD
from geofm_assets.labels.dates import parse_dates
from geofm_assets.labels.points import blank_to_null, to_float64, to_int64

REQUIRED = ("year", "alarm_date", "contained_date")
FRAP_NAMES: Mapping[str, tuple[str, ...]] = {
    "year": ("YEAR_",),
    "alarm_date": ("ALARM_DATE",),
    "contained_date": ("CONT_DATE",),
    "global_id": ("GlobalID",),
    "irwin_id": ("IRWINID",),
    "inc_num": ("INC_NUM",),
    "state": ("STATE",),
    "agency": ("AGENCY",),
    "unit_id": ("UNIT_ID",),
    "fire_name": ("FIRE_NAME",),
    "cause": ("CAUSE",),
    "acres": ("GIS_ACRES",),
    # the second is the name until the 2023 release, the others what a shapefile leaves of them
    "complex_id": ("COMPLEX_ID", "COMPLEX_INCNUM", "COMPLEX_IN"),
    "complex_name": ("COMPLEX_NAME", "COMPLEX_NA"),
    "simulated": ("simulated",),
}
"""Names of FRAP's fire layer (`firep24_1`), in order of preference."""
PRESCRIBED_NAMES: Mapping[str, tuple[str, ...]] = {
    **FRAP_NAMES,
    "alarm_date": ("START_DATE",),
    "contained_date": ("END_DATE",),
    "fire_name": ("TREATMENT_NAME",),
}
"""Names of FRAP's prescribed burns (`rxburn24_1`), where they differ."""

EPOCH_DAY = "1970-01-01"
_DATES = ("alarm_date", "contained_date")
_GDAL_DAY = (r"^(\d{4})/(\d{2})/(\d{2})", r"\1-\2-\3")
_TRUE = pa.array(["true", "1", "yes", "t", "y"])
_DAY_NUMBERS = (19_000_101, 21_001_231)  # as epoch ms some hour of 1970-01-01, where no fire is


def find_columns(
    names: Sequence[str], columns: PerimeterColumns, prescribed: bool
) -> tuple[dict[str, str], list[str]]:
    """Column of each role, and the names that were looked for in vain.

    Args:
        names: of the source's columns.
        columns: what the task file says; it goes before FRAP's names.
        prescribed: whether the layer is one of prescribed burns.
    """
    by_lower = {name.lower(): name for name in reversed(names)}
    found: dict[str, str] = {}
    missing: list[str] = []
    for role, usual in (PRESCRIBED_NAMES if prescribed else FRAP_NAMES).items():
        stated = getattr(columns, role)
        wanted = (stated,) if stated else usual
        name = next((by_lower[w.lower()] for w in wanted if w.lower() in by_lower), None)
        if name is not None:
            found[role] = name
        elif stated or role in REQUIRED:
            missing.append(f"{wanted[0]} ({role})")
    return found, missing


def require_columns(
    names: Sequence[str], columns: PerimeterColumns, prescribed: bool, where: str
) -> dict[str, str]:
    """Column of each role.

    Raises:
        LabelFileError: the year, a date or a column the task file names is not there.
    """
    found, missing = find_columns(names, columns, prescribed)
    if missing:
        section = "prescribed_columns" if prescribed else "columns"
        raise LabelFileError(
            f"The perimeters have no column {', '.join(missing)}",
            where=where,
            fix=f"Name it in labels.calfire.{section}; there are {', '.join(names) or 'none'}",
        )
    return found


def to_records(
    attributes: Mapping[str, pa.Array],
    wkb: pa.Array,
    found: Mapping[str, str],
    *,
    layer: str,
    prescribed: bool,
) -> pa.Table:
    """Rows of a source as RECORD.

    Args:
        attributes: its columns by name, n values each.
        wkb: geometry in EPSG:4326, binary, n values; empty bytes for what could not be read.
        found: column of each role.
        layer: name of the layer.
        prescribed: whether its rows are prescribed burns.
    """
    size = len(wkb)
    values: dict[str, pa.Array] = {
        "source_layer": pa.repeat(pa.scalar(layer, pa.string()), size),
        "source_row": pa.array(np.arange(size, dtype=np.int64)),
        "prescribed": pa.repeat(pa.scalar(prescribed, pa.bool_()), size),
        "simulated": pa.repeat(pa.scalar(False, pa.bool_()), size),
        "geometry": wkb,
    }
    for role, name in found.items():
        column = attributes[name]
        if role == "simulated":
            text = pc.utf8_lower(pc.fill_null(blank_to_null(column), ""))
            values[role] = pc.is_in(text, value_set=_TRUE)
        else:
            values[role] = date_text(column) if role in _DATES else blank_to_null(column)
    for name in RECORD.names:
        values.setdefault(name, pa.nulls(size, RECORD.field(name).type))
    values["fire_year"] = _fire_years(values)
    return pa.Table.from_arrays([values[name] for name in RECORD.names], schema=RECORD)


def date_text(column: pa.Array) -> pa.Array:
    """Dates as text: numbers of eight digits as they are, others as epoch ms, text as it is.

    But GDAL's `2020/09/04 00:00:00`, in which it writes times to a shapefile, becomes ISO 8601.
    """
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return pc.replace_substring_regex(blank_to_null(column), *_GDAL_DAY)
    numbers = to_float64(column)
    finite = np.isfinite(numbers) & (np.abs(numbers) < 2**53)
    whole = np.where(finite, numbers, 0).astype(np.int64)
    days = whole.astype("datetime64[ms]").astype("datetime64[D]").astype(str)
    is_day = (whole >= _DAY_NUMBERS[0]) & (whole <= _DAY_NUMBERS[1])
    return pa.array(np.where(is_day, whole.astype(str), days), pa.string(), mask=~finite)


def stated_years(year: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Fire years as stated, int64; null where there is none between 1800 and 2100."""
    column = year.combine_chunks() if isinstance(year, pa.ChunkedArray) else year
    years = to_int64(column)
    fits = pc.and_(pc.greater_equal(years, FIRST_FIRE_YEAR), pc.less_equal(years, LAST_FIRE_YEAR))
    return pc.if_else(fits, years, pa.scalar(None, pa.int64()))


def _fire_years(values: Mapping[str, pa.Array]) -> pa.Array:
    """The stated year, else the alarm's, else that of the containment."""
    years = [stated_years(values["year"])]
    for role in _DATES:
        days = parse_dates(values[role])
        known = ~np.isnat(days) & (days != np.datetime64(EPOCH_DAY))
        numbers = days.astype("datetime64[Y]").astype(np.int64) + 1970
        years.append(pa.array(np.where(known, numbers, 0), pa.int64(), mask=~known))
    return pc.coalesce(*years)
