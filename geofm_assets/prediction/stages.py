"""How a map is made from a request and a checkpoint, tile by tile.

Plain Python: a map can be made from a notebook with a `Store`.
"""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.core.hashing import json_digest, table_digest
from geofm_assets.core.outcome import (
    CheckOutcome,
    Json,
    Location,
    Outcome,
    kept_check,
    schema_check,
    table_metadata,
)
from geofm_assets.core.progress import Report
from geofm_assets.core.stage import inputs_digest
from geofm_assets.core.store import Store
from geofm_assets.imagery.resources import ImagerySource
from geofm_assets.prediction.asked import Asked, read_asked
from geofm_assets.prediction.products import (
    Products,
    kept_products,
    make_products,
    products_there,
)
from geofm_assets.prediction.record import map_record
from geofm_assets.prediction.schema import DONE, TileRow, mapped_pixels
from geofm_assets.prediction.tiles import TileStore
from geofm_assets.prediction.work import checkpoint_note, chosen_source, crop_overlap, open_work
from geofm_assets.training.experiments import Experiment
from geofm_assets.training.stages import TrainingTask


def requests_partitions(task: str) -> str:
    """Name of a task's dynamic partition set of maps."""
    return f"{task}_requests"


@dataclass(frozen=True)
class MapStage:
    """The map of one request."""

    task: TrainingTask
    code_version: str = "1"

    def folder(self, map_id: str) -> str:
        """Store prefix of a map."""
        return f"maps/{self.task.name}/{map_id}"

    def key(self, map_id: str) -> str:
        """Store key of the map's tiles, written when all are made."""
        return f"{self.folder(map_id)}/tiles.parquet"

    def record_key(self, map_id: str) -> str:
        """Store key of what the map is, written last."""
        return f"{self.folder(map_id)}/request.json"

    def inputs(self, store: Store, source: ImagerySource, map_id: str) -> str:
        """What was asked, the model, and the imagery."""
        asked = read_asked(store, self.task.name, map_id)
        return self._inputs(store, source, map_id, asked)

    def _inputs(self, store: Store, source: ImagerySource, map_id: str, asked: Asked) -> str:
        index = self.task.imagery.scene_index(chosen_source(source, asked))
        return inputs_digest(
            self,
            map_id,
            crop_overlap(asked, Experiment.parse(asked.experiment)),
            checkpoint_note(store, self.task, asked.experiment)["model_id"],
            self.task.imagery.imagery.model_dump(),
            self.task.imagery.windows.model_dump(),
            index.digest if index else source.stac_url,
        )

    def is_current(self, store: Store, source: ImagerySource, map_id: str) -> bool:
        """Whether the map was finished from today's inputs and its tiles are there."""
        return self._finished(store, map_id, self.inputs(store, source, map_id)) is not None

    def _finished(self, store: Store, map_id: str, inputs: str) -> dict[str, Any] | None:
        """What request.json says of a map that is current; None if it is not."""
        key = self.record_key(map_id)
        if not store.exists(key):
            return None
        record: dict[str, Any] = store.read_json(key)
        if record["inputs"] != inputs or not store.exists(self.key(map_id)):
            return None
        if not products_there(store, self.folder(map_id)):
            return None
        tiles = TileStore(store, self.folder(map_id), inputs)
        rows = store.read_table(self.key(map_id), ["tile_id", "status"]).to_pylist()
        return record if all(tiles.there(row) for row in rows) else None

    def make(
        self, store: Store, source: ImagerySource, map_id: str, force: bool, report: Report
    ) -> Outcome:
        """Make the tiles that are not there yet, then the products.

        Raises:
            RequestError: nothing was asked under this id, or its mask has changed.
            MissingUpstreamError: the experiment has no checkpoint.
            ExperimentError: the checkpoint is of another task or experiment.
            ImageryError: nowhere in the area is there imagery, or a scene cannot be read.
        """
        asked, folder = read_asked(store, self.task.name, map_id), self.folder(map_id)
        inputs = self._inputs(store, source, map_id, asked)
        record = None if force else self._finished(store, map_id, inputs)
        if record is not None:
            table = store.read_table(self.key(map_id))
            kept = kept_products(store, folder)
            return self._outcome(
                store, map_id, table, record, kept_check(table), kept, skipped=True
            )
        work = open_work(store, self.task, source, asked, TileStore(store, folder, inputs))
        table = work.all_tiles(force, report)
        ref = store.write_table(
            self.key(map_id),
            table,
            TileRow,
            inputs=inputs,
            code_version=self.code_version,
            simulated=work.model.checkpoint.simulated or bool(pc.any(table["simulated"]).as_py()),
        )
        record = map_record(
            store,
            self.task,
            map_id,
            asked,
            work.model.checkpoint,
            work.grid,
            table,
            {
                "inputs": inputs,
                "content": _content(table),
                "simulated": ref.provenance.simulated,
                "imagery_source": chosen_source(source, asked).scenes or source.stac_url,
            },
        )
        products = make_products(store, self.task, folder, record, table)
        store.write_json(self.record_key(map_id), record)
        return self._outcome(store, map_id, table, record, schema_check(ref.report), products)

    def _outcome(
        self,
        store: Store,
        map_id: str,
        table: pa.Table,
        record: dict[str, Any],
        schema: CheckOutcome,
        products: Products,
        skipped: bool = False,
    ) -> Outcome:
        counts = {
            row["values"]: row["counts"] for row in table["status"].value_counts().to_pylist()
        }
        pixels, seconds = work_done(table)
        metadata = {
            **table_metadata(table),
            "tiles": Json(counts),
            "pixels": pixels,
            "seconds": round(seconds, 1),
            "pixels_per_second": round(pixels / max(seconds, 1e-3)),
            "model_id": record["model_id"],
            "experiment": record["experiment"],
            "simulated": record["simulated"],
            "request": Json({k: record[k] for k in ("days", "zones", "mask")}),
            "path": Location(f"{store.url}/{self.folder(map_id)}"),
            **products.metadata,
        }
        done = f"{table.num_rows} tiles, each with a status"
        complete = CheckOutcome("every_tile", table.num_rows > 0, done, counts)
        checks = [schema, complete, *products.checks]
        return Outcome(record["content"], record["inputs"], metadata, checks, skipped)


def _content(table: pa.Table) -> str:
    """Digest of what the map says, however long it took."""
    return json_digest(["map", table_digest(table.drop(["seconds"]))])


def work_done(table: pa.Table) -> tuple[int, float]:
    """Pixels with a class in a TILE table, and the seconds their tiles took."""
    done = table.filter(pc.equal(table["status"], DONE)).to_pylist()
    return sum(map(mapped_pixels, done)), sum(row["seconds"] for row in done)
