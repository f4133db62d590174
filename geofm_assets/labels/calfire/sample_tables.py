"""The tables of a fire year's samples."""

import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from geofm_assets.labels.calfire.fires import COLUMNS, Fires
from geofm_assets.labels.calfire.grid import Places
from geofm_assets.labels.calfire.sample_schema import FAR, LABELS, SAMPLE
from geofm_assets.labels.calfire.schema import collection_id
from geofm_assets.labels.calfire.utm import polygons_to_utm
from geofm_assets.labels.cells import H3_SOURCE_RESOLUTION, cell_ids, cell_strings
from geofm_assets.labels.schema import QUARANTINED_ROW, REFERENCE_POINT


@dataclass(frozen=True)
class Kind:
    """Samples of one kind, N of them.

    Attributes:
        kind: burnt, ring or far.
        places: where they are; `fire` is the row of the fire.
        day: (N,) int64, days since 1970, of valid_time.
        rule: N values of `point_rule`.
        stratum: N strata; None but for far samples.
    """

    kind: str
    places: Places
    day: np.ndarray
    rule: list[str]
    stratum: list[str | None]


def sample_table(kinds: list[Kind], fires: Fires, year: int, simulated: bool) -> pa.Table:
    """SAMPLE rows.

    Args:
        kinds: the samples.
        fires: those `places.fire` is the row of.
        year: fire year.
        simulated: whether any of the fires is made up.
    """
    tables = [SAMPLE.empty_table()]
    for kind in kinds:
        places, far = kind.places, kind.kind == FAR
        size = len(places)
        at = np.zeros(0, np.int64) if far else places.fire
        ids = pa.array(places.id.tolist(), pa.string())
        columns = {
            "sample_id": ids,
            "fire_id": pa.nulls(size, pa.string()) if far else fires.fire_id[at].tolist(),
            "group_id": ids if far else fires.group_id[at].tolist(),
            "kind": [kind.kind] * size,
            "fire_year": np.full(size, year),
            "distance_m": pa.nulls(size, pa.float64()) if far else _to_edge(places, fires),
            "area_ha": pa.nulls(size, pa.float64()) if far else fires.area_ha[at],
            "stratum": kind.stratum,
            "lon": places.lon,
            "lat": places.lat,
            "valid_time": pa.array(kind.day.astype(np.int32)).cast(pa.date32()),
            "simulated": np.full(size, simulated),
        }
        tables.append(pa.table(columns, schema=SAMPLE))
    return pa.concat_tables(tables).sort_by("sample_id").combine_chunks()


def _to_edge(places: Places, fires: Fires) -> np.ndarray:
    """Metres from each place to the edge of its fire's perimeter."""
    metres = np.zeros(len(places))
    for epsg in np.unique(places.epsg).tolist():
        here = np.flatnonzero(places.epsg == epsg)
        rows, number = np.unique(places.fire[here], return_inverse=True)
        edges = shapely.boundary(polygons_to_utm(epsg, fires.geometry[rows]))
        shapely.prepare(edges)
        points = shapely.points(places.x[here], places.y[here])
        metres[here] = shapely.distance(edges[number], points)
    return metres


def point_table(samples: pa.Table, kinds: list[Kind], year: int) -> pa.Table:
    """REFERENCE_POINT rows of SAMPLE rows; `source_row` is the row in `samples`."""
    rules = {i: r for k in kinds for i, r in zip(k.places.id.tolist(), k.rule, strict=True)}
    size = samples.num_rows
    cells = cell_ids(samples["lon"].to_numpy(), samples["lat"].to_numpy(), H3_SOURCE_RESOLUTION)
    made = {
        "collection_id": pa.repeat(pa.scalar(collection_id(year)), size),
        "h3_l3_cell": cell_strings(cells),
        "label_raw": pa.array([LABELS[k] for k in samples["kind"].to_pylist()], pa.string()),
        "point_rule": pa.array([rules[i] for i in samples["sample_id"].to_pylist()], pa.string()),
        "source_row": pa.array(np.arange(size)),
    }
    columns = [
        made[f.name]
        if f.name in made
        else samples[f.name]
        if f.name in SAMPLE.names
        else pa.nulls(size, f.type)
        for f in REFERENCE_POINT
    ]
    return pa.table(columns, schema=REFERENCE_POINT).combine_chunks()


def quarantine_table(
    perimeters: pa.Table, refused: dict[str, tuple[str, str]], year: int
) -> pa.Table:
    """QUARANTINED_ROW of fires without a sample, sorted by fire_id.

    Args:
        perimeters: PERIMETER rows.
        refused: reason and detail by fire_id.
        year: fire year.
    """
    said = [c for c in COLUMNS if c != "geometry"]
    ids = pa.array(sorted(refused), pa.string())
    at = pc.index_in(ids, perimeters["fire_id"].combine_chunks())
    rows = perimeters.select(said).take(at).to_pylist()
    made = [
        {
            "collection_id": collection_id(year),
            "source_row": row["source_row"],
            "sample_id": row["fire_id"],
            "reason": refused[row["fire_id"]][0],
            "detail": refused[row["fire_id"]][1],
            "row_json": json.dumps(row, default=str, ensure_ascii=False),
        }
        for row in rows
    ]
    return pa.Table.from_pylist(made, schema=QUARANTINED_ROW)
