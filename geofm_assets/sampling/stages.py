"""How candidates, the sampling plan and the points of a cell are made, stage by stage.

Plain Python: a stage can be made from a notebook with a `Store`.
"""

from dataclasses import dataclass
from typing import Any

import h3
import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.core.outcome import (
    CheckOutcome,
    Json,
    Link,
    Outcome,
    kept_check,
    kept_rows,
    schema_check,
    table_metadata,
)
from geofm_assets.core.stage import MissingUpstreamError, content_of, inputs_digest
from geofm_assets.core.store import MadeFrom, Store
from geofm_assets.core.table_writer import read_batches, table_writer
from geofm_assets.labels.calfire.side_tables import read_samples, samples_key
from geofm_assets.labels.calfire.unusable import require_points
from geofm_assets.labels.rules import get_rule
from geofm_assets.labels.schema import (
    CODED_COLUMNS,
    QUARANTINED_ROW,
    REFERENCE_POINT,
    QuarantinedRow,
)
from geofm_assets.sampling.by_cell import by_cell
from geofm_assets.sampling.candidates import CandidateFold
from geofm_assets.sampling.plan import make_plan
from geofm_assets.sampling.quality import label_quality
from geofm_assets.sampling.schema import Candidate, Cell, SampledPoint
from geofm_assets.sampling.task import SamplingTask


@dataclass(frozen=True)
class CandidatesStage:
    """The rows of one collection that could be in the sample."""

    task: SamplingTask
    code_version: str = "2"

    def key(self, collection_id: str) -> str:
        """Store key of the candidates."""
        return f"tasks/{self.task.name}/candidates/{collection_id}.parquet"

    def inputs(self, store: Store, collection_id: str) -> str:
        """The collection's points, the label rule and the sampling settings."""
        rule = get_rule(self.task.labels)
        return inputs_digest(
            self,
            content_of(store, self.task.source.points_key(collection_id)),
            [rule.name, rule.version, rule.classes],
            self.task.labels.ignore,
            self.task.sampling.model_dump(),
        )

    def make(self, store: Store, collection_id: str, force: bool) -> Outcome:
        """Apply the label rule, find each point's cell, keep each cell's smallest hashes."""
        inputs = self.inputs(store, collection_id)
        found = store.provenance(self.key(collection_id))
        if found is not None and found.inputs == inputs and not force:
            rows = store.rows(self.key(collection_id))
            said = {"dagster/partition_row_count": rows}
            return Outcome(found.content, inputs, said, [kept_rows(rows)], True)
        points_key = self.task.source.points_key(collection_id)
        origin = store.provenance(points_key)
        assert origin is not None  # `inputs` asked for it
        written: MadeFrom = {
            "inputs": inputs,
            "code_version": self.code_version,
            "simulated": origin.simulated,
        }
        fold = CandidateFold(get_rule(self.task.labels), self.task.sampling)
        quarantine_key = f"tasks/{self.task.name}/quarantine/{collection_id}.parquet"
        with table_writer(store, quarantine_key, QUARANTINED_ROW, QuarantinedRow, **written) as (
            quarantine,
            _,
        ):
            for batch in read_batches(store, points_key, REFERENCE_POINT.names, CODED_COLUMNS):
                quarantine.write(fold.add(batch))
        table = fold.finish()
        ref = store.write_table(self.key(collection_id), table, Candidate, **written)
        metadata = {
            **table_metadata(table, ref),
            "counts": Json(fold.counts),
        }
        return Outcome(ref.provenance.content, inputs, metadata, [schema_check(ref.report)])


@dataclass(frozen=True)
class PlanStage:
    """The sample of all collections, its split, and a digest per cell."""

    task: SamplingTask
    code_version: str = "2"

    def key(self, partition: str = "") -> str:
        """Store key of the per-cell digests, written last."""
        return f"tasks/{self.task.name}/cells.parquet"

    @property
    def sample_key(self) -> str:
        """Store key of the whole sample."""
        return f"tasks/{self.task.name}/sample.parquet"

    @property
    def report_key(self) -> str:
        """Store key of what the split came to."""
        return f"tasks/{self.task.name}/split.json"

    def collections(self, store: Store) -> list[str]:
        """Collections the task accepts, sorted."""
        table = self.task.source.accepted(store, self.task.labels.min_confidence)
        return sorted(table["collection_id"].to_pylist())

    def inputs(self, store: Store, partition: str = "") -> str:
        """Every accepted collection's candidates, groups, the split and the window's extent."""
        stage = CandidatesStage(self.task)
        ids = self.collections(store)
        contents = {c: content_of(store, stage.key(c)) for c in ids}
        if self.task.split.by == "group":
            root = self.task.source.root
            contents |= {f"samples of {c}": content_of(store, samples_key(root, c)) for c in ids}
        return inputs_digest(
            self,
            contents,
            self.task.sampling.model_dump(),
            self.task.split.model_dump(),
            self.task.window_extent_m,
        )

    def make(self, store: Store) -> Outcome:
        """Merge the candidates, split, and write the sample and the per-cell digests.

        Raises:
            SplitError: the points cannot be split.
            LabelFileError: no fire year gives a point.
        """
        inputs = self.inputs(store)
        ids = self.collections(store)
        require_points(store, self.task.source, ids)
        stage = CandidatesStage(self.task)
        tables = [store.read_table(stage.key(c)) for c in ids]
        groups = None
        if self.task.split.by == "group":
            columns = ["sample_id", "group_id"]
            groups = read_samples(store, self.task.source.root, ids, columns)
        plan = make_plan(
            tables,
            self.task.sampling,
            self.task.split,
            get_rule(self.task.labels).classes,
            self.task.window_extent_m,
            groups=groups,
        )
        simulated = plan.sample.num_rows > 0 and bool(pc.any(plan.sample["simulated"]).as_py())
        written: MadeFrom = {
            "inputs": inputs,
            "code_version": self.code_version,
            "simulated": simulated,
        }
        quarantine_key = f"tasks/{self.task.name}/quarantine.parquet"
        store.write_table(quarantine_key, plan.quarantine, QuarantinedRow, **written)
        sample = store.write_table(self.sample_key, plan.sample, SampledPoint, **written)
        store.write_json(self.report_key, plan.report)
        ref = store.write_table(self.key(), plan.cells, Cell, **written)
        metadata = {
            **table_metadata(plan.cells, ref),
            "dagster/row_count": sample.rows,
            "cells": ref.rows,
            "collections": len(ids),
            "quarantined": plan.quarantine.num_rows,
            "split": Json(plan.report),
            "split_note": str(plan.report.get("note", "")),
            "label_quality": Json(label_quality(plan.sample)),
        }
        checks = [schema_check(sample.report), _distance_check(plan.report, self.task)]
        return Outcome(ref.provenance.content, inputs, metadata, checks)


def _distance_check(report: dict[str, Any], task: SamplingTask) -> CheckOutcome:
    promised = report.get("min_distance_promised_m", 0.0) or 0.0
    distances = report.get("min_distance_m", {})
    nearest = min((d for d in distances.values() if d is not None), default=None)
    passed = task.split.by == "ai2_hash" or nearest is None or nearest >= promised
    text = "no two splits" if nearest is None else f"nearest pair of splits {nearest:.0f} m apart"
    return CheckOutcome("split_distance", passed, f"{text}, promised {promised:.0f} m", report)


@dataclass(frozen=True)
class FilteredPointsStage:
    """The sampled points of one H3 cell."""

    task: SamplingTask
    code_version: str = "2"

    def key(self, cell: str) -> str:
        """Store key of the cell's points."""
        return f"tasks/{self.task.name}/points/h3_cell={cell}/points.parquet"

    def inputs(self, store: Store, cell: str) -> str:
        """The plan's digest of the cell: nothing another cell does can change it."""
        return inputs_digest(self, self._planned(store, cell))

    def _planned(self, store: Store, cell: str) -> str:
        """Digest of the cell in the current plan."""
        digest = by_cell(store, PlanStage(self.task).key()).digest(cell)
        if digest is None:
            raise MissingUpstreamError(
                "The cell has no points in the current plan",
                where=cell,
                fix="Leave it: cells stay listed after their last point is withdrawn",
            )
        return digest

    def make(self, store: Store, cell: str, force: bool) -> Outcome:
        """Write the cell's rows of the plan."""
        inputs = self.inputs(store, cell)
        found = store.provenance(self.key(cell))
        skipped = found is not None and found.inputs == inputs and not force
        if found is not None and skipped:
            table, content = store.read_table(self.key(cell)), found.content
            schema = kept_check(table)
        else:
            table = by_cell(store, PlanStage(self.task).sample_key).rows(cell)
            ref = store.write_table(
                self.key(cell),
                table,
                SampledPoint,
                inputs=inputs,
                code_version=self.code_version,
                simulated=bool(pc.any(table["simulated"]).as_py()),
            )
            content, schema = ref.provenance.content, schema_check(ref.report)
        metadata = {
            **table_metadata(table),
            "map": Link(_map_url(cell)),
            "classes": Json(_counts(table, "class_name")),
            "splits": Json(_counts(table, "split")),
            "collections": Json(_counts(table, "collection_id")),
        }
        checks = [schema, self._inside(table, cell), self._cap(table)]
        return Outcome(content, inputs, metadata, checks, skipped)

    def _inside(self, table: pa.Table, cell: str) -> CheckOutcome:
        resolution = self.task.sampling.h3_resolution
        pairs = zip(table["lat"].to_pylist(), table["lon"].to_pylist(), strict=True)
        outside = sum(h3.latlng_to_cell(lat, lon, resolution) != cell for lat, lon in pairs)
        return CheckOutcome("inside_cell", outside == 0, f"{outside} points outside {cell}")

    def _cap(self, table: pa.Table) -> CheckOutcome:
        cap = self.task.sampling.per_cell
        text = f"{table.num_rows} points, at most {cap}"
        return CheckOutcome("at_most_per_cell", table.num_rows <= cap, text)


def _counts(table: pa.Table, column: str) -> dict[str, int]:
    counts = table[column].value_counts().to_pylist()
    return dict(sorted((str(c["values"]), int(c["counts"])) for c in counts))


def _map_url(cell: str) -> str:
    lat, lon = h3.cell_to_latlng(cell)
    return f"https://www.openstreetmap.org/?mlat={lat:.5f}&mlon={lon:.5f}#map=8/{lat:.5f}/{lon:.5f}"
