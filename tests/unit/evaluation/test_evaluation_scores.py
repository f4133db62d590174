"""Scores against scikit-learn, and their intervals."""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

from geofm_assets.core.errors import ConfigError, ExperimentError
from geofm_assets.core.schema import validate
from geofm_assets.evaluation.bootstrap import confusion, resample_blocks, resample_windows
from geofm_assets.evaluation.schema import Score
from geofm_assets.evaluation.scores import class_slug, scores

CLASSES = ("Cropland", "Non-Cropland", "Water")
MODEL = hashlib.sha256(b"m").hexdigest()


def predictions(truth, predicted, split="test", cells=None, model=MODEL):
    n = len(truth)
    return pa.table(
        {
            "experiment": ["e"] * n,
            "model_id": [model] * n,
            "label_rule": ["r@1"] * n,
            "split": [split] * n if isinstance(split, str) else split,
            "h3_cell": cells or ["831e94fffffffff"] * n,
            "class_id": pa.array(truth, pa.int16()),
            "predicted_id": pa.array(predicted, pa.int16()),
            "simulated": [False] * n,
        }
    )


def value(table, metric, split="test", column="value"):
    mask = pc.and_(pc.equal(table["metric"], metric), pc.equal(table["split"], split))
    return table.filter(mask)[column][0].as_py()


pairs = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40)


@given(pairs)
@settings(max_examples=60, deadline=None)
def test_values_are_those_of_scikit_learn(drawn):
    truth, predicted = map(list, zip(*drawn, strict=True))
    table = scores(predictions(truth, predicted), CLASSES, resamples=5)
    options = {"labels": [0, 1, 2], "average": None, "zero_division": 0}
    assert value(table, "accuracy") == pytest.approx(accuracy_score(truth, predicted))
    macro = f1_score(truth, predicted, average="macro", zero_division=0)
    assert value(table, "macro_f1") == pytest.approx(macro)
    for function, name in (
        (precision_score, "precision"),
        (recall_score, "recall"),
        (f1_score, "f1"),
    ):
        expected = function(truth, predicted, **options)
        got = [value(table, f"{name}_{class_slug(c)}") for c in CLASSES]
        assert got == pytest.approx(expected)


@given(pairs)
@settings(max_examples=30, deadline=None)
def test_table_satisfies_its_schema(drawn):
    truth, predicted = map(list, zip(*drawn, strict=True))
    report = validate(scores(predictions(truth, predicted), CLASSES, resamples=20), Score)
    assert report.passed, report.describe()


@given(pairs, st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_row_order_does_not_matter(drawn, random):
    shuffled = list(drawn)
    random.shuffle(shuffled)
    first, second = (
        scores(predictions(*map(list, zip(*rows, strict=True))), CLASSES, resamples=50)
        for rows in (drawn, shuffled)
    )
    assert first.equals(second)


def test_same_seed_gives_the_same_table():
    rows = predictions([0, 0, 1, 1, 2] * 5, [0, 1, 1, 1, 2] * 5)
    assert scores(rows, CLASSES, seed=4).equals(scores(rows, CLASSES, seed=4))


def test_other_seed_gives_other_intervals_and_the_same_values():
    rows = predictions([0, 0, 1, 1, 2] * 5, [0, 1, 1, 1, 2] * 5)
    first, second = scores(rows, CLASSES, seed=1), scores(rows, CLASSES, seed=2)
    assert first["value"].equals(second["value"])
    assert not first["low"].equals(second["low"])


def test_interval_has_the_width_theory_gives():
    truth = [0] * 200 + [1] * 200
    predicted = [0] * 150 + [1] * 50 + [1] * 150 + [0] * 50
    table = scores(predictions(truth, predicted), ("a", "b"))
    width = value(table, "accuracy", column="high") - value(table, "accuracy", column="low")
    assert width == pytest.approx(2 * 1.96 * np.sqrt(0.75 * 0.25 / 400), rel=0.15)


def test_resampling_counts_is_resampling_windows():
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 2, 60), rng.integers(0, 2, 60)
    fast = resample_windows(confusion(truth, predicted, 2), 4000, 0)
    slow = []
    for _ in range(4000):
        rows = rng.integers(0, 60, 60)
        slow.append(confusion(truth[rows], predicted[rows], 2))
    assert fast.mean(axis=0) == pytest.approx(np.mean(slow, axis=0), abs=0.3)
    assert fast.std(axis=0) == pytest.approx(np.std(slow, axis=0), rel=0.06)


def test_blocks_of_alike_windows_widen_the_interval():
    cells = [f"83{i:013x}" for i in range(10) for _ in range(20)]
    right = [i % 2 for i in range(10) for _ in range(20)]
    rows = predictions([0] * 200, [1 - r for r in right], cells=cells)
    by_window = scores(rows, ("a", "b"))
    by_cell = scores(rows, ("a", "b"), by="h3_cell")
    widths = [
        value(t, "accuracy", column="high") - value(t, "accuracy", column="low")
        for t in (by_window, by_cell)
    ]
    assert widths[1] > 3 * widths[0]


def test_blocks_keep_the_number_of_blocks():
    matrices = np.stack([np.eye(2, dtype=np.int64)] * 5)
    assert (resample_blocks(matrices, 20, 0).sum(axis=(1, 2)) == 10).all()


def test_one_cell_cannot_be_drawn():
    with pytest.raises(ConfigError, match="only one at split test"):
        scores(predictions([0, 1], [0, 1]), CLASSES, by="h3_cell")


def test_every_split_is_scored_and_buffer_is_not():
    split = ["train", "val", "test", "buffer"] * 2
    table = scores(predictions([0, 1] * 4, [0, 1] * 4, split=split), CLASSES, resamples=5)
    assert sorted(set(table["split"].to_pylist())) == ["test", "train", "val"]


def test_absent_class_is_zero_resting_on_nothing():
    table = scores(predictions([0, 1], [0, 1]), CLASSES, resamples=5)
    assert (value(table, "recall_water"), value(table, "recall_water", column="n")) == (0.0, 0)


def test_absent_class_does_not_pull_macro_f1_down():
    table = scores(predictions([0, 1], [0, 1]), CLASSES, resamples=5)
    assert value(table, "macro_f1") == 1.0


def test_n_says_what_a_metric_rests_on():
    table = scores(predictions([0, 0, 0, 1], [0, 0, 1, 1]), CLASSES, resamples=5)
    names = ("accuracy", "precision_cropland", "recall_cropland", "f1_cropland")
    assert [value(table, n, column="n") for n in names] == [4, 2, 3, 3]


def test_predictions_of_two_models_are_refused():
    both = pa.concat_tables(
        [predictions([0], [0]), predictions([0], [0], model=hashlib.sha256(b"n").hexdigest())]
    )
    with pytest.raises(ExperimentError, match="2 values of model_id"):
        scores(both, CLASSES)


def test_class_id_outside_the_rule_is_refused():
    with pytest.raises(ExperimentError, match="class id 0 to 3, there are 3"):
        scores(predictions([0, 3], [0, 0]), CLASSES)


def test_classes_spelt_alike_are_refused():
    with pytest.raises(ConfigError, match="same metric name"):
        scores(predictions([0], [0]), ("Non-crop", "non crop"))


def test_simulated_rows_mark_every_score():
    rows = predictions([0, 1], [0, 1])
    rows = rows.set_column(rows.schema.get_field_index("simulated"), "simulated", [[True, False]])
    assert all(scores(rows, CLASSES, resamples=5)["simulated"].to_pylist())
