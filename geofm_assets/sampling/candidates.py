"""Which points of one collection can become samples of a task.

Candidates are kept per collection, so a collection that is new, changed or gone is handled by
making or dropping its table and merging again (`plan.make_plan`); the others are not read.

The merge is exact: merging the candidates of the parts gives what the whole would give. The
items being ranked are places: (cell, lat, lon, valid_time), each represented by its point of
lowest (hash, sample_id, collection_id). The lowest of a union is the lowest of the parts'
lowest, and a place among the m lowest-ranked of the union is among the m lowest-ranked of the
part that holds its lowest point, because leaving out the other parts can only raise the ranks
of its rivals. So keeping m places a cell in every part loses nothing.

Two rows with one `sample_id` at different places are another matter: dropping one frees a place
in a cell that a bounded table may no longer be able to fill. They are therefore resolved after
the merge, among the m = `CANDIDATES_PER_PLACE` x per_cell lowest places of each cell; the
surplus is what refills the cell.
"""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.core.errors import SchemaError
from geofm_assets.core.hashing import keyed_hashes
from geofm_assets.labels.cells import cell_ids, cell_strings
from geofm_assets.labels.rules import IGNORED, UNKNOWN, LabelRule
from geofm_assets.labels.schema import REFERENCE_POINT
from geofm_assets.sampling import quarantine as q
from geofm_assets.sampling.bottom_k import (
    cell_order,
    first_per_cell,
    require_unique_samples,
    run_starts,
    value_ranks,
)
from geofm_assets.sampling.config import SamplingConfig
from geofm_assets.sampling.schema import CANDIDATE

CANDIDATES_PER_PLACE = 2


@dataclass(frozen=True)
class CandidatesResult:
    """Candidates of one collection.

    Attributes:
        table: CANDIDATE rows.
        quarantine: QUARANTINED_ROW rows, each with its reason.
        counts: rows read, set aside by reason, eligible, kept.
    """

    table: pa.Table
    quarantine: pa.Table
    counts: dict[str, int] = field(default_factory=dict)


def candidates(points: pa.Table, rule: LabelRule, config: SamplingConfig) -> CandidatesResult:
    """Apply the label rule and the quality limits, and keep what a merge may need.

    Args:
        points: REFERENCE_POINT rows of one collection.
        rule: gives each label its class.
        config: cell size, sample size, seed and quality limits.

    Raises:
        SchemaError: not a REFERENCE_POINT table, or a coordinate no point on Earth has.
        DuplicateSampleError: two rows share a `sample_id`.
    """
    _require_points(points)
    require_unique_samples(points, ("sample_id",))
    class_ids = np.asarray(rule.apply(points["label_raw"].combine_chunks()), dtype=np.int16)
    rejected, usable = _reject(points, class_ids, rule, config)
    kept = with_class_and_cell(points.filter(pa.array(usable)), class_ids[usable], rule, config)
    places, repeats = one_per_place(kept)
    limit = CANDIDATES_PER_PLACE * config.per_cell
    order = cell_order(places, places["sample_key"].to_numpy(), ties=("sample_id",))
    table = places.take(pa.array(first_per_cell(places, order, limit))).combine_chunks()
    rejected[q.DUPLICATE_LOCATION] = repeats
    counts = {"points": points.num_rows}
    counts |= {reason: rows.num_rows for reason, rows in rejected.items()}
    counts |= {"eligible": places.num_rows, "candidates": table.num_rows}
    return CandidatesResult(table, q.merge_quarantines(list(rejected.values())), counts)


def one_per_place(points: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Keep one point per (cell, lat, lon, valid_time): the lowest by hash, id, collection.

    Args:
        points: CANDIDATE rows, in any order.

    Returns:
        The kept rows, in no promised order, and the others as QUARANTINED_ROW rows.
    """
    keys = points["sample_key"].to_numpy()
    place = [
        points["valid_time"].cast(pa.int32()).to_numpy(),
        points["lon"].to_numpy(),
        points["lat"].to_numpy(),
        value_ranks(points["h3_cell"]),
    ]
    order = np.lexsort((keys, *place))
    starts = run_starts(*(column[order] for column in place))
    if len(starts) == points.num_rows:
        return points, q.quarantined(points.slice(0, 0), q.DUPLICATE_LOCATION, "")
    # somewhere a place holds two points, whose hashes may be equal: order them in full
    names = ("collection_id", "sample_id")
    order = np.lexsort((*(value_ranks(points[n]) for n in names), keys, *place))
    first = np.zeros(points.num_rows, dtype=bool)
    first[starts] = True
    winner = np.repeat(order[starts], np.diff(np.append(starts, len(order))))
    losers = points.take(pa.array(order[~first]))
    detail = pc.binary_join_element_wise(
        "same place and date as ", q.describe_rows(points, winner[~first]), ", which was kept", ""
    )
    return (
        points.take(pa.array(order[first])),
        q.quarantined(losers, q.DUPLICATE_LOCATION, detail),
    )


def h3_cells(points: pa.Table, resolution: int) -> pa.Array:
    """H3 cell of each point at a resolution, from its lon and lat."""
    return cell_strings(cell_ids(points["lon"].to_numpy(), points["lat"].to_numpy(), resolution))


def with_class_and_cell(
    points: pa.Table, class_ids: np.ndarray, rule: LabelRule, config: SamplingConfig
) -> pa.Table:
    """REFERENCE_POINT rows widened to CANDIDATE rows."""
    names = np.array(rule.classes, dtype=object)
    ids = points["sample_id"].to_pylist()
    added = [
        h3_cells(points, config.h3_resolution),
        pa.array(class_ids, pa.int16()),
        pa.array(names[class_ids], pa.string()),
        pa.array(keyed_hashes(ids, config.seed), pa.uint64()),
    ]
    return pa.Table.from_arrays([*points.columns, *added], schema=CANDIDATE)


def _reject(
    points: pa.Table, class_ids: np.ndarray, rule: LabelRule, config: SamplingConfig
) -> tuple[dict[str, pa.Table], np.ndarray]:
    """Rows set aside by reason, and which rows are left. A row is set aside once."""
    usable = np.ones(points.num_rows, dtype=bool)
    rejected: dict[str, pa.Table] = {}

    def set_aside(mask: np.ndarray, reason: str, column: str, text: str) -> None:
        nonlocal usable
        rows = points.filter(pa.array(mask & usable))
        value = pc.fill_null(pc.cast(rows[column].combine_chunks(), pa.string()), "none")
        detail = pc.binary_join_element_wise(f"{column} ", value, f": {text}", "")
        found = q.quarantined(rows, reason, detail)
        rejected[reason] = (
            pa.concat_tables([rejected[reason], found]) if reason in rejected else found
        )
        usable = usable & ~mask

    version = f"label rule {rule.label}"
    set_aside(class_ids == UNKNOWN, q.UNKNOWN_LABEL, "label_raw", f"{version} does not know it")
    set_aside(class_ids == IGNORED, q.IGNORED_LABEL, "label_raw", f"{version} leaves it out")
    limits = {"lc": config.min_quality_lc, "ct": config.min_quality_ct}
    for kind, least in limits.items():
        if least is None:
            continue
        column = f"quality_score_{kind}"
        score = points[column].combine_chunks()
        asked = f"sampling.min_quality_{kind} asks for {least}"
        missing = pc.is_null(score).to_numpy(zero_copy_only=False)
        set_aside(missing, q.MISSING_QUALITY, column, asked)
        low = pc.fill_null(pc.less(score, least), False).to_numpy(zero_copy_only=False)
        set_aside(low, q.LOW_QUALITY, column, asked)
    return rejected, usable


def _require_points(points: pa.Table) -> None:
    if points.schema.remove_metadata() != REFERENCE_POINT.remove_metadata():
        raise SchemaError(
            f"Not a table of reference points: its columns are {points.schema.names}",
            where="candidates",
            fix="Read the collection with labels' read_points",
        )
    for name, limit in (("lon", 180.0), ("lat", 90.0)):
        values = points[name].to_numpy()
        bad = np.flatnonzero(~(np.abs(values) <= limit))
        if len(bad):
            raise SchemaError(
                f"{len(bad)} values are outside -{limit:g} to {limit:g}",
                where=f"column {name}, row {bad[0]}",
                fix="Quarantine these rows where the labels are read",
            )
