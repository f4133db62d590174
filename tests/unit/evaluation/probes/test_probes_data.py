"""Embeddings and labels that cannot be probed are refused, naming split and sample."""

from dataclasses import replace

import numpy as np
import pytest

from geofm_assets.core.errors import DatasetError, ModelInputError
from geofm_assets.evaluation.probes.data import checked, class_notes
from geofm_assets.evaluation.registry.entry import DEFAULT_METRIC
from tests.probe_data import CLASSES, classes_of, generated


def check(data, task_type):
    return checked(data, task_type, classes_of(task_type))


@pytest.mark.parametrize("task_type", list(DEFAULT_METRIC))
def test_usable_data_is_left_as_it_is(task_type):
    data = generated(task_type, 6, "train")
    assert check(data, task_type) is data


def test_a_window_without_a_target_is_refused_by_name():
    data = generated("window_regression", 6, "val")
    data.labels[[1, 4]] = np.nan
    with pytest.raises(DatasetError, match=r"2 samples have no target \(NaN\) at val-1, val-4"):
        check(data, "window_regression")


def test_pixels_without_a_target_are_masked_and_windows_of_them_left_out():
    data = generated("per_pixel_regression", 6, "train")
    data.labels[2] = np.nan
    assert check(data, "per_pixel_regression").sample_ids == tuple(
        f"train-{i}" for i in (0, 1, 3, 4, 5)
    )


@pytest.mark.parametrize("task_type", ["window_regression", "per_pixel_regression"])
def test_infinite_targets_are_refused(task_type):
    data = generated(task_type, 6, "train")
    data.labels[3] = np.inf
    with pytest.raises(DatasetError, match="an infinite target at train-3"):
        check(data, task_type)


@pytest.mark.parametrize("wrong", [3, -2])
@pytest.mark.parametrize("task_type", ["classification", "segmentation"])
def test_unknown_classes_are_refused(task_type, wrong):
    data = generated(task_type, 6, "test")
    data.labels[5] = wrong
    with pytest.raises(DatasetError, match=r"a class id outside 0..2 at test-5; split test"):
        check(data, task_type)


def test_several_labels_are_yes_or_no():
    data = generated("multilabel", 6, "train")
    data.labels[2, 1] = 2
    with pytest.raises(DatasetError, match="neither 0 nor 1 at train-2"):
        check(data, "multilabel")


def test_an_embedding_that_is_no_number_is_refused_by_name():
    data = generated("classification", 6, "train", inputs=2)
    data.features[1][4, 0] = np.inf
    with pytest.raises(ModelInputError, match="NaN or infinity at train-4, input 1"):
        check(data, "classification")


def test_shapes_have_to_fit():
    data = generated("classification", 6, "train", inputs=2)
    uneven = (data.features[0], data.features[1][:, :3])
    with pytest.raises(ModelInputError, match="differ in shape"):
        check(replace(data, features=uneven), "classification")
    with pytest.raises(ModelInputError, match="a row for each of 5"):
        check(replace(data, labels=data.labels[:5]), "classification")
    with pytest.raises(ModelInputError, match="4 axes"):
        check(data, "segmentation")
    whole = tuple(a.astype(np.int8) for a in data.features)
    with pytest.raises(ModelInputError, match="int8"):
        check(replace(data, features=whole), "classification")
    with pytest.raises(ModelInputError, match="There are no embeddings"):
        check(replace(data, features=()), "classification")


def test_tokens_have_to_divide_pixels():
    data = generated("segmentation", 6, "train")
    with pytest.raises(DatasetError, match=r"\(2, 2\) tokens do not divide"):
        check(replace(data, labels=data.labels[:, :7, :7]), "segmentation")


def test_class_ids_are_whole_numbers():
    data = generated("classification", 6, "train")
    with pytest.raises(DatasetError, match="not whole numbers"):
        check(replace(data, labels=data.labels.astype(float)), "classification")


def test_notes_name_classes_seen_only_elsewhere():
    train, test = np.array([0, 0, -1]), np.array([0, 2])
    assert class_notes(train, test, "test", "classification", CLASSES) == [
        "class forest is in test and not in train: it cannot be predicted",
        "train has one class only, bare",
    ]
    several = np.array([[1, 0, 0]]), np.array([[0, 1, 0]])
    assert class_notes(*several, "val", "multilabel", CLASSES) == [
        "class crop is in val and not in train: it cannot be predicted"
    ]
    assert class_notes(np.ones(2), np.ones(2), "val", "window_regression", ()) == []
