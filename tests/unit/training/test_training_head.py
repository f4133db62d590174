"""The head axis, and what a segmentation experiment reads."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geofm_assets.core.errors import ExperimentError
from geofm_assets.training.data import WindowDataset, collate, open_chips
from geofm_assets.training.experiments import Experiment, ExperimentsConfig, grid
from geofm_assets.training.mask_rows import open_masks
from tests.segmentation_world import NIR, make_segmentation_world

NAME = "olmoearth_v1_2_nano-s2-ps4-ws8-t2"
AXES = {
    "encoder": ["olmoearth_v1_2_nano"],
    "modality": ["s2"],
    "patch_size": [4],
    "window_size": [8],
    "timesteps": [1, 2],
}


@given(st.sampled_from(["classification", "segmentation"]), st.integers(1, 8), st.integers(1, 24))
def test_name_and_experiment_are_one_thing(head, patch, steps):
    experiment = Experiment(
        encoder="presto",
        modality="s1",
        patch_size=patch,
        window_size=32,
        timesteps=steps,
        head=head,
    )
    assert Experiment.parse(experiment.name) == experiment
    assert experiment.name.endswith("-seg") == (head == "segmentation")
    assert Experiment.model_validate(experiment.model_dump()) == experiment


def test_classification_is_written_as_before_there_were_heads():
    assert list(Experiment.parse(NAME).model_dump()) == [
        "encoder", "modality", "patch_size", "window_size", "timesteps",
    ]  # fmt: skip
    assert Experiment.parse(f"{NAME}-seg").model_dump()["head"] == "segmentation"


@pytest.mark.parametrize("name", [f"{NAME}-segm", f"{NAME}-seg-seg", f"seg-{NAME}x"])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(ExperimentError, match="Not the name"):
        Experiment.parse(name)


def test_both_heads_make_twice_the_grid():
    config = ExperimentsConfig.model_validate({**AXES, "head": ["segmentation", "classification"]})
    found = grid(config, materialized_size=8, months=2)
    assert [e.name for e in found.feasible] == [
        f"{NAME[:-1]}{steps}{suffix}" for steps in (1, 2) for suffix in ("-seg", "")
    ]
    assert found.default.name == f"{NAME}-seg"


def test_without_heads_the_grid_classifies():
    found = grid(ExperimentsConfig.model_validate(AXES), materialized_size=8, months=2)
    assert {e.head for e in found.feasible} == {"classification"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    return root, make_segmentation_world(root, windows=8, size=16)


def dataset(world, name, **options):
    root, manifest = world
    experiment = Experiment.parse(name)
    masks = open_masks(experiment, manifest, root / "masks", 2)
    chips = open_chips(manifest, root / "chips")
    return WindowDataset(manifest, chips, experiment, masks=masks, **options)


def image(example):
    return example.inputs["sentinel2_l2a"]


@pytest.mark.parametrize("epoch", range(6))
def test_a_mask_is_mirrored_with_its_image(world, epoch):
    """Burnt pixels are dark in near infrared after the fire, mirrored or not."""
    data = dataset(world, f"{NAME}-seg", frames=(-1, 1), augment=True, seed=3)
    example = data[epoch, 2]
    dark = image(example).image[NIR, 1]
    burnt, unburnt = (dark[example.target == k] for k in (1, 0))
    if len(burnt) and len(unburnt):
        assert burnt.max() < unburnt.min()


def test_a_batch_of_masks_is_one_tensor(world):
    data = dataset(world, f"{NAME}-seg", frames=(-1, 1))
    batch = collate([data[0], data[5]])
    assert (batch.targets.shape, batch.targets.dtype) == ((2, 8, 8), torch.uint8)
    assert torch.equal(batch.only([1]).targets[0], data[5].target)


def test_one_timestep_of_frames_is_the_latest(world):
    """However early the label's day: frames are not looked for by date."""
    early = world[1].set_column(
        world[1].schema.get_field_index("valid_time"),
        "valid_time",
        pa.array([dt.date(2000, 1, 1)] * world[1].num_rows),
    )
    data = dataset((world[0], early), "olmoearth_v1_2_nano-s2-ps4-ws8-t1-seg", frames=(-1, 1))
    assert [start.month for start, _ in image(data[0]).timestamps] == [6]


def test_both_timesteps_come_oldest_first(world):
    data = dataset(world, f"{NAME}-seg", frames=(-1, 1))
    assert [start.month for start, _ in image(data[0]).timestamps] == [5, 6]


def test_without_frames_the_month_of_the_day_is_read(world):
    early = world[1].set_column(
        world[1].schema.get_field_index("valid_time"),
        "valid_time",
        pa.array([dt.date(2022, 5, 9)] * world[1].num_rows),
    )
    data = dataset((world[0], early), "olmoearth_v1_2_nano-s2-ps4-ws8-t1-seg")
    assert [start.month for start, _ in image(data[0]).timestamps] == [5]


def test_other_frames_than_the_chips_are_refused(world):
    with pytest.raises(ExperimentError, match="2 timesteps, the task 3 frames"):
        dataset(world, f"{NAME}-seg", frames=(-2, -1, 1))[0]


def test_counts_of_the_masks_are_of_the_crop(world):
    data = dataset(world, f"{NAME}-seg")
    assert data.masks is not None
    counts = data.masks.counts([0])
    assert counts.sum() == np.count_nonzero(data[0].target != 255)
