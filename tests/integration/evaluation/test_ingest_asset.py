"""Evaluation datasets as Dagster partitions."""

from pathlib import Path

import dagster as dg
import pytest

from geofm_assets.core.errors import ConfigError, DatasetError
from geofm_assets.core.resources import StoreResource
from geofm_assets.core.store import Store
from geofm_assets.evaluation.ingest.assets import DATASET_KEY, EVAL_DATASETS, build_dataset_assets
from geofm_assets.evaluation.ingest.stages import EvaluationDatasetStage
from geofm_assets.evaluation.registry.registry import Registry
from tests.eval_dataset import grid, write_dataset


def materialize(
    store: Path, name: str, config: dict[str, object], instance: dg.DagsterInstance
) -> dg.ExecuteInProcessResult:
    assert EVAL_DATASETS.name is not None
    instance.add_dynamic_partitions(EVAL_DATASETS.name, [name])
    return dg.materialize(
        build_dataset_assets(),
        partition_key=name,
        instance=instance,
        resources={"store": StoreResource(url=str(store))},
        run_config={"ops": {"evaluation__dataset": {"config": config}}},
        raise_on_error=False,
    )


def latest(instance: dg.DagsterInstance) -> dg.AssetMaterialization:
    event = instance.get_latest_materialization_event(DATASET_KEY)
    assert event is not None
    assert event.asset_materialization is not None
    return event.asset_materialization


def test_a_partition_is_ingested_and_shown(tmp_path: Path) -> None:
    source = write_dataset(tmp_path / "source", grid(16))
    with dg.DagsterInstance.ephemeral() as instance:
        done = materialize(tmp_path / "store", "togo", {"source": str(source)}, instance)
        assert done.success
        metadata = latest(instance).metadata
    assert "![train-water.png](data:image/png;base64," in str(metadata["contact_sheets"].value)
    assert "| task type | classification |" in str(metadata["inferred"].value)
    assert metadata["split"].value["counts"] == {"train": 8, "val": 4, "test": 4}
    passed = {e.check_name: e.passed for e in done.get_asset_check_evaluations()}
    assert passed == {"schema": True, "valid_source": True}
    assert Registry(Store(tmp_path / "store")).names() == ["togo"]


def test_a_partition_made_again_remembers_its_source(tmp_path: Path) -> None:
    source = write_dataset(tmp_path / "source", grid(16))
    with dg.DagsterInstance.ephemeral() as instance:
        materialize(tmp_path / "store", "togo", {"source": str(source)}, instance)
        first = Registry(Store(tmp_path / "store")).get("togo")
        write_dataset(source, grid(17)[16:])
        assert materialize(tmp_path / "store", "togo", {}, instance).success
    second = Registry(Store(tmp_path / "store")).get("togo")
    assert second.content != first.content
    assert second.split.counts["train"] == 9


def test_a_partition_is_discovered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dataset(tmp_path / "datasets" / "kenya", grid(16))
    monkeypatch.setenv("GEOFM_EVAL_DATASETS", str(tmp_path / "datasets"))
    with dg.DagsterInstance.ephemeral() as instance:
        assert materialize(tmp_path / "store", "kenya", {}, instance).success
    assert Registry(Store(tmp_path / "store")).names() == ["kenya"]


def test_a_partition_nobody_knows_fails_with_one_line(tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        done = materialize(tmp_path / "store", "mystery", {}, instance)
    assert not done.success
    (failure,) = done.get_step_failure_events()
    assert "Where dataset 'mystery' comes from is not known" in str(failure.event_specific_data)


def test_a_broken_dataset_stops_only_itself(tmp_path: Path) -> None:
    placed = tmp_path / "datasets"
    write_dataset(placed / "kenya", grid(16))
    write_dataset(placed / "togo", grid(16))
    (placed / "togo" / "evaluation.yaml").write_text("colour: red\n")
    (placed / "mess").mkdir()
    (placed / "mess" / "config.json").write_text("{}")
    (placed / "mess" / "evaluation.yaml").write_text("{")
    stage = EvaluationDatasetStage({"GEOFM_EVAL_DATASETS": str(placed)})
    store = Store(tmp_path / "store")
    stage.make(store, "kenya", {})
    with pytest.raises(ConfigError, match=r"colour: no such option at .*togo/evaluation.yaml"):
        stage.make(store, "togo", {})
    with pytest.raises(DatasetError, match="Where dataset 'mystery' comes from is not known"):
        stage.make(store, "mystery", {})
    assert Registry(store).names() == ["kenya"]


def test_a_partition_made_again_keeps_what_was_said_of_the_data(tmp_path: Path) -> None:
    source = write_dataset(tmp_path / "source", grid(16))
    stage, store = EvaluationDatasetStage({}), Store(tmp_path / "store")
    stage.make(store, "togo", {"source": str(source), "licence": "CC0-1.0", "seed": 3})
    outcome = stage.make(store, "togo", {})
    assert outcome.skipped
    assert "| licence | CC0-1.0 | kept from the last ingest |" in str(outcome.metadata["inferred"])
    assert Registry(store).get("togo").licence == "CC0-1.0"
    assert Registry(store).get("togo").split.seed == 3
