"""Runs launched in the Kubernetes stand-in through dagster-k8s and the real client."""

import json
import os
import signal
import threading
from contextlib import contextmanager

from geofm_assets.platform import launched, step_jobs, workers
from tests.code_locations import IMAGE, cluster_for
from tests.kubernetes_jobs import clients_of
from tests.launching_world import CELLS, LOCATION, open_world
from tests.servers.kubernetes import Node

GPU_LABELS = {"geofm/accelerator": "gpu"}
GPU_NODES = [
    Node(f"gpu-{i}", 16, 128, 1, GPU_LABELS, ("nvidia.com/gpu:NoSchedule",)) for i in range(2)
]
CPU_NODE = Node("cpu-0", 32, 128)
STEPS = "app.kubernetes.io/component=step_worker"
RUNS = "app.kubernetes.io/component=run_worker"


@contextmanager
def opened(tmp_path, monkeypatch, nodes=(CPU_NODE, *GPU_NODES), **variables):
    with cluster_for(tmp_path, nodes, LOCATION) as (cluster, pods):
        often = {"GEOFM_K8S_POLL_SECONDS": "0.3"}  # steps are looked at each second
        yield cluster, open_world(tmp_path, monkeypatch, "kubernetes", **pods | often | variables)


@contextmanager
def making(world, *arguments):
    """Make assets while the test does something else."""
    failures = []
    thread = threading.Thread(target=lambda: failures.extend(world.make(*arguments)))
    thread.start()
    yield failures
    thread.join(300)
    assert not thread.is_alive()


def of(objects, selector):
    name, _, value = selector.partition("=")
    return [o for o in objects if o["metadata"]["labels"].get(name) == value]


def running(cluster, selector):
    return [p for p in of(cluster.pods(), selector) if p["status"]["phase"] == "Running"]


def container(job):
    return job["spec"]["template"]["spec"]["containers"][0]


def no_stragglers(monkeypatch):
    """For processes that are gone: nothing more can come of one that was given up for lost."""
    monkeypatch.setattr(launched, "_STRAGGLE_SECONDS", 0.2)


def texts(world, run=None):
    """All that was logged of runs, as the UI shows it."""
    return "\n".join(
        str(entry.dagster_event.message if entry.dagster_event else entry.user_message) + str(entry)
        for found in ([run] if run else world.runs())
        for entry in world.instance.all_logs(found.run_id)
    )


def test_gpu_steps_are_jobs_and_other_runs_need_no_second_pod(tmp_path, monkeypatch):
    variables = {
        "GEOFM_K8S_ENV_SECRETS": "store",
        "GEOFM_K8S_KEEP_HOURS": "0.0015",  # 5 s
    }
    with opened(tmp_path, monkeypatch, **variables) as (cluster, world):
        cluster.add_secret("store", {"AWS_SECRET_ACCESS_KEY": "canary-7351"})
        assert world.make("checkpoint", ["m0"]) == []
        assert world.make("points", CELLS[:2], 1) == []
        runs, steps = (of(cluster.jobs(all=True), kind) for kind in (RUNS, STEPS))
        assert len(runs) == 2  # of a model, and of a range of cells
        (step,) = steps  # of the model
        asked, pod = container(step), step["spec"]["template"]["spec"]
        assert asked["image"] == IMAGE
        assert asked["args"][:3] == ["dagster", "api", "execute_step"]
        assert asked["resources"] == {
            "requests": {"cpu": "4", "memory": "32Gi", "nvidia.com/gpu": "1"},
            "limits": {"memory": "32Gi", "nvidia.com/gpu": "1"},
        }
        assert pod["nodeSelector"] == GPU_LABELS
        assert pod["tolerations"] == [
            {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
        ]
        assert {"name": "shared-memory", "mountPath": "/dev/shm"} in asked["volumeMounts"]
        assert step["metadata"]["labels"]["dagster/op"] == "checkpoint"
        assert step["spec"]["activeDeadlineSeconds"] == 24 * 3600
        cpus = sorted(container(run)["resources"]["requests"]["cpu"] for run in runs)
        assert cpus == ["2", "250m"]  # whoever only waits for a GPU step needs little
        assert not any("nvidia.com/gpu" in str(container(run)["resources"]) for run in runs)
        (made,) = world.lines("checkpoint", "m0")
        assert made["CUDA_VISIBLE_DEVICES"] == "0"
        assert made["AWS_SECRET_ACCESS_KEY"] == "canary-7351"
        (made,) = world.lines("points", "c00")
        assert made["GEOFM_EXECUTOR"] == "kubernetes"
        said = json.dumps(cluster.jobs(all=True)) + texts(world)
        assert "canary-7351" not in said + str([(r.tags, r.run_config) for r in world.runs()])
        cluster.wait(lambda: not cluster.jobs() and not cluster.pods())


def test_dagsters_own_executor_gives_every_step_a_job(tmp_path, monkeypatch):
    location = LOCATION.with_name("stock_location")
    # with pods that are started as a node would, and not forked
    with cluster_for(tmp_path, (CPU_NODE, *GPU_NODES), location, forks=False) as (cluster, pods):
        world = open_world(tmp_path, monkeypatch, "kubernetes", location, **pods)
        assert world.make("checkpoint", ["m0"]) == []
        assert world.make("points", CELLS[:2], 1) == []
        steps = of(cluster.jobs(all=True), STEPS)
        on_gpu = {
            step["metadata"]["labels"]["dagster/op"]: "nvidia.com/gpu"
            in container(step)["resources"]["limits"]
            for step in steps
        }
        assert on_gpu == {"checkpoint": True, "points": False}
        assert all(container(step)["image"] == IMAGE for step in steps)
        assert world.records("checkpoint") == ["m0"]
        assert world.records("points") == CELLS[:2]


def test_lost_gpu_pods_are_started_again(tmp_path, monkeypatch):
    with opened(tmp_path, monkeypatch) as (cluster, world):
        world.order("die-m0")
        hold = world.order("hold")
        with making(world, "checkpoint", ["m0"]) as failures:
            cluster.wait(lambda: len(of(cluster.pods(), STEPS)) == 2, 180)
            cluster.wait(lambda: bool(running(cluster, STEPS)), 60)
            cluster.faults.evict_node(running(cluster, STEPS)[0]["spec"]["nodeName"])
            cluster.wait(lambda: len(of(cluster.pods(), STEPS)) == 3, 120)
            hold.unlink()
        assert failures == []
        assert world.records("checkpoint") == ["m0"]
        assert len(world.lines("checkpoint", "m0")) == 1
        said = texts(world)
        assert "ended with exit code 137 (signal 9)" in said
        assert "Evicted" in said


def test_a_lost_run_leaves_its_gpu_step_alone_and_takes_it_up_again(tmp_path, monkeypatch):
    with opened(tmp_path, monkeypatch) as (cluster, world):
        hold = world.order("hold")
        with making(world, "checkpoint", ["m0"]) as failures:
            cluster.wait(lambda: bool(running(cluster, STEPS)), 120)
            os.killpg(cluster.pid(of(cluster.pods(), RUNS)[0]), signal.SIGKILL)
            cluster.wait(lambda: len(of(cluster.jobs(), RUNS)) == 2, 120)
            hold.unlink()
        assert failures == []
        assert world.records("checkpoint") == ["m0"]
        assert len(world.lines("checkpoint", "m0")) == 1
        assert len(of(cluster.jobs(all=True), STEPS)) == 1
        assert len(world.runs()) == 1


def test_a_run_and_its_gpu_step_that_are_lost_together_go_on_together(tmp_path, monkeypatch):
    with opened(tmp_path, monkeypatch) as (cluster, world):
        hold = world.order("hold")
        with making(world, "checkpoint", ["m0"]) as failures:
            cluster.wait(lambda: bool(running(cluster, STEPS)), 120)
            for pod in (of(cluster.pods(), RUNS)[0], running(cluster, STEPS)[0]):
                os.killpg(cluster.pid(pod), signal.SIGKILL)
            cluster.wait(lambda: len(of(cluster.pods(all=True), STEPS)) == 2, 120)
            hold.unlink()
        assert failures == []
        assert len(world.lines("checkpoint", "m0")) == 1
        # what it made is taken as soon as it is recorded; the run ends a moment later
        cluster.wait(lambda: [run.status.value for run in world.runs()] == ["SUCCESS"], 60)


def test_a_gpu_step_whose_job_somebody_deletes_is_started_again(tmp_path, monkeypatch):
    with opened(tmp_path, monkeypatch) as (cluster, world):
        hold = world.order("hold")
        with making(world, "checkpoint", ["m0"]) as failures:
            cluster.wait(lambda: bool(running(cluster, STEPS)), 120)
            name = of(cluster.jobs(), STEPS)[0]["metadata"]["name"]
            clients_of(cluster).batch.delete_namespaced_job(
                name, "default", propagation_policy="Background"
            )
            cluster.wait(lambda: len(of(cluster.jobs(all=True), STEPS)) == 2, 120)
            hold.unlink()
        assert failures == []
        assert len(world.lines("checkpoint", "m0")) == 1
        assert "ended, or was deleted" in texts(world)


def test_a_run_that_is_canceled_leaves_no_gpu_step_behind(tmp_path, monkeypatch):
    with opened(tmp_path, monkeypatch) as (cluster, world):
        world.order("hold")
        with making(world, "checkpoint", ["m0"]) as failures:
            cluster.wait(lambda: bool(running(cluster, STEPS)), 120)
            (step,) = running(cluster, STEPS)
            cluster.wait(lambda: "STEP_START" in cluster.log(step), 60)
            (run,) = world.runs()
            world.instance.run_launcher.terminate(run.run_id)
        assert len(failures) == 1
        cluster.wait(lambda: not cluster.pods() and not cluster.jobs(), 60)
        assert [run.status.value for run in world.runs()] == ["CANCELED"]


def test_cells_of_a_lost_run_are_made_by_another(tmp_path, monkeypatch):
    with opened(tmp_path, monkeypatch) as (cluster, world):
        world.order("die-c02")
        world.order("die_always-c01")
        monkeypatch.setattr(step_jobs, "_PAUSES_S", ())
        no_stragglers(monkeypatch)
        monkeypatch.setattr(workers, "GIVE_UP_AFTER", 2)
        cluster.faults.answer(500, r"/jobs\?labelSelector", "GET", times=-1)
        (failure,) = world.make("points", CELLS[:4])
        assert "Jobs of its steps may go on" in failure
        assert "c01" in failure
        assert "exit code 137" in failure
        made = ["c00", "c02", "c03"]
        assert world.records("points") == made
        assert all(len(world.lines("points", c)) == 1 for c in made)
        assert not of(cluster.jobs(all=True), STEPS)


def test_a_worker_that_is_cut_off_and_goes_on_leaves_no_second_record(tmp_path, monkeypatch):
    nodes = (CPU_NODE, Node("cpu-1", 32, 128))
    with opened(tmp_path, monkeypatch, nodes) as (cluster, world):
        hold = world.order("hold")
        with making(world, "points", CELLS[:3], 1) as failures:
            cluster.wait(lambda: bool(running(cluster, RUNS)), 60)
            (lost,) = running(cluster, RUNS)
            cluster.wait(lambda: "STEP_START" in cluster.log(lost), 60)
            cluster.faults.lose_node(lost["spec"]["nodeName"], 0.1, partitioned=True)
            cluster.wait(lambda: len(of(cluster.pods(all=True), RUNS)) == 2, 60)
            new = of(cluster.pods(all=True), RUNS)[-1]
            cluster.wait(lambda: "STEP_START" in cluster.log(new), 60)
            hold.unlink()
            cluster.wait(lambda: "given up for lost" in cluster.log(lost), 60)
        assert failures == []
        assert world.records("points") == CELLS[:3]
        assert len(world.lines("points", "c00")) == 2  # it did go on
        assert len(world.lines("points", "c01")) == 1


def test_an_image_that_comes_late_is_waited_for_and_one_that_does_not_is_named(
    tmp_path, monkeypatch
):
    with opened(tmp_path, monkeypatch, GEOFM_K8S_START_MINUTES="0.05") as (cluster, world):
        no_stragglers(monkeypatch)
        with making(world, "checkpoint", ["m0"]) as failures:
            cluster.wait(lambda: bool(running(cluster, RUNS)), 60)
            cluster.faults.cannot_pull(IMAGE)
            cluster.wait(lambda: len(of(cluster.jobs(all=True), STEPS)) == 2, 120)
            cluster.faults.can_pull(IMAGE)
        assert failures == []
        assert "did not start within 0.05 minutes" in texts(world)
        assert "ImagePull" in texts(world)
        cluster.faults.cannot_pull(IMAGE)
        monkeypatch.setattr(workers, "GIVE_UP_AFTER", 1)
        (failure,) = world.make("points", CELLS[:1])
        assert "ImagePullBackOff" in failure
        assert "did not start" in failure
        cluster.wait(lambda: not any(p["status"]["phase"] == "Pending" for p in cluster.pods()))


def test_a_gpu_that_no_node_has_is_named(tmp_path, monkeypatch):
    variables = {"GEOFM_K8S_START_MINUTES": "0.05", "GEOFM_K8S_RETRIES": "0"}
    with opened(tmp_path, monkeypatch, (CPU_NODE,), **variables) as (cluster, world):
        (failure,) = world.make("checkpoint", ["m0"])
        assert "Unschedulable" in failure
        assert "did not start within 0.05 minutes" in failure
        assert len(world.runs()) == 1
        cluster.wait(lambda: not of(cluster.jobs(), STEPS))


def test_an_api_that_fails_for_a_moment_is_asked_again(tmp_path, monkeypatch):
    with opened(tmp_path, monkeypatch) as (cluster, world):
        # the first POST is the run's Job, which dagster-k8s creates; the others are the step's
        for number, status in enumerate((500, 410, 429), start=2):
            cluster.faults.answer(status, "/jobs", "POST", nth=number)
        cluster.faults.drop("/jobs", "POST", nth=5, what="answer")
        cluster.faults.answer(500, "/jobs/dagster-step", "GET", nth=2)
        cluster.faults.answer(410, "/jobs/dagster-step", "GET", nth=4)
        assert world.make("checkpoint", ["m0"]) == []
        assert len(world.lines("checkpoint", "m0")) == 1
        assert len(of(cluster.jobs(all=True), STEPS)) == 1
        asked = [r for r in cluster.requests if r.method == "POST" and r.path.endswith("/jobs")]
        assert len(asked) == 6  # one was answered 409: the Job was there, its answer had been lost
