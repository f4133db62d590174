"""A finished task becomes an evaluation, and its own checkpoint is swept beside the floors."""

import json
import shutil

import dagster as dg
import pytest

from geofm_assets.platform.instance import open_instance

pytestmark = pytest.mark.slow
TASK = "worldcereal_cropland"
CHECKS = {
    "task": ["schema", "valid_source"],
    "dataset": ["schema", "valid_source"],
    "embeddings": ["encodings_once", "weights"],
    "probe_scores": ["schema", "seen_in_training"],
    "leaderboard": ["schema"],
}
SHOWN = ["model_id", "encoder_start", "samples_encoded_now", "scores", "made_by", "page"]


@pytest.fixture(scope="module")
def registered(finished, tmp_path_factory):
    """A copy of the finished store whose task was made a dataset, by its name alone."""
    store = tmp_path_factory.mktemp("evals") / "store"
    shutil.copytree(finished.store, store)
    geofm = type(finished)(store, finished.environment)
    assert geofm.json("evals", "ingest", "--name", TASK)["unchanged"] is False
    return geofm


def recorded(geofm):
    """What the store's instance holds of the grid."""
    found = {"records": {}, "checks": []}
    with open_instance(geofm.opened()) as instance:
        found["runs"] = instance.get_runs_count()
        for name, checks in CHECKS.items():
            key = dg.AssetKey(
                [TASK, "evaluation_dataset"] if name == "task" else ["evaluation", name]
            )
            for one in instance.fetch_materializations(key, limit=50).records:
                made = one.asset_materialization
                shown = {k: v.value for k, v in made.metadata.items() if k in SHOWN}
                record = {"metadata": shown, "tags": dict(made.tags)}
                found["records"].setdefault(f"{name}:{one.partition_key or ''}", []).append(record)
            for check in checks:
                spec = dg.AssetCheckKey(key, check)
                history = instance.event_log_storage.get_asset_check_execution_history(spec, 50)
                found["checks"] += [[name, check, r.partition, r.status.value] for r in history]
    return found


def counts_of(geofm):
    manifest = geofm.opened().read_table(f"tasks/{TASK}/split_manifest.parquet")
    splits = manifest["split"].to_pylist()
    return {s: splits.count(s) for s in ("train", "val", "test")}


def test_a_finished_task_is_listed_and_swept_without_any_step_between(copied):
    (row,) = copied.json("evals", "list")
    assert (row["name"], row["state"]) == (TASK, "task, not ingested yet")
    assert (row["counts"], row["simulated"]) == (counts_of(copied), True)
    sweep = ("evals", "run", "--model", "image_statistics", "--sweep", "defaults", "--tasks", TASK)
    scores = copied.json(*sweep)
    assert {row["dataset"] for row in scores} == {TASK}
    assert copied.json("evals", "list")[0]["state"] == "registered"
    before = recorded(copied)
    assert before["records"]["task:"][0]["tags"]["dagster/data_version"]
    assert copied.json(*sweep) == scores
    assert copied.json("evals", "ingest", "--name", TASK)["unchanged"] is True
    assert recorded(copied)["runs"] == before["runs"] + 1


def test_the_task_is_listed_with_its_splits_and_says_simulated(registered):
    (row,) = registered.json("evals", "list")
    assert (row["name"], row["state"]) == (TASK, "registered")
    entry = registered.json("evals", "info", TASK)
    assert entry["split"]["counts"] == counts_of(registered)
    assert entry["simulated"] is True


def test_its_checkpoint_is_swept_beside_a_floor(registered):
    (note,) = registered.store.glob(f"tasks/{TASK}/experiments/*/checkpoint.json")
    checkpoint = f"checkpoint:{TASK}/{note.parent.name}"
    sweep = ("evals", "run", "--model", checkpoint, "--model", "raw_pixels", "--tasks", TASK)
    before = recorded(registered)
    assert registered.json(*sweep, "--dry-run")
    assert not (registered.store / "evaluation/embeddings").exists()
    assert recorded(registered) == before
    scores = registered.json(*sweep)
    assert {row["model"] for row in scores} == {checkpoint, "raw_pixels"}
    assert all(row["simulated"] and row["split"] == "test" for row in scores)
    seen = {row["model"]: row["seen_in_training"] for row in scores}
    assert seen == {checkpoint: 0, "raw_pixels": None}
    page = (registered.store / "evaluation/leaderboard.html").read_text("utf-8")
    assert note.parent.name in page
    assert "SIMULATED" in page
    assert json.loads((registered.store / "evaluation/registry.json").read_text())["version"] == 1
    found = recorded(registered)
    require_grid(found, [checkpoint, "raw_pixels"], json.loads(note.read_text())["model_id"])
    assert registered.json(*sweep) == scores
    assert recorded(registered) == found


def require_grid(found, models, model_id):
    """Every cell, its dataset and the leaderboard are recorded with metadata, passing checks."""
    records = {name: latest[0] for name, latest in found["records"].items()}
    cells = [f"{asset}:{TASK}|{m}" for asset in ("embeddings", "probe_scores") for m in models]
    assert set(records) == {"task:", f"dataset:{TASK}", "leaderboard:", *cells}
    assert all(record["tags"]["dagster/data_version"] for record in records.values())
    embeddings = records[f"embeddings:{TASK}|{models[0]}"]["metadata"]
    assert embeddings["model_id"] == model_id
    assert embeddings["encoder_start"].startswith(f"fine-tuned as {TASK}/")
    assert embeddings["samples_encoded_now"] > 0
    assert "accuracy" in records[f"probe_scores:{TASK}|raw_pixels"]["metadata"]["scores"]
    assert records["leaderboard:"]["metadata"]["page"].endswith("leaderboard.html")
    made_by = records[f"dataset:{TASK}"]["metadata"]["made_by"]
    assert made_by == dg.AssetKey([TASK, "evaluation_dataset"])
    expected = [(asset, check) for asset in CHECKS for check in CHECKS[asset]]
    assert {(asset, check) for asset, check, _, _ in found["checks"]} == set(expected)
    assert {status for _, _, _, status in found["checks"]} == {"SUCCEEDED"}
