"""Other ways in: the RDM over HTTP, and anybody's CSV."""

import importlib.util
from pathlib import Path

import pytest
from typer.testing import CliRunner

from geofm_assets.cli import app
from geofm_assets.sample_world.build import world_districts
from geofm_assets.sample_world.collections import samples, write_labels_csv
from tests.e2e.conftest import ONE_IMAGE

pytestmark = pytest.mark.slow
TASK = "worldcereal_cropland"
EXPERIMENT = "olmoearth_v1_2_nano-s2-ps4-ws8-t1"
SERVERS = Path(__file__).parents[1] / "servers"


def rdm_server():
    """`RdmServer` of tests/servers, which is no package."""
    spec = importlib.util.spec_from_file_location("rdm_server", SERVERS / "rdm_server.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.RdmServer


def test_a_run_against_the_rdm_stops_when_it_is_down_and_ends_when_it_is_back(
    world, finished, new_store
):
    geofm = new_store("http")
    server_class = rdm_server()
    with server_class(world.mirror) as server:
        url = server.url
    inputs = [*geofm.inputs(world), *ONE_IMAGE]
    inputs[inputs.index("--mirror") + 1] = url
    down = geofm.here("run", TASK, *inputs, ok=False)
    assert down.returncode == 1
    assert url in down.stderr
    assert "Traceback" not in down.stderr
    with server_class(world.mirror) as server:
        inputs[inputs.index("--mirror") + 1] = server.url
        geofm.here("run", TASK, *inputs)
    ours = geofm.opened().provenance(f"tasks/{TASK}/sample.parquet")
    assert ours.content == finished.opened().provenance(f"tasks/{TASK}/sample.parquet").content


def test_anybodys_csv_becomes_a_task_and_runs_on_the_same_graph(world, new_store, tmp_path):
    labels = tmp_path / "my labels.csv"
    rows = samples(world_districts("tiny"), 6, 0)
    write_labels_csv(labels, rows)
    tasks = tmp_path / "tasks"
    geofm = new_store("own", GEOFM_TASKS=str(tasks))
    new = ["new-task", "my_fields", "--labels", str(labels), "--dir", str(tasks)]
    assert CliRunner().invoke(app, new).exit_code == 0
    inputs = [*geofm.inputs(world, EXPERIMENT)[2:], *ONE_IMAGE]
    geofm.here("run", "my_fields", *inputs)
    metrics = {r["metric"] for r in geofm.json("scores", "my_fields")}
    assert {"f1_crop", "f1_no_crop"} <= metrics
    store = geofm.opened()
    quarantined = store.read_table(
        "tasks/my_fields/reference/quarantine/mylabels.parquet"
    ).to_pylist()
    assert {r["reason"] for r in quarantined} == {
        "bad_date",
        "bad_coordinates",
        "missing_label",
    }
    assert store.read_table("tasks/my_fields/sample.parquet").num_rows == len(rows)
