"""A plan says what a sweep would do, and does none of it."""

import json
from dataclasses import replace

import pytest
import torch

from geofm_assets.core.errors import ConfigError, ModelInputError, RegistryError, WeightsError
from geofm_assets.core.store import Store
from geofm_assets.evaluation.backbones.build import build_model
from geofm_assets.evaluation.embeddings.encode import encode
from geofm_assets.evaluation.registry.registry import Registry
from geofm_assets.evaluation.sweeps.partitions import Cell, require_partition_name
from geofm_assets.evaluation.sweeps.plan import plan_sweep
from geofm_assets.evaluation.sweeps.planned import duration
from geofm_assets.evaluation.sweeps.settings import RATES, SweepSettings
from tests.sweep_world import MemorySamples, ToyModel, make_entry

NANO = "olmoearth_v1_2_nano"


@pytest.fixture
def store(tmp_path):
    opened = Store(tmp_path)
    Registry(opened).put(make_entry(), overwrite=False)
    Registry(opened).put(make_entry("segmentation", name="fields"), overwrite=False)
    return opened


def files(store):
    return {p: p.stat().st_mtime_ns for p in store.local_path("evaluation").rglob("*")}


def test_a_full_sweep_needs_two_encodings_whatever_the_rates_and_poolings(store):
    plan = plan_sweep(store, [NANO], ["toy"])
    (cell,) = plan.cells
    assert [(e.normalization, e.patch_size) for e in cell.encodings] == [
        ("pretrained", 4),
        ("dataset", 4),
    ]
    assert (cell.linear_probes, cell.knn_probes, cell.runs) == (32, 4, 32)
    assert plan.encodings_needed == 2 * 60
    assert plan.encodings_saved == 30 * 60


@pytest.mark.parametrize(("sweep", "encodings", "probes"), [("lr-only", 1, 8), ("defaults", 1, 1)])
def test_smaller_sweeps_use_the_models_first_normalisation(store, sweep, encodings, probes):
    (cell,) = plan_sweep(store, [NANO], ["toy"], sweep).cells
    assert len(cell.encodings) == encodings
    assert cell.encodings[0].normalization == "pretrained"
    assert cell.linear_probes == probes


def test_segmentation_has_no_knn(store):
    (cell,) = plan_sweep(store, [NANO], ["fields"]).cells
    assert (cell.linear_probes, cell.knn_probes) == (32, 0)


def test_a_baseline_has_one_normalisation(store):
    (cell,) = plan_sweep(store, ["raw_pixels"], ["toy"]).cells
    assert [e.normalization for e in cell.encodings] == ["dataset"]


def test_planning_changes_no_file(store):
    before = files(store)
    plan = plan_sweep(store, [NANO, "presto"], ["toy", "fields"])
    assert files(store) == before
    assert "Nothing was started" in plan.summary()
    assert [c.partition for c in plan.cells] == [
        f"toy|{NANO}", f"fields|{NANO}", "toy|presto", "fields|presto"
    ]  # fmt: skip


def encoded(store, name, model_id):
    """Embeddings as the model of a name and id would leave them."""
    model = ToyModel(name=name)
    model.info = replace(model.info, model_id=model_id)
    encode(model, MemorySamples(), make_entry(), store, "pretrained", 4)


def cached(store, name):
    return [e.cached for e in plan_sweep(store, [name], ["toy"]).cells[0].encodings]


def test_what_is_in_the_store_is_saved_and_sets_the_rate(store):
    assert "published rates" in plan_sweep(store, [NANO], ["toy"]).summary()
    encoded(store, NANO, build_model(NANO).info.model_id)
    plan = plan_sweep(store, [NANO], ["toy"])
    assert [e.cached for e in plan.cells[0].encodings] == [True, False]
    assert (plan.encodings_cached, plan.encodings_needed) == (60, 60)
    assert plan.cells[0].encodings[1].measured
    assert "measured here" in plan.summary()


def test_the_same_weights_under_another_name_are_in_the_store_already(store):
    encoded(store, NANO, build_model(NANO).info.model_id)
    assert cached(store, f"{NANO}@seed:0") == [True, False]
    assert cached(store, f"{NANO}@seed:1") == [False, False]


def save_presto(name, path):
    state = build_model(name).encoder.state_dict()
    torch.save({f"encoder.{key}": value for key, value in state.items()}, path)


def test_other_weights_under_the_same_path_are_not(store, tmp_path, monkeypatch):
    save_presto("presto", tmp_path / "mine.pt")
    name = f"presto@path:{tmp_path}/mine.pt"
    settings = SweepSettings(sweep="defaults")
    model = ToyModel(name=name, patch_sizes=(1,))
    model.info = replace(model.info, model_id=build_model(name).info.model_id)
    encode(model, MemorySamples(), make_entry(), store, "pretrained", 1)

    def known(name):
        (cell,) = plan_sweep(store, [name], ["toy"], settings=settings).cells
        return cell.encodings[0].cached

    assert known(name) is True
    monkeypatch.chdir(tmp_path)
    assert known("presto@path:mine.pt") is True
    save_presto("presto@seed:5", tmp_path / "mine.pt")
    assert known(name) is False


def test_weights_too_large_to_read_for_a_plan_are_not_known(store):
    large = "galileo_base"
    assert cached(store, large) == [False, False]
    encoded(store, f"{large}@hub", "e" * 64)
    plan = plan_sweep(store, [large], ["toy"])
    assert [e.cached for e in plan.cells[0].encodings] == [None, False]
    assert (plan.encodings_needed, plan.encodings_unknown) == (120, 60)
    assert "60 of those needed are in the store is not known before the weights" in plan.summary()
    assert "pretrained ps4 (perhaps kept)" in plan.rows()[0]["encode"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("checkpoint:crops/olmoearth_v1_2_nano-s2-ps2-ws8-t12", "not trained yet.*geofm run crops"),
        ("presto@path:/nowhere/at/all", "no folder /nowhere/at/all"),
        ("croma_base@path:/nowhere", "no folder /nowhere"),
    ],
)
def test_what_cannot_run_is_refused(store, name, words):
    with pytest.raises(WeightsError, match=words):
        plan_sweep(store, [NANO, name], ["toy"])


def test_a_plan_is_json_and_a_table(store):
    plan = plan_sweep(store, [NANO], ["toy"])
    assert json.loads(json.dumps(plan.as_dict()))["linear_probes"] == 32
    (row,) = plan.rows()
    assert row["encode"] == "pretrained ps4, dataset ps4"
    assert row["probes"] == "32 linear, 4 kNN"


@pytest.mark.parametrize(
    ("models", "tasks", "error", "words"),
    [
        (["olmoearth_v1_2_nan"], ["toy"], ConfigError, "Did you mean olmoearth_v1_2_nano"),
        ([NANO], ["tog"], RegistryError, "toy"),
        (["presto|x"], ["toy"], ConfigError, "may not hold"),
    ],
)
def test_what_does_not_exist_is_one_clear_error(store, models, tasks, error, words):
    with pytest.raises(error, match=words):
        plan_sweep(store, models, tasks)


def test_a_patch_size_that_does_not_suit_is_refused(store):
    with pytest.raises(ModelInputError, match=r"patch size of 3.*runs with 4, 1, 2, 8"):
        plan_sweep(store, [NANO], ["toy"], patch_size=3)


def test_a_checkpoint_is_planned_with_its_own_patch_size_and_id(store):
    experiment = "olmoearth_v1_2_nano-s2-ps2-ws8-t12"
    folder = f"tasks/crops/experiments/{experiment}"
    store.write_bytes(f"{folder}/checkpoint.ckpt", b"never read")
    store.write_json(f"{folder}/checkpoint.json", {"model_id": "c" * 64})
    (cell,) = plan_sweep(store, [f"checkpoint:crops/{experiment}"], ["toy"]).cells
    assert [(e.normalization, e.patch_size) for e in cell.encodings] == [("pretrained", 2)]
    assert cell.encodings[0].cached is False


def test_the_published_rates_are_the_grid():
    assert RATES == (1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 5e-2, 1e-1, 5e-1)
    assert SweepSettings(sweep="defaults").rates("segmentation") == (0.1,)
    assert SweepSettings(sweep="defaults").rates("classification") == (0.01,)


def test_partitions_are_named_as_dagster_joins_dimensions():
    import dagster as dg

    key = dg.MultiPartitionKey({"model": "presto@path:/w/x", "dataset": "toy"})
    assert Cell("presto@path:/w/x", "toy").partition == key
    assert Cell.parse(key) == Cell("presto@path:/w/x", "toy")
    assert require_partition_name("presto@path:/w/x") == "presto@path:/w/x"
    with pytest.raises(ConfigError, match="Not a partition"):
        Cell.parse("toy")


def test_seconds_are_said_as_people_say_them():
    assert [duration(s) for s in (0.2, 45, 600, 9000)] == ["under 1 s", "45 s", "10 min", "2.5 h"]
