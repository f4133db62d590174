"""A finished task becomes an evaluation, and its own checkpoint is swept beside the floors."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
TASK = "worldcereal_cropland"
MATERIALIZE = """
import os
import dagster as dg
from definitions import defs
from geofm_assets.core.store import Store
from geofm_assets.platform.instance import open_instance
instance = open_instance(Store(os.environ["GEOFM_STORE"]))
done = defs.resolve_implicit_global_asset_job_def().execute_in_process(
    instance=instance, asset_selection=[dg.AssetKey([TASK, "evaluation_dataset"])]
)
assert done.success
assert TASK in instance.get_dynamic_partitions("eval_datasets")
"""


@pytest.fixture(scope="module")
def registered(finished, tmp_path_factory):
    """A copy of the finished store whose task has registered itself, through the asset."""
    store = tmp_path_factory.mktemp("evals") / "store"
    shutil.copytree(finished.store, store)
    geofm = type(finished)(store, finished.environment)
    done = subprocess.run(
        [sys.executable, "-c", f"TASK = {TASK!r}\n{MATERIALIZE}"],
        env={**geofm.environment, "GEOFM_STORE": str(store)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return geofm


def test_the_task_is_listed_with_its_splits_and_says_simulated(registered):
    (row,) = registered.json("evals", "list")
    assert row["name"] == TASK
    entry = registered.json("evals", "info", TASK)
    manifest = registered.opened().read_table(f"tasks/{TASK}/split_manifest.parquet")
    splits = manifest["split"].to_pylist()
    assert entry["split"]["counts"] == {s: splits.count(s) for s in ("train", "val", "test")}
    assert entry["simulated"] is True


def test_its_checkpoint_is_swept_beside_a_floor(registered):
    (note,) = registered.store.glob(f"tasks/{TASK}/experiments/*/checkpoint.json")
    checkpoint = f"checkpoint:{TASK}/{note.parent.name}"
    sweep = ("evals", "run", "--model", checkpoint, "--model", "raw_pixels", "--tasks", TASK)
    assert registered.json(*sweep, "--dry-run")
    assert not (registered.store / "evaluation/embeddings").exists()
    scores = registered.json(*sweep)
    assert {row["model"] for row in scores} == {checkpoint, "raw_pixels"}
    assert all(row["simulated"] and row["split"] == "test" for row in scores)
    page = (registered.store / "evaluation/leaderboard.html").read_text("utf-8")
    assert note.parent.name in page
    assert "SIMULATED" in page
    assert json.loads((registered.store / "evaluation/registry.json").read_text())["version"] == 1
