"""From the sample world's perimeters to masks, with windows around whole fires."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import shapely

import geofm_assets.tasks
from geofm_assets.core.hashing import sha256_file
from geofm_assets.core.outcome import require_checks
from geofm_assets.core.store import Store
from geofm_assets.labels.calfire.fire_years import FireYearsStage
from geofm_assets.labels.calfire.side_tables import read_samples
from geofm_assets.labels.calfire.stages import FirePointsStage, PerimetersStage
from geofm_assets.sample_world.build_fires import fires_of
from geofm_assets.sample_world.fire_perimeters import FIRE_LAYER, PRESCRIBED_LAYER, write_perimeters
from geofm_assets.sampling.stages import CandidatesStage, FilteredPointsStage, PlanStage
from geofm_assets.sampling.task import planned_cells
from geofm_assets.tasks.component import training_task
from geofm_assets.tasks.config import PERIMETERS_KEY, load_task_file
from geofm_assets.training.task import TrainingTask
from geofm_assets.windows.mask_stage import MasksStage
from geofm_assets.windows.masks import BURNT, NODATA
from geofm_assets.windows.stages import WindowGroupStage
from tests.fire_samples import overlapping, squares

SHIPPED = Path(geofm_assets.tasks.__file__).parent / "burned_area" / "defs.yaml"
LEAST = 16
Laid = tuple[Store, TrainingTask]


def task_of(perimeters: Path, **more: object) -> TrainingTask:
    settings = {
        "windows.around": "polygons",
        "windows.min_size": LEAST,
        "experiments.head": ["segmentation"],
        "experiments.default": None,
        "labels.calfire.layer": FIRE_LAYER,
        "labels.calfire.prescribed_layer": PRESCRIBED_LAYER,
        PERIMETERS_KEY: str(perimeters),
        **more,
    }
    return training_task(load_task_file(SHIPPED, settings).config)


def masks_stage(task: TrainingTask) -> MasksStage:
    assert task.masks is not None
    return MasksStage(task.imagery.sampling, task.imagery.windows, task.masks)


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> Laid:
    """A store with everything up to the masks."""
    folder = tmp_path_factory.mktemp("around")
    write_perimeters(folder / "fires.gpkg", fires_of("tiny_fires")[1])
    store, task = Store(folder / "store"), task_of(folder / "fires.gpkg")
    sampling = task.imagery.sampling
    source = sampling.source
    FireYearsStage(source).make(store)
    for year in PerimetersStage(source).wanted(store):
        PerimetersStage(source).make(store, year, False)
    collections = store.read_table(source.collections_key)["collection_id"].to_pylist()
    for collection in collections:
        require_checks(FirePointsStage(source).make(store, collection, False), collection)
        CandidatesStage(sampling).make(store, collection, False)
    require_checks(PlanStage(sampling).make(store), "plan")
    for cell in planned_cells(store, task.name):
        FilteredPointsStage(sampling).make(store, cell, False)
        windows = WindowGroupStage(sampling, task.imagery.windows).make(store, cell, False)
        require_checks(windows, cell)
        require_checks(masks_stage(task).make(store, cell, False), cell)
    return store, task


def rows_of(laid: Laid) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Windows, masks and samples of all cells."""
    store, task = laid
    sampling = task.imagery.sampling
    cells = planned_cells(store, task.name)
    group, masks = WindowGroupStage(sampling, task.imagery.windows), masks_stage(task)
    collections = store.read_table(sampling.source.collections_key)["collection_id"].to_pylist()
    columns = ["sample_id", "fire_id", "group_id", "kind"]
    return (
        pa.concat_tables([store.read_table(group.key(cell)) for cell in cells]),
        pa.concat_tables([store.read_table(masks.key(cell)) for cell in cells]),
        read_samples(store, sampling.source.root, collections, columns),
    )


def test_every_sampled_fire_is_in_windows_of_its_split(laid: Laid) -> None:
    windows, masks, samples = rows_of(laid)
    assert masks["window_name"].equals(windows["window_name"])
    for year in pc.unique(windows["collection_id"]).to_pylist():
        assert overlapping(windows.filter(pc.equal(windows["collection_id"], year))) == []
    joined = windows.join(samples, "sample_id").to_pylist()
    burnt = [row for row in joined if row["kind"] == "burnt"]
    assert {row["kind"] for row in joined} == {"burnt", "ring", "far"}
    splits: dict[str, set[str]] = {}
    for row in joined:
        splits.setdefault(row["group_id"], set()).add(row["split"])
    assert all(len(found) == 1 for found in splits.values())
    assert {row["split"] for row in joined} == {"train", "val", "test"}
    assert len({row["fire_id"] for row in burnt}) > 5


def test_the_pixels_of_fires_are_burnt_in_the_masks(laid: Laid) -> None:
    """Burnt pixels of a fire's windows make up what of its area lies in them."""
    windows, masks, samples = rows_of(laid)
    store, task = laid
    source = task.imagery.sampling.source
    stage = PerimetersStage(source)
    years = [store.read_table(stage.key(year)) for year in stage.wanted(store)]
    area = {r["fire_id"]: r["area_ha"] for t in years for r in t.to_pylist()}
    counted: dict[str, float] = {}
    joined = windows.select(["window_name", "sample_id"]).join(samples, "sample_id")
    for row in joined.join(masks.select(["window_name", "burnt"]), "window_name").to_pylist():
        if row["kind"] == "burnt":
            counted[row["fire_id"]] = counted.get(row["fire_id"], 0) + row["burnt"] / 100
    whole = [fire for fire, hectares in counted.items() if hectares > 0.95 * area[fire]]
    assert len(whole) >= 0.6 * len(counted)  # points held out as buffer take some


def test_beyond_the_box_of_a_small_fire_pixels_are_unknown(laid: Laid) -> None:
    windows, masks, _ = rows_of(laid)
    size = laid[1].imagery.windows.size
    (boxes,) = squares(windows).values()
    assert set((shapely.area(boxes[1]) / 100).round().tolist()) == {size * size}
    small = 0
    for name, row in zip(windows["sample_id"].to_pylist(), masks.to_pylist(), strict=True):
        mask = np.frombuffer(row["mask"], np.uint8).reshape(size, size)
        if name.endswith("_around"):
            small += 1
            sides = np.ptp(np.argwhere(mask != NODATA), axis=0) + 1
            assert (sides <= size).all()
            assert (mask == BURNT).any()
    assert small > 0


def test_nothing_is_made_twice_and_another_least_size_makes_masks_only(laid: Laid) -> None:
    store, task = laid
    perimeters = Path(task.imagery.sampling.source.config.calfire.perimeters)
    cell = planned_cells(store, task.name)[0]
    before = sha256_file(store.local_path(masks_stage(task).key(cell)))
    assert masks_stage(task).make(store, cell, False).skipped
    masks_stage(task).make(store, cell, True)
    assert sha256_file(store.local_path(masks_stage(task).key(cell))) == before
    other = task_of(perimeters, **{"windows.min_size": 32})
    assert masks_stage(other).inputs(store, cell) != masks_stage(task).inputs(store, cell)
    points = FirePointsStage(other.imagery.sampling.source)
    key = pc.unique(rows_of(laid)[0]["collection_id"]).to_pylist()[0]
    assert points.make(store, key, False).skipped
