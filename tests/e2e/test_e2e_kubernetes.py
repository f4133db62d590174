"""`geofm run --executor kubernetes` on the cropland task, in a stand-in for a cluster."""

from pathlib import Path

import dagster as dg

from geofm_assets.core.settings import load_settings
from geofm_assets.core.store import Store
from geofm_assets.platform.instance import load_instance, write_config
from tests.e2e.conftest import artifacts
from tests.servers.kubernetes import KubernetesServer, Node

REPOSITORY = Path(__file__).resolve().parents[2]
TASK, EXPERIMENT = "worldcereal_cropland", "olmoearth_v1_2_nano-s1_s2-ps4-ws8-t6"
IMAGE = "registry.example/geofm-assets:1.0-cuda"
NODES = [
    Node("cpu-0", 32, 128),
    Node("gpu-0", 16, 128, 1, {"geofm/accelerator": "gpu"}, ("nvidia.com/gpu:NoSchedule",)),
]


def test_the_whole_task_is_made_in_a_cluster(world, finished, new_store, tmp_path, monkeypatch):
    geofm = new_store("cluster")
    store, home = Store(geofm.store), geofm.store / "dagster_home"
    image = {
        "PYTHONPATH": str(REPOSITORY),
        "DAGSTER_DISABLE_TELEMETRY": "1",
    }
    (place := tmp_path / "cluster").mkdir()
    with KubernetesServer(place, NODES, environment=image, forks=True) as cluster:
        cluster.add_config_map("dagster-instance", {"dagster.yaml": ""})
        variables = {
            "GEOFM_EXECUTOR": "kubernetes",
            "GEOFM_K8S_KUBECONFIG": str(cluster.kubeconfig),
            "GEOFM_K8S_IMAGE": IMAGE,
            "GEOFM_K8S_DAGSTER_HOME": str(home),
            "GEOFM_K8S_POLL_SECONDS": "1",
            "PYTHONPATH": str(REPOSITORY),
        }
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        write_config(store, load_settings(str(geofm.store)))
        geofm.environment.update(variables)
        done = geofm.here("run", TASK, *geofm.inputs(world, EXPERIMENT), "--workers", "1")
        # a run is over before its process has ended
        cluster.wait(lambda: all(p["status"]["phase"] != "Running" for p in cluster.pods()))
        jobs, pods = cluster.jobs(all=True), cluster.pods(all=True)
    assert f"{TASK}/checkpoint: 1 to make" in done.stdout
    # GPU steps are Jobs of their own, and run where GPUs are; everything else needs none
    steps = {label(job, "op"): job for job in jobs if label(job, "op")}
    assert set(steps) == {f"{TASK}__checkpoint", f"{TASK}__predictions"}
    for job in steps.values():
        (container,) = job["spec"]["template"]["spec"]["containers"]
        assert container["image"] == IMAGE
        assert container["args"][:3] == ["dagster", "api", "execute_step"]
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    for pod in pods:
        assert pod["status"]["phase"] == "Succeeded", cluster.log(pod)[-3000:]
        on_gpu = "nvidia.com/gpu" in str(pod["spec"]["containers"][0]["resources"])
        assert on_gpu == bool(label(pod, "op"))
        assert pod["spec"]["nodeName"] == ("gpu-0" if on_gpu else "cpu-0")
    # and all of it is what one machine made, in one process
    assert artifacts(geofm.store) == artifacts(finished.store)
    key = f"tasks/{TASK}/scores.parquet"
    assert store.read_table(key).equals(finished.opened().read_table(key))
    runs = load_instance(home).get_runs()
    assert {run.status for run in runs} == {dg.DagsterRunStatus.SUCCESS}
    assert len(runs) == len(jobs) - len(steps)


def label(made, name):
    return made["metadata"]["labels"].get(f"dagster/{name}")
