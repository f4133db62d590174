"""docs/deploy.md, steps 2 to 4: kubectl on a copy that is filled in, a stand-in for the cluster."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.deploy.chart_instance import DEPLOY, NAMESPACE, documents, settings
from tests.servers.kubernetes import KubernetesServer, Node

if shutil.which("kubectl") is None:
    pytest.skip("kubectl is not installed", allow_module_level=True)
MARKS = {
    "kubernetes.io/metadata.name: CHANGE-ME": "kubernetes.io/metadata.name: gateway",
    "203.0.113.": "198.51.100.",
    "CHANGE-ME": "example",
}
GPU_NODE = "gpu-0"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    root = tmp_path_factory.mktemp("cluster")
    with KubernetesServer(root, [Node("cpu-0", 8, 32), Node(GPU_NODE, 8, 64, 1)]) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def kubectl(cluster, tmp_path_factory):
    root = tmp_path_factory.mktemp("kubectl")
    environment = {"KUBECONFIG": str(cluster.kubeconfig), "HOME": str(root)}
    program = str(shutil.which("kubectl"))

    def call(*arguments: str, typed: str | None = None) -> str:
        done = subprocess.run(
            [program, *arguments],
            env=environment,
            input=typed,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


@pytest.fixture(scope="module")
def filled_in(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("deploy")
    shutil.copytree(DEPLOY / "kubernetes", folder / "kubernetes")
    for path in (folder / "kubernetes").glob("*.yaml"):
        text = path.read_text()
        for mark, value in MARKS.items():
            text = text.replace(mark, value)
        path.write_text(text)
    return folder / "kubernetes"


@pytest.fixture(scope="module")
def applied(kubectl, filled_in) -> str:
    return kubectl("apply", "-k", str(filled_in))


def test_only_examples_are_left_to_fill_in():
    left = set()
    for path in [*(DEPLOY / "helm").iterdir(), *(DEPLOY / "kubernetes").iterdir()]:
        lines = [line for line in path.read_text().splitlines() if "CHANGE-ME" in line]
        assert not [line for line in lines if line.lstrip().startswith("#")], path
        left |= {path.name} if lines else set()
    assert left >= {"values.yaml", "settings.yaml", "secrets.example.yaml", "store-volume.yaml"}


def test_it_is_applied_once(kubectl, applied, filled_in):
    assert "configmap/geofm-settings created" in applied
    again = kubectl("apply", "-k", str(filled_in)).splitlines()
    assert len(again) == len(applied.splitlines())
    assert [line for line in again if not line.endswith("unchanged")] == []


def test_a_changed_setting_is_applied(kubectl, applied, filled_in, tmp_path):
    shutil.copytree(filled_in, tmp_path / "kubernetes")
    path = tmp_path / "kubernetes" / "settings.yaml"
    path.write_text(re.sub(r'GEOFM_K8S_CPU: "\d+"', 'GEOFM_K8S_CPU: "3"', path.read_text()))
    assert "geofm-settings configured" in kubectl("apply", "-k", str(tmp_path / "kubernetes"))
    shown = kubectl("-n", NAMESPACE, "get", "configmap", "geofm-settings", "-o", "json")
    assert json.loads(shown)["data"]["GEOFM_K8S_CPU"] == "3"


def test_secrets_are_made_from_files_and_rotated(kubectl, applied, tmp_path):
    files = {
        "geofm-postgres": "--from-file=postgresql-password=",
        "geofm-store": "--from-env-file=",
    }
    path = tmp_path / "secret"
    path.write_text("AWS_ACCESS_KEY_ID=first")
    for name, option in files.items():
        make = ("-n", NAMESPACE, "create", "secret", "generic", name, f"{option}{path}")
        kubectl(*make)
    path.write_text("AWS_ACCESS_KEY_ID=second")
    kubectl("apply", "-f", "-", typed=kubectl(*make, "--dry-run=client", "-o", "yaml"))
    held = json.loads(kubectl("-n", NAMESPACE, "get", "secret", "geofm-store", "-o", "json"))
    assert held["data"] == {"AWS_ACCESS_KEY_ID": "c2Vjb25k"}


def test_a_gpu_node_is_marked_as_the_settings_ask(kubectl, cluster, applied):
    kubectl("label", "node", GPU_NODE, "geofm/accelerator=gpu")
    kubectl("taint", "node", GPU_NODE, "nvidia.com/gpu=present:NoSchedule")
    node = json.loads(kubectl("get", "node", GPU_NODE, "-o", "json"))
    key, _, value = settings()["GEOFM_K8S_GPU_NODE_SELECTOR"].partition("=")
    assert node["metadata"]["labels"][key] == value
    (taint,) = node["spec"]["taints"]
    assert f"{taint['key']}:{taint['effect']}" == settings()["GEOFM_K8S_GPU_TOLERATIONS"]


def test_a_command_passes_the_rules_of_the_namespace(kubectl, cluster, applied, filled_in):
    made = kubectl("create", "-f", str(filled_in / "command.yaml"))
    assert re.match(r"job.batch/geofm-command-\w+ created", made)
    cluster.wait(lambda: bool(cluster.pods()))
    (pod,) = cluster.pods()
    assert pod["spec"]["serviceAccountName"] == "geofm-run"
    kubectl("-n", NAMESPACE, "delete", made.split()[0])


def test_a_shared_volume_and_the_example_of_secrets_would_be_taken(kubectl, applied, filled_in):
    for name in ("store-volume.yaml", "secrets.example.yaml"):
        assert documents(name)
        done = kubectl("apply", "--dry-run=server", "-f", str(filled_in / name))
        assert "(server dry run)" in done
