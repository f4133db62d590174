"""How a map is made from a request and a checkpoint, tile by tile.

Plain Python: a map can be made from a notebook with a `Store`.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.core.errors import RequestError
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
from geofm_assets.prediction.asked import (
    Asked,
    checkpoint_note,
    chosen_source,
    crop_overlap,
    read_asked,
    write_asked,
)
from geofm_assets.prediction.schema import DONE, TileRow, mapped_pixels
from geofm_assets.prediction.terms import map_terms
from geofm_assets.training.experiments import Experiment
from geofm_assets.training.stages import TrainingTask

if TYPE_CHECKING:
    from geofm_assets.prediction.products import Products


def requests_partitions(task: str) -> str:
    """Name of a task's dynamic partition set of maps."""
    return f"{task}_requests"


@dataclass(frozen=True)
class MapStage:
    """The map of one request."""

    task: TrainingTask
    code_version: str = "3"

    def folder(self, map_id: str) -> str:
        """Store prefix of a map."""
        return f"maps/{self.task.name}/{map_id}"

    def key(self, map_id: str) -> str:
        """Store key of the map's tiles, written when all are made."""
        return f"{self.folder(map_id)}/tiles.parquet"

    def record_key(self, map_id: str) -> str:
        """Store key of what the map is, written last."""
        return f"{self.folder(map_id)}/request.json"

    def ask(self, store: Store, source: ImagerySource, asked: Asked) -> str:
        """Keep what is asked for, and of which imagery; gives the map's id.

        Raises:
            ConfigError: no folder of scenes is set.
            ImageryError: the scenes cannot be used.
        """
        imagery = self._imagery(chosen_source(source, asked))
        return write_asked(store, self.task.name, replace(asked, imagery=imagery))

    def _imagery(self, source: ImagerySource) -> str:
        """What the imagery is: digest of the scenes, wherever they lie, or the catalogue's URL."""
        index = self.task.imagery.scene_index(source)
        return index.digest if index else source.stac_url

    def inputs(self, store: Store, source: ImagerySource, map_id: str) -> str:
        """What was asked, the model, and the imagery."""
        asked = read_asked(store, self.task.name, map_id)
        return self._inputs(store, source, map_id, asked)

    def _inputs(self, store: Store, source: ImagerySource, map_id: str, asked: Asked) -> str:
        return inputs_digest(
            self,
            map_id,
            crop_overlap(asked, Experiment.parse(asked.experiment)),
            checkpoint_note(store, self.task, asked.experiment)["model_id"],
            self.task.imagery.imagery.model_dump(),
            self.task.imagery.windows.model_dump(),
            self._imagery(chosen_source(source, asked)),
        )

    def is_current(self, store: Store, source: ImagerySource, map_id: str) -> bool:
        """Whether the map was finished from today's inputs and its tiles are there."""
        asked = read_asked(store, self.task.name, map_id)
        return self._finished(store, source, map_id, asked) is not None

    def _finished(
        self, store: Store, source: ImagerySource, map_id: str, asked: Asked
    ) -> dict[str, Any] | None:
        """What request.json says of a map that is current; None if it is not."""
        from geofm_assets.prediction.products import products_there
        from geofm_assets.prediction.tiles import TileStore

        key = self.record_key(map_id)
        if not store.exists(key):
            return None
        record: dict[str, Any] = store.read_json(key)
        inputs = self._inputs(store, source, map_id, asked)
        if record["inputs"] != inputs or not store.exists(self.key(map_id)):
            return None
        if not products_there(store, self.folder(map_id)):
            return None
        tiles = TileStore(store, self.folder(map_id), inputs)
        table = store.read_table(self.key(map_id), ["tile_id", "status", "scenes"])
        if not all(tiles.there(row) for row in table.to_pylist()):
            return None
        return record if record["terms"] == self._terms(store, source, asked, table) else None

    def _terms(
        self, store: Store, source: ImagerySource, asked: Asked, tiles: pa.Table
    ) -> dict[str, Any]:
        """Terms of what a map was made from."""
        scenes = {name for names in tiles["scenes"].to_pylist() for name in names}
        experiment = Experiment.parse(asked.experiment)
        return map_terms(store, self.task, chosen_source(source, asked), experiment, scenes)

    def make(
        self, store: Store, source: ImagerySource, map_id: str, force: bool, report: Report
    ) -> Outcome:
        """Make the tiles that are not there yet, then the products.

        Raises:
            RequestError: nothing was asked under this id, or its mask or imagery has changed.
            MissingUpstreamError: the experiment has no checkpoint.
            ExperimentError: the checkpoint is of another task or experiment.
            ImageryError: nowhere in the area is there imagery, or a scene cannot be read.
        """
        from geofm_assets.prediction.products import kept_products, make_products
        from geofm_assets.prediction.record import map_record
        from geofm_assets.prediction.tiles import TileStore
        from geofm_assets.prediction.work import open_work

        asked, folder = read_asked(store, self.task.name, map_id), self.folder(map_id)
        self._require_same_imagery(source, map_id, asked)
        inputs = self._inputs(store, source, map_id, asked)
        record = None if force else self._finished(store, source, map_id, asked)
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
            self.task,
            map_id,
            asked,
            work.model.checkpoint,
            work.grid,
            work.zones,
            table,
            {
                "inputs": inputs,
                "content": _content(table),
                "simulated": ref.provenance.simulated,
                "imagery_source": chosen_source(source, asked).scenes or source.stac_url,
                "terms": self._terms(store, source, asked, table),
            },
        )
        products = make_products(store, self.task, folder, record, table)
        store.write_json(self.record_key(map_id), record)
        return self._outcome(store, map_id, table, record, schema_check(ref.report), products)

    def _require_same_imagery(self, source: ImagerySource, map_id: str, asked: Asked) -> None:
        """The id stands for the imagery it was asked with, as it does for the mask."""
        if asked.imagery != self._imagery(chosen_source(source, asked)):
            raise RequestError(
                "The imagery has changed since the map was asked for",
                where=f"request {map_id}, {chosen_source(source, asked).scenes or source.stac_url}",
                fix=f"Ask again, for a map of its own: geofm predict {self.task.name}",
            )

    def _outcome(
        self,
        store: Store,
        map_id: str,
        table: pa.Table,
        record: dict[str, Any],
        schema: CheckOutcome,
        products: "Products",
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
