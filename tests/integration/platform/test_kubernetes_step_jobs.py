"""How often a step's Job is made, whatever the API answers."""

import kubernetes
import pytest

from geofm_assets.platform import step_jobs
from geofm_assets.platform.step_jobs import PatientJobs
from tests.kubernetes_jobs import clients_of, finish, job_of, pods_of, shell_job
from tests.servers.kubernetes import KubernetesServer, Node

JOBS = "/apis/batch/v1/namespaces/default/jobs"
NAME = "step"


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    monkeypatch.setattr(step_jobs, "_PAUSES_S", (0.1,) * 5)
    with KubernetesServer(tmp_path, [Node("a", 8, 8)]) as cluster:
        yield cluster


def create(cluster, script):
    body = kubernetes.client.V1Job(
        metadata=kubernetes.client.V1ObjectMeta(name=NAME), spec=shell_job(NAME, script)["spec"]
    )
    api = PatientJobs(clients_of(cluster).batch.api_client)
    return api.create_namespaced_job(namespace="default", body=body)


def test_one_that_goes_on_is_left_alone(cluster):
    first = create(cluster, "exec sleep 60")
    cluster.faults.answer(500, f"{JOBS}/{NAME}", "GET")
    assert create(cluster, "exit 1") is None
    assert job_of(cluster, NAME)["metadata"]["uid"] == first.metadata.uid


def test_one_that_failed_makes_room(cluster):
    create(cluster, "exit 1")
    assert finish(cluster, NAME) == "BackoffLimitExceeded"
    create(cluster, "true")
    cluster.wait(lambda: [job["status"].get("succeeded") for job in cluster.jobs()] == [1])


def test_one_whose_answer_was_lost_is_made_once(cluster):
    cluster.faults.drop(JOBS, "POST", what="answer")
    assert create(cluster, "true") is None
    assert finish(cluster, NAME) == "Complete"
    assert len(pods_of(cluster, NAME)) == 1


def test_what_no_patience_helps_is_said_at_once(cluster):
    cluster.faults.answer(403, JOBS, "POST")
    with pytest.raises(kubernetes.client.ApiException, match="403"):
        create(cluster, "true")
    assert len(cluster.requests) == 1
