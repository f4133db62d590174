"""Why pods wait or end, read as a person would."""

import datetime as dt

from kubernetes.client import (
    V1ContainerState,
    V1ContainerStateTerminated,
    V1ContainerStateWaiting,
    V1ContainerStatus,
    V1Job,
    V1JobCondition,
    V1JobStatus,
    V1ObjectMeta,
    V1Pod,
    V1PodCondition,
    V1PodStatus,
)

from geofm_assets.platform.pod_reasons import job_reasons, pod_reasons, waiting_since

BORN = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


def pod(phase="Pending", state=None, **status):
    if state is not None:
        container = V1ContainerStatus(
            name="dagster", image="i", image_id="", ready=False, restart_count=0, state=state
        )
        status["container_statuses"] = [container]
    return V1Pod(status=V1PodStatus(phase=phase, **status))


def job(*conditions):
    return V1Job(
        metadata=V1ObjectMeta(creation_timestamp=BORN),
        status=V1JobStatus(conditions=list(conditions)),
    )


def test_a_pod_without_a_node():
    why = V1PodCondition(
        type="PodScheduled", status="False", reason="Unschedulable", message="0/3 nodes"
    )
    assert pod_reasons(pod(conditions=[why])) == ["Unschedulable: 0/3 nodes"]


def test_a_pod_without_its_image():
    state = V1ContainerState(waiting=V1ContainerStateWaiting(reason="ImagePullBackOff"))
    assert pod_reasons(pod(state=state)) == ["ImagePullBackOff"]


def test_a_pod_that_took_too_much_memory():
    ended = V1ContainerStateTerminated(exit_code=137, reason="OOMKilled")
    (reason,) = pod_reasons(pod("Failed", V1ContainerState(terminated=ended)))
    assert "signal 9" in reason
    assert "GEOFM_K8S_GPU_MEMORY" in reason


def test_an_evicted_pod():
    evicted = pod("Failed", reason="Evicted", message="The node was low on resource: memory.")
    assert pod_reasons(evicted) == ["Evicted: The node was low on resource: memory."]


def test_nothing_is_wrong():
    running = V1ContainerState(terminated=V1ContainerStateTerminated(exit_code=0))
    assert pod_reasons(pod("Succeeded", running)) == []
    assert job_reasons(job()) == []


def test_a_job_past_its_deadline():
    failed = V1JobCondition(type="Failed", status="True", reason="DeadlineExceeded")
    assert job_reasons(job(failed)) == ["DeadlineExceeded"]


def test_a_job_waits_from_its_creation_until_a_pod_runs():
    assert waiting_since(job(), []) == BORN
    assert waiting_since(job(), [pod()]) == BORN
    assert waiting_since(job(), [pod("Running")]) is None
