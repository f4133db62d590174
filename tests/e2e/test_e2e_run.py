"""From label collections to a score, by the command line."""

import json
import shutil
import time

import dagster as dg
import pytest

from tests.e2e.conftest import ONE_IMAGE, artifacts

TASK = "worldcereal_cropland"
EXPERIMENT = "olmoearth_v1_2_nano-s1_s2-ps4-ws8-t6"

pytestmark = pytest.mark.slow


def materializations(geofm) -> dict[str, list[str]]:
    """Partitions materialized so far, per asset, in order, repeats included."""
    instance = dg.DagsterInstance.from_config(str(geofm.store / "dagster_home"))
    counts = {}
    for key in instance.all_asset_keys():
        records = instance.fetch_materializations(key, limit=1000).records
        counts[key.to_user_string()] = [str(r.partition_key) for r in records]
    return counts


def test_a_run_ends_with_scores_beside_the_baselines_and_says_simulated(finished):
    stdout = (finished.store.parent / "stdout.txt").read_text()
    assert "SIMULATED" in stdout
    assert "baseline logistic" in stdout
    assert "macro_f1" in stdout


def test_scores_as_json_are_a_list_of_metrics_with_intervals(finished):
    rows = finished.json("scores", TASK)
    names = {"experiment", "split", "metric", "value", "low", "high", "n", "groups", "simulated"}
    assert all(set(row) == names for row in rows)
    assert {r["split"] for r in rows} == {"train", "val", "test"}
    assert {r["experiment"] for r in rows} == {
        EXPERIMENT,
        "baseline_majority",
        "baseline_logistic",
    }
    metrics = {r["metric"] for r in rows}
    assert {"accuracy", "macro_f1", "f1_cropland", "recall_non_cropland"} <= metrics
    assert all(0 <= r["low"] <= r["high"] <= 1 for r in rows)
    assert all(r["simulated"] for r in rows)


def test_status_says_everything_is_current(finished):
    rows = [r for r in finished.json("status") if r["task"] == TASK]
    assert len(rows) == 16
    assert [r["stage"] for r in rows if r["out_of_date"]] == []
    assert all(r["wanted"] > 0 for r in rows)


def test_running_again_makes_nothing_again(copied, world):
    before = materializations(copied)
    done = copied.here("run", TASK, "--experiment", EXPERIMENT)
    after = materializations(copied)
    changed = {k for k in after if len(after[k]) != len(before[k]) and not k.startswith("sql/")}
    assert changed == {"worldcereal/collections"}
    assert "Settings changed from the task file" in done.stdout


def kill_when(geofm, world, pattern: str) -> None:
    """Start a run and kill it, as hard as can be, as soon as a file appears."""
    output = geofm.store.parent / "killed.txt"
    process = geofm.started(output, "run", TASK, *geofm.inputs(world, EXPERIMENT))
    limit = time.monotonic() + 300
    while not list(geofm.store.glob(pattern)):
        assert process.poll() is None, output.read_text()[-3000:]
        assert time.monotonic() < limit, f"{pattern} never appeared"
        time.sleep(0.02)
    process.kill()
    process.wait()


def test_a_run_killed_again_and_again_is_finished_by_running_it_again(finished, world, new_store):
    geofm = new_store("killed")
    for pattern in (
        "reference/raw/*/file.json",
        f"tasks/{TASK}/chips/*/rasters-*.safetensors",
        f"tasks/{TASK}/experiments/{EXPERIMENT}/*.ckpt",
    ):
        kill_when(geofm, world, pattern)
    geofm.here("run", TASK, *geofm.inputs(world, EXPERIMENT))
    assert artifacts(geofm.store) == artifacts(finished.store)
    instance = dg.DagsterInstance.from_config(str(geofm.store / "dagster_home"))
    unfinished = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
    assert instance.get_runs(filters=unfinished) == []


def test_a_scene_that_is_no_raster_stops_the_cells_it_covers_and_is_named(
    world, new_store, tmp_path
):
    scenes = tmp_path / "scenes"
    shutil.copytree(world.scenes, scenes)
    broken = sorted(scenes.glob("S2_2022-06_*.tif"))[0]
    good = broken.read_bytes()
    broken.write_bytes(b"not a raster")
    changed = type(world)(**{**world.__dict__, "scenes": scenes})
    geofm = new_store("broken")
    inputs = [*geofm.inputs(changed), *ONE_IMAGE]
    done = geofm.here("run", TASK, *inputs, ok=False)
    assert done.returncode == 1
    assert broken.name in done.stderr
    assert "Traceback" not in done.stderr
    broken.write_bytes(good)
    geofm.here("run", TASK, *inputs)
    stages = {r["stage"]: r for r in geofm.json("status") if r["task"] == TASK}
    chips = stages[f"{TASK}/chips"]
    assert chips["wanted"] == chips["current"] > 0


def test_an_experiment_that_cannot_be_is_refused_in_one_line(copied):
    name = "olmoearth_v1_2_nano-s2-ps8-ws4-t1"
    done = copied.here("run", TASK, "--experiment", name, ok=False)
    assert done.returncode == 1
    assert "patch_size 8 is larger than window_size 4" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_store_without_scores_says_what_to_do(new_store):
    done = new_store("empty").here("scores", TASK, ok=False)
    assert done.returncode == 1
    assert f"geofm run {TASK}" in done.stderr


def test_json_of_scores_is_all_there_is_on_stdout(finished):
    assert json.loads(finished("scores", TASK, "--json").stdout)
