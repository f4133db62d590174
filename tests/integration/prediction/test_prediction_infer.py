"""Tiles: the same pixels whatever the work is cut into, no seams, no class without imagery."""

import numpy as np
import pytest

from geofm_assets.imagery.config import ImageryConfig
from geofm_assets.imagery.dataset import ensure_dataset
from geofm_assets.prediction.crops import CropGrid
from geofm_assets.prediction.imagery import MapImagery
from geofm_assets.prediction.infer import NODATA, predict_tile
from geofm_assets.prediction.model import CheckpointModel
from geofm_assets.training.experiments import Experiment
from geofm_assets.training.running import reproducible
from geofm_assets.windows.config import WindowsConfig
from geofm_assets.windows.write import projection
from tests.imagery_scenes import make_scenes
from tests.prediction_world import DAY, EXPERIMENT, PatternModel, write_model

UTM32 = projection("EPSG:32632", 10.0)
LEFT, TOP, SIDE = 50_000, -470_000, 128  # where `make_scenes` puts its scenes
CASES = {
    "classification": (PatternModel(8, dense=False), CropGrid(8)),
    "classification, overlapping": (PatternModel(16, dense=False), CropGrid(16, 5)),
    "segmentation": (PatternModel(32, dense=True), CropGrid(32, 4)),
    "segmentation, half overlapping": (PatternModel(16, dense=True), CropGrid(16, 8)),
}
cases = pytest.mark.parametrize(("model", "grid"), CASES.values(), ids=CASES.keys())


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("infer")
    scenes = make_scenes(root / "scenes")
    ensure_dataset(root / "dataset", ImageryConfig(), str(scenes.folder), None, layout="files")
    return root / "dataset"


@pytest.fixture(scope="module")
def imagery(dataset):
    return MapImagery(dataset, Experiment.parse(EXPERIMENT), WindowsConfig(size=8))


def run(model, imagery, grid, bounds, threads=1, wanted=None):
    shape = (bounds[3] - bounds[1], bounds[2] - bounds[0])
    wanted = {DAY: np.ones(shape, dtype=bool)} if wanted is None else wanted
    return predict_tile(model, imagery, grid, UTM32, bounds, wanted, threads)


WHOLE = (LEFT - 20, TOP - 30, LEFT + 150, TOP + 150)


@cases
def test_tiles_of_any_cut_and_any_number_of_threads_are_the_same_to_the_bit(imagery, model, grid):
    whole = run(model, imagery, grid, WHOLE)
    for cut in (LEFT + 41, LEFT + 64):
        for threads in (1, 3):
            west = run(model, imagery, grid, (*WHOLE[:2], cut, WHOLE[3]), threads)
            east = run(model, imagery, grid, (cut, *WHOLE[1:]), threads)
            for name in ("classes", "confidence"):
                both = np.hstack([getattr(west, name), getattr(east, name)])
                np.testing.assert_array_equal(both, getattr(whole, name))


@cases
def test_a_place_does_not_depend_on_what_else_is_asked_for(imagery, model, grid):
    whole = run(model, imagery, grid, WHOLE)
    shape = whole.classes.shape
    wanted = np.random.default_rng(0).random(shape) < 0.01
    some = run(model, imagery, grid, WHOLE, wanted={DAY: wanted})
    np.testing.assert_array_equal(some.confidence[wanted], whole.confidence[wanted])
    assert (some.classes[~wanted] == NODATA).all()


@cases
def test_only_pixels_with_imagery_get_a_class(imagery, model, grid):
    made = run(model, imagery, grid, WHOLE)
    inside = np.zeros(made.classes.shape, dtype=bool)
    inside[30 : 30 + SIDE, 20 : 20 + SIDE] = True
    assert set(np.unique(made.classes[inside])) <= {0, 1, 2}
    assert len(np.unique(made.classes[inside])) > 1
    assert (made.classes[~inside] == NODATA).all()
    assert ((made.confidence == NODATA) == ~inside).all()
    assert made.confidence[inside].min() >= 255 // 3


def test_without_overlap_a_crop_has_one_class(imagery):
    made = run(*CASES["classification"][:1], imagery, CropGrid(8), (LEFT, TOP, LEFT + 64, TOP + 64))
    tiles = made.classes.reshape(8, 8, 8, 8)
    assert (tiles == tiles[:, :1, :, :1]).all()


class LeaningModel(PatternModel):
    """Surer of one class toward the right of every crop, whatever is there."""

    def predict(self, batch):
        sure = np.linspace(0.5, 0.9, self.window_size, dtype=np.float32)
        found = np.zeros((len(batch.inputs), 3, self.window_size, self.window_size), np.float32)
        found[:, 1], found[:, 2] = sure, 1 - sure
        return found


def test_overlapping_crops_leave_no_seams(imagery):
    """Side by side, such crops leave a step at every border; blended, none stands out."""
    bounds = (LEFT, TOP, LEFT + 128, TOP + 128)
    model = LeaningModel(32, dense=True)
    steps = {}
    for overlap in (0, 8, 16):
        confidence = run(model, imagery, CropGrid(32, overlap), bounds).confidence
        steps[overlap] = np.abs(np.diff(confidence.astype(float), axis=1)).max() / 255
    assert steps[0] > 0.35
    assert steps[8] < 0.1
    assert steps[16] < 0.03


def test_what_was_looked_at_is_recorded(imagery):
    made = run(*CASES["classification"][:1], imagery, CropGrid(8), (LEFT, TOP, LEFT + 64, TOP + 64))
    assert made.scenes == {"S2_2022-06"}
    assert not made.simulated


def test_nothing_is_mapped_without_imagery(imagery):
    far = (LEFT + 5000, TOP, LEFT + 5064, TOP + 64)
    made = run(*CASES["classification"][:1], imagery, CropGrid(8), far)
    assert (made.classes == NODATA).all()
    assert made.scenes == set()


@pytest.mark.parametrize(
    ("lacking", "needed", "mapped"),
    [
        ("S2_2022-05", None, False),
        ("S2_2022-07", None, False),
        ("S2_2022-05", (False, True), True),  # training had windows without it
        ("S2_2022-07", (False, True), False),
    ],
)
def test_a_place_without_a_frame_that_is_needed_has_no_class(tmp_path, lacking, needed, mapped):
    """A month before a fire, or after it, without the other tells nothing of what has burnt."""
    bounds, two = (LEFT, TOP, LEFT + 64, TOP + 64), EXPERIMENT.replace("-t1", "-t2")
    scenes = make_scenes(tmp_path / "scenes", skip=(lacking,))
    config = ImageryConfig(frames=(-1, 1))
    ensure_dataset(tmp_path / "dataset", config, str(scenes.folder), None, layout="files")
    windows = WindowsConfig(size=8)
    imagery = MapImagery(
        tmp_path / "dataset", Experiment.parse(two), windows, config.frames, needed
    )
    made = run(*CASES["classification"][:1], imagery, CropGrid(8), bounds)
    assert (made.classes != NODATA).all() == mapped
    assert (made.classes == NODATA).all() != mapped
    assert made.missing_frame == (0 if mapped else 64 * 64)
    assert made.timesteps_seen == (64 * 64 if mapped else 0)  # one of the two
    assert made.scenes


def test_a_segmentation_checkpoint_has_a_class_for_every_pixel(dataset, tmp_path):
    name = "olmoearth_v1_2_nano-s2-ps4-ws16-t1-seg"
    write_model(tmp_path / "checkpoint.ckpt", name)
    model = CheckpointModel(tmp_path / "checkpoint.ckpt", "cpu")
    imagery = MapImagery(dataset, Experiment.parse(name), WindowsConfig(size=8))
    grid = CropGrid(16, 2)
    bounds = (LEFT, TOP, LEFT + 64, TOP + 64)
    with reproducible(1):
        whole = run(model, imagery, grid, bounds)
        east = run(model, imagery, grid, (LEFT + 21, *bounds[1:]), threads=2)
    np.testing.assert_array_equal(east.confidence, whole.confidence[:, 21:])
    assert (whole.classes != NODATA).all()
    assert len(np.unique(whole.confidence[:16, :16])) > 1
