"""The Job controller: one pod at a time until it succeeds, fails too often, or time is up."""

import copy
import time
from dataclasses import dataclass, field
from typing import Any

from tests.servers.kubernetes.errors import ApiError
from tests.servers.kubernetes.events import Recorder
from tests.servers.kubernetes.objects import JOB, POD, Manifest, ObjectStore, timestamp
from tests.servers.kubernetes.pods import (
    apply_pod_defaults,
    container_state,
    create_pod,
    is_over,
    is_ready,
    set_condition,
)
from tests.servers.kubernetes.removal import delete, dependents_of, request_deletion

LONGEST_BACKOFF_S = 600.0
CONTROLLER = "job-controller"


@dataclass
class Tally:
    """What the controller remembers of a Job."""

    started: float = field(default_factory=time.monotonic)
    finished: float | None = None
    next_pod: float = 0.0
    succeeded: int = 0
    failed: int = 0
    counted: set[str] = field(default_factory=set)
    failure: tuple[str, str] | None = None  # reason and message, once it is bound to fail


def job_defaults(job: Manifest) -> None:
    """Fill in what the API server fills in; uid and name must be there."""
    spec, name, uid = job["spec"], job["metadata"]["name"], job["metadata"]["uid"]
    labels = {
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": name,
        "controller-uid": uid,
        "job-name": name,
    }
    metadata = spec["template"].setdefault("metadata", {})
    metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
    if not job["metadata"].get("labels"):
        job["metadata"]["labels"] = dict(metadata["labels"])
    spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    for key, value in (
        ("backoffLimit", 6),
        ("completions", 1),
        ("parallelism", 1),
        ("completionMode", "NonIndexed"),
        ("suspend", False),
        ("podReplacementPolicy", "TerminatingOrFailed"),
    ):
        spec.setdefault(key, value)
    apply_pod_defaults(spec["template"]["spec"])
    job["metadata"]["generation"] = 1
    job["status"] = {}


class JobController:
    """Makes pods of Jobs and counts how they end.

    Args:
        store: objects of the API server.
        events: where it reports.
        backoff_s: wait before the second pod of a Job, doubled for each after it (10 s in a real
            cluster).
    """

    def __init__(self, store: ObjectStore, events: Recorder, backoff_s: float) -> None:
        self._store, self._events, self._backoff_s = store, events, backoff_s
        self._tallies: dict[str, Tally] = {}

    def reconcile(self) -> None:
        """Look at every Job once."""
        for job in self._store.live(JOB):
            tally = self._tallies.setdefault(job["metadata"]["uid"], Tally())
            if tally.finished is not None:
                self._expire(job, tally)
            elif "deletionTimestamp" not in job["metadata"]:
                self._advance(job, tally)

    def _advance(self, job: Manifest, tally: Tally) -> None:
        pods = [pod for kind, pod in dependents_of(self._store, job) if kind is POD]
        self._count(job, tally, pods)
        active = [
            pod for pod in pods if not is_over(pod) and "deletionTimestamp" not in pod["metadata"]
        ]
        deadline = job["spec"].get("activeDeadlineSeconds")
        if tally.failure is None and not tally.succeeded:
            if deadline is not None and time.monotonic() - tally.started >= deadline:
                text = "Job was active longer than specified deadline"
                tally.failure = ("DeadlineExceeded", text)
            elif tally.failed > job["spec"]["backoffLimit"]:
                text = "Job has reached the specified backoff limit"
                tally.failure = ("BackoffLimitExceeded", text)
        if tally.failure is not None:
            for pod in active:
                request_deletion(self._store, pod)
            self._count(job, tally, pods)
            active = []
        elif not tally.succeeded and not active and time.monotonic() >= tally.next_pod:
            active = self._make_pod(job, tally)
        self._show(job, tally, pods, active)

    def _count(self, job: Manifest, tally: Tally, pods: list[Manifest]) -> None:
        for pod in pods:
            uid = pod["metadata"]["uid"]
            deleted = "deletionTimestamp" in pod["metadata"]
            if uid in tally.counted or not (is_over(pod) or deleted):
                continue
            tally.counted.add(uid)
            if pod["status"]["phase"] == "Succeeded":
                tally.succeeded += 1
                continue
            action, text = _policy_action(job, pod)
            if action == "FailJob":
                tally.failure = ("PodFailurePolicy", text)
            if action != "Ignore":
                tally.failed += 1
            waits = self._backoff_s * 2 ** max(tally.failed - 1, 0)
            tally.next_pod = time.monotonic() + min(waits, LONGEST_BACKOFF_S)

    def _make_pod(self, job: Manifest, tally: Tally) -> list[Manifest]:
        template = copy.deepcopy(job["spec"]["template"])
        metadata = {
            "generateName": f"{job['metadata']['name']}-",
            "namespace": job["metadata"]["namespace"],
            "labels": template["metadata"]["labels"],
            "annotations": template["metadata"].get("annotations") or {},
            "ownerReferences": [
                {
                    "apiVersion": "batch/v1",
                    "kind": "Job",
                    "name": job["metadata"]["name"],
                    "uid": job["metadata"]["uid"],
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        }
        try:
            pod = create_pod(self._store, {"metadata": metadata, "spec": template["spec"]})
        except ApiError as error:
            text = f"Error creating: {error.message}"
            self._events.record(JOB, job, "Warning", "FailedCreate", text, CONTROLLER)
            tally.next_pod = time.monotonic() + max(self._backoff_s, 0.2)
            return []
        text = f"Created pod: {pod['metadata']['name']}"
        self._events.record(JOB, job, "Normal", "SuccessfulCreate", text, CONTROLLER)
        return [pod]

    def _show(
        self, job: Manifest, tally: Tally, pods: list[Manifest], active: list[Manifest]
    ) -> None:
        before = copy.deepcopy(job["status"])
        status = job["status"]
        status.setdefault("startTime", timestamp())
        leaving = [pod for pod in pods if "deletionTimestamp" in pod["metadata"]]
        counts = {
            "active": len(active),
            "ready": sum(is_ready(pod) for pod in active),
            "terminating": sum(not is_over(pod) for pod in leaving),
            "succeeded": tally.succeeded,
            "failed": tally.failed,
        }
        for name, count in counts.items():
            if count or name in ("ready", "terminating"):
                status[name] = count
            else:
                status.pop(name, None)
        status["uncountedTerminatedPods"] = {}
        if tally.succeeded:
            self._finish(job, tally, ("Complete", "CompletionsReached", "Reached expected number"))
        elif tally.failure is not None:
            set_condition(job, "FailureTarget", "True", *tally.failure)
            if not counts["terminating"]:
                self._finish(job, tally, ("Failed", *tally.failure))
        if status != before:
            self._store.touch(JOB, job)

    def _finish(self, job: Manifest, tally: Tally, condition: tuple[str, str, str]) -> None:
        tally.finished = time.monotonic()
        type, reason, message = condition
        if type == "Complete":
            set_condition(job, "SuccessCriteriaMet", "True", reason, message)
            job["status"]["completionTime"] = timestamp()
            self._events.record(JOB, job, "Normal", "Completed", "Job completed", CONTROLLER)
        else:
            self._events.record(JOB, job, "Warning", reason, message, CONTROLLER)
        set_condition(job, type, "True", reason, message)

    def _expire(self, job: Manifest, tally: Tally) -> None:
        ttl = job["spec"].get("ttlSecondsAfterFinished")
        if ttl is None or "deletionTimestamp" in job["metadata"] or tally.finished is None:
            return
        if time.monotonic() - tally.finished >= ttl:
            delete(self._store, JOB, job, "Foreground", None)


def _policy_action(job: Manifest, pod: Manifest) -> tuple[str, str]:
    """Action of the first rule of `podFailurePolicy` that fits a failed pod, and its message."""
    rules = (job["spec"].get("podFailurePolicy") or {}).get("rules") or []
    name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
    for place, rule in enumerate(rules):
        what = _rule_fits(rule, pod)
        if what:
            return rule[
                "action"
            ], f"{what.format(name)} matching {rule['action']} rule at index {place}"
    return "Count", ""


def _rule_fits(rule: dict[str, Any], pod: Manifest) -> str:
    for pattern in rule.get("onPodConditions") or []:
        for condition in pod["status"]["conditions"]:
            wanted = (pattern["type"], pattern.get("status", "True"))
            if (condition["type"], condition["status"]) == wanted:
                return f"Pod {{}} has condition {condition['type']}"
    codes = rule.get("onExitCodes")
    exit_code = container_state(pod).get("terminated", {}).get("exitCode")
    if codes and exit_code:
        inside = exit_code in codes["values"]
        if inside == (codes["operator"] == "In"):
            container = pod["spec"]["containers"][0]["name"]
            return f"Container {container} for pod {{}} failed with exit code {exit_code}"
    return ""
