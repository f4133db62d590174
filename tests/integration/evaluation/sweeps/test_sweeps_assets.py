"""The grid in Dagster: a partition a model and dataset, each with its own record and checks."""

import dagster as dg
import pytest

from geofm_assets.core.errors import ConfigError
from geofm_assets.core.resources import StoreResource
from geofm_assets.core.store import Store
from geofm_assets.evaluation.sweeps.assets import (
    SweepConfig,
    build_sweep_assets,
    register_datasets,
    register_models,
)
from geofm_assets.evaluation.sweeps.leaderboard import PAGE_KEY
from geofm_assets.evaluation.sweeps.partitions import Cell
from geofm_assets.evaluation.sweeps.run import open_model
from geofm_assets.models.resources import ModelHubResource
from tests.sweep_world import MemorySamples, ToyModel, make_entry, store_dataset

FAST = {"sweep": "defaults"}
EMBEDDINGS, SCORES = (
    dg.AssetKey(["evaluation", "embeddings"]),
    dg.AssetKey(["evaluation", "probe_scores"]),
)
LEADERBOARD = dg.AssetKey(["evaluation", "leaderboard"])


@pytest.fixture
def store(tmp_path):
    opened = Store(tmp_path / "store")
    store_dataset(opened, MemorySamples(count=30), make_entry(count=30))
    return opened


@pytest.fixture
def instance(tmp_path, store):
    (tmp_path / "home").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "home")) as opened:
        register_models(opened, ["raw_pixels", "presto@path:/nowhere"])
        register_datasets(opened, store)
        yield opened


def job(store, *keys, opening=open_model):
    definitions = dg.Definitions(
        assets=build_sweep_assets(opening),
        resources={"store": StoreResource(url=store.url), "hub": ModelHubResource()},
        jobs=[dg.define_asset_job("grid", dg.AssetSelection.assets(*keys))],
    )
    return definitions.resolve_job_def("grid")


def run(store, instance, model, *keys, opening=open_model):
    config = {"ops": {"__".join(key.path): {"config": FAST} for key in keys}}
    return job(store, *keys, opening=opening).execute_in_process(
        instance=instance,
        partition_key=Cell(model, "toy").partition,
        run_config=config,
        raise_on_error=False,
    )


def checks(instance, key, name):
    records = instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(key, name), limit=10
    )
    return {r.partition: r.status.value for r in records if r.status.value != "PLANNED"}


def test_a_cell_of_the_grid_is_encoded_probed_and_recorded(store, instance):
    assert run(store, instance, "raw_pixels", EMBEDDINGS, SCORES).success
    cell = Cell("raw_pixels", "toy").partition
    assert instance.get_materialized_partitions(EMBEDDINGS) == {cell}
    assert instance.get_materialized_partitions(SCORES) == {cell}
    assert checks(instance, EMBEDDINGS, "encodings_once") == {cell: "SUCCEEDED"}
    assert checks(instance, EMBEDDINGS, "weights") == {cell: "SUCCEEDED"}
    assert checks(instance, SCORES, "schema") == {cell: "SUCCEEDED"}
    record = instance.fetch_materializations(SCORES, limit=1).records[0].asset_materialization
    assert "accuracy" in record.metadata["scores"].value
    assert record.metadata["simulated"].value is True
    assert record.tags["dagster/data_version"]


def test_places_a_checkpoint_was_trained_on_are_a_warning_that_stops_nothing(store, instance):
    name = "checkpoint:crops/olmoearth_v1_2_nano-s2-ps4-ws8-t12"
    register_models(instance, [name])
    opening = lambda *_: ToyModel(name=name)  # noqa: E731 - a model whose windows nobody knows
    assert run(store, instance, name, EMBEDDINGS, SCORES, opening=opening).success
    check = dg.AssetCheckKey(SCORES, "seen_in_training")
    (record,) = instance.event_log_storage.get_asset_check_execution_history(check, limit=10)
    evaluation = record.evaluation
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "no longer known" in evaluation.description


def test_the_leaderboard_is_an_asset_with_its_page(store, instance):
    run(store, instance, "raw_pixels", EMBEDDINGS, SCORES)
    assert job(store, LEADERBOARD).execute_in_process(instance=instance).success
    record = instance.fetch_materializations(LEADERBOARD, limit=1).records[0]
    metadata = record.asset_materialization.metadata
    assert metadata["page"].value.endswith(PAGE_KEY)
    assert "raw_pixels" in metadata["leaderboard"].value
    assert store.exists(PAGE_KEY)


def test_weights_that_are_not_there_fail_their_cell_alone(store, instance):
    result = run(store, instance, "presto@path:/nowhere", EMBEDDINGS)
    assert not result.success
    failure = result.filter_events(lambda e: e.is_step_failure)[0].step_failure_data
    assert "There is no folder /nowhere" in failure.user_failure_data.description
    assert instance.get_materialized_partitions(EMBEDDINGS) == set()


def test_probing_before_encoding_says_what_is_missing(store, instance):
    result = run(store, instance, "raw_pixels", SCORES)
    failure = result.filter_events(lambda e: e.is_step_failure)[0].step_failure_data
    assert "no such embeddings" in failure.user_failure_data.description


def test_the_grid_is_the_product_of_models_and_datasets(store, instance):
    grid = build_sweep_assets()[0].partitions_def
    keys = grid.get_partition_keys(dynamic_partitions_store=instance)
    assert set(keys) == {
        Cell(model, "toy").partition for model in ("raw_pixels", "presto@path:/nowhere")
    }


def test_settings_that_cannot_be_are_named():
    with pytest.raises(ConfigError, match="subset: Input should be"):
        SweepConfig(subset=200.0).settings()


def test_registering_again_changes_nothing(store, instance):
    register_models(instance, ["raw_pixels"])
    register_datasets(instance, store)
    assert list(instance.get_dynamic_partitions("eval_models")).count("raw_pixels") == 1
    assert instance.get_dynamic_partitions("eval_datasets") == ["toy"]


def test_every_asset_says_what_it_is():
    for asset in build_sweep_assets():
        for spec in asset.specs:
            assert spec.description
            assert spec.code_version
            assert spec.group_name == "evaluation"
