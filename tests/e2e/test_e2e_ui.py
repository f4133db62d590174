"""The UI as a person uses it, through the API its pages call: look, materialize a cell, add an
experiment."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import pytest

pytestmark = pytest.mark.slow
TASK = "worldcereal_cropland"


class Ui:
    def __init__(self, url):
        self.url = url

    def query(self, text, **variables):
        body = json.dumps({"query": text, "variables": variables}).encode()
        request = urllib.request.Request(
            f"{self.url}/graphql", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            result = json.load(answer)
        assert "errors" not in result, result["errors"]
        return result["data"]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def ui(finished, tmp_path_factory):
    import shutil

    store = tmp_path_factory.mktemp("ui") / "store"
    shutil.copytree(finished.store, store)
    geofm = type(finished)(store, finished.environment)
    port = free_port()
    log = (store.parent / "ui.log").open("w")
    process = subprocess.Popen(
        geofm.command("ui", "--port", str(port)),
        env=geofm.environment,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        # as a shell starts background jobs
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: answers(url), 120, (store.parent / "ui.log"))
        yield Ui(url)
        process.terminate()
        process.wait(timeout=60)
        wait_for(lambda: not lives(process.pid), 60, store.parent / "ui.log")  # its servers
    finally:
        if lives(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=60)
        log.close()


def lives(group: int) -> bool:
    """Whether any process of a group is there."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def answers(url) -> bool:
    try:
        nodes = Ui(url).query("{ assetNodes { id } }")["assetNodes"]
    except (urllib.error.URLError, ConnectionError, AssertionError):
        return False
    return len(nodes) > 0


def wait_for(condition, seconds, log=None):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, log.read_text()[-3000:] if log else "timed out"
        time.sleep(0.5)


def node(ui, name):
    text = """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
      description groupName partitionKeys hasMaterializePermission
      assetChecksOrError { ... on AssetChecks { checks { name blocking } } }
      partitionStats { numMaterialized numPartitions }
      assetMaterializations(limit: 3) { partition metadataEntries { label } } } } }"""
    return ui.query(text, key={"path": [TASK, name]})["assetNodeOrError"]


def repository(ui, fields="name location { name }"):
    nodes = f"... on RepositoryConnection {{ nodes {{ {fields} }} }}"
    return ui.query(f"{{ repositoriesOrError {{ {nodes} }} }}")["repositoriesOrError"]["nodes"][0]


def launch(ui, name, partition):
    text = """mutation($p: ExecutionParams!) { launchPipelineExecution(executionParams: $p) {
      __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
    location = repository(ui)
    selector = {
        "repositoryName": location["name"],
        "repositoryLocationName": location["location"]["name"],
        "jobName": "__ASSET_JOB",
        "assetSelection": [{"path": [TASK, name]}],
    }
    tags = [{"key": "dagster/partition", "value": partition}]
    parameters = {
        "selector": selector,
        "mode": "default",
        "runConfigData": {},
        "executionMetadata": {"tags": tags},
    }
    done = ui.query(text, p=parameters)["launchPipelineExecution"]
    assert done["__typename"] == "LaunchRunSuccess", done
    return done["run"]["runId"]


def finish(ui, run_id):
    text = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"

    def ended():
        status = ui.query(text, id=run_id)["runOrError"]["status"]
        assert status not in ("FAILURE", "CANCELED"), status
        return status == "SUCCESS"

    wait_for(ended, 180)


def test_only_this_machine_is_answered(ui):
    port = int(ui.url.rpartition(":")[2])
    with socket.socket() as caller:  # a server on all addresses would answer here too
        assert caller.connect_ex(("127.0.0.2", port)) != 0


def test_every_stage_is_in_the_graph_with_its_checks_and_partitions(ui):
    stages = {
        "candidates": ["schema"],
        "filtered_points": ["at_most_per_cell", "inside_cell", "schema"],
        "rasters": ["band_contract", "schema"],
        "split_manifest": [
            "class_coverage",
            "imagery_coverage",
            "leakage",
            "model_input",
            "schema",
        ],
        "checkpoint": ["weights"],
        "eval_scores": ["schema"],
    }
    for name, checks in stages.items():
        found = node(ui, name)
        assert sorted(c["name"] for c in found["assetChecksOrError"]["checks"]) == checks
        assert found["description"]
    assert node(ui, "rasters")["partitionStats"] == {"numMaterialized": 2, "numPartitions": 2}


def test_metadata_shows_tables_and_plots(ui):
    assert {"test", "confusion", "encoder_start", "simulated"} <= labels(ui, "eval_scores")
    assert {"map", "classes", "dagster/column_schema"} <= labels(ui, "split_manifest")


def labels(ui, name):
    latest = node(ui, name)["assetMaterializations"][0]
    return {entry["label"] for entry in latest["metadataEntries"]}


def test_one_cell_can_be_materialized_again(ui):
    cell = node(ui, "filtered_points")["partitionKeys"][0]
    before = len(node(ui, "filtered_points")["assetMaterializations"])
    finish(ui, launch(ui, "filtered_points", cell))
    after = node(ui, "filtered_points")["assetMaterializations"]
    assert len(after) >= before
    assert after[0]["partition"] == cell


def test_an_experiment_can_be_added_by_its_name(ui):
    text = """mutation($l: String!, $r: String!, $d: String!, $k: String!) { addDynamicPartition(
      repositorySelector: {repositoryLocationName: $l, repositoryName: $r},
      partitionsDefName: $d, partitionKey: $k) { __typename } }"""
    location = repository(ui)
    new = "olmoearth_v1_2_nano-s1-ps2-ws8-t6"
    done = ui.query(
        text,
        l=location["location"]["name"],
        r=location["name"],
        d=f"{TASK}_experiments",
        k=new,
    )
    assert done["addDynamicPartition"]["__typename"] == "AddDynamicPartitionSuccess"
    assert new in node(ui, "checkpoint")["partitionKeys"]
    finish(ui, launch(ui, "checkpoint", new))
    assert node(ui, "checkpoint")["assetMaterializations"][0]["partition"] == new


def test_the_schedule_and_sensors_are_there_and_off(ui):
    fields = "schedules { name scheduleState { status } } sensors { name sensorState { status } }"
    found = repository(ui, fields)
    schedules = {s["name"]: s["scheduleState"]["status"] for s in found["schedules"]}
    sensors = {s["name"]: s["sensorState"]["status"] for s in found["sensors"]}
    assert schedules == {"worldcereal_weekly_refresh": "STOPPED"}
    assert sensors["worldcereal_collections"] == "STOPPED"
    assert sensors[f"{TASK}_reconcile"] == "STOPPED"
