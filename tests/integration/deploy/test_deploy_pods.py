"""Pods of runs and steps, as dagster-k8s makes them from deploy/helm's values and our op tags."""

import re
from pathlib import Path

import dagster_k8s.client
import kubernetes_validate
import pytest
import yaml
from dagster import DagsterRun
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.instance.ref import InstanceRef
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster_k8s import K8sRunLauncher
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import UserDefinedDagsterK8sConfig, construct_dagster_k8s_job
from kubernetes.client import ApiClient

from geofm_assets.core.compute import POD_TAG, KubernetesSettings, gpu_tags
from geofm_assets.core.settings import Settings
from geofm_assets.platform.launching import run_launcher_config
from tests.integration.deploy.chart_instance import (
    documents,
    instance_config,
    load_values,
    settings,
)

IMAGE = "example/geofm-assets:0.1.0-cuda"
KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
    "users": [{"name": "u", "user": {}}],
    "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    "current-context": "x",
}


def launcher_of(values, folder: Path) -> K8sRunLauncher:
    """The real launcher, from the dagster.yaml the chart would write."""
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(KUBECONFIG))
    (folder / "dagster.yaml").write_text(yaml.safe_dump(instance_config(values, kubeconfig)))
    launcher = InstanceRef.from_dir(str(folder)).run_launcher
    assert isinstance(launcher, K8sRunLauncher)
    return launcher


def job_of(launcher: K8sRunLauncher, component: str, *more: dict) -> dict:
    """The Job of a run, or of a step with `more` on top, as it is sent to the cluster."""
    origin = RepositoryPythonOrigin(
        "python", ModuleCodePointer("definitions", "defs"), container_image=IMAGE
    )
    run = DagsterRun(job_name="j", job_code_origin=JobPythonOrigin("j", origin))
    context = K8sContainerContext.create_for_run(run, launcher, include_run_tags=False)
    for part in more:
        config = UserDefinedDagsterK8sConfig.from_dict(part)
        context = context.merge(K8sContainerContext(run_k8s_config=config))
    job = construct_dagster_k8s_job(
        context.get_k8s_job_config(IMAGE, launcher),
        ["dagster", "api", "execute_run", "{}"],
        f"dagster-{component.replace('_', '-')}",
        component=component,
        user_defined_k8s_config=context.run_k8s_config,
    )
    return ApiClient().sanitize_for_serialization(job)


@pytest.fixture(scope="module")
def kubernetes() -> KubernetesSettings:
    return KubernetesSettings.load(settings())


@pytest.fixture(scope="module")
def launcher(tmp_path_factory):
    return launcher_of(load_values(), tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def jobs(launcher, kubernetes):
    step = kubernetes.cpu_pod(kubernetes.step_hours)
    return {
        "run": job_of(launcher, "run_worker"),
        "step": job_of(launcher, "step_worker", step),
        "gpu step": job_of(launcher, "step_worker", step, gpu_tags(2, kubernetes)[POD_TAG]),
    }


@pytest.fixture(params=["run", "step", "gpu step"])
def pod(request, jobs):
    return jobs[request.param]["spec"]["template"]["spec"]


def container(job: dict) -> dict:
    return job["spec"]["template"]["spec"]["containers"][0]


@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_jobs_are_what_kubernetes_takes(jobs, version):
    for job in jobs.values():
        kubernetes_validate.validate(job, version, strict=True)


def test_pods_may_run_in_a_restricted_namespace(pod):
    """The rules of Pod Security Standards' level `restricted`, which the namespace enforces."""
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (only,) = pod["containers"]
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {kind for v in pod["volumes"] for kind in v} <= {
        "name",
        "emptyDir",
        "configMap",
        "secret",
    }
    assert not any(pod.get(f"host{what}") for what in ("Network", "PID", "IPC"))


def test_what_is_written_has_a_volume(pod):
    mounts = {m["mountPath"]: m["name"] for m in pod["containers"][0]["volumeMounts"]}
    assert {"/tmp", "/scratch"} <= set(mounts)
    assert set(mounts.values()) == {v["name"] for v in pod["volumes"]}
    assert all(v["emptyDir"]["sizeLimit"] for v in pod["volumes"] if "emptyDir" in v)


def test_only_gpu_steps_ask_for_gpus(jobs):
    for name, job in jobs.items():
        asked = container(job)["resources"]["limits"].get("nvidia.com/gpu")
        spec = job["spec"]["template"]["spec"]
        assert asked == ("2" if name == "gpu step" else None)
        assert spec.get("nodeSelector") == (
            {"geofm/accelerator": "gpu"} if name == "gpu step" else None
        )
        assert bool(spec.get("tolerations")) == (name == "gpu step")


def test_gpu_steps_share_batches_through_memory(jobs):
    spec = jobs["gpu step"]["spec"]["template"]["spec"]
    (shared,) = [v for v in spec["volumes"] if v["name"] == "shared-memory"]
    assert shared["emptyDir"] == {"medium": "Memory", "sizeLimit": "8Gi"}


def test_every_job_ends_and_goes_away(jobs):
    for job in jobs.values():
        assert job["spec"]["activeDeadlineSeconds"] > 0
        assert job["spec"]["ttlSecondsAfterFinished"] > 0
        assert job["spec"]["backoffLimit"] == 0
    assert (
        jobs["run"]["spec"]["activeDeadlineSeconds"] > jobs["step"]["spec"]["activeDeadlineSeconds"]
    )


def test_secrets_are_references(jobs):
    for job in jobs.values():
        sources = container(job)["envFrom"]
        assert {"secretRef": {"name": "geofm-store"}} in sources
        assert {"configMapRef": {"name": "geofm-settings"}} in sources
        password = [e for e in container(job)["env"] if e["name"] == "DAGSTER_PG_PASSWORD"]
        assert password[0]["valueFrom"]["secretKeyRef"] == {
            "name": "geofm-postgres",
            "key": "postgresql-password",
        }
        assert job["spec"]["template"]["spec"]["serviceAccountName"] == "geofm-run"


def test_network_policies_name_pods_as_they_are_labelled(jobs):
    policies = {
        d["metadata"]["name"]: d["spec"]["podSelector"] for d in documents("network-policies.yaml")
    }
    (runs,) = policies["runs"]["matchExpressions"]
    (both,) = policies["runs-and-steps"]["matchExpressions"]
    for name, job in {**jobs, "command": documents("command.yaml")[0]}.items():
        labels = job["spec"]["template"]["metadata"]["labels"]
        assert labels[both["key"]] in both["values"]
        assert (labels[runs["key"]] in runs["values"]) == (name in ("run", "command")), name


def test_a_command_runs_as_runs_do(jobs):
    """With their account, security and environment, and dagster.yaml besides."""
    (command,) = documents("command.yaml")
    spec, run = (j["spec"]["template"]["spec"] for j in (command, jobs["run"]))
    assert spec["securityContext"] == run["securityContext"]
    assert spec["serviceAccountName"] == run["serviceAccountName"]
    mine, theirs = container(command), container(jobs["run"])
    assert mine["securityContext"] == theirs["securityContext"]
    assert {str(e) for e in mine["envFrom"]} == {str(e) for e in theirs["envFrom"]}
    instance = next(v for v in spec["volumes"] if v["name"] == "instance")
    assert instance["configMap"]["name"] == KubernetesSettings().instance_config_map


def test_passwords_of_sources_reach_every_pod(jobs):
    """As a file, which NETRC names; pods start without it too."""
    (code,) = load_values()["dagster-user-deployments"]["deployments"]
    specs = [j["spec"]["template"]["spec"] for j in (*jobs.values(), *documents("command.yaml"))]
    for spec in (*specs, {"volumes": code["volumes"], "containers": [code]}):
        (volume,) = [v for v in spec["volumes"] if v["name"] == "sources"]
        mounts = {m["name"]: m["mountPath"] for m in spec["containers"][0]["volumeMounts"]}
        source = volume["secret"]
        assert (source["secretName"], source["optional"]) == ("geofm-sources", True)
        assert settings()["NETRC"] == f"{mounts['sources']}/netrc"


def test_passwords_of_sources_reach_pods_without_the_chart_too(tmp_path, monkeypatch):
    """As `geofm instance write` has it: as a file of a Secret, or one that the image has."""
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(KUBECONFIG))
    monkeypatch.setenv("NETRC", "/opt/netrc")
    for secret, named in (("", "/opt/netrc"), ("passwords", "/etc/geofm/sources/netrc")):
        pods = KubernetesSettings(kubeconfig=str(kubeconfig), sources_secret=secret)
        sections = run_launcher_config(Settings(executor="kubernetes"), pods)
        (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(sections))
        launcher = InstanceRef.from_dir(str(tmp_path)).run_launcher
        step = pods.cpu_pod(pods.step_hours), gpu_tags(1, pods)[POD_TAG]
        for job in (job_of(launcher, "run_worker"), job_of(launcher, "step_worker", *step)):
            kubernetes_validate.validate(job, "1.37", strict=True)
            only = container(job)
            assert {"name": "NETRC", "value": named} in only["env"]
            volumes = job["spec"]["template"]["spec"]["volumes"]
            found = [v["secret"]["secretName"] for v in volumes if v["name"] == "sources"]
            mounted = [m["mountPath"] for m in only["volumeMounts"] if m["name"] == "sources"]
            assert (found, mounted) == (([secret], ["/etc/geofm/sources"]) if secret else ([], []))


def test_the_role_allows_what_dagster_calls_and_no_more():
    """Calls are read off the installed client, so that an upgrade that needs more is noticed."""
    source = Path(dagster_k8s.client.__file__).read_text()
    calls = set(re.findall(r"(?:core|batch)_api\.(\w+?)_namespaced_(\w+)\(", source))
    kinds = {"job": "jobs", "job_status": "jobs/status", "pod": "pods", "pod_log": "pods/log"}
    needed = {
        (kinds.get(kind, f"{kind}s"), {"read": "get"}.get(verb, verb)) for verb, kind in calls
    }
    needed.add(("jobs", "get"))  # platform/step_jobs.py: whether a lost answer hid a success
    (role,) = [d for d in documents("access.yaml") if d["kind"] == "Role"]
    allowed = {(r, v) for rule in role["rules"] for r in rule["resources"] for v in rule["verbs"]}
    assert allowed == needed


def test_a_shared_volume_reaches_every_pod(tmp_path):
    values = load_values("values.yaml", "values-volume.yaml")
    for component in ("run_worker", "step_worker"):
        job = job_of(launcher_of(values, tmp_path), component)
        kubernetes_validate.validate(job, "1.37", strict=True)
        volumes = job["spec"]["template"]["spec"]["volumes"]
        assert {"name": "store", "persistentVolumeClaim": {"claimName": "geofm-store"}} in volumes
        assert {"name": "store", "mountPath": "/store"} in container(job)["volumeMounts"]
