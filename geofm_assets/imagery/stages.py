"""How the dataset, a cell's rasters and its chips are made, stage by stage.

Plain Python: a stage can be made from a notebook with a `Store`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.core.errors import ConfigError
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
from geofm_assets.core.schema import require_valid
from geofm_assets.core.stage import content_of, inputs_digest
from geofm_assets.core.store import Store
from geofm_assets.imagery.cell_file import write_cell_file
from geofm_assets.imagery.chip_reader import packed_meta
from geofm_assets.imagery.chips import NOTE, chips_note, pack_cell, packed_file, read_chips
from geofm_assets.imagery.config import ImageryConfig
from geofm_assets.imagery.contract import ContractReport, check_cell, check_source
from geofm_assets.imagery.dataset import ensure_dataset
from geofm_assets.imagery.resources import ImagerySource
from geofm_assets.imagery.schema import BAND_STATS, BandStats, Raster
from geofm_assets.imagery.stock import refused_windows
from geofm_assets.sampling.task import SamplingTask
from geofm_assets.windows.config import WindowsConfig
from geofm_assets.windows.stages import WindowGroupStage, dataset_key

if TYPE_CHECKING:
    from geofm_assets.imagery.scenes import SceneIndex


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

    def scene_index(self, source: ImagerySource) -> "SceneIndex | None":
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
        from geofm_assets.imagery.scenes import scenes_info

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
        with store.adding(dataset_key(self.task.name), have=["config.json"]) as folder:
            config = ensure_dataset(
                folder,
                self.task.imagery,
                source.scenes if index else None,
                source.stac_url,
                days_before=self.task.windows.days_before,
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
    code_version: str = "2"

    def key(self, cell: str) -> str:
        """Store key of the inventory, written last."""
        return f"tasks/{self.task.name}/rasters/h3_cell={cell}/rasters.parquet"

    def inputs(self, store: Store, cell: str) -> str:
        """Where and when the windows are, and the imagery they are cut from."""
        windows = store.read_table(self.windows_key(cell), WINDOW_GEOMETRY)
        return inputs_digest(
            self, table_digest(windows), imagery_record(store, self.task.name)["content"]
        )

    def windows_key(self, cell: str) -> str:
        """Store key of the cell's windows."""
        return WindowGroupStage(self.task.sampling, self.task.windows).key(cell)

    def make(self, store: Store, cell: str, force: bool) -> Outcome:
        """Materialize the cell's windows into its packed file, then write the inventory."""
        from geofm_assets.imagery.cell_rasters import make_cell_file

        content_of(store, self.windows_key(cell))
        inputs = self.inputs(store, cell)
        found = store.provenance(self.key(cell))
        chips = chips_folder(self.task.name, cell)
        last = packed_file(store.read_table(self.key(cell), ["file"])) if found else None
        lost = last is not None and not store.exists(f"{chips}/{last}")
        skipped = found is not None and found.inputs == inputs and not force and not lost
        if found is not None and skipped:
            rasters = store.read_table(self.key(cell))
            bands = cell_bands(store, f"{chips}/{last}" if last else None)
            content, schema = found.content, kept_check(rasters)
        else:
            previous = None if force or lost else last
            with store.adding(chips, have=[previous] if previous else []) as folder:
                made = make_cell_file(
                    store.fetch_folder(dataset_key(self.task.name)),
                    store.working_folder(f"tasks/{self.task.name}/scratch/{cell}"),
                    cell,
                    store.read_table(self.windows_key(cell)),
                    folder,
                    previous,
                )
            rasters, bands = made.rasters, made.bands
            require_valid(bands, BandStats, where=f"band statistics of {cell}")
            ref = store.write_table(
                self.key(cell),
                rasters,
                Raster,
                inputs=inputs,
                code_version=self.code_version,
                simulated=imagery_record(store, self.task.name)["simulated"],
            )
            content, schema = ref.provenance.content, schema_check(ref.report)
        refused = refused_windows(rasters)
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


def chips_folder(task: str, cell: str) -> str:
    """Store prefix of a cell's chips."""
    return f"tasks/{task}/chips/h3_cell={cell}"


def cell_bands(store: Store, key: str | None) -> pa.Table:
    """BAND_STATS rows kept in a packed file; none for a cell without windows."""
    rows = packed_meta(store.path(key))["bands"] if key else []
    return pa.Table.from_pylist(rows, schema=BAND_STATS)


WINDOW_GEOMETRY = [
    "window_name", "crs", "resolution", "col_min", "row_min", "col_max", "row_max",
    "time_start", "time_end",
]  # fmt: skip


@dataclass(frozen=True)
class ChipsStage:
    """The packed training format of one H3 cell."""

    task: ImageryTask
    code_version: str = "2"

    def folder(self, cell: str) -> str:
        """Store prefix of the cell's chips."""
        return chips_folder(self.task.name, cell)

    def record_key(self, cell: str) -> str:
        """Store key of the note on the chips, written last."""
        return f"{self.folder(cell)}/{NOTE}"

    def inputs(self, store: Store, cell: str) -> str:
        """The cell's rasters, which name their packed file by its content."""
        return inputs_digest(self, content_of(store, RastersStage(self.task).key(cell)))

    def note(self, store: Store, cell: str) -> dict[str, Any] | None:
        """Inputs and content digest of the cell's chips; None if never packed."""
        key = self.record_key(cell)
        return store.read_json(key) if store.exists(key) else None

    def is_current(self, store: Store, cell: str) -> bool:
        """Whether the chips were packed from today's rasters."""
        note = self.note(store, cell)
        return note is not None and note["inputs"] == self.inputs(store, cell)

    def make(self, store: Store, cell: str, force: bool) -> Outcome:
        """Verify the packed file and say which of its windows are chips."""
        inputs = self.inputs(store, cell)
        note = self.note(store, cell)
        skipped = note is not None and note["inputs"] == inputs and not force
        key = RastersStage(self.task).key(cell)
        rasters = None if skipped else store.read_table(key)
        file_name = note["file"] if note and rasters is None else packed_file(rasters)
        with store.adding(
            self.folder(cell),
            have=[name for name in (NOTE if skipped else None, file_name) if name],
            last=NOTE,
            only=not skipped,
        ) as folder:
            if rasters is None:
                chips = read_chips(folder, verify=True)
            else:
                if file_name is None:  # a cell whose points are all held out as buffer
                    file_name = write_cell_file(folder, cell, [], {}, simulated=False)
                refused = refused_windows(rasters)["window_name"].to_pylist()
                chips = pack_cell(folder, file_name, refused, inputs)
            size = (folder / chips.file_name).stat().st_size
            content = chips_note(folder)["content"]
        metadata = {
            "windows": len(chips.rows),
            "bytes": size,
            "path": Location(f"{store.url}/{self.folder(cell)}"),
        }
        check = CheckOutcome("files_verified", True, "every byte matches its hash")
        return Outcome(content, inputs, metadata, [check], skipped)
