"""Datasets ingested through a store's own Dagster instance, and those that were not."""

import hashlib

import dagster as dg
import pytest

from geofm_assets.core.errors import DatasetError
from geofm_assets.core.settings import load_settings
from geofm_assets.core.store import Store
from geofm_assets.evaluation.ingest.assets import DATASET_KEY, IngestConfig
from geofm_assets.evaluation.ingest.ingest import ingest_dataset
from geofm_assets.evaluation.ingest.options import IngestOptions
from geofm_assets.evaluation.registry.registry import Registry
from geofm_assets.evaluation.sweeps.settings import SweepSettings
from geofm_assets.platform.evaluations import EMBEDDINGS, Evaluations
from tests.eval_dataset import grid, write_dataset


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("source") / "togo", grid(16))


@pytest.fixture(scope="module")
def ingested(tmp_path_factory, source):
    """Two ingests of one source, the second kept out of the registry. Tests only read it."""
    store = Store(tmp_path_factory.mktemp("ingested") / "store")
    driver = Evaluations(load_settings(store.url, {}))
    for name, register in (("togo", True), ("quiet", False)):
        options = IngestOptions(name=name, source=str(source), register=register, subsets=(10, 30))
        driver.ingest(options)
    return driver


def latest(driver, name, key=DATASET_KEY):
    wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[name])
    (record,) = driver.instance.fetch_materializations(wanted, limit=1).records
    return record


def checks(driver, name):
    storage = driver.instance.event_log_storage
    return {
        check: [
            record.status.value
            for record in storage.get_asset_check_execution_history(
                dg.AssetCheckKey(DATASET_KEY, check), limit=50
            )
            if record.partition == name
        ]
        for check in ("schema", "valid_source")
    }


def test_a_dataset_is_a_materialization_of_its_partition(ingested):
    entry = Registry(ingested.store).get("togo")
    made = latest(ingested, "togo").asset_materialization
    assert made.tags["dagster/data_version"] == entry.content
    assert made.metadata["registered"].value is True
    assert "data:image/png" in made.metadata["contact_sheets"].value
    assert checks(ingested, "togo") == {"schema": ["SUCCEEDED"], "valid_source": ["SUCCEEDED"]}


def test_options_reach_the_run_as_its_config(ingested):
    run = ingested.instance.get_run_by_id(latest(ingested, "togo").run_id)
    config = run.run_config["ops"]["evaluation__dataset"]["config"]
    assert config["subsets"] == [10, 30]
    assert sorted(Registry(ingested.store).get("togo").split.subsets) == ["10", "30"]


def test_what_is_not_registered_is_recorded_and_says_so(ingested):
    assert Registry(ingested.store).names() == ["togo"]
    assert latest(ingested, "quiet").asset_materialization.metadata["registered"].value is False
    assert set(ingested.instance.get_dynamic_partitions("eval_datasets")) == {"togo", "quiet"}


def test_an_ingest_that_fails_says_the_same_line_and_leaves_no_partition(ingested, tmp_path):
    options = IngestOptions(name="gone", source=str(tmp_path / "nowhere"))
    with pytest.raises(DatasetError) as plain:
        ingest_dataset(Store(tmp_path / "other"), options)
    with pytest.raises(DatasetError) as caught:
        ingested.ingest(options)
    assert str(caught.value) == str(plain.value)
    assert "gone" not in ingested.instance.get_dynamic_partitions("eval_datasets")


def test_a_dataset_ingested_without_dagster_is_recorded_before_it_is_swept(tmp_path, source):
    store = Store(tmp_path / "store")
    entry = ingest_dataset(store, IngestOptions(name="togo", source=str(source))).entry
    driver = Evaluations(load_settings(store.url, {}))
    driver.sweep(["image_statistics"], ["togo"], SweepSettings(sweep="defaults"))
    made = latest(driver, "togo").asset_materialization
    assert made.tags["dagster/data_version"] == entry.content
    assert made.metadata["split"].value["counts"] == entry.split.counts
    assert checks(driver, "togo") == {"schema": ["SUCCEEDED"], "valid_source": ["SUCCEEDED"]}
    cell = latest(driver, "togo|image_statistics", EMBEDDINGS).asset_materialization
    read = hashlib.sha256(entry.content.encode()).hexdigest()  # as Dagster has a partition's
    assert cell.tags["dagster/input_data_version/evaluation/dataset"] == read
    again = driver.sweep(["image_statistics"], ["togo"], SweepSettings(sweep="defaults"))
    assert again.cells[0].skipped


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"register": False, "overwrite": True, "simulated": True},
        {"tags": {"checked": None, "year": "2022"}, "groups": ("a", "b"), "label_nodata": 255.0},
        {"temporal_range": ("2022-01-01", "2022-02-01T12:30:00+01:00"), "block_m": 1000.5},
        {"subsets": (50, 2), "classes": ("b", "a"), "seed": 2**62, "split_rule": "random"},
    ],
)
def test_options_survive_the_launch_config(said):
    options = IngestOptions(name="togo", source="/data", **said)
    config = IngestConfig.of(options)
    again = IngestOptions.model_validate({**config.said(), "name": "togo"})
    assert again == options
    assert again.model_fields_set | {"register"} == options.model_fields_set | {"register"}
    assert config.remember is False


def test_every_option_can_be_launched():
    launched = set(IngestConfig.model_fields) - {"no_register", "remember"}
    assert launched == set(IngestOptions.model_fields) - {"name", "register"}
