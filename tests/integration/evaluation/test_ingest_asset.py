"""Evaluation datasets as Dagster partitions, and a task's own dataset as an evaluation."""

import json
from pathlib import Path

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from geofm_assets.core.resources import StoreResource
from geofm_assets.core.store import Store
from geofm_assets.evaluation.ingest.assets import DATASET_KEY, EVAL_DATASETS, build_dataset_assets
from geofm_assets.evaluation.ingest.ingest import ingest_dataset
from geofm_assets.evaluation.ingest.options import IngestOptions
from geofm_assets.evaluation.registry.registry import Registry
from geofm_assets.evaluation.samples.packed import PackedSamples
from geofm_assets.imagery.config import ImageryConfig
from geofm_assets.imagery.dataset import ensure_dataset
from tests.eval_dataset import grid, write_dataset
from tests.imagery_scenes import (
    chips_of,
    make_points,
    make_rasters,
    make_scenes,
    packed,
    write_cell,
)


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


def test_a_tasks_own_dataset_is_an_evaluation(tmp_path: Path) -> None:
    scenes = make_scenes(tmp_path / "scenes")
    points = make_points([(8 + 12 * (i % 5), 10 + 12 * (i // 5)) for i in range(20)], scenes)
    files = write_cell(tmp_path / "files" / "dataset", scenes, points)
    task = tmp_path / "task"
    made = make_rasters(files)
    folder = f"h3_cell={files.cell}"
    for name in ("windows", "rasters", "chips"):
        (task / name / folder).mkdir(parents=True)
    split = pa.array(["train"] * 12 + ["val"] * 4 + ["test"] * 4)
    column = files.windows.schema.get_field_index("split")
    windows = files.windows.set_column(column, files.windows.schema.field("split"), split)
    pq.write_table(windows, task / "windows" / folder / "windows.parquet")
    pq.write_table(made.rasters, task / "rasters" / folder / "rasters.parquet")
    original = packed(files)
    expected = {
        name: original.row("sentinel2_l2a", row) for row, name in enumerate(original.window_names)
    }
    (chips_of(files) / made.file).rename(task / "chips" / folder / made.file)
    ensure_dataset(task / "dataset", ImageryConfig(), str(scenes.folder), None)

    store = Store(tmp_path / "store")
    entry = ingest_dataset(store, IngestOptions(name="wc", source=str(task / "dataset"))).entry
    assert entry.split.counts == {"train": 12, "val": 4, "test": 4}
    assert entry.classes == ("Cropland", "Non-Cropland")
    assert entry.simulated
    samples = PackedSamples(store, "wc")
    sample = samples.read(0)
    name = samples.table["window_name"][0].as_py()
    stored = np.nan_to_num(sample.images["sentinel2_l2a"].values, nan=0.0)
    held = expected[name][(expected[name] != 0).any(axis=(1, 2, 3))]
    np.testing.assert_array_equal(stored, held.astype(np.float32))
    config = json.loads(store.read_bytes("evaluation/datasets/wc/source/config.json"))
    assert "rslearn_view" not in json.dumps(config["storage"])
    assert ingest_dataset(store, IngestOptions(name="wc", source=str(task / "dataset"))).skipped
