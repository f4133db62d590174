"""A store moves to PostgreSQL, and two command lines run different experiments on it at once."""

from collections import Counter

import dagster as dg
import pytest

from geofm_assets.platform.instance import POSTGRES_VARIABLE, open_instance

pytestmark = pytest.mark.slow
TASK = "worldcereal_cropland"
NEW = ("olmoearth_v1_2_nano-s2-ps4-ws8-t1", "olmoearth_v1_2_nano-s2-ps4-ws8-t6")


@pytest.fixture
def moved(copied, postgres, monkeypatch):
    """A finished store whose history is in SQLite, told to go on in an empty database."""
    url = postgres.new_database()
    monkeypatch.setenv(POSTGRES_VARIABLE, url)
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "1000")  # else set for all tests after this one
    copied.environment[POSTGRES_VARIABLE] = url
    copied.here("instance", "write")
    return copied


def chips(geofm) -> dict[str, int]:
    """When each packed file was written, ns."""
    files = (geofm.store / f"tasks/{TASK}/chips").rglob("*.safetensors")
    return {path.name: path.stat().st_mtime_ns for path in files}


def test_two_runs_at_once_on_an_empty_database_lose_no_event(moved, postgres):
    before = chips(moved)
    outputs = [moved.store.parent / f"{experiment}.txt" for experiment in NEW]
    processes = [
        moved.started(output, "run", TASK, "--experiment", experiment)
        for output, experiment in zip(outputs, NEW, strict=True)
    ]
    for process in processes:
        process.wait(400)
    for process, output in zip(processes, outputs, strict=True):
        process.kill()  # one that has not ended
        said = output.read_text()
        assert process.wait() == 0, said[-3000:]
        assert postgres.password not in said

    instance = open_instance(moved.opened())
    runs = instance.get_runs()
    assert len(runs) >= 20
    assert {run.status for run in runs} == {dg.DagsterRunStatus.SUCCESS}
    drivers = {run.tags["geofm/driver"] for run in runs}
    assert len(drivers) == 2
    for run in runs:
        events = instance.all_logs(run.run_id)
        kinds = Counter(e.dagster_event_type for e in events if e.is_dagster_event)
        kind = dg.DagsterEventType
        assert kinds[kind.RUN_START] == kinds[kind.RUN_SUCCESS] == 1
        assert kinds[kind.ASSET_MATERIALIZATION] == kinds[kind.ASSET_MATERIALIZATION_PLANNED] > 0

    # what the store had is recorded, not made again
    assert chips(moved) == before
    cells = instance.get_materialized_partitions(dg.AssetKey([TASK, "chips"]))
    assert cells == set(instance.get_dynamic_partitions(f"{TASK}_cells"))
    for stage in ("checkpoint", "predictions", "eval_scores"):
        recorded = instance.get_materialized_partitions(dg.AssetKey([TASK, stage]))
        assert recorded == set(NEW)
    state = moved.json("instance", "show")
    assert (state["storage"], state["schema_current"]) == ("PostgreSQL", True)
    assert set(state["runs"].values()) == {0}
