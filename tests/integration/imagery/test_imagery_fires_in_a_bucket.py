"""Burned area from perimeters to chips in a bucket: the same bytes as in a folder."""

from pathlib import Path

import pytest

from geofm_assets.core.settings import load_settings
from geofm_assets.core.store import Store
from geofm_assets.imagery.resources import ImagerySource
from geofm_assets.imagery.stages import ChipsStage, DatasetStage, RastersStage
from geofm_assets.labels.calfire.fire_years import FireYearsStage
from geofm_assets.labels.calfire.stages import FirePointsStage, PerimetersStage
from geofm_assets.platform.definitions import load_tasks
from geofm_assets.platform.demo import BURNED_AREA, demo_settings
from geofm_assets.sampling.stages import CandidatesStage, FilteredPointsStage, PlanStage
from geofm_assets.sampling.task import planned_cells
from geofm_assets.tasks.component import training_task
from geofm_assets.training.stages import TrainingTask
from geofm_assets.windows.mask_stage import MasksStage
from geofm_assets.windows.stages import WindowGroupStage
from tests.servers.s3 import S3Server

SMALL = {
    "windows.size": 16,
    "experiments.window_size": [16],
    "experiments.default.window_size": 16,
}


def make(store: Store, task: TrainingTask, scenes: Path) -> None:
    """Every stage up to the chips of one cell that has masks."""
    imagery, sampling = task.imagery, task.imagery.sampling
    labels = sampling.source
    FireYearsStage(labels).make(store)
    perimeters = PerimetersStage(labels)
    for year in perimeters.wanted(store):
        perimeters.make(store, year, False)
    accepted = labels.accepted(store, sampling.labels.min_confidence)
    for name in sorted(accepted["collection_id"].to_pylist()):
        FirePointsStage(labels).make(store, name, False)
        CandidatesStage(sampling).make(store, name, False)
    PlanStage(sampling).make(store)
    DatasetStage(imagery).make(store, ImagerySource(scenes=str(scenes), stac_url=""))
    cell = planned_cells(store, BURNED_AREA)[0]
    assert task.masks is not None
    for stage in (
        FilteredPointsStage(sampling),
        WindowGroupStage(sampling, imagery.windows),
        MasksStage(sampling, imagery.windows, task.masks),
        RastersStage(imagery),
        ChipsStage(imagery),
    ):
        stage.make(store, cell, False)


def test_a_bucket_holds_what_a_folder_would(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = Store(tmp_path / "store")
    settings = demo_settings(load_settings(local.url, profile="demo"), BURNED_AREA, "tiny_fires")
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GEOFM_SCRATCH", str(tmp_path / "scratch"))
    bucket = Store(f"s3://geofm/{tmp_path.name}")
    overrides = {BURNED_AREA: settings.overrides[BURNED_AREA] | SMALL}
    settings = settings.model_copy(update={"overrides": overrides})
    task = training_task(load_tasks(settings)[BURNED_AREA].config)
    for store in (local, bucket):
        make(store, task, Path(settings.scenes))
    keys = local.list_keys("tasks") + local.list_keys("reference")
    assert bucket.list_keys("tasks") + bucket.list_keys("reference") == keys
    assert {key for key in keys if local.read_bytes(key) != bucket.read_bytes(key)} == set()
    for made in ("/masks/", "/chips/", "/perimeters/", "/samples/"):
        assert any(made in key for key in keys), made
