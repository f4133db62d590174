"""The API of the Kubernetes stand-in, by the real Python client."""

import re
import shutil
import subprocess
import threading
import time
from fractions import Fraction

import kubernetes
import pytest
from dagster_k8s.client import DagsterKubernetesClient
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.client.rest import ApiException

from tests.kubernetes_jobs import (
    clients_of,
    finish,
    job_of,
    log_of,
    pods_of,
    shell_job,
    start,
    state_of,
    wait_until_running,
)
from tests.servers.kubernetes import KubernetesServer, Node
from tests.servers.kubernetes.quantities import parse_quantity

GPU = "nvidia.com/gpu"
LONG = "x" * 64


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with KubernetesServer(tmp_path_factory.mktemp("cluster"), [Node("cpu", 64, 64)]) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def clients(cluster):
    return clients_of(cluster)


def refusal(clients, manifest) -> ApiException:
    with pytest.raises(ApiException) as caught:
        clients.batch.create_namespaced_job("default", manifest)
    return caught.value


def container(**fields):
    return {"container": fields}


def test_a_job_runs_its_command_and_says_how_it_ended(cluster, clients):
    made = clients.batch.create_namespaced_job(
        "default", shell_job("hello", "echo hi; echo ho >&2")
    )
    assert made.spec.template.metadata.labels["job-name"] == "hello"
    assert finish(cluster, "hello") == "Complete"
    status = clients.batch.read_namespaced_job_status("hello", "default").status
    assert (status.succeeded, status.failed, status.active) == (1, None, None)
    assert status.completion_time >= status.start_time
    (pod,) = clients.core.list_namespaced_pod("default", label_selector="job-name=hello").items
    assert pod.status.phase == "Succeeded"
    assert pod.metadata.name.startswith("hello-")
    ended = pod.status.container_statuses[0].state.terminated
    assert (ended.exit_code, ended.reason) == (0, "Completed")
    assert log_of(clients, pod.metadata.name) == "hi\nho\n"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"metadata": {"name": "Bad_Name"}}, "metadata.name"),
        ({"metadata": {"name": LONG}}, "metadata.name"),
        ({"metadata": {"labels": {"dagster/op": LONG}}}, "metadata.labels"),
        ({"metadata": {"labels": {"a b": "c"}}}, "metadata.labels"),
        ({"spec": {"backoffLimit": -1}}, "spec.backoffLimit"),
        ({"spec": {"selector": {"matchLabels": {"a": "b"}}}}, "spec.selector"),
        ({"pod": {"restartPolicy": "Always"}}, "spec.template.spec.restartPolicy"),
        ({"pod": {"tolerations": [{"operator": "Exists", "value": "x"}]}}, ".tolerations[0]"),
        ({"pod": {"volumes": [{"name": "a", "emptyDir": {"medium": "Disk"}}]}}, ".emptyDir.medium"),
        ({"pod": {"volumes": [{"name": "a"}]}}, ".volumes[0]"),
        (container(name="A"), ".containers[0].name"),
        (container(volumeMounts=[{"name": "shm", "mountPath": "/dev/shm"}]), ".volumeMounts[0]"),
        (container(resources={"requests": {GPU: "1"}}), ".resources.limits"),
        (container(resources={"limits": {GPU: "500m"}}), f".limits[{GPU}]"),
        (container(resources={"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}), ".requests[cpu]"),
        (container(resources={"limits": {"memory": "4 GB"}}), ".limits[memory]"),
        (container(env=[{"name": "1=2", "value": ""}]), ".env[0].name"),
    ],
)
def test_wrong_values_are_refused_with_their_field(clients, changes, field):
    error = refusal(clients, shell_job("wrong", "true", **changes))
    assert (error.status, error.reason) == (422, "Unprocessable Entity")
    assert field in error.body
    assert '"reason": "Invalid"' in error.body


@pytest.mark.parametrize(
    ("changes", "status", "text"),
    [
        ({"spec": {"activeDeadline": 5}}, 400, "activeDeadline"),
        ({"spec": {"backoffLimit": "many"}}, 400, "backoffLimit"),
        ({"spec": {"template": {}}}, 422, "spec.template.spec"),
        ({"spec": {"completions": 3}}, 501, "completions"),
        ({"pod": {"initContainers": [{"name": "a", "image": "b"}]}}, 501, "initContainers"),
        ({"metadata": {"namespace": "other"}}, 400, "namespace"),
    ],
)
def test_what_is_no_job_or_cannot_be_imitated_is_refused(clients, changes, status, text):
    error = refusal(clients, shell_job("wrong", "true", **changes))
    assert error.status == status
    assert text in error.body


def test_names_are_taken_once_and_strangers_get_nothing(cluster, clients):
    start(cluster, "once", "true")
    assert refusal(clients, shell_job("once", "true")).status == 409
    for call in (
        lambda: clients.batch.read_namespaced_job("absent", "default"),
        lambda: clients.batch.create_namespaced_job("absent", shell_job("a", "true")),
        lambda: kubernetes.client.AppsV1Api(clients.batch.api_client).list_namespaced_deployment(
            "default"
        ),
    ):
        with pytest.raises(ApiException, match="404"):
            call()
    stranger = kubernetes.client.Configuration(host=cluster.url.rpartition("/")[0])
    stranger.proxy = None
    with pytest.raises(ApiException, match="401"):
        kubernetes.client.CoreV1Api(kubernetes.client.ApiClient(stranger)).list_node()


def test_selectors_choose_by_labels_and_fields(cluster, clients):
    for name, op in (("sel-a", "train"), ("sel-b", "predict"), ("sel-c", "")):
        labels = {"dagster/run-id": "r1", **({"dagster/op": op} if op else {})}
        start(cluster, name, "true", metadata={"labels": labels})

    def names(**selectors):
        return [
            job.metadata.name
            for job in clients.batch.list_namespaced_job("default", **selectors).items
        ]

    run = "dagster/run-id=r1"
    assert names(label_selector=run) == ["sel-a", "sel-b", "sel-c"]
    assert names(label_selector=f"{run},dagster/op!=train") == ["sel-b", "sel-c"]
    assert names(label_selector=f"{run},dagster/op in (train, predict)") == ["sel-a", "sel-b"]
    assert names(label_selector=f"{run},dagster/op notin (train)") == ["sel-b", "sel-c"]
    assert names(label_selector=f"{run},dagster/op") == ["sel-a", "sel-b"]
    assert names(label_selector=f"{run},!dagster/op") == ["sel-c"]
    assert names(field_selector="metadata.name=sel-b") == ["sel-b"]
    with pytest.raises(ApiException, match="field label not supported"):
        names(field_selector="spec.backoffLimit=0")
    with pytest.raises(ApiException, match="400"):
        names(label_selector="a in b")


def test_long_lists_come_in_pages_until_they_expire(cluster, clients):
    for index in range(3):
        start(cluster, f"page-{index}", "true", metadata={"labels": {"set": "pages"}})
    asked = {"label_selector": "set=pages", "limit": 2}
    first = clients.batch.list_namespaced_job("default", **asked)
    second = clients.batch.list_namespaced_job(
        "default", **asked, _continue=first.metadata._continue
    )
    names = [job.metadata.name for job in [*first.items, *second.items]]
    assert names == ["page-0", "page-1", "page-2"]
    assert second.metadata._continue is None
    cluster.faults.expire_watches()
    with pytest.raises(ApiException, match="410"):
        clients.batch.list_namespaced_job("default", **asked, _continue=first.metadata._continue)


def test_a_watch_sees_what_happens_after_its_version(cluster, clients):
    version = clients.core.list_namespaced_pod("default").metadata.resource_version
    seen = []
    watch = kubernetes.watch.Watch()
    start(cluster, "watched", "true", spec={"ttlSecondsAfterFinished": 0})
    for event in watch.stream(
        clients.core.list_namespaced_pod,
        "default",
        label_selector="job-name=watched",
        resource_version=version,
        timeout_seconds=20,
    ):
        seen.append((event["type"], event["object"].status.phase))
        if event["type"] == "DELETED":
            watch.stop()
    phases = list(dict.fromkeys(seen))
    assert phases[0] == ("ADDED", "Pending")
    assert phases[-1] == ("DELETED", "Succeeded")
    assert ("MODIFIED", "Running") in phases


def test_a_watch_from_an_old_version_is_told_that_it_is_gone(cluster, clients):
    version = clients.batch.list_namespaced_job("default").metadata.resource_version
    cluster.faults.expire_watches()
    stream = kubernetes.watch.Watch().stream(
        clients.batch.list_namespaced_job, "default", resource_version=version, timeout_seconds=5
    )
    with pytest.raises(ApiException) as caught:
        next(stream)
    assert caught.value.status == 410


def test_a_quiet_watch_ends_when_its_time_is_up(clients):
    began = time.monotonic()
    version = clients.batch.list_namespaced_job("default").metadata.resource_version
    events = kubernetes.watch.Watch().stream(
        clients.batch.list_namespaced_job,
        "default",
        label_selector="job-name=none",
        resource_version=version,
        timeout_seconds=1,
    )
    assert list(events) == []
    assert 0.5 < time.monotonic() - began < 10


def test_logs_are_followed_while_a_pod_writes(cluster, clients, tmp_path):
    go_on = tmp_path / "go"
    start(cluster, "talks", f"echo one; while [ ! -e {go_on} ]; do sleep 0.05; done; echo two")
    name = wait_until_running(cluster, "talks")["metadata"]["name"]
    lines = kubernetes.watch.Watch().stream(clients.core.read_namespaced_pod_log, name, "default")
    assert next(lines) == "one"
    go_on.touch()
    assert list(lines) == ["two"]
    moment, text = log_of(clients, name, tail_lines=1, timestamps=True).split(" ", 1)
    assert text == "two\n"
    assert "T" in moment


def test_there_is_no_log_before_a_container_runs(cluster, clients):
    cluster.faults.cannot_pull("absent:1")
    start(cluster, "silent", "true", container={"image": "absent:1"})
    cluster.wait(lambda: "waiting" in state_of(cluster, "silent"))
    name = pods_of(cluster, "silent")[0]["metadata"]["name"]
    with pytest.raises(ApiException) as caught:
        log_of(clients, name)
    assert caught.value.status == 400
    assert re.search("waiting to start: (ErrImagePull|ImagePullBackOff)", caught.value.body)


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
def test_pods_go_with_their_job_where_the_client_says_so(cluster, clients, policy):
    name = f"goes-{policy.lower()}"
    start(cluster, name, "exec sleep 60")
    wait_until_running(cluster, name)
    clients.batch.delete_namespaced_job(name, "default", propagation_policy=policy)
    cluster.wait(
        lambda: (
            not clients.core.list_namespaced_pod("default", label_selector=f"job-name={name}").items
        )
    )
    with pytest.raises(ApiException, match="404"):
        clients.batch.read_namespaced_job(name, "default")


def test_pods_outlive_a_job_deleted_without_a_policy(cluster, clients):
    start(cluster, "orphans", "exec sleep 60")
    pod = wait_until_running(cluster, "orphans")["metadata"]["name"]
    clients.batch.delete_namespaced_job("orphans", "default")
    time.sleep(0.3)
    left = clients.core.read_namespaced_pod(pod, "default")
    assert (left.status.phase, left.metadata.owner_references) == ("Running", [])
    clients.core.delete_namespaced_pod(pod, "default")
    cluster.wait(lambda: all(found["metadata"]["name"] != pod for found in cluster.pods()))
    assert job_of(cluster, "orphans")["metadata"]["name"] == "orphans"


def test_what_belongs_to_a_deleted_pod_goes_too(cluster, clients):
    start(cluster, "owner", "exec sleep 60")
    owner = wait_until_running(cluster, "owner")["metadata"]
    reference = {"apiVersion": "v1", "kind": "Pod", "name": owner["name"], "uid": owner["uid"]}
    start(cluster, "owned", "exec sleep 60", metadata={"ownerReferences": [reference]})
    wait_until_running(cluster, "owned")
    clients.batch.delete_namespaced_job("owner", "default", propagation_policy="Background")
    names = ("owner", "owned")
    cluster.wait(lambda: not any(job["metadata"]["name"] in names for job in cluster.jobs()))


def test_dagsters_own_client_waits_reads_and_deletes(cluster, clients):
    client = DagsterKubernetesClient.production_client(clients.batch, clients.core)
    start(cluster, "dagsters", "echo out; sleep 0.2")
    client.wait_for_job_success("dagsters", "default", wait_time_between_attempts=0.1)
    (name,) = client.get_pod_names_in_job("dagsters", "default")
    client.wait_for_pod(name, "default", wait_time_between_attempts=0.1)
    assert client.retrieve_pod_logs(name, "default") == "out\n"
    told = client.get_pod_debug_info(name, "default")
    assert "Terminated with exit code 0: Completed" in told
    assert "Job status" in client.get_job_debug_info("dagsters", "default")
    assert client.delete_job("dagsters", "default")
    assert client.delete_job("dagsters", "default") is False


def test_requests_are_kept_with_the_right_that_they_need(cluster, clients):
    before = len(cluster.requests)
    start(cluster, "rights", "true")
    clients.core.list_namespaced_pod("default")
    kubernetes.watch.Watch().stream(clients.core.list_namespaced_pod, "default")
    made = [(asked.group, asked.resource, asked.verb) for asked in cluster.requests[before:]]
    assert made == [("batch", "jobs", "create"), ("", "pods", "list")]
    assert cluster.requests[before].status == 201


def test_clients_in_many_threads_are_answered(cluster, clients):
    failures = []

    def ask() -> None:
        try:
            for _ in range(20):
                clients.batch.list_namespaced_job("default")
        except ApiException as error:
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kubectl_lists_what_there_is(cluster):
    start(cluster, "seen", "true")
    asked = f"kubectl --kubeconfig {cluster.kubeconfig} get jobs,nodes -o name"
    told = subprocess.run(asked.split(), capture_output=True, text=True, check=True, timeout=60)
    assert {"job.batch/seen", "node/cpu"} <= set(told.stdout.split())


@given(
    st.integers(0, 10**9),
    st.sampled_from(["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti"]),
)
def test_quantities_are_read_as_the_real_client_reads_them(number, suffix):
    text = f"{number}{suffix}"
    assert parse_quantity(text) == Fraction(kubernetes.utils.parse_quantity(text))
