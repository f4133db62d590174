"""One run of a map: the model, the imagery and the tiles it works with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.core.errors import ExperimentError, ImageryError
from geofm_assets.core.progress import Report
from geofm_assets.core.store import Store
from geofm_assets.imagery.contract import check_source
from geofm_assets.imagery.dataset import ensure_dataset
from geofm_assets.imagery.resources import ImagerySource
from geofm_assets.imagery.stages import DatasetStage
from geofm_assets.prediction.asked import Asked, checkpoint_note, chosen_source, crop_overlap
from geofm_assets.prediction.crops import CropGrid
from geofm_assets.prediction.ground import small_cache
from geofm_assets.prediction.imagery import MapImagery
from geofm_assets.prediction.model import CheckpointModel
from geofm_assets.prediction.partition import Tile, Zone, partition
from geofm_assets.prediction.schema import DONE, NO_DATA, TILE, mapped_pixels
from geofm_assets.prediction.tiles import TileStore, make_tile
from geofm_assets.training.experiments import Experiment
from geofm_assets.training.running import reproducible
from geofm_assets.training.stages import TrainingTask, checkpoint_file


@dataclass(frozen=True)
class MapWork:
    """What one run works with.

    Attributes:
        asked: areas, times, mask.
        model: what is asked.
        imagery: where its pixels come from.
        grid: its crops.
        zones: the area, divided.
        tiles: where tiles are kept.
        threads: batches predicted side by side.
    """

    asked: Asked
    model: CheckpointModel
    imagery: MapImagery
    grid: CropGrid
    zones: Sequence[Zone]
    tiles: TileStore
    threads: int

    def all_tiles(self, force: bool, report: Report) -> pa.Table:
        """Make every tile of the area that was not made from the same inputs before.

        Args:
            force: make all of them again.
            report: told of every tile.

        Returns:
            TILE table, by zone, row and column.

        Raises:
            ImageryError: nowhere in the area is there imagery, or a scene cannot be read. Tiles
                finished before it are kept.
            RequestError: the mask cannot be read.
        """
        todo = [(zone, tile) for zone in self.zones for tile in zone.tiles]
        rows = []
        with small_cache(), reproducible(1):  # a batch is one thread's; several run side by side
            for number, (zone, tile) in enumerate(todo, start=1):
                row = None if force else self.tiles.finished(tile)
                kept = row is not None
                if row is None:
                    row = self._make(zone, tile)
                rows.append(row)
                report(number, len(todo), f"{tile.name}: {_said(row, kept)}")
        self.imagery.close()
        table = pa.Table.from_pylist(rows, schema=TILE)
        self._require_some(table)
        return table

    def _make(self, zone: Zone, tile: Tile) -> dict[str, Any]:
        row, data = make_tile(
            zone, tile, self.model, self.imagery, self.grid, self.asked.mask, self.threads
        )
        self.tiles.write(row, data)
        return row

    def _require_some(self, table: pa.Table) -> None:
        """Refuse a map of nothing; its tiles' notes stay and say why."""
        statuses = set(table["status"].to_pylist())
        if DONE in statuses:
            return
        lacking = pc.sum(table["missing_frame_pixels"]).as_py() or 0
        if lacking:
            raise ImageryError(
                f"No pixel of the area has every frame the model needs; {lacking:,} have another",
                where=f"request {self.asked.id}",
                fix="Add scenes of the frames that are missing, or pass --scenes DIR",
            )
        if NO_DATA in statuses:
            days = sorted({str(day) for zone in self.zones for day in zone.parts})
            raise ImageryError(
                f"There is no imagery for the area about {', '.join(days)}",
                where=f"request {self.asked.id}",
                fix="Check the places and times of the request, or pass --scenes DIR",
            )
        raise ImageryError(
            "The mask leaves no pixel of the area",
            where=f"request {self.asked.id}, --mask",
            fix="Check --mask-values and where the mask lies",
        )


def open_work(
    store: Store, task: TrainingTask, source: ImagerySource, asked: Asked, tiles: TileStore
) -> MapWork:
    """Open the model and the imagery, and divide the area.

    Raises:
        ExperimentError: the experiment cannot be, or its checkpoint is of another task or run.
        MissingUpstreamError: it has no checkpoint.
        WeightsError: the checkpoint cannot be read.
        ConfigError: maps cannot be made from the task's imagery profile.
        ImageryError: the scenes cannot be used.
        ContractError: the scenes are not what the model expects.
    """
    windows, imagery = task.imagery.windows, task.imagery.imagery
    experiment = task.feasible(asked.experiment)
    note = checkpoint_note(store, task, experiment.name)
    path = checkpoint_file(store, task, experiment.name)
    model = CheckpointModel(path, task.training.accelerator)
    _require_own(model, task, experiment, note["model_id"], str(path))
    chosen = chosen_source(source, asked)
    local = imagery.profile == "local_scenes"
    if local and not DatasetStage(task.imagery).is_current(store, chosen):
        check_source(chosen.scenes).require(f"scenes {chosen.scenes}")
    key = f"{tiles.folder}/dataset"
    scenes = chosen.scenes if local else None
    with store.adding(key, have=["config.json"]) as folder:
        ensure_dataset(
            folder, imagery, scenes, source.stac_url, "files", days_before=windows.days_before
        )
    dataset = store.fetch_folder(key)
    return MapWork(
        asked=asked,
        model=model,
        imagery=MapImagery(
            dataset, experiment, windows, model.checkpoint.frames, model.checkpoint.frames_needed
        ),
        grid=CropGrid(experiment.window_size, crop_overlap(asked, experiment)),
        zones=partition(asked.request.groups(windows.days_before), windows.resolution),
        tiles=tiles,
        threads=task.training.threads,
    )


def _require_own(
    model: CheckpointModel, task: TrainingTask, experiment: Experiment, model_id: str, path: str
) -> None:
    """The file must hold the model the task's record names."""
    found, own = model.checkpoint, f"{task.rule.name}@{task.rule.version}"
    wrong = ""
    if (found.label_rule, found.classes) != (own, tuple(task.rule.classes)):
        wrong = f"classes {', '.join(found.classes)} of rule {found.label_rule}, not those of {own}"
    elif found.experiment != experiment:
        wrong = f"experiment {found.experiment.name}"
    elif found.model_id != model_id:
        wrong = f"model {found.model_id[:12]}, the record names {model_id[:12]}"
    if wrong:
        raise ExperimentError(
            f"The checkpoint is of another task or run: {wrong}",
            where=path,
            fix=f"Train again: geofm run {task.name} --experiment {experiment.name} --force",
        )


def _said(row: dict[str, Any], kept: bool) -> str:
    """A tile's outcome in a few words."""
    if kept or row["status"] != DONE:
        return f"{row['status']}{', kept' if kept else ''}"
    return f"{row['status']}, {mapped_pixels(row) / max(row['seconds'], 1e-3):,.0f} px/s"
