"""Test samples in windows a checkpoint was trained on are found by place, and said aloud."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from geofm_assets.core.store import Store
from geofm_assets.evaluation.sweeps.leaderboard import PAGE_KEY, TABLE_KEY
from geofm_assets.evaluation.sweeps.run import run_sweep
from geofm_assets.evaluation.sweeps.settings import SweepSettings
from geofm_assets.evaluation.sweeps.shown import seen_check
from geofm_assets.evaluation.sweeps.training_windows import (
    TrainingWindows,
    overlapping,
    seen_in_training,
)
from tests.sweep_world import (
    MemorySamples,
    ToyModel,
    make_entry,
    store_dataset,
    write_manifest,
)

EXPERIMENT = "olmoearth_v1_2_nano-s2-ps4-ws8-t12"
NAME = f"checkpoint:crops/{EXPERIMENT}"
FOLDER = f"tasks/crops/experiments/{EXPERIMENT}"
DEGREE_M = 111_195  # of latitude, on the sphere of mean radius


def train(store, model_id, places, inputs="run", ended="run"):
    """A checkpoint as training leaves it."""
    content = write_manifest(store, places)
    config = {"inputs": inputs, "manifest": content}
    store.write_bytes(f"{FOLDER}/config.yaml", yaml.safe_dump(config).encode())
    store.write_json(f"{FOLDER}/checkpoint.json", {"inputs": ended, "model_id": model_id})
    store.write_bytes(f"{FOLDER}/checkpoint.ckpt", b"never read")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


@pytest.fixture
def model():
    return ToyModel(name=NAME, seed=4)


def placed(count=20):
    """Samples a kilometre apart going east along the equator."""
    samples = MemorySamples(count=count)
    lon = pa.array([0.01 * i for i in range(count)])
    table = samples.table.set_column(samples.table.schema.get_field_index("lon"), "lon", lon)
    samples.table = table.set_column(
        table.schema.get_field_index("lat"), "lat", pa.array([0.0] * count)
    )
    return samples


def count(store, model):
    return seen_in_training(store, model.info, make_entry(count=20), placed().table)


def test_test_samples_in_train_and_val_windows_are_counted(store, model):
    # tests are samples 8, 9, 18, 19; a window reaches 80 m: half of 8 pixels of 10 m, twice
    places = [("train", 0.08, 0.0), ("val", 0.09, 70 / DEGREE_M), ("train", 0.18, 90 / DEGREE_M)]
    train(store, model.info.model_id, places)
    assert count(store, model) == 2


def test_test_windows_of_the_task_are_no_training(store, model):
    train(store, model.info.model_id, [("test", 0.08, 0.0), ("buffer", 0.09, 0.0)])
    assert count(store, model) == 0


def test_what_the_checkpoint_was_trained_on_is_not_known_once_the_manifest_was_remade(store, model):
    train(store, model.info.model_id, [("train", 0.08, 0.0)])
    write_manifest(store, [("train", 0.5, 0.5)])
    assert count(store, model) is None


@pytest.mark.parametrize("other", [{"ended": "before"}, {"model_id": "f" * 64}])
def test_a_training_that_has_not_ended_says_nothing_of_the_checkpoint_there_is(store, model, other):
    given = {"model_id": model.info.model_id, **other}
    train(store, places=[("train", 0.08, 0.0)], **given)
    assert count(store, model) is None


def test_a_model_that_was_not_fine_tuned_here_has_no_windows(store):
    assert count(store, ToyModel(name="presto")) is None


@given(
    lon=st.floats(-179.9, 179.9),
    lat=st.floats(-80, 80),
    east=st.floats(-300, 300),
    north=st.floats(-300, 300),
)
def test_squares_overlap_when_both_distances_are_under_half_their_sides(lon, lat, east, north):
    reach = 120.0  # of 160 m and 80 m
    if any(abs(abs(d) - reach) < 3 for d in (east, north)):
        return  # as near as makes no difference
    windows = TrainingWindows(np.array([lon]), np.array([lat]), 160.0)
    near = lat + north / DEGREE_M
    across = lon + east / (DEGREE_M * np.cos(np.radians(near)))
    across = (across + 180) % 360 - 180
    (found,) = overlapping(windows, np.array([across]), np.array([near]), 80.0)
    assert found == (abs(east) < reach and abs(north) < reach)


def sweep(store, model):
    return run_sweep(
        store,
        [NAME],
        ["toy"],
        settings=SweepSettings(sweep="defaults", epochs=2, batch_size=8, resamples=20),
        build=lambda _: model,
    ).scores


def test_scores_leaderboard_page_and_check_say_it(store, model):
    samples = placed()
    store_dataset(store, samples, make_entry(count=20))
    train(store, model.info.model_id, [("train", 0.08, 0.0), ("val", 0.19, 0.0)])
    scores = sweep(store, model)
    assert pc.unique(scores["seen_in_training"]).to_pylist() == [2]
    assert pc.unique(scores["test_samples"]).to_pylist() == [4]
    assert set(store.read_table(TABLE_KEY)["seen_in_training"].to_pylist()) == {2}
    text = "2 of 4 test samples lie in the checkpoint&#x27;s training windows"
    assert text in store.read_bytes(PAGE_KEY).decode()
    check = seen_check(scores)
    assert (check.passed, check.blocking) == (False, False)
    assert check.metadata == {"seen_in_training": 2, "test_samples": 4}


def test_what_is_not_known_is_said_too(store, model):
    store_dataset(store, placed(), make_entry(count=20))
    scores = sweep(store, model)
    assert scores["seen_in_training"].null_count == scores.num_rows
    assert "training windows is no longer known" in store.read_bytes(PAGE_KEY).decode()
    assert not seen_check(scores).passed


def test_none_is_a_pass(store, model):
    store_dataset(store, placed(), make_entry(count=20))
    train(store, model.info.model_id, [("train", 0.5, 0.0)])
    check = seen_check(sweep(store, model))
    assert check.passed
    assert check.description == "None of 4 test samples lies in its training windows"
