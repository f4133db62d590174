"""The sample plan: which points of all collections are used, and in which split."""

import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any

import h3
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.core.errors import ConfigError, SchemaError
from geofm_assets.core.xxh3 import xxh3_64
from geofm_assets.sampling import quarantine as q
from geofm_assets.sampling.ai2_hash import split_by_ai2_hash
from geofm_assets.sampling.bottom_k import (
    cell_order,
    first_per_cell,
    repeats,
    require_unique_samples,
    run_starts,
    value_ranks,
)
from geofm_assets.sampling.candidates import CANDIDATES_PER_PLACE
from geofm_assets.sampling.config import SamplingConfig, SplitConfig
from geofm_assets.sampling.leakage import BUFFER, SPLITS, min_split_distances
from geofm_assets.sampling.places import one_per_place, one_per_sample
from geofm_assets.sampling.schema import CANDIDATE, CELL, SAMPLED_POINT
from geofm_assets.sampling.split import SplitResult, split_by_cell, split_class_counts
from geofm_assets.sampling.split_group import groups_of

_METRIC_MARGIN = 1.01


@dataclass(frozen=True)
class SamplePlan:
    """The sample of a task.

    Attributes:
        sample: SAMPLED_POINT rows.
        cells: CELL rows, one a sampling cell.
        quarantine: QUARANTINED_ROW rows that lost to a duplicate in another collection, sorted by
            collection_id, source_row, reason.
        report: how the split was made and what it came to, as JSON-encodable values.
    """

    sample: pa.Table
    cells: pa.Table
    quarantine: pa.Table
    report: dict[str, Any]


def make_plan(
    tables: list[pa.Table],
    sampling: SamplingConfig,
    split: SplitConfig,
    classes: tuple[str, ...],
    window_extent_m: float,
    prefer: tuple[int, int] | None = None,
    groups: pa.Table | None = None,
) -> SamplePlan:
    """Merge the candidates of all collections, draw the sample and split it.

    The order of `tables` and of their rows does not matter.

    Args:
        tables: CANDIDATE tables, one a collection.
        sampling: the settings the candidates were made with.
        split: how to divide the sample.
        classes: class names by id.
        window_extent_m: side of a window in metres.
        prefer: (resolution, salt) of an earlier plan, kept if it still serves, so that points
            already placed do not move when data is added. The plan then depends on history;
            None makes it a function of the data alone.
        groups: columns sample_id and group_id, of every sample that may be drawn; for
            `split.by: group` only.

    Raises:
        SplitError: no split serves; says what lacked.
        DuplicateSampleError: two rows share collection and `sample_id`.
        SchemaError: a table is not CANDIDATE, or was made with other settings; a sample to be split
            by group has none.
        ConfigError: `window_extent_m` is not positive.
    """
    if not window_extent_m > 0:
        raise ConfigError("A window has a positive size", where=f"{window_extent_m=}")
    merged = pa.concat_tables([CANDIDATE.empty_table(), *(_checked(t) for t in tables)])
    _require_settings(merged, sampling, classes)
    again = merged.filter(pa.array(repeats(merged["sample_key"].to_numpy())))
    require_unique_samples(again, ("collection_id", "sample_id"))
    drawn, quarantine = draw(merged, sampling.per_cell)
    promised = promised_distance_m(split, window_extent_m)
    if split.by == "ai2_hash":
        result = split_by_ai2_hash(drawn, classes)
    else:
        together = groups_of(drawn, groups) if split.by == "group" else None
        result = split_by_cell(drawn, split, classes, promised, prefer, together)
    sample = pa.Table.from_arrays(
        [*drawn.columns, pa.array(result.unit, pa.string()), pa.array(result.split, pa.string())],
        schema=SAMPLED_POINT,
    ).combine_chunks()
    report = _report(sample, result, split, classes, promised)
    report |= {"candidates": merged.num_rows, "duplicates": quarantine.num_rows}
    return SamplePlan(sample, cells_table(sample), quarantine, report)


def draw(merged: pa.Table, per_cell: int) -> tuple[pa.Table, pa.Table]:
    """The sample of a merge of candidates: bottom-k per cell, duplicates taken out.

    Of points at one place and date the lowest by (hash, sample_id, collection_id) stays. Of
    points sharing a `sample_id` the one of the first collection by name stays.

    Args:
        merged: CANDIDATE rows of any number of collections.
        per_cell: at most this many a cell.

    Returns:
        The sample, sorted as CANDIDATE, and the duplicates as QUARANTINED_ROW rows.
    """
    ties = ("sample_id", "collection_id")
    places, repeats = one_per_place(merged)
    order = cell_order(places, places["sample_key"].to_numpy(), ties)
    rows = places.take(pa.array(first_per_cell(places, order, CANDIDATES_PER_PLACE * per_cell)))
    rows, twice = one_per_sample(rows)
    order = cell_order(rows, rows["sample_key"].to_numpy(), ties)
    sample = rows.take(pa.array(first_per_cell(rows, order, per_cell))).combine_chunks()
    return sample, q.merge_quarantines([repeats, twice])


def cells_table(sample: pa.Table) -> pa.Table:
    """One CELL row per sampling cell of a SAMPLED_POINT table sorted by cell."""
    starts = run_starts(value_ranks(sample["h3_cell"]))
    ends = np.append(starts[1:], sample.num_rows).astype(np.int64)
    cell = np.repeat(np.arange(len(starts)), ends - starts)
    content = row_words(sample)
    header = json.dumps([[f.name, str(f.type)] for f in sample.schema]).encode()

    def counts(column: str) -> tuple[list[str], np.ndarray]:
        """Rows of each cell by the values of a column, (cells, values)."""
        coded = sample[column].combine_chunks().dictionary_encode()
        names = coded.dictionary.to_pylist()
        flat = cell * len(names) + np.asarray(coded.indices)
        found = np.bincount(flat, minlength=len(starts) * len(names))
        return names, found.reshape(len(starts), len(names))

    splits, per_split = counts("split")
    classes, per_class = counts("class_name")
    columns: dict[str, Any] = {
        "h3_cell": sample["h3_cell"].take(pa.array(starts)).combine_chunks(),
        "points": pa.array(ends - starts),
        "digest": [
            hashlib.sha256(header + content[start:end].tobytes()).hexdigest()
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        ],
        "class_counts": [
            json.dumps(
                {n: int(c) for n, c in zip(classes, row, strict=True) if c},
                sort_keys=True,
                ensure_ascii=False,
            )
            for row in per_class
        ],
    }
    for name in (*SPLITS, BUFFER):
        there = name in splits
        columns[name] = per_split[:, splits.index(name)] if there else np.zeros(len(starts), int)
    return pa.table([columns[name] for name in CELL.names], schema=CELL)


def row_words(table: pa.Table) -> np.ndarray:
    """Each row as 64-bit words, a null flag and a value a column: what digests of rows are of.

    Strings stand for themselves by their xxh3_64.

    Returns:
        uint64 (rows, 2 x columns).
    """
    words = np.zeros((table.num_rows, 2 * table.num_columns), dtype="<u8")
    for number, column in enumerate(table.columns):
        values = column.combine_chunks()
        if isinstance(values, pa.ChunkedArray):
            values = (
                pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
            )
        words[:, 2 * number] = np.asarray(values.is_null())
        if pa.types.is_string(values.type):
            words[:, 2 * number + 1] = xxh3_64(pc.fill_null(values, ""), 0)
        elif pa.types.is_floating(values.type):
            filled = pc.fill_null(values, 0.0).cast(pa.float64())
            words[:, 2 * number + 1] = filled.to_numpy().view(np.uint64)
        elif pa.types.is_boolean(values.type):
            words[:, 2 * number + 1] = np.asarray(pc.fill_null(values, False))
        else:
            whole = values.cast(pa.int32()) if pa.types.is_date32(values.type) else values
            filled = np.asarray(pc.fill_null(whole, 0))
            words[:, 2 * number + 1] = filled.astype(
                np.int64 if filled.dtype.kind == "i" else "<u8"
            )
    return words


def promised_distance_m(split: SplitConfig, window_extent_m: float) -> float:
    """Metres kept between points of different splits.

    Windows are squares of side e on one UTM grid: points at least sqrt(2) e apart on the map are
    e apart in x or in y, so their windows are disjoint. One per cent is added for what separates
    the map from the sphere: the ellipsoid (0.6 %) and the UTM scale (0.1 %). Across a zone border,
    where grids are turned against each other, the same distance keeps the windows' circumscribed
    circles apart, up to the rounding of a centre to its pixel. A larger `min_distance_m` is kept;
    a smaller one would let windows overlap and is not.
    """
    if split.by == "ai2_hash":
        return 0.0
    return max(split.min_distance_m or 0.0, math.sqrt(2) * window_extent_m * _METRIC_MARGIN)


def _report(
    sample: pa.Table,
    result: SplitResult,
    split: SplitConfig,
    classes: tuple[str, ...],
    promised: float,
) -> dict[str, Any]:
    counts = split_class_counts(sample, result.split, len(classes))
    totals = counts.sum(axis=1)
    lon, lat = sample["lon"].to_numpy(), sample["lat"].to_numpy()
    absent = [name for i, name in enumerate(classes) if counts[:, i].sum() == 0]
    wanted = {"train": 0.875, "val": 0.125, "test": 0.0}
    note = result.report["note"]
    if absent:
        note = f"{note} No point is of class {', '.join(absent)}.".strip()
    return {
        "by": split.by,
        **result.report,
        "seed": split.seed,
        "tolerance_asked": None if split.by == "ai2_hash" else split.tolerance,
        "fractions_wanted": wanted if split.by == "ai2_hash" else split.fractions.model_dump(),
        "fractions_got": {
            s: round(int(n) / int(totals.sum()), 6) for s, n in zip(SPLITS, totals, strict=True)
        },
        "points": sample.num_rows,
        "points_per_split": {s: int(n) for s, n in zip(SPLITS, totals, strict=True)},
        "class_balance": {
            s: {name: int(n) for name, n in zip(classes, row, strict=True)}
            for s, row in zip(SPLITS, counts, strict=True)
        },
        "absent_classes": absent,
        "cells": len(pc.unique(sample["h3_cell"])),
        "min_distance_m": min_split_distances(lon, lat, result.split),
        "min_distance_promised_m": promised,
        "buffered": int((result.split == BUFFER).sum()),
        "note": note,
    }


def _checked(table: pa.Table) -> pa.Table:
    if table.schema.remove_metadata() != CANDIDATE.remove_metadata():
        raise SchemaError(
            f"Not a table of candidates: its columns are {table.schema.names}", where="make_plan"
        )
    return table.replace_schema_metadata(None)


def _require_settings(merged: pa.Table, sampling: SamplingConfig, classes: tuple[str, ...]) -> None:
    """Candidates drawn with other settings cannot be merged."""
    fix = "Make the candidates of this collection again with the task's settings"
    by_collection = merged["collection_id"]

    def refuse(wrong: np.ndarray, what: str) -> None:
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise SchemaError(what, where=f"candidates of {by_collection[row]}", fix=fix)

    keys = xxh3_64(merged["sample_id"].combine_chunks(), sampling.seed)
    refuse(keys != merged["sample_key"].to_numpy(), f"Not ranked by seed {sampling.seed}")
    cells = merged["h3_cell"].combine_chunks().dictionary_encode()
    others = [h3.get_resolution(c) != sampling.h3_resolution for c in cells.dictionary.to_pylist()]
    wrong = np.array([*others, False], dtype=bool)[np.asarray(cells.indices)]
    refuse(wrong, f"Not in H3 cells of resolution {sampling.h3_resolution}")
    ids = merged["class_id"].to_numpy()
    named = merged["class_name"].combine_chunks().dictionary_encode()
    id_of = [classes.index(n) if n in classes else -1 for n in named.dictionary.to_pylist()]
    given = np.array([*id_of, -1])[np.asarray(named.indices)]
    refuse((given < 0) | (ids != given), f"Classes are not {', '.join(classes)}")
