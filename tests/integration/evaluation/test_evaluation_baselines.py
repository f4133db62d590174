"""Baselines from packed chips to prediction rows."""

from itertools import groupby

import numpy as np
import pyarrow as pa
import pytest

from geofm_assets.core.errors import ExperimentError
from geofm_assets.core.schema import validate
from geofm_assets.evaluation.baselines import (
    LOGISTIC,
    MAJORITY,
    baseline_predictions,
    centre_pixels,
    fit_logistic,
)
from geofm_assets.training.data import open_chips
from geofm_assets.training.schema import Prediction
from tests.training_world import CELLS, CLASSES, make_world


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("chips")
    return root, make_world(root, windows=80)


@pytest.fixture(scope="module")
def tables(world):
    root, manifest = world
    return baseline_predictions(manifest, root, CLASSES, label_rule="ai2_v1@1")


def accuracy(table, split):
    rows = [r for r in table.to_pylist() if r["split"] == split]
    return np.mean([r["class_id"] == r["predicted_id"] for r in rows])


@pytest.mark.parametrize("name", [MAJORITY, LOGISTIC])
def test_rows_satisfy_the_schema(tables, name):
    report = validate(tables[name], Prediction)
    assert report.passed, report.describe()


@pytest.mark.parametrize("name", [MAJORITY, LOGISTIC])
def test_every_window_is_predicted(tables, world, name):
    assert tables[name]["window_name"].equals(world[1]["window_name"])


def test_majority_is_the_class_train_has_most(tables, world):
    train = [r["class_id"] for r in world[1].to_pylist() if r["split"] == "train"]
    most = int(np.bincount(train).argmax())
    assert set(tables[MAJORITY]["predicted_id"].to_pylist()) == {most}


def test_logistic_learns_a_plain_signal(tables):
    assert accuracy(tables[LOGISTIC], "test") == 1.0


def test_logistic_finds_nothing_where_there_is_nothing(tmp_path):
    manifest = make_world(tmp_path, windows=240, signal=0.0)
    table = baseline_predictions(manifest, tmp_path, CLASSES, label_rule="r")[LOGISTIC]
    assert 0.25 < accuracy(table, "test") < 0.75


def test_runs_agree_to_the_last_digit(tables, world):
    again = baseline_predictions(world[1], world[0], CLASSES, label_rule="ai2_v1@1")
    assert again[LOGISTIC].equals(tables[LOGISTIC])


def test_row_order_of_the_manifest_does_not_matter(tables, world):
    root, manifest = world
    turned = manifest.take(pa.array(range(manifest.num_rows - 1, -1, -1)))
    again = baseline_predictions(turned, root, CLASSES, label_rule="ai2_v1@1")
    assert again[LOGISTIC].equals(tables[LOGISTIC])


def test_test_labels_do_not_reach_the_fit(tables, world):
    root, manifest = world
    flipped = [
        1 - c if s == "test" else c
        for c, s in zip(
            manifest["class_id"].to_pylist(), manifest["split"].to_pylist(), strict=True
        )
    ]
    names = [CLASSES[c] for c in flipped]
    changed = manifest.set_column(5, "class_id", pa.array(flipped, pa.int16()))
    changed = changed.set_column(6, "class_name", pa.array(names))
    again = baseline_predictions(changed, root, CLASSES, label_rule="ai2_v1@1")
    assert again[LOGISTIC]["probabilities"].equals(tables[LOGISTIC]["probabilities"])


def test_baselines_claim_no_encoder_and_carry_the_simulation(tables):
    row = tables[LOGISTIC].to_pylist()[0]
    assert (row["encoder_start"], row["simulated"], row["experiment"]) == ("none", True, LOGISTIC)


def test_centre_pixel_is_every_month_and_band(world):
    root, manifest = world
    pixels = centre_pixels(open_chips(manifest, root))
    assert pixels.shape == (80, 3 * 2 + 3 * 12)


def test_missing_values_become_the_mean_and_a_mark():
    rng = np.random.default_rng(0)
    pixels = rng.normal(size=(60, 4))
    pixels[:, 3] = np.nan  # a band the source never has
    pixels[::3, 1] = np.nan
    targets = (pixels[:, 0] > 0).astype(np.int64)
    train = np.arange(60) < 40
    fitted = fit_logistic(pixels, targets, train, ~train, 0)
    features = fitted.features(pixels)
    assert features.shape == (60, 3 + 1)
    assert (features[::3, 1] == 0).all()
    assert features[:, 3].tolist() == [float(i % 3 == 0) for i in range(60)]


def test_one_class_in_train_is_refused(world):
    root, manifest = world
    lone = manifest.filter(pa.array([c == 0 for c in manifest["class_id"].to_pylist()]))
    with pytest.raises(ExperimentError, match="fewer than two classes"):
        baseline_predictions(lone, root, CLASSES, label_rule="r")


def test_windows_are_read_cell_by_cell(world):
    root, manifest = world
    shuffled = manifest.take(pa.array(np.random.default_rng(0).permutation(manifest.num_rows)))
    chips = open_chips(shuffled, root)
    cells = [shuffled["h3_cell"][index].as_py() for index in chips.by_file()]
    assert sorted(cell for cell, _ in groupby(cells)) == sorted(CELLS)


def test_pixels_stay_with_their_rows(world):
    root, manifest = world
    order = np.random.default_rng(1).permutation(manifest.num_rows)
    pixels = centre_pixels(open_chips(manifest, root))
    turned = centre_pixels(open_chips(manifest.take(pa.array(order)), root))
    np.testing.assert_array_equal(turned, pixels[order])
