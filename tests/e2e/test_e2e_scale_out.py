"""A thousand cells in a stand-in for a cluster whose workers die at random."""

import os
import random
import shutil
import time

import pytest

from geofm_assets.core.schema import ValidationReport
from geofm_assets.core.store import Store
from geofm_assets.platform.instance import BATCH_SIZE, BATCH_VARIABLE, POSTGRES_VARIABLE
from tests.cells_world import LOCATION, TASK, contents, open_cells_world
from tests.code_locations import cluster_for
from tests.servers.kubernetes import KubernetesServer, Node

pytestmark = pytest.mark.slow
CELLS, WORKERS, SEED = 1000, 4, 20
SHARE = 0.6  # of pods that are told to die; one whose work ends first does not
AT_START = 2  # of them before they have made anything
OVER = ("Succeeded", "Failed")
NODES = [Node(f"cpu-{i}", 8, 32) for i in range(4)]


def order_deaths(cluster: KubernetesServer, rng: random.Random) -> None:
    """Let pods be killed: a few as they start, the others when they have made so many cells."""
    starting = AT_START
    for pod in range(1, 60):
        if rng.random() > SHARE:
            continue
        if starting:
            cluster.faults.kill_pod(nth=pod, after_s=rng.uniform(0.2, 2))
            starting -= 1
        else:
            cells = rng.randint(1, 100)
            cluster.faults.kill_pod(nth=pod, after_output=f"[{cells}/", after_s=rng.random() / 10)


@pytest.fixture
def database(request):
    """URL of an empty database; None where there is no PostgreSQL, so that SQLite has to do."""
    try:
        return request.getfixturevalue("postgres").new_database()
    except pytest.skip.Exception:
        return None


def test_a_thousand_cells_are_made_once_though_workers_die(tmp_path, monkeypatch, capsys, database):
    with cluster_for(tmp_path, NODES, LOCATION) as (cluster, variables):
        variables |= {"GEOFM_K8S_CPU": "1", "GEOFM_K8S_POLL_SECONDS": "2"}
        if database is not None:
            cluster.add_secret("database", {POSTGRES_VARIABLE: database})
            variables |= {
                POSTGRES_VARIABLE: database,
                BATCH_VARIABLE: BATCH_SIZE,  # else set for all tests after this one
                "GEOFM_K8S_ENV_SECRETS": "database",
            }
        world = open_cells_world(tmp_path, monkeypatch, "kubernetes", CELLS, **variables)
        assert len(world.cells) == CELLS
        order_deaths(cluster, random.Random(SEED))
        began, cpu = time.monotonic(), sum(os.times()[:4])
        assert world.make_cells(WORKERS) == []
        wall = time.monotonic() - began
        cluster.wait(lambda: all(p["status"]["phase"] in OVER for p in cluster.pods()))
        pods = cluster.pods(all=True)
    cpu = sum(os.times()[:4]) - cpu
    ended = [pod["status"]["containerStatuses"][0]["state"]["terminated"] for pod in pods]
    deaths = sum(end["exitCode"] == 137 for end in ended)
    with capsys.disabled():
        print(f"\n{len(pods)} pods, {deaths} died; {wall:.0f} s, {cpu:.0f} CPU s")
    assert deaths >= 0.25 * len(pods)
    assert {end["exitCode"] for end in ended} == {0, 137}
    # recorded once each, as what lies in the store
    store = world.store
    assert world.records() == [
        (cell, store.provenance(world.stage.key(cell)).content) for cell in world.cells
    ]
    # which is, byte for byte, what one process makes of the same plan
    shutil.copytree(tmp_path / "store", tmp_path / "alone", ignore=shutil.ignore_patterns("locks"))
    alone = Store(tmp_path / "alone")
    alone.delete(f"tasks/{TASK}/points")
    # what pandera says decides of nothing but whether to write, and takes four fifths of the time
    monkeypatch.setattr(
        "geofm_assets.core.store.validate", lambda t, m: ValidationReport(m.__name__, t.num_rows)
    )
    for cell in world.cells:
        world.stage.make(alone, cell, force=False)
    assert contents(alone, "tasks") == contents(store, "tasks")
