"""Faults that the Kubernetes stand-in can be told to have."""

import time

import pytest
import urllib3
from dagster_k8s.client import DagsterKubernetesClient
from kubernetes.client.rest import ApiException

from tests.kubernetes_jobs import (
    clients_of,
    condition_of,
    finish,
    job_of,
    log_of,
    pods_of,
    reasons,
    shell_job,
    start,
    state_of,
    wait_until_running,
)
from tests.servers.kubernetes import KubernetesServer, Node, RequestFault

RETRY_ON_DISRUPTION = {
    "podFailurePolicy": {
        "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]
    }
}
JOBS = "/apis/batch/v1/namespaces/default/jobs"


@pytest.fixture
def cluster(tmp_path):
    with KubernetesServer(
        tmp_path, [Node("a", 8, 8), Node("b", 8, 8)], job_backoff_s=0.1
    ) as cluster:
        yield cluster


def wait_for_failed(cluster, name):
    cluster.wait(lambda: job_of(cluster, name)["status"].get("failed") == 1)


def test_the_kth_pod_is_killed_when_it_says_something(cluster):
    cluster.faults.kill_pod("dagster/op=train", nth=2, after_output="STEP_START")
    labels = {"metadata": {"labels": {"dagster/op": "train"}}}
    for name, seconds in (("first", 0), ("second", 60)):
        job = shell_job(name, f"echo STEP_START; sleep {seconds}; echo end")
        job["spec"]["template"] |= labels
        clients_of(cluster).batch.create_namespaced_job("default", job)
        finish(cluster, name)
    assert condition_of(cluster, "first") == "Complete"
    assert condition_of(cluster, "second") == "BackoffLimitExceeded"
    ended = state_of(cluster, "second")["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (137, "Error")
    assert cluster.log(pods_of(cluster, "second")[0]) == "STEP_START\n"


def test_a_killed_pod_is_replaced_as_the_job_allows(cluster, tmp_path):
    tried = tmp_path / "tried"
    cluster.faults.kill_pod(after_s=0.1)
    script = f"test -e {tried} || {{ touch {tried}; exec sleep 60; }}"
    start(cluster, "again", script, spec={"backoffLimit": 1})
    assert finish(cluster, "again") == "Complete"
    assert [pod["status"]["phase"] for pod in pods_of(cluster, "again")].count("Failed") == 1


def test_an_image_that_cannot_be_pulled_keeps_its_pod_waiting(cluster):
    image = "registry.example.org/geofm:1"
    cluster.faults.cannot_pull(image, "403 Forbidden")
    start(cluster, "pulls", "true")
    cluster.wait(
        lambda: state_of(cluster, "pulls").get("waiting", {}).get("reason") == "ImagePullBackOff"
    )
    pod = pods_of(cluster, "pulls")[0]
    assert pod["status"]["phase"] == "Pending"
    assert {"Failed", "BackOff"} <= reasons(cluster, pod["metadata"]["name"])
    assert job_of(cluster, "pulls")["status"]["active"] == 1
    cluster.faults.can_pull(image)
    assert finish(cluster, "pulls") == "Complete"


def test_pods_of_a_node_out_of_memory_are_evicted(cluster):
    start(cluster, "evicted", "exec sleep 60")
    node = wait_until_running(cluster, "evicted")["spec"]["nodeName"]
    cluster.faults.evict_node(node)
    assert finish(cluster, "evicted") == "BackoffLimitExceeded"
    status = pods_of(cluster, "evicted")[0]["status"]
    assert (status["phase"], status["reason"]) == ("Failed", "Evicted")
    start(cluster, "elsewhere", "true")
    finish(cluster, "elsewhere")
    assert pods_of(cluster, "elsewhere")[0]["spec"]["nodeName"] != node


def test_a_job_may_ignore_disruptions_and_go_on_elsewhere(cluster, tmp_path):
    done = tmp_path / "done"
    script = f"test -e {done} || exec sleep 60"
    start(cluster, "moves", script, spec=RETRY_ON_DISRUPTION)
    node = wait_until_running(cluster, "moves")["spec"]["nodeName"]
    done.touch()
    cluster.faults.drain_node(node)
    assert finish(cluster, "moves") == "Complete"
    assert "failed" not in job_of(cluster, "moves")["status"]
    assert len({pod["spec"]["nodeName"] for pod in pods_of(cluster, "moves")}) == 2


def test_pods_of_a_lost_node_count_as_failed_and_stay_until_it_is_back(cluster):
    start(cluster, "lost", "echo here; exec sleep 60")
    pod = wait_until_running(cluster, "lost")
    name, node = pod["metadata"]["name"], pod["spec"]["nodeName"]
    cluster.faults.lose_node(node, noticed_after_s=0.2)
    wait_for_failed(cluster, "lost")
    clients = clients_of(cluster)
    left = clients.core.read_namespaced_pod(name, "default")
    assert (left.status.phase, left.metadata.deletion_timestamp is None) == ("Running", False)
    with pytest.raises(ApiException, match="500"):
        log_of(clients, name)
    cluster.faults.recover_node(node)
    cluster.wait(lambda: cluster.pods() == [])
    assert finish(cluster, "lost") == "BackoffLimitExceeded"


def test_a_process_cut_off_with_its_node_runs_on_beside_its_successor(cluster, tmp_path):
    mine = tmp_path / "pids"
    script = f"echo $$ >> {mine}; exec sleep 60"
    start(cluster, "split", script, spec={"backoffLimit": 1})
    old = wait_until_running(cluster, "split")
    cluster.wait(lambda: mine.exists())
    cluster.faults.lose_node(old["spec"]["nodeName"], noticed_after_s=0.1, partitioned=True)
    cluster.wait(lambda: len(mine.read_text().splitlines()) == 2)
    assert state_of(cluster, "split").keys() == {"running"}
    running = [pod for pod in cluster.pods() if pod["status"]["phase"] == "Running"]
    assert len(running) == 2
    cluster.faults.recover_node(old["spec"]["nodeName"])
    cluster.wait(lambda: len(cluster.pods()) == 1)


@pytest.mark.parametrize("status", [401, 403, 410, 429, 500, 503])
def test_the_nth_matching_request_is_answered_with_a_status(cluster, status):
    batch = clients_of(cluster).batch
    cluster.faults.answer(status, path=JOBS, method="GET", nth=2)
    batch.list_namespaced_job("default")
    with pytest.raises(ApiException) as caught:
        batch.list_namespaced_job("default")
    assert caught.value.status == status
    batch.list_namespaced_job("default")


def test_a_throttled_client_waits_as_long_as_it_is_told(cluster):
    api = clients_of(cluster).batch
    cluster.faults.on_request(RequestFault(JOBS, "GET", status=429, retry_after=1))
    began = time.monotonic()
    api.list_namespaced_job("default")  # urllib3 obeys Retry-After
    assert time.monotonic() - began >= 1
    assert [asked.status for asked in cluster.requests] == [429, 200]


def test_answers_can_be_slow(cluster):
    api = clients_of(cluster).batch
    cluster.faults.slow(0.4, path=JOBS)
    began = time.monotonic()
    api.list_namespaced_job("default")
    assert time.monotonic() - began >= 0.4


def test_dagster_survives_a_creation_whose_answer_is_lost(cluster):
    clients = clients_of(cluster)
    client = DagsterKubernetesClient.production_client(clients.batch, clients.core)
    cluster.faults.answer(500, path=JOBS, method="POST")
    cluster.faults.drop(JOBS, "POST", nth=2, what="answer")
    client.create_namespaced_job_with_retries(
        shell_job("kept", "true"), "default", wait_time_between_attempts=0.05
    )
    statuses = [asked.status for asked in cluster.requests if asked.method == "POST"]
    assert statuses == [500, None, 409]
    assert finish(cluster, "kept") == "Complete"
    assert len(pods_of(cluster, "kept")) == 1


def test_a_dropped_request_has_no_effect(cluster):
    cluster.faults.drop(JOBS, "POST")
    with pytest.raises(urllib3.exceptions.HTTPError):
        start(cluster, "unheard", "true")
    assert cluster.jobs() == []
