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
from geofm_assets.core.xxh3 import xxh3_64
from geofm_assets.labels.cells import (
    H3_SOURCE_RESOLUTION,
    cell_ids,
    cell_strings,
    parse_cells,
)
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
from geofm_assets.sampling.places import one_per_place
from geofm_assets.sampling.schema import CANDIDATE, POINT_COLUMNS

CANDIDATES_PER_PLACE = 2
_MERGE_ROWS = 131_072  # rows that wait for a merge
_FIRST_LOOK = 4
_PLAIN_POINTS = pa.schema([REFERENCE_POINT.field(name) for name in POINT_COLUMNS])


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
    """`CandidateFold` of a whole table.

    Args:
        points: REFERENCE_POINT rows of one collection.
        rule: gives each label its class.
        config: cell size, sample size, seed and quality limits.

    Raises:
        SchemaError: not a REFERENCE_POINT table, or a coordinate no point on Earth has.
        DuplicateSampleError: two rows share a `sample_id`.
    """
    if points.schema.remove_metadata() != REFERENCE_POINT.remove_metadata():
        raise _not_points(points)
    require_unique_samples(points, ("sample_id",))
    fold = CandidateFold(rule, config)
    quarantine = fold.add(points)
    return CandidatesResult(fold.finish(), quarantine, fold.counts)


class CandidateFold:
    """Applies the label rule and the quality limits, and keeps what a merge may need.

    Points come batch by batch, in any order and any division; what is kept does not depend on it.
    A row whose key is above the highest of a cell that is full cannot enter it any more and is
    dropped at once, so the memory needed grows with the number of cells only. Of points at one
    place and date the one of lowest key stands for the place; the others stay in the reference
    points and are not listed.

    Args:
        rule: gives each label its class.
        config: cell size, sample size, seed and quality limits.

    Attributes:
        counts: rows read, set aside by reason, eligible, kept.
    """

    def __init__(self, rule: LabelRule, config: SamplingConfig) -> None:
        self.rule, self.config = rule, config
        self.limit = CANDIDATES_PER_PLACE * config.per_cell
        self.counts: dict[str, int] = {"points": 0}
        self._kept = CANDIDATE.empty_table()
        self._waiting: list[pa.Table] = []
        self._number: dict[int, int] = {}
        self._highest = np.zeros(0, dtype=np.uint64)

    def add(self, points: pa.Table) -> pa.Table:
        """Take rows of the collection.

        Args:
            points: columns of REFERENCE_POINT, strings plain or dictionary-coded.

        Returns:
            Those set aside, QUARANTINED_ROW, each with its reason.

        Raises:
            SchemaError: other columns, or a coordinate no point on Earth has.
        """
        _require_points(points)
        class_ids = _class_ids(points["label_raw"], self.rule)
        rejected, usable = _reject(points, class_ids, self.rule, self.config)
        keys = np.concatenate(
            [np.zeros(0, np.uint64)]
            + [xxh3_64(chunk, self.config.seed) for chunk in points["sample_id"].chunks]
        )
        cells = self._cells(points)
        numbers = self._numbers(cells)
        enters = usable & (keys <= self._highest[numbers])
        self._count(points.num_rows, rejected, int(usable.sum()))
        rows = np.flatnonzero(enters)
        low = self._surely_low(keys[rows], numbers[rows])
        self._wait(points, rows[low], class_ids, cells, keys)
        if not low.all():
            self._merge()
            # in a cell that is full by now nothing of the rest can enter
            rest = rows[~low]
            rest = rest[keys[rest] <= self._highest[numbers[rest]]]
            self._wait(points, rest, class_ids, cells, keys)
        if sum(table.num_rows for table in self._waiting) >= _MERGE_ROWS:
            self._merge()
        return q.merge_quarantines(list(rejected.values()))

    def finish(self) -> pa.Table:
        """The candidates, CANDIDATE rows."""
        self._merge()
        self.counts["candidates"] = self._kept.num_rows
        return self._kept

    def _surely_low(self, keys: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Rows worth looking at first where a batch has many of one cell: the lowest few.

        Keys are spread evenly, so about `_FIRST_LOOK` x limit rows of a cell lie below its share.
        """
        counts = np.bincount(numbers, minlength=len(self._highest)).astype(np.float64)
        share = np.minimum(_FIRST_LOOK * self.limit / np.maximum(counts, 1), 1.0)
        crowded = share < 1.0
        if not crowded.any():
            return np.ones(len(keys), dtype=bool)
        bound = np.full(len(counts), np.iinfo(np.uint64).max, dtype=np.uint64)
        bound[crowded] = (share[crowded] * 2.0**64).astype(np.uint64)
        return np.asarray(keys <= bound[numbers])

    def _wait(
        self,
        points: pa.Table,
        rows: np.ndarray,
        class_ids: np.ndarray,
        cells: np.ndarray,
        keys: np.ndarray,
    ) -> None:
        """Widen rows to CANDIDATE rows and keep them for the next merge."""
        if not len(rows):
            return
        chosen = points.select(POINT_COLUMNS).take(pa.array(rows)).cast(_PLAIN_POINTS)
        names = np.array(self.rule.classes, dtype=object)[class_ids[rows]]
        added = [
            cell_strings(cells[rows]),
            pa.array(class_ids[rows], pa.int16()),
            pa.array(names, pa.string()),
            pa.array(keys[rows]),
        ]
        self._waiting.append(pa.Table.from_arrays([*chosen.columns, *added], schema=CANDIDATE))

    def _cells(self, points: pa.Table) -> np.ndarray:
        if self.config.h3_resolution == H3_SOURCE_RESOLUTION:
            return parse_cells(points["h3_l3_cell"])
        lon, lat = points["lon"].to_numpy(), points["lat"].to_numpy()
        return cell_ids(lon, lat, self.config.h3_resolution)

    def _numbers(self, cells: np.ndarray) -> np.ndarray:
        """Each cell's own number, given in the order of appearance; none is full at first."""
        coded = pa.array(cells).dictionary_encode()
        for cell in coded.dictionary.to_pylist():
            self._number.setdefault(cell, len(self._number))
        new = len(self._number) - len(self._highest)
        fresh = np.full(new, np.iinfo(np.uint64).max, dtype=np.uint64)
        self._highest = np.concatenate([self._highest, fresh])
        known = np.array([self._number[c] for c in coded.dictionary.to_pylist()], dtype=np.int64)
        return known[np.asarray(coded.indices)]

    def _merge(self) -> None:
        """Bring what is waiting into what is kept."""
        merged = pa.concat_tables([self._kept, *self._waiting])
        self._waiting.clear()
        places, _ = one_per_place(merged)
        keys = places["sample_key"].to_numpy()
        order = cell_order(places, keys, ties=("sample_id",))
        self._kept = places.take(
            pa.array(first_per_cell(places, order, self.limit))
        ).combine_chunks()
        keys = self._kept["sample_key"].to_numpy()
        starts = run_starts(value_ranks(self._kept["h3_cell"]))
        ends = np.append(starts[1:], self._kept.num_rows) if len(starts) else starts
        cells = parse_cells(self._kept["h3_cell"].take(pa.array(starts)))
        for cell, start, end in zip(cells.tolist(), starts.tolist(), ends.tolist(), strict=True):
            if end - start >= self.limit:
                self._highest[self._number[cell]] = keys[end - 1]

    def _count(self, rows: int, rejected: dict[str, pa.Table], eligible: int) -> None:
        found = {"points": rows, "eligible": eligible}
        found |= {reason: table.num_rows for reason, table in rejected.items()}
        for name, count in found.items():
            self.counts[name] = self.counts.get(name, 0) + count


def _reject(
    points: pa.Table, class_ids: np.ndarray, rule: LabelRule, config: SamplingConfig
) -> tuple[dict[str, pa.Table], np.ndarray]:
    """Rows set aside by reason, and which rows are left. A row is set aside once."""
    usable = np.ones(points.num_rows, dtype=bool)
    rejected: dict[str, pa.Table] = {}

    def set_aside(mask: np.ndarray, reason: str, column: str, text: str) -> None:
        nonlocal usable
        rows = np.flatnonzero(mask & usable)
        found = q.set_aside(points.take(pa.array(rows)), reason, column, text)
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
        missing = np.asarray(pc.is_null(score))
        set_aside(missing, q.MISSING_QUALITY, column, asked)
        low = np.asarray(pc.fill_null(pc.less(score, least), False))
        set_aside(low, q.LOW_QUALITY, column, asked)
    return rejected, usable


def _class_ids(labels: pa.ChunkedArray, rule: LabelRule) -> np.ndarray:
    """Class of each label, int16 (n,)."""
    coded = labels
    if not pa.types.is_dictionary(labels.type):
        coded = labels.dictionary_encode()
    parts = [np.zeros(0, np.int16)]
    for chunk in coded.chunks:
        known = np.append(np.asarray(rule.apply(chunk.dictionary), np.int16), np.int16(UNKNOWN))
        parts.append(known[np.asarray(pc.fill_null(chunk.indices, len(known) - 1))])
    return np.concatenate(parts).astype(np.int16)


def _not_points(points: pa.Table) -> SchemaError:
    return SchemaError(
        f"Not a table of reference points: its columns are {points.schema.names}",
        where="candidates",
        fix="Read the collection with labels' read_points",
    )


def _require_points(points: pa.Table) -> None:
    if points.column_names != REFERENCE_POINT.names:
        raise _not_points(points)
    for name, limit in (("lon", 180.0), ("lat", 90.0)):
        values = points[name].to_numpy()
        bad = np.flatnonzero(~(np.abs(values) <= limit))
        if len(bad):
            raise SchemaError(
                f"{len(bad)} values are outside -{limit:g} to {limit:g}",
                where=f"column {name}, row {bad[0]}",
                fix="Quarantine these rows where the labels are read",
            )
