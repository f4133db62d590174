"""What a model sees of the chips: the right pixels, months, times and bands."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geofm_assets.core.errors import ExperimentError
from geofm_assets.training import loading
from geofm_assets.training.config import TrainingConfig
from geofm_assets.training.data import (
    WindowDataset,
    chosen_months,
    collate,
    crop_bounds,
    open_chips,
)
from geofm_assets.training.experiments import Experiment
from geofm_assets.training.loading import EpochSampler, SharedBatches, loaders
from geofm_assets.training.schema import MANIFEST
from tests.training_world import CELLS, EPOCH, manifest_row, month_periods, write_cell

VALID_TIME = dt.date(2022, 6, 15)
NANO = "olmoearth_v1_2_nano"


def experiment(**axes):
    values = {"modality": "s1_s2", "patch_size": 4, "window_size": 4, "timesteps": 3}
    return Experiment(encoder=NANO, **(values | axes))


@pytest.fixture
def arrays():
    """Two windows of 8 x 8, three months; every stored value differs."""
    s2 = np.arange(2 * 3 * 12 * 64).reshape(2, 3, 12, 8, 8) % 9000 + 1
    s1 = -np.arange(2 * 3 * 2 * 64).reshape(2, 3, 2, 8, 8) / 100
    return {"sentinel2_l2a": s2.astype(np.uint16), "sentinel1": s1.astype(np.float32)}


@pytest.fixture
def dataset_of(tmp_path, arrays):
    """Write the arrays as chips and open them as an experiment sees them."""

    def open_as(**axes):
        options = {k: axes.pop(k) for k in ("augment", "seed") if k in axes}
        periods = month_periods(dt.date(2022, 5, 1), 3)
        names = ["w0000", "w0001"]
        file = write_cell(tmp_path / f"h3_cell={CELLS[0]}", CELLS[0], names, arrays, periods)
        rows = [manifest_row(i, CELLS[0], file, i, valid_time=VALID_TIME) for i in range(2)]
        manifest = pa.Table.from_pylist(rows, schema=MANIFEST)
        chips = open_chips(manifest, tmp_path)
        return WindowDataset(manifest, chips, experiment(**axes), **options)

    return open_as


@given(st.integers(1, 64), st.data())
def test_crop_lies_inside_and_has_its_size(size, data):
    window = data.draw(st.integers(1, size))
    for part in crop_bounds(size, window):
        assert part.start >= 0
        assert part.stop <= size
        assert part.stop - part.start == window


@given(st.integers(1, 64), st.data())
def test_crop_of_a_crop_is_the_crop(size, data):
    middle = data.draw(st.integers(1, size))
    small = data.draw(st.integers(1, middle))
    for axis in (0, 1):
        through = crop_bounds(size, middle)[axis].start + crop_bounds(middle, small)[axis].start
        assert through == crop_bounds(size, small)[axis].start


def test_single_pixel_is_the_one_the_point_lies_in():
    # windows/geometry: even sizes put the point into column s/2 and row s/2 - 1
    rows, columns = crop_bounds(32, 1)
    assert (rows.start, columns.start) == (15, 16)


@pytest.mark.parametrize(
    ("day", "timesteps", "months"),
    [
        (dt.date(2022, 7, 15), 1, [6]),
        (dt.date(2022, 7, 1), 1, [6]),
        (dt.date(2022, 6, 30), 1, [5]),
        (dt.date(2022, 7, 15), 3, [5, 6, 7]),
        (dt.date(2022, 7, 15), 2, [5, 6]),
        (dt.date(2022, 7, 15), 12, list(range(12))),
        (dt.date(2022, 1, 15), 3, [0, 1, 2]),
        (dt.date(2022, 12, 15), 3, [9, 10, 11]),
        (dt.date(2021, 3, 1), 1, [0]),
        (dt.date(2023, 3, 1), 1, [11]),
    ],
)
def test_months_are_chosen_around_the_label(day, timesteps, months):
    chosen = chosen_months(month_periods(dt.date(2022, 1, 1), 12), day, timesteps)
    assert list(range(12))[chosen] == months


def test_image_is_channels_by_time_by_rows_by_columns(dataset_of):
    inputs = dataset_of(window_size=4)[0].inputs
    assert inputs["sentinel2_l2a"].image.shape == (12, 3, 4, 4)
    assert inputs["sentinel1"].image.shape == (2, 3, 4, 4)


def test_pixels_are_those_of_the_centre(dataset_of, arrays):
    image = dataset_of(window_size=4)[1].inputs["sentinel1"].image
    expected = arrays["sentinel1"][1, :, :, 2:6, 2:6].transpose(1, 0, 2, 3)
    mean, std = np.array([-11.65, -17.75]), np.array([10.84, 10.22])
    low = (mean - 2 * std)[:, None, None, None]
    np.testing.assert_allclose(
        image, (expected - low) / (4 * std)[:, None, None, None], rtol=1e-4, atol=1e-5
    )


def test_normalisation_equals_rslearns(dataset_of, arrays):
    from rslearn.models.olmoearth_pretrain.norm import OlmoEarthNormalize
    from rslearn.train.model_context import RasterImage

    from geofm_assets.imagery.bands import LAYERS

    dataset = dataset_of(window_size=8, patch_size=8)
    raw = {
        name: RasterImage(torch.from_numpy(a[0].astype(np.float32).transpose(1, 0, 2, 3).copy()))
        for name, a in arrays.items()
    }
    bands = {name: list(LAYERS[name].band_names) for name in raw}
    theirs, _ = OlmoEarthNormalize(bands)(raw, {})
    for name, image in dataset[0].inputs.items():
        torch.testing.assert_close(image.image, theirs[name].image, rtol=1e-4, atol=1e-4)


def test_times_are_those_of_the_chips(dataset_of):
    start, end = dataset_of()[0].inputs["sentinel2_l2a"].timestamps[1]
    assert (start, end) == (
        dt.datetime(2022, 6, 1, tzinfo=dt.UTC),
        dt.datetime(2022, 7, 1, tzinfo=dt.UTC),
    )
    assert EPOCH.tzinfo is dt.UTC


def test_single_timestep_is_the_month_of_the_label(dataset_of):
    image = dataset_of(timesteps=1)[0].inputs["sentinel2_l2a"]
    assert image.timestamps[0][0].month == 6


def test_only_asked_layers_are_given(dataset_of):
    assert set(dataset_of(modality="s1")[0].inputs) == {"sentinel1"}


def test_absent_month_is_left_out_of_its_layer(dataset_of, arrays):
    arrays["sentinel2_l2a"][0, 1] = 0
    inputs = dataset_of()[0].inputs
    assert [t[0].month for t in inputs["sentinel2_l2a"].timestamps] == [5, 7]
    assert [t[0].month for t in inputs["sentinel1"].timestamps] == [5, 6, 7]


def test_month_without_data_in_the_crop_is_left_out(dataset_of, arrays):
    arrays["sentinel2_l2a"][0, 1, :, 2:6, 2:6] = 0
    assert len(dataset_of(window_size=4)[0].inputs["sentinel2_l2a"].timestamps) == 2
    assert len(dataset_of(window_size=8)[0].inputs["sentinel2_l2a"].timestamps) == 3


def test_layer_without_any_month_is_left_out(dataset_of, arrays):
    arrays["sentinel1"][0] = -32768
    assert set(dataset_of()[0].inputs) == {"sentinel2_l2a"}


def test_band_the_source_never_has_is_the_mean(dataset_of, arrays):
    arrays["sentinel2_l2a"][:, :, 10] = 0
    image = dataset_of()[0].inputs["sentinel2_l2a"].image
    assert (image[10] == 0.5).all()


def test_chips_are_not_changed(dataset_of, arrays):
    dataset = dataset_of(augment=True)
    for epoch in range(3):
        dataset[(epoch, 0)].inputs["sentinel2_l2a"].image.zero_()
    for name, array in arrays.items():
        assert np.array_equal(dataset.chips.pixels(0, name), array[0])
        assert not dataset.chips.pixels(0, name).flags.writeable


def test_flips_are_the_same_for_both_layers(dataset_of, arrays):
    arrays["sentinel1"][:] = arrays["sentinel2_l2a"][:, :, :2]
    dataset = dataset_of(augment=True)
    for epoch in range(8):
        s2, s1 = (dataset[(epoch, 0)].inputs[n].image for n in ("sentinel2_l2a", "sentinel1"))
        assert torch.equal(s2[0, 0].flatten().argsort(), s1[0, 0].flatten().argsort())


def test_flips_differ_between_epochs_and_repeat(dataset_of):
    dataset = dataset_of(augment=True)
    first, again = (
        [dataset[(e, 0)].inputs["sentinel1"].image for e in range(40)] for _ in range(2)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert len({i.numpy().tobytes() for i in first}) == 4


def test_rows_asked_for_without_an_epoch_are_not_flipped(dataset_of):
    plain, augmenting = dataset_of(), dataset_of(augment=True)
    for name in ("sentinel2_l2a", "sentinel1"):
        assert torch.equal(plain[0].inputs[name].image, augmenting[0].inputs[name].image)


def test_window_larger_than_the_chips_is_refused(dataset_of):
    with pytest.raises(ExperimentError, match="3 months of 8 x 8 pixels, too few"):
        dataset_of(window_size=16)[0]


def test_more_months_than_the_chips_are_refused(dataset_of):
    with pytest.raises(ExperimentError, match="too few"):
        dataset_of(timesteps=12)[0]


def test_layer_the_chips_lack_is_refused(dataset_of, arrays):
    del arrays["sentinel1"]
    with pytest.raises(ExperimentError, match=r"The chips lack sentinel1 at .* window w0001"):
        dataset_of()[1]


def test_chips_of_other_rows_are_refused(dataset_of):
    dataset = dataset_of()
    with pytest.raises(ExperimentError, match="Open the chips with the same manifest"):
        WindowDataset(MANIFEST.empty_table(), dataset.chips, experiment())


def test_windows_of_different_months_go_into_one_batch(dataset_of, arrays):
    arrays["sentinel2_l2a"][0, 1] = 0
    dataset = dataset_of()
    batch = collate([dataset[0], dataset[1]])
    assert [i["sentinel2_l2a"].image.shape[1] for i in batch.inputs] == [2, 3]


def test_blank_windows_can_be_left_out(dataset_of, arrays):
    arrays["sentinel1"][0] = -32768
    dataset = dataset_of(modality="s1")
    assert collate([dataset[0], dataset[1]]).with_inputs().targets.tolist() == [1]


@given(st.integers(1, 50), st.integers(0, 5), st.integers(0, 5))
def test_an_epoch_is_every_row_once(rows, seed, epoch):
    sampler = EpochSampler(range(rows), seed)
    sampler.set_epoch(epoch)
    assert sorted(row for _, row in sampler) == list(range(rows))


def test_order_is_of_seed_and_epoch_alone():
    def order(seed, epoch):
        sampler = EpochSampler(range(20), seed)
        sampler.set_epoch(epoch)
        return [row for _, row in sampler]

    assert order(1, 2) == order(1, 2)
    assert len({tuple(order(s, e)) for s in range(2) for e in range(3)}) == 6


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 5))
def test_processes_share_every_batch_of_one_order(rows, batch_size, processes):
    def parts(rank, of):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loading, "place", lambda: (rank, of))
            return list(SharedBatches(EpochSampler(range(rows), seed=1), batch_size))

    alone = parts(0, 1)
    shares = [parts(rank, processes) for rank in range(processes)]
    assert {len(share) for share in shares} == {len(alone)}  # all take as many steps
    for batch, *split in zip(alone, *shares, strict=True):
        assert sorted(row for part in split for row in part) == sorted(batch)  # none twice
        assert max(map(len, split)) - min(map(len, split)) <= 1


def test_validation_rows_come_in_order_and_unflipped(dataset_of):
    dataset = dataset_of(augment=True)
    _, check = loaders(dataset, [0], [0, 1], TrainingConfig(batch_size=1))
    assert [b.indices.tolist() for b in check] == [[0], [1]]
