import json

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import f1_score
from sklearn.neighbors import KNeighborsClassifier

from geofm_assets.sampling.quality import (
    label_imbalance,
    label_quality,
    spatial_clustering,
    spatial_extent,
)


def test_imbalance_gives_shares_and_ratio():
    found = label_imbalance(np.array(["a", "a", "a", "b"], dtype=object))
    assert found == {"counts": {"a": 3, "b": 1}, "shares": {"a": 0.75, "b": 0.25}, "ratio": 3.0}


def test_separate_clusters_can_be_guessed_from_their_place():
    lon = np.r_[np.linspace(0, 0.1, 10), np.linspace(50, 50.1, 10)]
    labels = np.array(["a"] * 10 + ["b"] * 10, dtype=object)
    assert spatial_clustering(lon, np.zeros(20), labels)["f1"] == {"a": 1.0, "b": 1.0}


def test_clustering_agrees_with_leave_one_out_knn_of_scikit_learn():
    rng = np.random.default_rng(3)
    lon, lat = rng.uniform(-5, 5, 80), rng.uniform(40, 50, 80)
    labels = np.where(lon + rng.normal(0, 2, 80) > 0, "east", "west").astype(object)
    where = np.radians(np.column_stack([lat, lon]))
    guesses = []
    for i in range(80):
        rest = np.arange(80) != i
        knn = KNeighborsClassifier(5, metric="haversine").fit(where[rest], labels[rest])
        guesses.append(knn.predict(where[i : i + 1])[0])
    expected = f1_score(labels, guesses, average=None, labels=["east", "west"])
    found = spatial_clustering(lon, lat, labels)["f1"]
    assert list(found.values()) == pytest.approx(expected, abs=1e-6)


def test_a_point_is_never_its_own_neighbour_even_among_twins():
    labels = np.array(["a"] * 4 + ["b"] * 8, dtype=object)
    found = spatial_clustering(np.zeros(12), np.zeros(12), labels)
    assert found["k"] == 5


def test_too_few_points_have_no_clustering():
    labels = np.array(["a"] * 5, dtype=object)
    assert spatial_clustering(np.zeros(5), np.zeros(5), labels)["macro_f1"] is None


def test_extent_is_the_share_of_the_whole_box():
    lon, lat = np.array([0, 10, 0, 5.0]), np.array([-1, 1, -1, 1.0])
    found = spatial_extent(lon, lat, np.array(["a", "a", "b", "b"], dtype=object))
    assert found == {"a": 1.0, "b": 0.5}


def test_extent_of_points_on_one_line_is_unknown():
    found = spatial_extent(np.zeros(2), np.array([0, 1.0]), np.array(["a", "b"], dtype=object))
    assert found == {"a": None, "b": None}


def test_the_figures_of_a_table_are_plain_json():
    table = pa.table({"lon": [0.0, 1], "lat": [0.0, 1], "class_name": ["a", "b"]})
    assert json.loads(json.dumps(label_quality(table)))["points"] == 2


def test_an_empty_table_has_figures():
    empty = pa.table({"lon": pa.array([], pa.float64()), "lat": pa.array([], pa.float64()),
                      "class_name": pa.array([], pa.string())})  # fmt: skip
    assert label_quality(empty)["label_imbalance"]["ratio"] is None
