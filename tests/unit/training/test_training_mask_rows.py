"""Masks by row of the manifest."""

import pickle

import numpy as np
import pytest

from geofm_assets.core.errors import ExperimentError
from geofm_assets.training.crop import crop_bounds
from geofm_assets.training.experiments import Experiment
from geofm_assets.training.mask_rows import MaskRows, open_masks
from tests.segmentation_world import drawn_masks, make_segmentation_world, write_masks
from tests.training_world import CELLS

SIZE = 16


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    return root, make_segmentation_world(root, windows=8, size=SIZE)


def rows(world, window_size=SIZE, classes=2):
    root, manifest = world
    return MaskRows(manifest, root / "masks", window_size, classes)


def test_a_mask_is_that_of_its_window(world, tmp_path):
    masks = drawn_masks(np.random.default_rng(5), 4, SIZE)
    names = ["w0002", "w0000", "w0003", "w0001"]
    write_masks(tmp_path / f"h3_cell={CELLS[0]}", names, masks)
    manifest = world[1]
    found = MaskRows(manifest.slice(0, 4), tmp_path, SIZE, 2)
    for row, name in enumerate(manifest["window_name"].to_pylist()[:4]):
        assert (found.mask(row) == masks[names.index(name)]).all()


@pytest.mark.parametrize("window", [1, 2, 5, 8])
def test_the_crop_is_that_of_the_chips(world, window):
    whole, cropped = rows(world).mask(3), rows(world, window).mask(3)
    assert (whole[crop_bounds(SIZE, window)] == cropped).all()


def test_counts_leave_nodata_out(world):
    masks = rows(world)
    counts = masks.counts(range(len(masks)))
    stacked = np.stack([masks.mask(i) for i in range(len(masks))])
    assert counts.tolist() == [(stacked == 0).sum(), (stacked == 1).sum()]
    assert counts.sum() < stacked.size


def test_a_tensor_of_a_mask_may_be_changed(world):
    masks = rows(world)
    masks.target(0).fill_(7)
    assert (masks.mask(0) != 7).all()


def test_masks_can_be_pickled(world):
    masks = rows(world)
    masks.mask(0)
    assert (pickle.loads(pickle.dumps(masks)).mask(1) == masks.mask(1)).all()


def test_other_masks_have_another_digest(world, tmp_path):
    other = make_segmentation_world(tmp_path, windows=8, size=SIZE, seed=1)
    assert rows(world).digest() == rows(world).digest() != rows((tmp_path, other)).digest()


def test_windows_without_masks_are_one_error(world, tmp_path):
    manifest = world[1]
    write_masks(tmp_path / f"h3_cell={CELLS[0]}", ["w0000"], np.zeros((1, SIZE, SIZE)))
    masks = MaskRows(manifest, tmp_path, SIZE, 2)
    with pytest.raises(ExperimentError, match=r"7 of 8 windows have no mask") as error:
        masks.require_all()
    assert "window w0001" in str(error.value)
    assert "experiments.head" in str(error.value)


def test_masks_of_all_windows_are_enough(world):
    rows(world).require_all()


def test_cell_without_masks_is_named(world, tmp_path):
    with pytest.raises(ExperimentError, match="The cell has no masks"):
        MaskRows(world[1], tmp_path, SIZE, 2).mask(0)


def test_value_that_is_no_class_is_refused(world, tmp_path):
    masks = np.zeros((1, SIZE, SIZE))
    masks[0, 3, 4] = 7
    write_masks(tmp_path / f"h3_cell={CELLS[0]}", ["w0000"], masks)
    with pytest.raises(ExperimentError, match=r"holds \[7\], classes are 0 to 1, nodata 255"):
        MaskRows(world[1], tmp_path, SIZE, 2).mask(0)


def test_mask_smaller_than_the_crop_is_refused(world):
    with pytest.raises(ExperimentError, match="16 pixels wide, the experiment reads 32"):
        rows(world, 32).mask(0)


def test_segmentation_without_a_folder_of_masks_is_refused(world):
    experiment = Experiment.parse("olmoearth_v1_2_nano-s2-ps4-ws16-t2-seg")
    with pytest.raises(ExperimentError, match="needs masks"):
        open_masks(experiment, world[1], None, 2)
