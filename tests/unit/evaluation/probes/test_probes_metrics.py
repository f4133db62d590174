"""Metrics against scikit-learn and by hand; intervals of a bootstrap over samples."""

import numpy as np
import pytest
from sklearn import metrics as sk

from geofm_assets.core.errors import ConfigError
from geofm_assets.evaluation.probes.metrics import (
    additive_metrics,
    higher_is_better,
    require_metric,
    tallied_values,
    tally,
)
from geofm_assets.evaluation.probes.ranking import ranking_values
from geofm_assets.evaluation.probes.scoring import Predictions, score_predictions

CLASSES = ("bare soil", "crop", "forest", "never")


def values(task_type, truth, predicted, classes=CLASSES):
    counted = tally(task_type, len(classes), truth, predicted)
    return tallied_values(task_type, classes, counted.total)


def scored(task_type, truth, predictions, metric, classes=CLASSES, **how):
    found = score_predictions(
        truth, predictions, task_type=task_type, classes=classes, metric=metric, **how
    )
    return {score.metric: score for score in found}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_classification_is_as_scikit_learn_has_it(rng):
    truth, said = rng.integers(0, 3, 200), rng.integers(0, 3, 200)
    found = values("classification", truth, said)
    assert found["accuracy"] == sk.accuracy_score(truth, said)
    assert found["macro_f1"] == pytest.approx(sk.f1_score(truth, said, average="macro"))
    assert found["f1_bare_soil"] == pytest.approx(sk.f1_score(truth, said, average=None)[0])
    assert np.isnan(found["f1_never"])


def test_samples_without_a_label_do_not_count():
    truth = np.array([0, 1, -1, 2])
    counted = tally("classification", 4, truth, np.array([0, 1, 1, 1]))
    assert counted.samples == 3
    assert tallied_values("classification", CLASSES, counted.total)["accuracy"] == 2 / 3


def test_a_class_seen_only_in_test_counts_as_missed():
    found = values("classification", np.array([0, 1, 3, 3]), np.array([0, 1, 1, 1]))
    assert found["f1_never"] == 0
    assert found["macro_f1"] == pytest.approx((1 + 0.5 + 0) / 3)


def test_multilabel_is_as_scikit_learn_has_it(rng):
    truth, said = rng.integers(0, 2, (150, 4)), rng.integers(0, 2, (150, 4))
    found = values("multilabel", truth, said)
    assert found["micro_f1"] == pytest.approx(sk.f1_score(truth, said, average="micro"))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(truth, said, average="macro"))


def test_segmentation_is_as_scikit_learn_has_it(rng):
    truth, said = rng.integers(-1, 3, (20, 8, 8)), rng.integers(0, 3, (20, 8, 8))
    found = values("segmentation", truth, said)
    known = truth != -1
    flat = truth[known], said[known]
    assert found["miou"] == pytest.approx(sk.jaccard_score(*flat, average="macro"))
    assert found["overall_acc"] == pytest.approx(sk.accuracy_score(*flat))
    assert found["macro_acc"] == pytest.approx(sk.balanced_accuracy_score(*flat))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(*flat, average="macro"))
    assert np.isnan(found["iou_never"])


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_regressions_are_as_scikit_learn_has_them(rng, offset):
    truth = rng.normal(size=(30, 4, 4)) + offset
    said = truth + rng.normal(size=truth.shape)
    truth[0, :2] = np.nan
    truth[5] = np.nan
    found = values("per_pixel_regression", truth, said, ())
    known = ~np.isnan(truth)
    flat = truth[known], said[known]
    assert tally("per_pixel_regression", 0, truth, said).samples == 29
    assert found["rmse"] == pytest.approx(sk.root_mean_squared_error(*flat))
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(*flat))
    assert found["r2"] == pytest.approx(sk.r2_score(*flat))


def test_r2_of_a_constant_target_has_no_meaning():
    truth = np.full(10, 0.1)
    found = values("window_regression", truth, np.arange(10.0), ())
    assert np.isnan(found["r2"])
    said = scored("window_regression", truth, Predictions(np.arange(10.0)), "rmse", ())
    assert set(said) == {"rmse", "mae"}


@pytest.mark.parametrize("ties", [False, True])
def test_areas_under_curves_are_as_scikit_learn_has_them(rng, ties):
    truth = rng.integers(0, 2, (90, 3)).astype(bool)
    scores = rng.normal(size=(90, 3)) + truth
    scores = np.round(scores) if ties else scores
    weights = rng.integers(0, 4, (2, 90)).astype(float)
    found = ranking_values(scores, truth, weights)
    for row, weight in enumerate(weights):
        assert found["auroc"][row] == pytest.approx(
            sk.roc_auc_score(truth, scores, average="macro", sample_weight=weight)
        )
        assert found["prauc"][row] == pytest.approx(
            sk.average_precision_score(truth, scores, average="macro", sample_weight=weight)
        )
        assert found["micro_map"][row] == pytest.approx(
            sk.average_precision_score(truth, scores, average="micro", sample_weight=weight)
        )


def test_areas_leave_out_classes_that_every_sample_or_none_is_of(rng):
    truth = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 1]], dtype=bool)
    found = ranking_values(rng.normal(size=(3, 3)), truth, np.ones((1, 3)))
    alone = ranking_values(np.zeros((3, 1)), truth[:, :1], np.ones((1, 3)))
    assert not np.isnan(found["auroc"][0])
    assert alone["auroc"][0] == 0.5
    none = ranking_values(np.zeros((3, 1)), truth[:, 1:2], np.ones((1, 3)))
    assert np.isnan(none["auroc"][0])


def test_directions():
    assert higher_is_better("miou")
    assert not higher_is_better("rmse")
    assert not higher_is_better("mae")


def test_the_interval_is_of_the_tasks_own_metric_and_narrows_with_samples(rng):
    def width(samples: int) -> float:
        truth = rng.normal(size=samples)
        said = truth + rng.normal(size=samples)
        score = scored("window_regression", truth, Predictions(said), "rmse", ())["rmse"]
        assert score.low < score.value < score.high
        assert score.n == samples
        return score.high - score.low

    assert width(100) > 2 * width(2000)


def test_the_interval_of_an_accuracy_is_the_binomials(rng):
    truth = np.zeros(400, dtype=int)
    said = (rng.random(400) < 0.25).astype(int)
    score = scored("classification", truth, Predictions(said), "accuracy")["accuracy"]
    half = 1.96 * np.sqrt(score.value * (1 - score.value) / 400)
    assert (score.high - score.low) / 2 == pytest.approx(half, rel=0.1)


def test_pixels_of_a_window_are_drawn_together(rng):
    truth = rng.integers(0, 2, (40, 1, 1)).repeat(8, axis=1).repeat(8, axis=2)
    said = truth.copy()
    said[:10] = 1 - said[:10]
    score = scored("segmentation", truth, Predictions(said), "overall_acc")["overall_acc"]
    half = 1.96 * np.sqrt(0.75 * 0.25 / 40)
    assert (score.high - score.low) / 2 == pytest.approx(half, rel=0.15)


@pytest.mark.parametrize("metric", ["micro_f1", "auroc", "micro_map"])
def test_intervals_are_seeded(rng, metric):
    truth = rng.integers(0, 2, (60, 4))
    predictions = Predictions(rng.integers(0, 2, (60, 4)), rng.random((60, 4)))
    first, again, other = (
        scored("multilabel", truth, predictions, metric, seed=seed, resamples=100)[metric]
        for seed in (1, 1, 2)
    )
    assert first == again
    assert (first.low, first.high) != (other.low, other.high)
    assert first.low < first.value < first.high


def test_the_tasks_own_metric_comes_first_and_classes_have_theirs(rng):
    truth, said = rng.integers(0, 3, 50), rng.integers(0, 3, 50)
    found = score_predictions(
        truth, Predictions(said, rng.random((50, 4))), task_type="classification",
        classes=CLASSES, metric="macro_f1",
    )  # fmt: skip
    assert found[0].metric == "macro_f1"
    names = {score.metric: score for score in found}
    assert {"accuracy", "f1_crop", "auroc", "prauc"} <= set(names)
    assert "f1_never" not in names  # neither truth nor prediction: it has no meaning
    assert names["f1_crop"].low is not None
    assert names["auroc"].low is None


def test_nothing_to_score_gives_no_scores():
    truth = np.full((3, 2, 2), -1)
    assert scored("segmentation", truth, Predictions(truth), "miou") == {}


def test_metrics_of_another_task_are_refused_by_name():
    with pytest.raises(ConfigError, match=r"has no metric 'miou'.*accuracy, macro_f1"):
        require_metric("miou", "classification", CLASSES)


def test_classes_spelt_alike_are_refused():
    with pytest.raises(ConfigError, match="the same metric name"):
        additive_metrics("classification", ("Non-crop", "non crop"))
