"""Paired differences between set-ups, on small tables with known answers."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geofm_assets.core.errors import ExperimentError
from geofm_assets.core.schema import validate
from geofm_assets.evaluation.comparison import Setup, differences
from geofm_assets.evaluation.comparison_counts import metric_of, resampled, window_counts
from geofm_assets.evaluation.comparison_schema import Difference
from geofm_assets.evaluation.scores import scores
from geofm_assets.evaluation.segmentation_scores import segmentation_scores
from geofm_assets.training.experiments import AXES, Experiment
from geofm_assets.training.schema import MANIFEST
from geofm_assets.training.window_rows import confusions, prediction_table, segmentation_table
from tests.training_world import manifest_row

CLASSES = ("unburnt", "burnt")
FILE, CELL, SIZE = "rasters-0123456789abcdef.safetensors", "831e94fffffffff", 4
ONE, TWO = "nano-s2-ps4-ws8-t1", "nano-s2-ps4-ws8-t2"
SAID = {"model_id": "0" * 64, "encoder_start": "none", "label_rule": "r@1", "simulated": True}


def manifest(truth):
    rows = [
        manifest_row(i, CELL, FILE, i, split="test", class_id=int(k), class_name=CLASSES[int(k)])
        for i, k in enumerate(truth)
    ]
    return pa.Table.from_pylist(rows, schema=MANIFEST)


def points(name, truth, said, trained="same"):
    """A classification set-up that says one class a window."""
    chances = np.eye(2, dtype=np.float32)[np.asarray(said, int)]
    rows = prediction_table(manifest(truth), chances, CLASSES, experiment=name, **SAID)
    return Setup(Experiment.parse(name), rows, trained)


def masks(name, truth, said, trained="same"):
    """A segmentation set-up of (N, SIZE, SIZE) masks."""
    count = len(truth)
    matrices = confusions(np.asarray(truth, np.uint8), np.asarray(said, int), 2)
    half = np.full((count, 2), 0.5, np.float32)
    told = {**SAID, "experiment": name}
    rows = segmentation_table(manifest([0] * count), matrices, half, SIZE, **told)
    return Setup(Experiment.parse(name), rows, trained)


def of(table, axis):
    return [r for r in table.to_pylist() if r["axis"] == axis]


def only(table, axis):
    rows = of(table, axis)
    assert len(rows) == 1
    return rows[0]


def compare(*setups, **options):
    table = differences(setups, CLASSES, **{"metric": "accuracy", **options})
    report = validate(table, Difference)
    assert report.passed, report.describe()
    return table


TRUTH = np.arange(40) % 2
ONE_IN_FOUR_WRONG = TRUTH ^ (np.arange(40) % 4 == 0)


def test_a_clear_difference_has_an_interval_without_0():
    row = only(compare(points(ONE, TRUTH, ONE_IN_FOUR_WRONG), points(TWO, TRUTH, TRUTH)),
               "timesteps")  # fmt: skip
    assert (row["value_a"], row["value_b"], row["level"]) == ("1", "2", "window")
    assert (row["mean_a"], row["mean_b"], row["difference"]) == (0.75, 1.0, 0.25)
    assert 0 < row["low"] < 0.25 < row["high"] < 0.5
    assert (row["pairs"], row["blocks"], row["drawn"]) == (1, 40, "window")
    assert row["statement"].endswith("1 pair, 40 windows drawn: the interval excludes 0")


def test_errors_on_other_windows_alone_are_no_difference():
    other = TRUTH ^ (np.arange(40) % 4 == 1)
    row = only(compare(points(ONE, TRUTH, ONE_IN_FOUR_WRONG), points(TWO, TRUTH, other)),
               "timesteps")  # fmt: skip
    assert row["difference"] == 0
    assert row["low"] < 0 < row["high"]
    assert "the interval includes 0" in row["statement"]


def test_what_is_hard_for_both_does_not_widen_the_interval():
    """Equal answers differ by nothing in every resample: both get the same windows."""
    row = only(compare(*(points(n, TRUTH, ONE_IN_FOUR_WRONG) for n in (ONE, TWO))), "timesteps")
    assert (row["difference"], row["low"], row["high"]) == (0, 0, 0)


def test_the_interval_is_that_of_a_paired_bootstrap():
    """The accuracy of ONE's windows is a mean of n draws: its spread is known."""
    row = only(compare(points(ONE, TRUTH, ONE_IN_FOUR_WRONG), points(TWO, TRUTH, TRUTH),
                       resamples=4000), "timesteps")  # fmt: skip
    half = 1.96 * np.sqrt(0.25 * 0.75 / 40)
    assert row["high"] - row["low"] == pytest.approx(2 * half, rel=0.12)


def test_groups_of_alike_windows_widen_the_interval():
    wrong = TRUTH ^ (np.arange(40) < 8)
    setups = points(ONE, TRUTH, wrong), points(TWO, TRUTH, TRUTH)
    groups = {f"s{i:04d}": f"fire{i // 8}" for i in range(40)}
    alone, together = (only(compare(*setups, groups=g), "timesteps") for g in (None, groups))
    assert (together["drawn"], together["blocks"]) == ("group", 5)
    assert together["difference"] == alone["difference"]
    assert together["high"] - together["low"] > 1.5 * (alone["high"] - alone["low"])


@pytest.mark.parametrize(("a_fire", "fires"), [(10, "4 groups"), (40, "1 group")])
def test_few_fires_say_nothing_however_many_windows(a_fire, fires):
    """Right everywhere against wrong everywhere, and still a matter of four fires."""
    setups = points(ONE, TRUTH, 1 - TRUTH), points(TWO, TRUTH, TRUTH)
    groups = {f"s{i:04d}": f"fire{i // a_fire}" for i in range(40)}
    row = only(compare(*setups, groups=groups), "timesteps")
    assert (row["difference"], row["low"], row["high"]) == (1, None, None)
    end = f"{fires} drawn: too few groups for an interval, which takes 5"
    assert row["statement"].endswith(end)


def test_many_far_samples_do_not_make_few_fires_many():
    truth = (np.arange(40) < 20).astype(int)
    setups = points(ONE, truth, truth * 0), points(TWO, truth, truth)
    groups = {f"s{i:04d}": f"fire{i // 10}" if i < 20 else f"far{i}" for i in range(40)}
    row = only(compare(*setups, groups=groups), "timesteps")
    assert (row["blocks"], row["blocks_held"], row["low"]) == (22, 2, None)
    assert "22 groups drawn, 2 of them with each class: too few groups" in row["statement"]


def test_only_experiments_equal_in_every_other_axis_are_pairs():
    setups = [
        points(name, TRUTH, said)
        for name, said in (
            (ONE, ONE_IN_FOUR_WRONG),
            (TWO, TRUTH),
            ("nano-s1-ps4-ws8-t1", ONE_IN_FOUR_WRONG),
            ("nano-s1-ps4-ws8-t2", TRUTH),
            ("tiny-s2-ps2-ws8-t2", 1 - TRUTH),
        )
    ]
    table = compare(*setups)
    row = only(table, "timesteps")
    assert (row["pairs"], row["difference"]) == (2, 0.25)
    assert row["experiments_a"] == ["nano-s1-ps4-ws8-t1", ONE]
    assert row["experiments_b"] == ["nano-s1-ps4-ws8-t2", TWO]
    assert only(table, "modality")["pairs"] == 2
    assert only(table, "encoder")["statement"] == (
        "Nothing to compare: no two experiments differ in encoder and in nothing else"
    )


def test_three_values_are_compared_two_by_two_in_the_order_of_the_file():
    setups = [points(f"nano-{m}-ps4-ws8-t1", TRUTH, TRUTH) for m in ("s1", "s1_s2", "s2")]
    rows = of(compare(*setups, order={"modality": ("s2", "s1", "s1_s2")}), "modality")
    assert [(r["value_a"], r["value_b"]) for r in rows] == [
        ("s2", "s1"),
        ("s2", "s1_s2"),
        ("s1", "s1_s2"),
    ]


def test_experiments_trained_otherwise_are_left_out_and_said_so():
    setups = points(ONE, TRUTH, TRUTH, "5 epochs"), points(TWO, TRUTH, TRUTH, "9 epochs")
    row = only(compare(*setups), "timesteps")
    assert (row["pairs"], row["unlike"], row["difference"]) == (0, 1, None)
    assert "nothing to compare; 1 pair left out" in row["statement"]


def test_an_axis_with_one_value_says_so():
    row = only(compare(points(ONE, TRUTH, TRUTH)), "modality")
    assert row["statement"] == "Nothing to compare: every experiment compared has modality s2"


def test_without_experiments_every_axis_says_so():
    table = compare()
    assert table["axis"].to_pylist() == list(AXES)
    assert {r["statement"] for r in table.to_pylist()} == {
        "Nothing to compare: no experiment of today's data has accuracy on test"
    }


def test_one_window_gives_no_interval():
    row = only(compare(points(ONE, [0], [1]), points(TWO, [0], [0])), "timesteps")
    assert (row["difference"], row["low"], row["high"]) == (1, None, None)
    assert "1 window drawn: too few windows for an interval" in row["statement"]


def half_burnt(count):
    truth = np.zeros((count, SIZE, SIZE), np.uint8)
    truth[:, :2], truth[:, 3, 3] = 1, 255
    return truth


def test_heads_are_compared_over_pixels_with_the_window_painted():
    truth = half_burnt(10)
    setups = points(TWO, [1] * 10, [1] * 10), masks(f"{TWO}-seg", truth, truth == 1)
    row = only(compare(*setups), "head")
    assert (row["level"], row["value_a"], row["value_b"]) == (
        "pixel",
        "classification",
        "segmentation",
    )
    assert row["mean_a"] == pytest.approx(8 / 15)  # of 15 labelled pixels 8 are burnt
    assert row["mean_b"] == 1
    assert "said of all its pixels" in row["statement"]


def test_windows_and_pixels_are_never_averaged():
    truth = half_burnt(40)
    setups = [
        points(ONE, TRUTH, ONE_IN_FOUR_WRONG),
        points(TWO, TRUTH, TRUTH),
        masks(f"{ONE}-seg", truth, truth * 0),
        masks(f"{TWO}-seg", truth, truth == 1),
    ]
    rows = {r["level"]: r for r in of(compare(*setups), "timesteps")}
    assert rows["window"]["difference"] == 0.25
    assert rows["pixel"]["difference"] == pytest.approx(8 / 15)


METRICS = ["accuracy", "macro_f1", "mean_iou", "precision_burnt", "recall_unburnt", "f1_burnt"]


@given(st.integers(0, 2**32 - 1), st.sampled_from(METRICS))
@settings(max_examples=25)
def test_values_are_those_of_the_scores(seed, metric):
    rng = np.random.default_rng(seed)
    truth, said = rng.integers(0, 2, 12), rng.integers(0, 2, (2, 12))
    setups = [points(n, truth, s) for n, s in zip((ONE, TWO), said, strict=True)]
    pixels = rng.choice([0, 1, 255], (12, SIZE, SIZE)), rng.integers(0, 2, (12, SIZE, SIZE))
    setups += [masks(f"{n}-seg", *pixels) for n in (ONE, TWO)]
    tables = (
        scores(setups[0].rows, CLASSES, resamples=2),
        segmentation_scores(setups[2].rows, CLASSES, resamples=2),
    )
    rows = of(differences(setups, CLASSES, metric=metric, resamples=2), "timesteps")
    for level, table in zip(("window", "pixel"), tables, strict=True):
        row = next(r for r in rows if r["level"] == level)
        known = [s["value"] for s in table.to_pylist() if s["metric"] == metric]
        assert known == pytest.approx([row["mean_a"]]) or (level, metric) == ("window", "mean_iou")


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15)
def test_every_resample_draws_as_many_windows_as_there_are(seed):
    rng = np.random.default_rng(seed)
    counts = window_counts(points(ONE, TRUTH, rng.integers(0, 2, 40)).rows, 2)
    first, second = resampled([counts, counts], np.arange(40), 40, seed)
    assert (first[:, 0] + first[:, 2]).sum(axis=1).tolist() == [40] * 40
    assert (first == second).all()


def test_order_of_the_experiments_does_not_matter():
    setups = points(ONE, TRUTH, ONE_IN_FOUR_WRONG), points(TWO, TRUTH, TRUTH)
    assert compare(*setups).equals(compare(*reversed(setups)))


def test_other_windows_are_refused():
    with pytest.raises(ExperimentError, match="t2 predicts other windows than"):
        compare(points(ONE, TRUTH, TRUTH), points(TWO, TRUTH[:20], TRUTH[:20]))


def test_a_sample_without_a_group_is_refused():
    with pytest.raises(ExperimentError, match="39 windows are of samples"):
        compare(points(ONE, TRUTH, TRUTH), groups={"s0000": "fire"})


def test_an_unknown_metric_names_those_there_are():
    counts = np.zeros((3, 2), np.int64)
    with pytest.raises(ExperimentError, match=r"at f1_water.*iou_burnt"):
        metric_of(counts, "f1_water", CLASSES, np.ones(2, bool))
