"""Perimeters as arrays: what samples and masks ask of them."""

import datetime as dt
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely

COLUMNS = [
    "fire_id", "group_id", "fire_year", "alarm_date", "contained_date", "area_ha", "prescribed",
    "dated", "source_row", "simulated", "geometry",
]  # fmt: skip
"""Columns of PERIMETER that are read."""

_EPOCH = dt.date(1970, 1, 1)


@dataclass(frozen=True)
class Fires:
    """N perimeters.

    Attributes:
        fire_id: (N,) object, strings.
        group_id: (N,) object, strings; complex or fire.
        year: (N,) int64.
        start: (N,) int64, days since 1970, of the alarm; where there is none, 1 January of the
            fire year or the day of containment, whichever is earlier: it may have burnt since.
        end: (N,) int64, days since 1970, of containment.
        area_ha: (N,) float64, hectares.
        prescribed: (N,) bool.
        dated: (N,) bool, whether the day of containment is known.
        source_row: (N,) int64.
        simulated: (N,) bool.
        geometry: (N,) polygons, degrees EPSG:4326.
    """

    fire_id: np.ndarray
    group_id: np.ndarray
    year: np.ndarray
    start: np.ndarray
    end: np.ndarray
    area_ha: np.ndarray
    prescribed: np.ndarray
    dated: np.ndarray
    source_row: np.ndarray
    simulated: np.ndarray
    geometry: np.ndarray

    def __len__(self) -> int:
        return len(self.fire_id)

    def take(self, rows: np.ndarray) -> Self:
        """The fires of some rows, by number or by mask."""
        return type(self)(*(getattr(self, f.name)[rows] for f in fields(self)))


def read_fires(perimeters: pa.Table) -> Fires:
    """PERIMETER rows as arrays, in the order of their fire_id.

    Args:
        perimeters: the columns of `COLUMNS`, in any order of rows.
    """
    table = perimeters.select(COLUMNS).sort_by("fire_id").combine_chunks()
    end = _days(table["contained_date"])
    new_year = pa.array([dt.date(int(y), 1, 1) for y in table["fire_year"].to_pylist()])
    earliest = np.minimum(_days(new_year.cast(pa.date32())), end)
    alarm = table["alarm_date"]
    start = np.where(
        pc.is_null(alarm).to_numpy(), earliest, _days(pc.fill_null(alarm, pa.scalar(_EPOCH)))
    )
    return Fires(
        fire_id=np.array(table["fire_id"].to_pylist(), dtype=object),
        group_id=np.array(table["group_id"].to_pylist(), dtype=object),
        year=table["fire_year"].to_numpy(),
        start=start.astype(np.int64),
        end=end,
        area_ha=table["area_ha"].to_numpy(),
        prescribed=table["prescribed"].to_numpy(),
        dated=table["dated"].to_numpy(),
        source_row=table["source_row"].to_numpy(),
        simulated=table["simulated"].to_numpy(),
        geometry=shapely.from_wkb(table["geometry"].to_numpy()),
    )


def _days(dates: pa.Array | pa.ChunkedArray) -> np.ndarray:
    days: np.ndarray = dates.cast(pa.int32()).to_numpy().astype(np.int64)
    return days
