"""One fire, one perimeter: which rows of a year say again what another row says."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import shapely

from geofm_assets.labels.calfire.groups import normalised
from geofm_assets.labels.calfire.shapes import shape_hash
from geofm_assets.labels.refusals import Refusals

DUPLICATE_FIRE_ID = "duplicate_fire_id"
DUPLICATE_PERIMETER = "duplicate_perimeter"
NEAR_DUPLICATE = "near_duplicate_perimeter"

SAME_FIRE_IOU = 0.9
"""Intersection over union from which two perimeters of one name or incident are one fire, mapped
twice. Lines drawn of one fire by two agencies differ by some per cent of its area; a fire that
grew, or two parts of an incident, by more."""


def refuse_duplicates(
    records: pa.Table,
    geometries: np.ndarray,
    undated: np.ndarray,
    ids: Sequence[str | None],
    incidents: Sequence[Sequence[str | None]],
    refusals: Refusals,
) -> None:
    """Refuse all but one of the rows of a year that are the same fire.

    They have the same id, or the same polygons, or nearly the same polygons (`SAME_FIRE_IOU`) and
    the same name or incident. A dated row is kept before an undated one, then that of the lowest
    id. Prescribed burns are never the same as fires.

    Args:
        records: RECORD rows of one year, n of them.
        geometries: cleaned polygons, (n,); None where refused.
        undated: whether the day of containment is unknown, bool (n,).
        ids: fire_id of each row.
        incidents: ids of the incident, of one or several kinds, n of each.
        refusals: of these rows; added to.
    """
    prescribed = records["prescribed"].to_pylist()
    said = records.drop_columns(["source_row", "geometry"]).to_pylist()
    kept = np.flatnonzero(~refusals.refused).tolist()
    hashes = {row: shape_hash(geometries[row]) for row in kept}

    def rank(row: int) -> tuple[Any, ...]:
        text = json.dumps(said[row], sort_keys=True)
        return bool(undated[row]), ids[row] or "", hashes[row], text, row

    def refuse(row: int, reason: str, detail: str) -> None:
        alone = np.zeros(len(ids), dtype=bool)
        alone[row] = True
        refusals.add(alone, reason, detail)

    ranked = sorted(kept, key=rank)
    first: dict[tuple[Any, ...], int] = {}
    for row in ranked:
        keys = {
            DUPLICATE_FIRE_ID: ("id", ids[row]),
            DUPLICATE_PERIMETER: ("polygons", prescribed[row], hashes[row]),
        }
        found = next((reason for reason, key in keys.items() if key in first), None)
        if found is None:
            first |= dict.fromkeys(keys.values(), row)
            continue
        other = int(records["source_row"][first[keys[found]]].as_py())
        what = "id" if found == DUPLICATE_FIRE_ID else "polygons"
        refuse(row, found, f"row {other} has the same {what} and is kept")
    ranked = [row for row in ranked if not refusals.refused[row]]
    names = [normalised(name) for name in records["fire_name"].to_pylist()]
    keys_of = [names, *([normalised(i) for i in kind] for kind in incidents)]
    for row, other, share in _near_pairs(geometries, ranked):
        if refusals.refused[other] or prescribed[row] != prescribed[other]:
            continue
        if any(key[row] is not None and key[row] == key[other] for key in keys_of):
            detail = f"{share:.0%} of its area and that of {ids[other]} together is common to both"
            refuse(
                row,
                NEAR_DUPLICATE,
                f"{detail}; they have one name or incident, {ids[other]} is kept",
            )


def _near_pairs(geometries: np.ndarray, ranked: Sequence[int]) -> list[tuple[int, int, float]]:
    """Pairs of rows of nearly the same polygons: the later, the earlier by rank, and their IoU.

    In the order of the later, then of the earlier.
    """
    rows = np.array(ranked, dtype=np.int64)
    shapes = geometries[rows]
    # degrees will do: what scales an area there scales both alike
    area = shapely.area(shapes)
    later, earlier = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    alike = np.minimum(area[later], area[earlier]) >= SAME_FIRE_IOU * np.maximum(
        area[later], area[earlier]
    )
    pairs = (later > earlier) & alike
    later, earlier = later[pairs], earlier[pairs]
    common = shapely.area(shapely.intersection(shapes[later], shapes[earlier]))
    share = common / (area[later] + area[earlier] - common)
    order = [i for i in np.lexsort((earlier, later)).tolist() if share[i] >= SAME_FIRE_IOU]
    return [(int(rows[later[i]]), int(rows[earlier[i]]), float(share[i])) for i in order]
