"""How reference collections and their points are made, stage by stage.

Plain Python: a stage can be made from a notebook with a `Store`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from geofm_assets.core.outcome import (
    CheckOutcome,
    Json,
    Location,
    Outcome,
    kept_rows,
    schema_check,
    table_metadata,
)
from geofm_assets.core.stage import MissingUpstreamError, inputs_digest
from geofm_assets.core.store import MadeFrom, Store
from geofm_assets.labels.config import LabelsConfig
from geofm_assets.labels.geoparquet import open_geoparquet
from geofm_assets.labels.schema import POINT_BATCH, Collection
from geofm_assets.labels.source import LabelSource
from geofm_assets.labels.worldcereal.collections import collections_table, normalise_id
from geofm_assets.labels.worldcereal.rdm import RdmSource

if TYPE_CHECKING:
    from geofm_assets.labels.points import PointsResult


@dataclass(frozen=True)
class CollectionsStage:
    """The listing of collections."""

    source: LabelSource
    code_version: str = "1"

    def make(self, store: Store, records: list[dict[str, Any]]) -> Outcome:
        """Write the listing and the records it came from."""
        table = collections_table(records)
        inputs = inputs_digest(self, records)
        simulated = any(table["simulated"].to_pylist())
        ref = store.write_table(
            self.source.collections_key,
            table,
            Collection,
            inputs=inputs,
            code_version=self.code_version,
            simulated=simulated,
        )
        store.write_json(f"{self.source.root}/collections.json", records)
        return Outcome(
            ref.provenance.content,
            inputs,
            {**table_metadata(table, ref), "dagster/row_count": table.num_rows},
            [schema_check(ref.report)],
        )


@dataclass(frozen=True)
class CollectionFileStage:
    """One collection's label file, as it was published."""

    source: LabelSource
    code_version: str = "1"

    def record_key(self, collection_id: str) -> str:
        """Store key of the note on the file: its name, length, sha256, URL and ETag."""
        return f"{self.source.root}/raw/{collection_id}/file.json"

    def row(self, store: Store, collection_id: str) -> dict[str, Any]:
        """The collection's row of the listing."""
        for row in store.read_table(self.source.collections_key).to_pylist():
            if row["collection_id"] == collection_id:
                return dict(row)
        raise MissingUpstreamError(
            "The collection is not in the listing",
            where=collection_id,
            fix="It may have been withdrawn; refresh the listing",
        )

    def inputs(self, store: Store, collection_id: str) -> str:
        """What the listing says of the collection."""
        return inputs_digest(self, self.row(store, collection_id))

    def file(self, store: Store, collection_id: str) -> dict[str, Any] | None:
        """The note on the file, None if it was never fetched."""
        key = self.record_key(collection_id)
        return store.read_json(key) if store.exists(key) else None

    def is_current(self, store: Store, collection_id: str) -> bool:
        """Whether the file at hand is the one the listing speaks of."""
        note = self.file(store, collection_id)
        return note is not None and note["inputs"] == self.inputs(store, collection_id)

    def make(self, store: Store, rdm: RdmSource, collection_id: str, force: bool) -> Outcome:
        """Fetch the full file, unless it is here and the listing has not changed."""
        inputs = self.inputs(store, collection_id)
        note = self.file(store, collection_id)
        skipped = note is not None and note["inputs"] == inputs and not force
        if note is None or not skipped:
            note = self._fetch(store, rdm, collection_id, inputs)
        checks = [
            CheckOutcome("file_complete", note["size"] > 0, f"{note['size']} bytes", dict(note))
        ]
        metadata = {
            "bytes": note["size"],
            "sha256": note["sha256"],
            "source": str(note["url"]),
            "path": Location(f"{store.url}/{note['key']}"),
        }
        return Outcome(note["sha256"], inputs, metadata, checks, skipped)

    def _fetch(
        self, store: Store, rdm: RdmSource, collection_id: str, inputs: str
    ) -> dict[str, Any]:
        folder_key = f"{self.source.root}/raw/{collection_id}"
        folder = store.working_folder(folder_key)  # a download that was cut short goes on there
        folder.mkdir(parents=True, exist_ok=True)
        fetched = rdm.fetch(self._record(store, collection_id), folder)
        name = f"{fetched.sha256[:16]}.parquet"
        store.take_in(f"{folder_key}/{name}", fetched.path)
        note = {
            "key": f"{folder_key}/{name}",
            "sha256": fetched.sha256,
            "size": fetched.size,
            "url": fetched.url,
            "etag": fetched.etag,
            "inputs": inputs,
        }
        store.write_json(self.record_key(collection_id), note)
        return note

    def _record(self, store: Store, collection_id: str) -> dict[str, Any]:
        for record in store.read_json(f"{self.source.root}/collections.json"):
            if normalise_id(str(record["collectionId"])) == collection_id:
                return dict(record)
        raise MissingUpstreamError("The collection is not in the listing", where=collection_id)


@dataclass(frozen=True)
class ReferencePointsStage:
    """One collection's points, in the one schema of every source."""

    source: LabelSource
    code_version: str = "3"

    def key(self, collection_id: str) -> str:
        """Store key of the points."""
        return self.source.points_key(collection_id)

    def inputs(self, store: Store, collection_id: str) -> str:
        """The label file's content and the listing's words on it."""
        files = CollectionFileStage(self.source)
        columns = self._csv.columns.model_dump() if self._csv else None
        return inputs_digest(
            self,
            self._file(store, collection_id)["sha256"],
            files.row(store, collection_id),
            columns,
        )

    @property
    def _csv(self) -> LabelsConfig | None:
        config = self.source.config
        return config if config is not None and config.source == "csv" else None

    def _file(self, store: Store, collection_id: str) -> dict[str, Any]:
        note = CollectionFileStage(self.source).file(store, collection_id)
        if note is None:
            raise MissingUpstreamError(
                "The label file was never fetched",
                where=collection_id,
                fix="Materialize reference_collection for it first",
            )
        return note

    def make(self, store: Store, collection_id: str, force: bool) -> Outcome:
        """Read the file in flat memory; good rows become points, bad ones go to quarantine."""
        from geofm_assets.labels.csv import points as csv_points
        from geofm_assets.labels.streaming import write_points
        from geofm_assets.labels.worldcereal import points as worldcereal_points

        inputs = self.inputs(store, collection_id)
        found = store.provenance(self.key(collection_id))
        if found is not None and found.inputs == inputs and not force:
            rows = store.rows(self.key(collection_id))
            checks = _points_checks(rows, self._refused(store, collection_id))
            said = {"dagster/partition_row_count": rows}
            return Outcome(found.content, inputs, said, [kept_rows(rows), *checks], True)
        path = store.fetch_file(self._file(store, collection_id)["key"])
        row = CollectionFileStage(self.source).row(store, collection_id)
        made: MadeFrom = {
            "inputs": inputs,
            "code_version": self.code_version,
            "simulated": bool(row["simulated"]),
        }
        batches: Iterable[PointsResult]
        if self._csv:
            result = csv_points.read_points(path, self._csv.columns, row)
            coded = result.points.cast(POINT_BATCH)
            batches, expected = [replace(result, points=coded)], result.rows_read
        else:
            batches = worldcereal_points.read_batches(path, row)
            expected = open_geoparquet(path).rows
        written = write_points(
            store,
            self.key(collection_id),
            self._quarantine(collection_id),
            batches,
            expected,
            made,
        )
        ref = written.points
        metadata: dict[str, Any] = {
            **table_metadata(written.preview, ref),
            "dagster/partition_row_count": ref.rows,
            "rows_read": written.rows_read,
            "quarantined": written.quarantined,
            "quarantine_reasons": Json(written.reasons),
            "features_listed": int(row["feature_count"]),
        }
        checks = [schema_check(ref.report), *_points_checks(ref.rows, written.quarantined)]
        return Outcome(ref.provenance.content, inputs, metadata, checks)

    def _quarantine(self, collection_id: str) -> str:
        return f"{self.source.root}/quarantine/{collection_id}.parquet"

    def _refused(self, store: Store, collection_id: str) -> int:
        key = self._quarantine(collection_id)
        return store.rows(key) if store.exists(key) else 0


def _points_checks(points: int, refused: int) -> list[CheckOutcome]:
    return [
        CheckOutcome("unique_sample_id", True, f"{points} points, repeated ids in quarantine"),
        CheckOutcome(
            "some_rows_usable",
            points > 0 or refused == 0,
            f"{points} points, {refused} rows in quarantine",
        ),
    ]
