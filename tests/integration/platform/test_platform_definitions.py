"""The code location loads whole, and is made of what the documents say."""

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from geofm_assets.core.settings import load_settings
from geofm_assets.platform.definitions import build_definitions

TASK = "worldcereal_cropland"


@pytest.fixture(scope="module")
def definitions(tmp_path_factory):
    store = tmp_path_factory.mktemp("empty") / "store"
    return build_definitions(load_settings(str(store), {}))


@pytest.fixture(scope="module")
def repository(definitions):
    return definitions.get_repository_def()


def test_everything_resolves(definitions):
    dg.Definitions.validate_loadable(definitions)


def test_every_sensor_schedule_and_job_can_be_loaded(repository):
    repository.load_all_definitions()
    jobs = {job.name for job in repository.get_all_jobs()}
    assert {f"{TASK}_{j}" for j in ("collections", "plan", "cells", "manifest", "training")} <= jobs
    assert "worldcereal_listing" in jobs


def test_every_asset_says_what_it_is_and_has_a_code_version(definitions):
    for spec in definitions.resolve_all_asset_specs():
        assert spec.description, spec.key
        assert spec.code_version, spec.key


def test_every_table_asset_has_a_schema_check(definitions):
    graph = definitions.resolve_asset_graph()
    checked = {
        key.asset_key.to_user_string() for key in graph.asset_check_keys if key.name == "schema"
    }
    tables = {
        "worldcereal/collections",
        "worldcereal/reference_points",
        *(
            f"{TASK}/{name}"
            for name in (
                "candidates",
                "sampling_plan",
                "filtered_points",
                "window_group",
                "rasters",
                "split_manifest",
                "predictions",
                "eval_scores",
                "baseline_scores",
                "score_table",
                "comparison",
            )
        ),
    }
    assert tables <= checked


def test_gpu_steps_ask_for_a_gpu_and_others_do_not(definitions):
    graph = definitions.resolve_asset_graph()
    gpu = set()
    for key in graph.get_all_asset_keys():
        tags = graph.get(key).assets_def.op.tags
        if "nvidia.com/gpu" in str(tags.get("dagster-k8s/config", "")):
            gpu.add(key.path[-1])
    assert gpu == {"checkpoint", "predictions", "embeddings", "map"}


def test_sql_models_are_assets_with_column_lineage(definitions):
    specs = {s.key.to_user_string(): s for s in definitions.resolve_all_asset_specs()}
    spec = specs["sql/marts/metrics_by_collection"]
    lineage = spec.metadata["dagster/column_lineage"]
    upstream = {
        dep.asset_key.to_user_string() for deps in lineage.deps_by_column.values() for dep in deps
    }
    assert any(key.startswith("sql/") for key in upstream)
    assert "class_balance" in "".join(specs)


@pytest.mark.parametrize(
    ("executor", "expected"),
    [("in_process", "in_process"), ("multiprocess", "processes"), ("kubernetes", "kubernetes")],
)
def test_the_executor_is_a_setting(tmp_path, executor, expected):
    settings = load_settings(str(tmp_path), {"GEOFM_EXECUTOR": executor})
    assert build_definitions(settings).executor.name == expected


def test_the_code_location_imports_by_its_name(tmp_path):
    code = "import definitions; print(definitions.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PATH": "", "GEOFM_STORE": str(tmp_path / "s"), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(done.stdout.strip()) == Path(__file__).parents[3] / "definitions.py"


def test_dagsters_own_loader_reads_the_task_file_as_a_component(definitions, tmp_path, monkeypatch):
    import geofm_assets.tasks

    monkeypatch.setenv("GEOFM_STORE", str(tmp_path / "store"))
    folder = Path(geofm_assets.tasks.__file__).parent
    shared = dg.Definitions(resources=definitions.resources)
    loaded = dg.Definitions.merge(dg.load_from_defs_folder(path_within_project=folder), shared)
    ours = {s.key for s in definitions.resolve_all_asset_specs() if s.key.path[0] == TASK}
    assert {s.key for s in loaded.resolve_all_asset_specs() if s.key.path[0] == TASK} == ours
