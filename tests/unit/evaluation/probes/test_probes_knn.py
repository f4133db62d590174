"""Nearest neighbours: the votes of the nearest by cosine."""

from dataclasses import replace

import numpy as np
import pytest

from geofm_assets.core.errors import ConfigError, DatasetError, ModelInputError
from geofm_assets.evaluation.probes.data import ProbeData
from geofm_assets.evaluation.probes.knn import knn_predict
from tests.probe_data import CLASSES, classes_of, generated

WINDOWS = ("classification", "multilabel", "window_regression")


def ask(task_type, train, features, **how):
    return knn_predict(train, features, task_type=task_type, classes=classes_of(task_type), **how)


def by_hand(train, features, neighbours, temperature):
    """Votes of each sample, float64."""
    bank, asked = (
        a / np.linalg.norm(a, axis=1, keepdims=True)
        for a in (train.features[0].astype(float), features.astype(float))
    )
    for similar in asked @ bank.T:
        near = np.argsort(-similar)[:neighbours]
        weights = np.exp(similar[near] / temperature)
        yield near, weights / weights.sum()


@pytest.mark.parametrize("task_type", WINDOWS)
def test_votes_are_the_published_ones(task_type):
    train, test = generated(task_type, 90, "train"), generated(task_type, 15, "test")
    found = ask(task_type, train, test.features[0])
    for row, (near, weights) in enumerate(by_hand(train, test.features[0], 20, 0.07)):
        if task_type == "window_regression":
            assert found.labels[row] == pytest.approx(weights @ train.labels[near])
        elif task_type == "multilabel":
            share = weights @ train.labels[near]
            assert np.allclose(found.scores[row], share, atol=1e-4)
            assert np.array_equal(found.labels[row], share > 0.5)
        else:
            share = weights @ np.eye(3)[train.labels[near]]
            assert np.allclose(found.scores[row], share, atol=1e-4)
            assert found.labels[row] == share.argmax()


@pytest.mark.parametrize("task_type", WINDOWS)
def test_chunks_do_not_change_what_is_said(task_type):
    train, test = generated(task_type, 90, "train"), generated(task_type, 33, "test")
    whole = ask(task_type, train, test.features[0])
    parts = ask(task_type, train, test.features[0], chunk=4)
    assert np.allclose(whole.labels, parts.labels)


def test_length_of_an_embedding_does_not_matter():
    train, test = generated("classification", 60, "train"), generated("classification", 20, "test")
    longer = replace(train, features=(train.features[0] * 7,))
    found = ask("classification", train, test.features[0])
    again = ask("classification", longer, test.features[0] * 0.1)
    assert np.array_equal(found.labels, again.labels)
    assert np.isfinite(ask("classification", train, test.features[0] * 0).scores).all()


def test_fewer_train_samples_than_neighbours_all_vote():
    train = generated("window_regression", 3, "train")
    found = ask("window_regression", train, train.features[0], temperature=1e6)
    assert np.allclose(found.labels, train.labels.mean(), rtol=1e-3)


def test_samples_without_a_label_do_not_vote():
    train = generated("classification", 60, "train")
    train.labels[:30] = -1
    found = ask("classification", train, train.features[0])
    kept = ask("classification", train.take(np.arange(30, 60)), train.features[0])
    assert np.array_equal(found.labels, kept.labels)


def test_another_input_of_train_can_be_asked():
    train = generated("classification", 60, "train", inputs=2)
    found = ask("classification", train, train.features[1], variant=1, neighbours=1)
    assert np.array_equal(found.labels, train.labels)


@pytest.mark.parametrize("task_type", ["segmentation", "per_pixel_regression"])
def test_dense_tasks_are_refused(task_type):
    train = generated(task_type, 4, "train")
    with pytest.raises(ConfigError, match="linear probe"):
        ask(task_type, train, train.features[0])


def test_other_embeddings_are_refused():
    train = generated("classification", 10, "train")
    with pytest.raises(ModelInputError, match="5 numbers, train's have 12"):
        ask("classification", train, train.features[0][:, :5])
    with pytest.raises(DatasetError, match="None of 10 samples has a label"):
        ask(
            "classification",
            ProbeData(train.features, np.full(10, -1), "train"),
            train.features[0],
        )
    broken = train.features[0].copy()
    broken[3, 1] = np.nan
    with pytest.raises(ModelInputError, match="row 3"):
        knn_predict(train, broken, task_type="classification", classes=CLASSES)
