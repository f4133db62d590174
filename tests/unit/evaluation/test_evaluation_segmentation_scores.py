"""Scores of counted pixels."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

from geofm_assets.core.errors import ConfigError, ExperimentError
from geofm_assets.core.schema import validate
from geofm_assets.evaluation.schema import Score, SegmentationPart
from geofm_assets.evaluation.segmentation_parts import scores_by_part, size_class
from geofm_assets.evaluation.segmentation_scores import segmentation_scores
from geofm_assets.training.schema import MANIFEST
from geofm_assets.training.window_rows import confusions, segmentation_table
from tests.training_world import manifest_row

CLASSES = ("unburnt", "burnt")
SIZE = 4
FILE = "rasters-0123456789abcdef.safetensors"


def table(truth, said, split="test", model="e"):
    """SEGMENTATION rows of (N, SIZE, SIZE) masks."""
    count = len(truth)
    rows = [manifest_row(i, "831e94fffffffff", FILE, i, split=split) for i in range(count)]
    return segmentation_table(
        pa.Table.from_pylist(rows, schema=MANIFEST),
        confusions(np.asarray(truth, np.uint8), np.asarray(said), len(CLASSES)),
        np.full((count, 2), 0.5, np.float32),
        SIZE,
        experiment=model,
        model_id="0" * 64,
        encoder_start="none",
        label_rule="identity@1",
        simulated=True,
    )


def drawn(seed, count=6):
    rng = np.random.default_rng(seed)
    truth = rng.choice([0, 0, 1, 255], (count, SIZE, SIZE))
    return truth, rng.integers(0, 2, (count, SIZE, SIZE))


def value(scores, metric, split="test", column="value"):
    rows = [r for r in scores.to_pylist() if (r["metric"], r["split"]) == (metric, split)]
    assert len(rows) == 1
    return rows[0][column]


def grouped(count, size):
    return {f"s{i:04d}": f"fire{i // size}" for i in range(count)}


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_values_are_those_of_scikit_learn(seed):
    truth, said = drawn(seed)
    scores = segmentation_scores(table(truth, said), CLASSES, resamples=10)
    known = truth != 255
    y, p = truth[known], said[known]
    for name, k in (("unburnt", 0), ("burnt", 1)):
        for metric, theirs in (
            ("iou", jaccard_score),
            ("f1", f1_score),
            ("precision", precision_score),
            ("recall", recall_score),
        ):
            expected = theirs(y, p, pos_label=k, zero_division=0)
            assert value(scores, f"{metric}_{name}") == pytest.approx(expected)
    assert value(scores, "accuracy") == pytest.approx(np.mean(y == p))
    assert value(scores, "mean_iou") == pytest.approx(
        jaccard_score(y, p, average="macro", zero_division=0)
    )
    assert value(scores, "macro_f1") == pytest.approx(f1_score(y, p, average="macro"))


def test_table_satisfies_its_schema():
    report = validate(segmentation_scores(table(*drawn(0)), CLASSES), Score)
    assert report.passed, report.describe()


def test_row_order_does_not_matter():
    rows = table(*drawn(1))
    turned = rows.take(pa.array(range(rows.num_rows - 1, -1, -1)))
    groups = grouped(6, 2)
    first = segmentation_scores(rows, CLASSES, groups=groups)
    second = segmentation_scores(turned, CLASSES, groups=groups)
    assert first.equals(second)


def test_unknown_pixels_count_for_nothing():
    truth, said = drawn(2)
    other = np.where(truth == 255, 1 - said, said)
    first, second = (segmentation_scores(table(truth, s), CLASSES) for s in (said, other))
    assert first.equals(second)


def test_n_says_how_many_windows_a_metric_rests_on():
    truth = np.zeros((3, SIZE, SIZE))
    truth[0, 0, 0], truth[2] = 1, 255
    said = np.zeros((3, SIZE, SIZE), int)
    said[1, 0, 0] = 1
    scores = segmentation_scores(table(truth, said), CLASSES)
    counts = {m: value(scores, f"{m}_burnt", column="n") for m in ("recall", "precision", "iou")}
    assert counts == {"recall": 1, "precision": 1, "iou": 2}
    assert value(scores, "accuracy", column="n") == 2


def test_groups_of_alike_windows_widen_the_interval():
    truth = np.ones((40, SIZE, SIZE))
    said = np.repeat(np.arange(4) % 2, 10)[:, None, None] * np.ones((1, SIZE, SIZE), int)

    def width(groups):
        scores = segmentation_scores(table(truth, said), CLASSES, groups=groups)
        return value(scores, "recall_burnt", column="high") - value(
            scores, "recall_burnt", column="low"
        )

    assert width(grouped(40, 10)) > 2 * width(None)


def test_a_split_with_one_group_is_drawn_by_window():
    rows = table(*drawn(3))
    alone = segmentation_scores(rows, CLASSES, groups=grouped(6, 6))
    assert set(alone["groups"].to_pylist()) == {1}
    windows = segmentation_scores(rows, CLASSES)
    assert set(windows["groups"].to_pylist()) == {None}
    assert alone.drop_columns("groups").equals(windows.drop_columns("groups"))


def test_groups_say_how_many_a_metric_rests_on():
    truth = np.zeros((6, SIZE, SIZE))
    truth[0, 0, 0] = truth[1, 0, 0] = truth[4, 0, 0] = 1
    nothing = np.zeros((6, SIZE, SIZE), int)
    scores = segmentation_scores(table(truth, nothing), CLASSES, groups=grouped(6, 2))
    assert value(scores, "accuracy", column="groups") == 3
    assert value(scores, "recall_burnt", column="groups") == 2
    assert value(scores, "precision_burnt", column="groups") == 0


def test_split_without_a_labelled_pixel_has_no_scores():
    truth = np.full((2, SIZE, SIZE), 255)
    assert segmentation_scores(table(truth, truth * 0), CLASSES).num_rows == 0


def test_sample_without_a_group_is_refused():
    with pytest.raises(ExperimentError, match="5 windows are of samples"):
        segmentation_scores(table(*drawn(0)), CLASSES, groups={"s0000": "a"})


def test_rows_of_other_classes_are_refused():
    with pytest.raises(ExperimentError, match=r"count \[2\] classes, there are 3"):
        segmentation_scores(table(*drawn(0)), (*CLASSES, "water"))


def test_rows_of_two_models_are_refused():
    both = pa.concat_tables([table(*drawn(0)), table(*drawn(0), model="other")])
    with pytest.raises(ExperimentError, match="predictions of one model"):
        segmentation_scores(both, CLASSES)


def test_classes_spelt_alike_are_refused():
    with pytest.raises(ConfigError, match="same metric name"):
        segmentation_scores(table(*drawn(0)), ("Burnt", "burnt"))


SAMPLES = pa.Table.from_pylist(
    [
        {
            "sample_id": "s0000",
            "group_id": "f1",
            "kind": "burnt",
            "fire_year": 2020,
            "area_ha": 5.0,
        },
        {"sample_id": "s0001", "group_id": "f1", "kind": "ring", "fire_year": 2020, "area_ha": 5.0},
        {
            "sample_id": "s0002",
            "group_id": "f2",
            "kind": "burnt",
            "fire_year": 2021,
            "area_ha": 9.9,
        },
        {"sample_id": "s0003", "group_id": "f3", "kind": "far", "fire_year": 2021, "area_ha": None},
    ]
)


@pytest.fixture(scope="module")
def parts():
    truth = np.zeros((4, SIZE, SIZE))
    truth[0], truth[2, :2] = 1, 1
    said = np.zeros((4, SIZE, SIZE), int)
    said[0, :3], said[2, :2], said[3, 0, 0] = 1, 1, 1
    return scores_by_part(table(truth, said), CLASSES, 1, SAMPLES, resamples=200)


def of(parts, dimension, part, metric, column="value"):
    rows = [
        r
        for r in parts.to_pylist()
        if (r["dimension"], r["part"], r["metric"]) == (dimension, part, metric)
    ]
    return rows[0][column] if rows else None


def test_parts_satisfy_their_schema(parts):
    report = validate(parts, SegmentationPart)
    assert report.passed, report.describe()


def test_fires_of_a_size_are_scored_with_their_rings(parts):
    part = "C (4.05 to 40.5 ha)"
    assert of(parts, "fire_size", part, "iou_burnt") == pytest.approx(20 / 24)
    assert of(parts, "fire_size", part, "accuracy", "windows") == 3
    assert of(parts, "fire_size", part, "accuracy", "groups") == 2


def test_a_year_with_one_fire_has_no_interval(parts):
    assert of(parts, "fire_year", "2020", "recall_burnt") == 0.75
    assert of(parts, "fire_year", "2020", "recall_burnt", "low") is None
    assert of(parts, "fire_year", "2021", "recall_burnt", "low") is not None


@pytest.mark.parametrize("metric", ["f1", "iou", "precision", "recall"])
@pytest.mark.parametrize("kind", ["ring", "far"])
def test_where_nothing_has_burnt_scores_of_burnt_are_null_and_say_why(parts, kind, metric):
    assert of(parts, "kind", kind, f"{metric}_burnt") is None
    assert of(parts, "kind", kind, f"{metric}_burnt", "reason") == "no labelled pixel is burnt"


def test_false_alarms_are_the_share_of_unburnt_pixels_called_burnt(parts):
    assert of(parts, "kind", "far", "false_alarm_rate_burnt") == 1 / 16
    assert of(parts, "kind", "ring", "false_alarm_rate_burnt") == 0
    assert of(parts, "kind", "ring", "accuracy") == 1


def test_a_pixel_of_burnt_on_the_edge_of_a_window_is_no_score():
    truth, said = np.zeros((20, SIZE, SIZE)), np.zeros((20, SIZE, SIZE), int)
    truth[0, 0, 0] = 1
    rows = table(truth, said)
    samples = SAMPLES.to_pylist()[1]
    named = [samples | {"sample_id": name} for name in rows["sample_id"].to_pylist()]
    parts = scores_by_part(rows, CLASSES, 1, pa.Table.from_pylist(named), resamples=10)
    reason = of(parts, "kind", "ring", "f1_burnt", "reason")
    assert reason == "only 1 of 320 labelled pixels are burnt"


def test_a_part_that_is_all_burnt_has_no_false_alarms_to_count():
    whole = np.ones((1, SIZE, SIZE))
    parts = scores_by_part(table(whole, whole.astype(int)), CLASSES, 1, SAMPLES, resamples=10)
    name = "false_alarm_rate_burnt"
    assert of(parts, "kind", "burnt", name) is None
    assert of(parts, "kind", "burnt", name, "reason") == "every labelled pixel is burnt"


@pytest.mark.parametrize(
    ("area_ha", "name"),
    [
        (0.01, "A (0 to 0.101 ha)"),
        (4.04, "B (0.101 to 4.05 ha)"),
        (121.5, "E (121 to 405 ha)"),
        (2023.5, "G (2023 ha or more)"),
    ],
)
def test_size_classes(area_ha, name):
    assert size_class(area_ha) == name
