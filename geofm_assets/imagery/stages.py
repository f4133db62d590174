"""How the dataset, a cell's rasters and its chips are made, stage by stage.

Plain Python: a stage can be made from a notebook with a `Store`.
"""

from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from geofm_assets.core.errors import ConfigError
from geofm_assets.core.hashing import json_digest
from geofm_assets.core.outcome import (
    CheckOutcome,
    Json,
    Location,
    Outcome,
    kept_check,
    schema_check,
    table_metadata,
)
from geofm_assets.core.stage import content_of, inputs_digest
from geofm_assets.core.store import MadeFrom, Store
from geofm_assets.imagery.chips import pack_cell, read_chips
from geofm_assets.imagery.config import ImageryConfig
from geofm_assets.imagery.contract import ContractReport, check_cell, check_source
from geofm_assets.imagery.dataset import ensure_dataset
from geofm_assets.imagery.materialize import materialize_cell
from geofm_assets.imagery.resources import ImagerySource
from geofm_assets.imagery.scenes import SceneIndex, scenes_info
from geofm_assets.imagery.schema import BandStats, Raster, RefusedWindow
from geofm_assets.sampling.stages import SamplingTask
from geofm_assets.windows.config import WindowsConfig
from geofm_assets.windows.stages import WindowGroupStage, dataset_key


@dataclass(frozen=True)
class ImageryTask:
    """What imagery needs to know of a task.

    Attributes:
        sampling: the task's sampling, for its name and cells.
        windows: window settings.
        imagery: imagery profile, months and modalities.
    """

    sampling: SamplingTask
    windows: WindowsConfig
    imagery: ImageryConfig

    @property
    def name(self) -> str:
        """The task's name."""
        return self.sampling.name

    def scene_index(self, source: ImagerySource) -> SceneIndex | None:
        """Index of the local scenes; None when imagery comes from a catalogue.

        Raises:
            ConfigError: the profile needs local scenes and no folder is set.
        """
        if self.imagery.profile != "local_scenes":
            return None
        if not source.scenes:
            raise ConfigError(
                "No folder of scenes is set",
                where="GEOFM_SCENES",
                fix="Pass --scenes DIR (a folder with items.json)",
            )
        return scenes_info(source.scenes)


def _contract_check(report: ContractReport) -> CheckOutcome:
    text = "; ".join(report.failures) if report.failures else "every layer keeps its contract"
    if report.absent_bands:
        text += f" (bands absent from the source: {', '.join(sorted(report.absent_bands))})"
    return CheckOutcome("band_contract", report.passed, text, dict(report.metadata))


@dataclass(frozen=True)
class DatasetStage:
    """The rslearn dataset's config.json and the contract of its source."""

    task: ImageryTask
    code_version: str = "1"

    def record_key(self) -> str:
        """Store key of what the imagery source was when it was last checked."""
        return f"tasks/{self.task.name}/imagery.json"

    def inputs(self, source: ImagerySource) -> str:
        """Profile settings and, for local scenes, the content of their index."""
        index = self.task.scene_index(source)
        return inputs_digest(
            self,
            self.task.imagery.model_dump(),
            self.task.windows.model_dump(),
            index.digest if index else source.stac_url,
        )

    def is_current(self, store: Store, source: ImagerySource) -> bool:
        """Whether the dataset was set up for today's source and settings."""
        key = self.record_key()
        return store.exists(key) and store.read_json(key)["inputs"] == self.inputs(source)

    def make(self, store: Store, source: ImagerySource) -> Outcome:
        """Check the source's contract and write config.json."""
        inputs = self.inputs(source)
        index = self.task.scene_index(source)
        folder = store.local_path(dataset_key(self.task.name))
        config = ensure_dataset(
            folder, self.task.imagery, source.scenes if index else None, source.stac_url
        )
        report = check_source(source.scenes) if index else ContractReport.unchecked()
        record: dict[str, Any] = {
            "inputs": inputs,
            "simulated": bool(index and index.simulated),
            "absent_bands": sorted(report.absent_bands),
            "content": json_digest([config, index.digest if index else source.stac_url]),
        }
        store.write_json(self.record_key(), record)
        metadata = {
            "config": Json(config),
            "simulated": record["simulated"],
            "absent_bands": Json(record["absent_bands"]),
        }
        return Outcome(record["content"], inputs, metadata, [_contract_check(report)])


def imagery_record(store: Store, task: str) -> dict[str, Any]:
    """What `dataset_config` recorded of the imagery source."""
    record: dict[str, Any] = store.read_json(f"tasks/{task}/imagery.json")
    return record


@dataclass(frozen=True)
class RastersStage:
    """The materialized rasters of one H3 cell."""

    task: ImageryTask
    code_version: str = "1"

    def folder(self, cell: str) -> str:
        """Store prefix of the cell's raster tables."""
        return f"tasks/{self.task.name}/rasters/h3_cell={cell}"

    def key(self, cell: str) -> str:
        """Store key of the inventory, written last."""
        return f"{self.folder(cell)}/rasters.parquet"

    def inputs(self, store: Store, cell: str) -> str:
        """Where and when the windows are, and the imagery they are cut from."""
        windows = store.read_table(self._windows_key(cell), WINDOW_GEOMETRY)
        return inputs_digest(
            self,
            windows.to_pylist(),
            imagery_record(store, self.task.name)["content"],
        )

    def _windows_key(self, cell: str) -> str:
        return WindowGroupStage(self.task.sampling, self.task.windows).key(cell)

    def make(self, store: Store, cell: str, force: bool, log: Any = None) -> Outcome:
        """Rslearn's prepare, ingest and materialize for the cell, then stock-taking."""
        content_of(store, self._windows_key(cell))
        inputs = self.inputs(store, cell)
        found = store.provenance(self.key(cell))
        skipped = found is not None and found.inputs == inputs and not force
        if found is not None and skipped:
            rasters = store.read_table(self.key(cell))
            bands = store.read_table(f"{self.folder(cell)}/bands.parquet")
            refused = store.read_table(f"{self.folder(cell)}/refused.parquet")
            content = found.content
            schema = kept_check(rasters)
        else:
            made = materialize_cell(store.local_path(dataset_key(self.task.name)), cell)
            rasters, bands, refused = made.rasters, made.bands, made.refused
            written: MadeFrom = {
                "inputs": inputs,
                "code_version": self.code_version,
                "simulated": imagery_record(store, self.task.name)["simulated"],
            }
            store.write_table(
                f"{self.folder(cell)}/refused.parquet", refused, RefusedWindow, **written
            )
            store.write_table(f"{self.folder(cell)}/bands.parquet", bands, BandStats, **written)
            ref = store.write_table(self.key(cell), rasters, Raster, **written)
            content, schema = ref.provenance.content, schema_check(ref.report)
        contract = check_cell(bands)
        missing = rasters.num_rows - int(pc.sum(rasters["present"]).as_py() or 0)
        metadata = {
            **table_metadata(rasters),
            "months_missing": missing,
            "windows_refused": refused.num_rows,
            "refused": Json(refused.to_pylist()),
            "bands": Json(bands.drop(["h3_cell"]).to_pylist()),
        }
        return Outcome(content, inputs, metadata, [schema, _contract_check(contract)], skipped)


WINDOW_GEOMETRY = [
    "window_name", "crs", "resolution", "col_min", "row_min", "col_max", "row_max",
    "time_start", "time_end",
]  # fmt: skip


@dataclass(frozen=True)
class ChipsStage:
    """The packed training format of one H3 cell."""

    task: ImageryTask
    code_version: str = "1"

    def folder(self, cell: str) -> str:
        """Store prefix of the cell's chips."""
        return f"tasks/{self.task.name}/chips/h3_cell={cell}"

    def record_key(self, cell: str) -> str:
        """Store key of the note on the chips, written last."""
        return f"{self.folder(cell)}.json"

    def inputs(self, store: Store, cell: str) -> str:
        """The cell's windows and rasters."""
        windows = WindowGroupStage(self.task.sampling, self.task.windows).key(cell)
        rasters = RastersStage(self.task)
        return inputs_digest(
            self,
            store.read_table(windows, WINDOW_GEOMETRY).to_pylist(),
            content_of(store, rasters.key(cell)),
            content_of(store, f"{rasters.folder(cell)}/bands.parquet"),
        )

    def note(self, store: Store, cell: str) -> dict[str, Any] | None:
        """Inputs and content digest of the cell's chips; None if never packed."""
        key = self.record_key(cell)
        return store.read_json(key) if store.exists(key) else None

    def is_current(self, store: Store, cell: str) -> bool:
        """Whether the chips were packed from today's rasters."""
        note = self.note(store, cell)
        return note is not None and note["inputs"] == self.inputs(store, cell)

    def make(self, store: Store, cell: str, force: bool) -> Outcome:
        """Pack the cell's windows into a few memory-mappable files and verify them."""
        inputs = self.inputs(store, cell)
        note = self.note(store, cell)
        skipped = note is not None and note["inputs"] == inputs and not force
        folder = store.local_path(self.folder(cell))
        if note is None or not skipped:
            rasters = RastersStage(self.task)
            windows = WindowGroupStage(self.task.sampling, self.task.windows).key(cell)
            header = pack_cell(
                store.local_path(dataset_key(self.task.name)),
                cell,
                store.read_table(windows),
                store.read_table(rasters.key(cell)),
                store.read_table(f"{rasters.folder(cell)}/refused.parquet"),
                folder,
            )
            note = {"inputs": inputs, "content": header.content_digest}
            store.write_json(self.record_key(cell), note)
        chips = read_chips(folder, verify=True)
        metadata = {
            "windows": len(chips.window_names),
            "bytes": sum(f.stat().st_size for f in folder.iterdir()),
            "path": Location(str(folder)),
        }
        check = CheckOutcome("files_verified", True, "every array matches its sha256")
        return Outcome(note["content"], inputs, metadata, [check], skipped)
