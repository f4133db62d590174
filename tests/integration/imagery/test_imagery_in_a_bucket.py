"""The way of the data from label files to chips in a bucket: the same bytes as in a folder."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from rslearn.dataset import Dataset
from upath import UPath

from geofm_assets.core.errors import WindowError
from geofm_assets.core.outcome import Outcome
from geofm_assets.core.settings import Settings
from geofm_assets.core.store import Store
from geofm_assets.imagery.bands import LAYERS
from geofm_assets.imagery.chip_reader import open_packed
from geofm_assets.imagery.export import export_dataset
from geofm_assets.imagery.resources import ImagerySource
from geofm_assets.imagery.stages import ChipsStage, DatasetStage, ImageryTask, RastersStage
from geofm_assets.labels.stages import CollectionFileStage, CollectionsStage, ReferencePointsStage
from geofm_assets.labels.worldcereal.rdm import open_rdm
from geofm_assets.platform.definitions import load_tasks
from geofm_assets.platform.sql_models import load_models, models_folder
from geofm_assets.platform.sql_run import run_model
from geofm_assets.platform.sql_sources import source_files
from geofm_assets.platform.stages import task_stages
from geofm_assets.sample_world.build import SampleWorld, build
from geofm_assets.sampling.stages import CandidatesStage, FilteredPointsStage, PlanStage
from geofm_assets.sampling.task import planned_cells
from geofm_assets.tasks.component import training_task
from geofm_assets.windows.stages import WindowGroupStage, dataset_key
from tests.servers.s3 import S3Server

TASK = "worldcereal_cropland"
SMALL = {
    "windows.size": 8,
    "imagery.months": 2,
    "imagery.modalities": ["sentinel2_l2a"],
    "experiments.modality": ["s2"],
    "experiments.timesteps": [2],
    "experiments.window_size": [8],
    "split.tolerance": 0.15,
    "split.min_units": 6,
}
"""Settings of the task on the smallest world."""
CELLS = 1
"""Cells of which windows and imagery are made."""


@dataclass
class Way:
    """A task's stages over one store."""

    store: Store
    task: ImageryTask
    world: SampleWorld

    @property
    def source(self) -> ImagerySource:
        return ImagerySource(scenes=str(self.world.scenes), stac_url="")

    @property
    def cells(self) -> list[str]:
        return planned_cells(self.store, TASK)[:CELLS]

    def run(self, *, again: bool = False) -> list[Outcome]:
        """Every stage up to the chips, in order; again without the look at every scene."""
        store, sampling = self.store, self.task.sampling
        labels = sampling.source
        rdm = open_rdm(str(self.world.mirror))
        done = [CollectionsStage(labels).make(store, rdm.list_collections())]
        accepted = labels.accepted(store, sampling.labels.min_confidence)
        for name in sorted(accepted["collection_id"].to_pylist()):
            done.append(CollectionFileStage(labels).make(store, rdm, name, False))
            done.append(ReferencePointsStage(labels).make(store, name, False))
            done.append(CandidatesStage(sampling).make(store, name, False))
        done.append(PlanStage(sampling).make(store))
        if not again:
            done.append(DatasetStage(self.task).make(store, self.source))
        for cell in self.cells:
            for stage in (
                FilteredPointsStage(sampling),
                WindowGroupStage(sampling, self.task.windows),
                RastersStage(self.task),
                ChipsStage(self.task),
            ):
                done.append(stage.make(store, cell, False))
        return done


def way(store: Store, world: SampleWorld) -> Way:
    settings = Settings(store=store.url, overrides={TASK: SMALL})
    return Way(store, training_task(load_tasks(settings)[TASK].config).imagery, world)


@pytest.fixture(scope="module")
def both(s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Way, Way]]:
    """The same stages made in a folder and in a bucket."""
    root = tmp_path_factory.mktemp("both")
    world = build(root / "world", preset="tiny")
    with pytest.MonkeyPatch.context() as patched:
        for name, value in s3.environment().items():
            patched.setenv(name, value)
        patched.setenv("GEOFM_SCRATCH", str(root / "scratch"))
        stores = Store(root / "store"), Store(f"s3://geofm/{root.name}")
        ways = way(stores[0], world), way(stores[1], world)
        for each in ways:
            each.run()
        yield ways


def test_a_bucket_holds_what_a_folder_would(both: tuple[Way, Way]) -> None:
    local, bucket = both
    keys = local.store.list_keys("tasks") + local.store.list_keys("reference")
    assert bucket.store.list_keys("tasks") + bucket.store.list_keys("reference") == keys
    assert {k for k in keys if local.store.read_bytes(k) != bucket.store.read_bytes(k)} == set()
    assert any(key.endswith("chips.json") for key in keys)


def test_what_is_there_is_not_made_again(both: tuple[Way, Way], s3: S3Server) -> None:
    s3.asked.clear()
    again = both[1].run(again=True)
    assert [o.skipped for o in again].count(False) == 2  # the listing and the plan
    written = [path for method, path, _ in s3.asked if method in ("PUT", "DELETE")]
    assert not [path for path in written if "/chips/" in path or "/rasters/" in path]


def test_a_cell_that_changes_leaves_nothing_of_the_old_behind(both: tuple[Way, Way]) -> None:
    bucket = both[1]
    cell = bucket.cells[0]
    note = ChipsStage(bucket.task).note(bucket.store, cell)
    folder = ChipsStage(bucket.task).folder(cell)
    bucket.store.write_bytes(f"{folder}/rasters-{'0' * 16}.safetensors", b"old")
    ChipsStage(bucket.task).make(bucket.store, cell, True)
    names = [key.rsplit("/", 1)[1] for key in bucket.store.list_keys(folder)]
    assert names == ["chips.json", note["file"]]
    assert not list((bucket.store.bucket.scratch.root / "work").rglob("*.safetensors"))


def test_chips_are_read_by_ranges_from_the_bucket(both: tuple[Way, Way]) -> None:
    local, bucket = both
    cell = bucket.cells[0]
    note = ChipsStage(bucket.task).note(bucket.store, cell)
    key = f"{ChipsStage(bucket.task).folder(cell)}/{note['file']}"
    here, there = open_packed(local.store.path(key)), open_packed(bucket.store.path(key))
    assert here.window_names == there.window_names
    assert np.array_equal(here.row("sentinel2_l2a", 1), there.row("sentinel2_l2a", 1))


def test_plain_rslearn_reads_the_dataset_in_the_bucket(both: tuple[Way, Way]) -> None:
    found = []
    for each in both:
        dataset = Dataset(UPath(f"{each.store.url}/{dataset_key(TASK)}"))
        windows = dataset.load_windows()
        window = windows[-1]
        layer = dataset.layers["sentinel2_l2a"]
        raster = window.data.read_raster(
            "sentinel2_l2a",
            list(LAYERS["sentinel2_l2a"].band_names),
            layer.band_sets[0].instantiate_raster_format(),
        )
        label = window.data.read_vector(
            "label", dataset.layers["label"].instantiate_vector_format()
        )
        said = [w.get_metadata() for w in windows], window.list_completed_layers()
        found.append((said, raster.array, label[0].properties))
    (said, pixels, label), (said_2, pixels_2, label_2) = found
    assert said == said_2
    assert len(said[0]) > 0
    assert np.array_equal(pixels, pixels_2)
    assert label == label_2


def test_rslearn_may_not_write_there(both: tuple[Way, Way]) -> None:
    dataset = Dataset(UPath(f"{both[1].store.url}/{dataset_key(TASK)}"))
    with pytest.raises(WindowError, match=r"cannot be written.*s3://"):
        dataset.load_windows()[0].save()


def test_a_copy_of_the_dataset_is_the_same_from_a_bucket(
    both: tuple[Way, Way], tmp_path: Path
) -> None:
    cell = both[0].cells[0]
    trees = []
    for name, each in zip(("local", "bucket"), both, strict=True):
        out = tmp_path / name
        assert export_dataset(each.store.path(dataset_key(TASK)), out, [cell], "files") > 0
        files = (path for path in sorted(out.rglob("*")) if path.is_file())
        trees.append({path.relative_to(out): path.read_bytes() for path in files})
    assert trees[0] == trees[1]


def test_sql_reads_the_tables_in_the_bucket(both: tuple[Way, Way]) -> None:
    models = {model.name: model for model in load_models(models_folder())}
    local, bucket = both
    assert {n: len(f) for n, f in source_files(bucket.store).items()} == {
        n: len(f) for n, f in source_files(local.store).items()
    }
    for name in ("stg_points", "stg_windows"):
        model = models[name]
        tables = [run_model(model, source_files(each.store), each.store) for each in both]
        assert tables[0].num_rows > 0
        assert tables[0] == tables[1]


def test_everything_is_current_as_far_as_it_was_made(both: tuple[Way, Way]) -> None:
    for each in both:
        settings = Settings(store=each.store.url, overrides={TASK: SMALL})
        task = training_task(load_tasks(settings)[TASK].config)
        for view in task_stages(task, each.source):
            if view.axis == "cells":
                assert view.stale(each.store, each.cells) == []
