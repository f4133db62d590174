"""Pods and Jobs of the Kubernetes stand-in: environment, limits, scheduling, ends."""

import os
import re
import time
from pathlib import Path

import pytest

from tests.kubernetes_jobs import (
    clients_of,
    condition_of,
    finish,
    job_of,
    pods_of,
    reasons,
    start,
    state_of,
    wait_until_running,
)
from tests.servers.kubernetes import KubernetesServer, Node

GPU = "nvidia.com/gpu"
TOLERATION = {"key": GPU, "operator": "Exists", "effect": "NoSchedule"}
ON_GPU = {"nodeSelector": {"accelerator": "h200"}, "tolerations": [TOLERATION]}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    nodes = [
        Node("cpu", 64, 64),
        Node("gpu", 8, 32, 2, {"accelerator": "h200"}, [f"{GPU}=present:NoSchedule"]),
    ]
    folder = tmp_path_factory.mktemp("cluster")
    with KubernetesServer(folder, nodes, {"IMAGE_SAYS": "so"}, job_backoff_s=0.1) as cluster:
        yield cluster


def output(cluster, name) -> str:
    return cluster.log(pods_of(cluster, name)[-1])


def one_gpu():
    return {"resources": {"limits": {GPU: "1"}}}


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_pod_has_only_its_own_environment(cluster, monkeypatch):
    monkeypatch.setenv("OF_THE_TESTS", "must not leak")
    start(cluster, "bare", "env", container={"env": [{"name": "MINE", "value": "yes"}]})
    finish(cluster, "bare")
    names = {line.partition("=")[0] for line in output(cluster, "bare").splitlines()}
    given = {"PATH", "HOME", "HOSTNAME", "IMAGE_SAYS", "MINE", "CUDA_VISIBLE_DEVICES"}
    assert names - {"PWD", "SHLVL", "_", "OLDPWD"} == given


def test_variables_come_from_secrets_config_maps_and_the_pod(cluster):
    cluster.add_secret("store-key", {"AWS_SECRET_ACCESS_KEY": "s3cret"})
    cluster.add_config_map("settings", {"GEOFM_STORE": "s3://bucket"})
    env = [
        {
            "name": "KEY",
            "valueFrom": {"secretKeyRef": {"name": "store-key", "key": "AWS_SECRET_ACCESS_KEY"}},
        },
        {"name": "ADDRESS_OF_POD", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "ADDRESS", "value": "$(GEOFM_STORE)/$(KEY)/$$(KEY)/$(ABSENT)"},
        {
            "name": "NONE",
            "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "no", "optional": True}},
        },
    ]
    sources = [
        {"configMapRef": {"name": "settings"}},
        {"secretRef": {"name": "store-key"}, "prefix": "P_"},
    ]
    script = 'echo "$GEOFM_STORE|$P_AWS_SECRET_ACCESS_KEY|$POD|$ADDRESS|${NONE-unset}|$0"'
    container = {"env": env, "envFrom": sources, "args": ["$(KEY)"]}
    start(cluster, "sources", script, container=container)
    finish(cluster, "sources")
    pod = pods_of(cluster, "sources")[0]["metadata"]["name"]
    address = "s3://bucket/s3cret/$(KEY)/$(ABSENT)"
    assert output(cluster, "sources") == f"s3://bucket|s3cret|{pod}|{address}|unset|s3cret\n"


def test_a_pod_waits_for_a_secret_that_is_missing(cluster):
    start(cluster, "early", "true", container={"envFrom": [{"secretRef": {"name": "late"}}]})
    cluster.wait(lambda: "waiting" in state_of(cluster, "early"))
    waiting = state_of(cluster, "early")["waiting"]
    assert waiting == {"reason": "CreateContainerConfigError", "message": 'secret "late" not found'}
    cluster.add_secret("late", {"A": "b"})
    assert finish(cluster, "early") == "Complete"


def test_a_pod_waits_for_volumes_that_are_missing(cluster):
    volumes = [
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}},
        {"name": "instance", "configMap": {"name": "dagster-instance"}},
    ]
    mounts = [{"name": "shm", "mountPath": "/dev/shm"}]
    start(cluster, "mounts", "true", pod={"volumes": volumes}, container={"volumeMounts": mounts})
    cluster.wait(lambda: bool(pods_of(cluster, "mounts")))
    pod = pods_of(cluster, "mounts")[0]["metadata"]["name"]
    cluster.wait(lambda: "FailedMount" in reasons(cluster, pod))
    cluster.add_config_map("dagster-instance", {"dagster.yaml": ""})
    assert finish(cluster, "mounts") == "Complete"


def test_a_pod_that_cannot_start_fails_and_says_why(cluster):
    start(cluster, "typo", "", container={"command": ["no-such-program"]})
    assert finish(cluster, "typo") == "BackoffLimitExceeded"
    ended = state_of(cluster, "typo")["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (128, "StartError")
    assert "no-such-program" in ended["message"]


def test_a_command_starts_in_its_working_directory(cluster, tmp_path):
    start(cluster, "where", "pwd", container={"workingDir": str(tmp_path)})
    finish(cluster, "where")
    assert output(cluster, "where") == f"{tmp_path}\n"


def test_a_job_tries_again_until_its_limit(cluster, tmp_path):
    count = tmp_path / "count"
    script = f"echo x >> {count}; test $(wc -l < {count}) -ge 3"
    start(cluster, "third-time", script, spec={"backoffLimit": 2})
    assert finish(cluster, "third-time") == "Complete"
    assert job_of(cluster, "third-time")["status"]["failed"] == 2
    start(cluster, "never", "exit 3", spec={"backoffLimit": 1})
    assert finish(cluster, "never") == "BackoffLimitExceeded"
    codes = [
        pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"]
        for pod in pods_of(cluster, "never")
    ]
    assert codes == [3, 3]


@pytest.mark.parametrize("fits", [True, False])
def test_a_deadline_ends_a_job_whether_its_pod_runs_or_waits(cluster, fits):
    name = f"deadline-{fits}".lower()
    selector = {} if fits else {"nodeSelector": {"disk": "none"}}
    start(cluster, name, "exec sleep 60", spec={"activeDeadlineSeconds": 1}, pod=selector)
    assert finish(cluster, name) == "DeadlineExceeded"
    status = job_of(cluster, name)["status"]
    assert (status["failed"], status.get("active")) == (1, None)
    cluster.wait(
        lambda: all(pod["metadata"]["labels"]["job-name"] != name for pod in cluster.pods())
    )


def test_a_pod_may_have_a_deadline_of_its_own(cluster):
    start(cluster, "own-deadline", "exec sleep 60", pod={"activeDeadlineSeconds": 1})
    assert finish(cluster, "own-deadline") == "BackoffLimitExceeded"
    assert pods_of(cluster, "own-deadline")[0]["status"]["reason"] == "DeadlineExceeded"


def test_a_finished_job_is_cleaned_up_after_its_time(cluster):
    start(cluster, "short", "true", spec={"ttlSecondsAfterFinished": 0})
    cluster.wait(
        lambda: len(pods_of(cluster, "short")) == 1 and condition_of(cluster, "short") != ""
    )
    cluster.wait(lambda: "short" not in {job["metadata"]["name"] for job in cluster.jobs()})
    assert all(pod["metadata"]["labels"]["job-name"] != "short" for pod in cluster.pods())
    assert condition_of(cluster, "short") == "Complete"


def test_a_failure_policy_decides_by_exit_code(cluster):
    codes = {"operator": "In", "values": [42]}
    policy = {"rules": [{"action": "FailJob", "onExitCodes": codes}]}
    start(cluster, "policy", "exit 42", spec={"backoffLimit": 5, "podFailurePolicy": policy})
    assert finish(cluster, "policy") == "PodFailurePolicy"
    assert len(pods_of(cluster, "policy")) == 1


@pytest.mark.parametrize(
    ("trap", "grace_s", "code"), [("trap 'exit 7' TERM", 30, 7), ("trap '' TERM", 1, 137)]
)
def test_a_deleted_pod_may_end_in_its_grace_period(cluster, trap, grace_s, code):
    name = f"grace-{code}"
    script = f"{trap}; echo up; while :; do sleep 0.05; done"
    start(cluster, name, script, pod={"terminationGracePeriodSeconds": grace_s})
    pod = wait_until_running(cluster, name)
    cluster.wait(lambda: "up" in cluster.log(pod))
    api = clients_of(cluster).core
    marked = api.delete_namespaced_pod(pod["metadata"]["name"], "default")
    assert marked.metadata.deletion_grace_period_seconds == grace_s
    cluster.wait(lambda: condition_of(cluster, name) != "")
    assert state_of(cluster, name)["terminated"]["exitCode"] == code


def test_a_pods_children_end_with_it(cluster):
    start(cluster, "parent", "sleep 60 & echo child $!")
    finish(cluster, "parent")
    child = int(re.findall(r"child (\d+)", output(cluster, "parent"))[0])
    cluster.wait(lambda: not alive(child) or "zombie" in Path(f"/proc/{child}/status").read_text())


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_a_pod_over_its_memory_limit_is_killed(cluster):
    command = ["python", "-c", "x = b'1' * 400_000_000; import time; time.sleep(60)"]
    limits = {"limits": {"memory": "100Mi"}}
    start(cluster, "hungry", "", container={"command": command, "resources": limits})
    assert finish(cluster, "hungry") == "BackoffLimitExceeded"
    ended = state_of(cluster, "hungry")["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (137, "OOMKilled")


def test_gpus_are_given_to_one_pod_each(cluster):
    script = 'echo "gpu=$CUDA_VISIBLE_DEVICES"; exec sleep 60'
    for name in ("gpu-a", "gpu-b"):
        start(cluster, name, script, pod=ON_GPU, container=one_gpu())
        assert wait_until_running(cluster, name)["spec"]["nodeName"] == "gpu"
    start(cluster, "gpu-c", 'echo "gpu=$CUDA_VISIBLE_DEVICES"', pod=ON_GPU, container=one_gpu())
    cluster.wait(lambda: bool(pods_of(cluster, "gpu-c")))
    waiting = pods_of(cluster, "gpu-c")[0]["metadata"]["name"]
    cluster.wait(lambda: "FailedScheduling" in reasons(cluster, waiting))
    assert {output(cluster, "gpu-a"), output(cluster, "gpu-b")} == {"gpu=0\n", "gpu=1\n"}
    (message,) = [event["message"] for event in cluster.events(waiting)]
    assert message.startswith("0/2 nodes are available: 1 Insufficient nvidia.com/gpu, 1 node(s)")
    clients = clients_of(cluster)
    clients.batch.delete_namespaced_job("gpu-a", "default", propagation_policy="Background")
    finish(cluster, "gpu-c")
    assert output(cluster, "gpu-c") == output(cluster, "gpu-a")
    clients.batch.delete_namespaced_job("gpu-b", "default", propagation_policy="Background")


@pytest.mark.parametrize(
    ("pod", "resources", "text"),
    [
        ({}, {GPU: "1"}, f"untolerated taint {{{GPU}: present}}"),
        ({"tolerations": [TOLERATION]}, {GPU: "4"}, "2 Insufficient nvidia.com/gpu"),
        ({"nodeSelector": {"a": "b"}}, {}, "didn't match Pod's node affinity/selector"),
        ({}, {"memory": "65Gi"}, "Insufficient memory"),
        ({}, {"cpu": "64500m"}, "Insufficient cpu"),
        (
            {"volumes": [{"name": "a", "persistentVolumeClaim": {"claimName": "c"}}]},
            {},
            '"c" not found',
        ),
    ],
)
def test_a_pod_that_fits_nowhere_waits_and_says_why(cluster, pod, resources, text):
    name = f"nowhere-{len(text)}"
    start(cluster, name, "true", pod=pod, container={"resources": {"limits": resources}})
    cluster.wait(
        lambda: bool(pods_of(cluster, name) and pods_of(cluster, name)[0]["status"]["conditions"])
    )
    status = pods_of(cluster, name)[0]["status"]
    (condition,) = status["conditions"]
    assert (status["phase"], condition["reason"]) == ("Pending", "Unschedulable")
    assert text in condition["message"]
    assert condition_of(cluster, name) == ""


def test_cores_are_not_given_twice(tmp_path):
    with KubernetesServer(tmp_path, [Node("small", 2, 4)]) as cluster:
        stamp = tmp_path / "running"
        script = f"mkdir {stamp} && sleep 0.3 && rmdir {stamp}"
        half = {"resources": {"requests": {"cpu": "1500m"}}}
        for index in range(3):
            start(cluster, f"turn-{index}", script, container=half)
        assert {finish(cluster, f"turn-{index}") for index in range(3)} == {"Complete"}


def test_a_job_of_an_unknown_service_account_gets_no_pod(cluster):
    start(cluster, "nobody", "true", pod={"serviceAccountName": "ghost"})
    cluster.wait(lambda: "FailedCreate" in reasons(cluster, "nobody"))
    assert pods_of(cluster, "nobody") == []
    assert "ghost" in cluster.events("nobody")[0]["message"]
    cluster.add_service_account("ghost")
    assert finish(cluster, "nobody") == "Complete"


def test_a_pod_without_a_job_is_run_as_pipes_does(cluster):
    clients = clients_of(cluster)
    container = {"name": "main", "image": "a:1", "command": ["sh", "-c", "echo alone"]}
    spec = {"restartPolicy": "Never", "containers": [container]}
    clients.core.create_namespaced_pod("default", {"metadata": {"name": "alone"}, "spec": spec})
    cluster.wait(
        lambda: clients.core.read_namespaced_pod("alone", "default").status.phase == "Succeeded"
    )
    clients.core.delete_namespaced_pod("alone", "default")
    cluster.wait(lambda: all(pod["metadata"]["name"] != "alone" for pod in cluster.pods()))


def test_leaving_the_server_ends_every_process(tmp_path):
    with KubernetesServer(tmp_path, [Node("cpu", 4, 4)]) as cluster:
        start(cluster, "stays", "trap '' TERM; sleep 60 & echo $!; wait")
        pod = wait_until_running(cluster, "stays")
        cluster.wait(lambda: cluster.log(pod) != "")
        pids = [cluster.pid(pod), int(cluster.log(pod))]
    began = time.monotonic()
    while any(
        alive(pid) and "zombie" not in Path(f"/proc/{pid}/status").read_text() for pid in pids
    ):
        assert time.monotonic() - began < 5
