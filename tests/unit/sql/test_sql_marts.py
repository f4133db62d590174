import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import f1_score

from geofm_assets.core.store import Store
from geofm_assets.platform.sql_models import load_models, models_folder
from geofm_assets.platform.sql_run import run_model, run_tests, write_model
from geofm_assets.platform.sql_sources import source_files
from geofm_assets.sampling.leakage import min_split_distances
from geofm_assets.sampling.schema import SAMPLED_POINT

MODELS = load_models(models_folder())


def build(store):
    """Every model's table, each written for the next."""
    tables = {}
    for model in MODELS:
        tables[model.name] = run_model(model, source_files(store), store)
        write_model(store, model, tables[model.name])
    return tables


@pytest.fixture(scope="module")
def tables(store_of_the_session):
    return build(store_of_the_session)


def rows(table, **where):
    return [r for r in table.to_pylist() if all(r[k] == v for k, v in where.items())]


def test_every_model_runs_on_an_empty_store(empty_store):
    for name, table in build(empty_store).items():
        model = next(m for m in MODELS if m.name == name)
        assert (table.num_rows, table.column_names) == (0, list(model.columns))


def test_every_test_of_every_model_passes_on_the_small_store(tables):
    failed = {
        f"{m.name}.{r.name}" for m in MODELS for r in run_tests(m, tables[m.name]) if not r.passed
    }
    assert failed == set()


def test_types_do_not_depend_on_there_being_rows(tables, empty_store):
    empty = build(empty_store)
    assert {n: t.schema for n, t in tables.items()} == {n: t.schema for n, t in empty.items()}


def test_class_balance_counts_each_class_of_each_split(tables):
    crop = rows(tables["class_balance"], task="crops", split="train", class_name="Crop")
    assert [(r["points"], r["share"]) for r in crop] == [(2, pytest.approx(2 / 3))]


def test_class_balance_shows_the_class_a_split_lacks(tables):
    assert rows(tables["class_balance"], split="val", class_name="Other")[0]["points"] == 0


def test_class_balance_keeps_tasks_apart(tables):
    assert [r["class_name"] for r in rows(tables["class_balance"], task="own")] == ["A"]


def test_simulated_labels_stay_marked(tables):
    for name in ("stg_points", "class_balance", "split_sizes", "cell_coverage"):
        assert {r["task"]: r["simulated"] for r in tables[name].to_pylist()} == {
            "crops": False,
            "own": True,
        }


def test_split_sizes_follow_points_to_windows_and_chips(tables):
    train = rows(tables["split_sizes"], task="crops", split="train")[0]
    assert {k: train[k] for k in ("points", "share", "cells", "windows", "chips")} == {
        "points": 3,
        "share": 0.5,
        "cells": 1,
        "windows": 3,
        "chips": 1,
    }


def test_cell_coverage_gives_the_share_of_imagery_found(tables):
    cell = rows(tables["cell_coverage"], task="crops", h3_cell="cell_a")[0]
    assert (cell["rasters"], cell["rasters_present"], cell["present_share"]) == (4, 3, 0.75)
    assert cell["nodata_share"] == pytest.approx(0.2)


def test_cell_coverage_of_a_cell_without_imagery_is_unknown(tables):
    cell = rows(tables["cell_coverage"], task="crops", h3_cell="cell_c")[0]
    assert (cell["points"], cell["buffer"], cell["rasters"]) == (2, 1, 0)
    assert cell["present_share"] is None


def test_collection_coverage_says_what_became_of_the_rows(tables):
    first = rows(tables["collection_coverage"], task="crops", collection_id="first")[0]
    assert first | {"simulated": False} == {
        "task": "crops",
        "collection_id": "first",
        "title": "First",
        "features_listed": 10,
        "reference_points": 4,
        "refused_at_reading": 6,
        "set_aside_by_task": 0,
        "sampled": 4,
        "cells": 2,
        "simulated": False,
    }


def test_collection_coverage_counts_what_the_task_set_aside(tables):
    second = rows(tables["collection_coverage"], task="crops", collection_id="second")[0]
    assert (second["set_aside_by_task"], second["sampled"]) == (2, 2)


def test_a_collection_no_task_uses_is_listed_without_a_task(tables):
    third = rows(tables["collection_coverage"], collection_id="third")
    assert [(r["task"], r["reference_points"]) for r in third] == [(None, 1)]


def test_metrics_by_class_count_hits(tables):
    crop = rows(tables["metrics_by_class"], split="val", class_name="Crop")[0]
    assert (crop["windows"], crop["predicted"], crop["hits"]) == (2, 1, 1)
    assert (crop["precision"], crop["recall"], crop["f1"]) == (1, 0.5, pytest.approx(2 / 3))


def test_a_class_never_predicted_has_no_precision(tables):
    crop = rows(tables["metrics_by_class"], split="test", class_name="Crop")[0]
    assert (crop["precision"], crop["recall"], crop["f1"]) == (None, 0, 0)


@pytest.mark.parametrize(
    ("model", "column", "position"),
    [
        ("metrics_by_collection", "collection_id", 4),
        ("metrics_by_cell", "h3_cell", 5),
        ("metrics_by_year", "year", 6),
    ],
)
def test_grouped_metrics_agree_with_scikit_learn(tables, calls, model, column, position):
    for row in tables[model].to_pylist():
        part = [c for c in calls if c[1] == row["split"] and c[position] == row[column]]
        truth, said = [c[2] for c in part], [c[3] for c in part]
        assert row["windows"] == len(part)
        assert row["accuracy"] == pytest.approx(np.mean(np.array(truth) == np.array(said)))
        macro = f1_score(truth, said, average="macro", zero_division=0)
        assert row["macro_f1"] == pytest.approx(macro)


def leakage_of(tmp_path, lon, lat, split, tasks=("t",)):
    n = len(lon)
    for task in tasks:
        store = Store(tmp_path / "leak")
        values = {f.name: pa.nulls(n, f.type) for f in SAMPLED_POINT} | {
            "sample_id": pa.array([f"p{i:04d}" for i in range(n)]),
            "lon": pa.array(lon, pa.float64()),
            "lat": pa.array(lat, pa.float64()),
            "split": pa.array(split, pa.string()),
            "simulated": pa.array([False] * n),
        }
        table = pa.table(values, schema=SAMPLED_POINT)
        path = store.local_path(f"tasks/{task}/sample.parquet")
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)
    wanted = ("stg_points", "stg_windows", "int_points_split", "leakage_distance")
    for model in (m for m in MODELS if m.name in wanted):
        found = run_model(model, source_files(store), store)
        write_model(store, model, found)
    return found.to_pylist()


def as_pairs(found):
    return {f"{r['split_a']}-{r['split_b']}": r["distance_m"] for r in found}


@pytest.mark.parametrize("spread", [1e-5, 1e-3, 0.1, 5.0, 80.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_leakage_distance_agrees_with_nearest_neighbour_search(tmp_path, spread, seed):
    rng = np.random.default_rng(seed)
    lon, lat = rng.uniform(-spread, spread, 200), rng.uniform(-spread, spread, 200)
    split = rng.choice(["train", "val", "test", "buffer"], 200)
    found = as_pairs(leakage_of(tmp_path, lon, lat, split))
    assert found == pytest.approx(min_split_distances(lon, lat, split), rel=1e-6)


def test_leakage_distance_sees_across_the_antimeridian_and_bin_borders(tmp_path):
    lon, lat = [179.9999, -179.9999, 0.0, 0.0], [0.0, 0.0, 1e-5, -1e-5]
    split = ["train", "val", "train", "val"]
    found = as_pairs(leakage_of(tmp_path, lon, lat, split))
    assert found["train-val"] == pytest.approx(2.2239, abs=1e-3)


def test_leakage_distance_of_far_splits_is_found(tmp_path):
    found = as_pairs(leakage_of(tmp_path, [0.0, 180.0], [10.0, -10.0], ["train", "test"]))
    assert found["train-test"] == pytest.approx(math.pi * 6371008.8, rel=1e-7)


def test_leakage_distance_names_the_two_points(tmp_path):
    found = leakage_of(tmp_path, [0, 1, 1.1, 3], [0, 0, 0, 0], ["train", "train", "val", "val"])
    assert [(r["sample_a"], r["sample_b"]) for r in found] == [("p0001", "p0002")]


def test_leakage_distance_is_within_a_task(tmp_path):
    found = leakage_of(tmp_path, [0, 1], [0, 0], ["train", "val"], tasks=("a", "b"))
    assert [r["task"] for r in found] == ["a", "b"]


def test_points_at_one_spot_are_no_distance_apart(tmp_path):
    found = as_pairs(leakage_of(tmp_path, [9, 9], [42, 42], ["train", "val"]))
    assert found == {"train-val": 0}
