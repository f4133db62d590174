"""deploy/kubernetes: manifests Kubernetes takes, in one namespace, without secrets in them."""

import shutil
import subprocess

import kubernetes_validate
import pytest
import yaml

from tests.integration.deploy.chart_instance import DEPLOY, NAMESPACE, documents

FOLDER = DEPLOY / "kubernetes"
FILES = sorted(f.name for f in FOLDER.glob("*.yaml") if f.name != "kustomization.yaml")
ALL = [(name, d) for name in FILES for d in documents(name)]


@pytest.mark.parametrize(
    ("name", "manifest"), ALL, ids=[f"{n}-{i}" for i, (n, _) in enumerate(ALL)]
)
@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_kubernetes_takes_it(name, manifest, version):
    kubernetes_validate.validate(manifest, version, strict=True)


def test_every_file_is_applied_or_named_as_optional():
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    by_itself = {"command.yaml", "secrets.example.yaml", "store-volume.yaml"}
    assert set(listed["resources"]) | by_itself == set(FILES)
    assert listed["namespace"] == NAMESPACE
    for name in by_itself:
        assert {d["metadata"]["namespace"] for d in documents(name)} == {NAMESPACE}


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kubectl_builds_it():
    done = subprocess.run(
        ["kubectl", "kustomize", str(FOLDER)], capture_output=True, text=True, check=True
    )
    built = list(yaml.safe_load_all(done.stdout))
    assert {d["metadata"].get("namespace", NAMESPACE) for d in built} == {NAMESPACE}
    assert {d["kind"] for d in built} >= {"Namespace", "Role", "NetworkPolicy", "ConfigMap"}


def test_the_namespace_refuses_privileged_pods():
    (namespace,) = documents("namespace.yaml")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_role_is_of_the_namespace_and_has_no_wildcards():
    kinds = {d["kind"] for d in documents("access.yaml")}
    assert kinds == {"ServiceAccount", "Role", "RoleBinding"}
    (role,) = [d for d in documents("access.yaml") if d["kind"] == "Role"]
    for rule in role["rules"]:
        assert "*" not in str(rule)
        assert "secrets" not in rule["resources"]
    (binding,) = [d for d in documents("access.yaml") if d["kind"] == "RoleBinding"]
    assert {s["name"] for s in binding["subjects"]} == {"geofm-dagster", "geofm-run"}


def test_only_placeholders_stand_for_secrets():
    for manifest in documents("secrets.example.yaml"):
        assert set(manifest["stringData"].values()) == {"CHANGE-ME"}
    assert not [name for name, d in ALL if d["kind"] == "Secret" and name != "secrets.example.yaml"]


def test_nothing_is_open_but_what_is_named():
    policies = {d["metadata"]["name"]: d["spec"] for d in documents("network-policies.yaml")}
    assert policies["deny-all"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name, spec in policies.items():
        for rule in [*spec.get("ingress", []), *spec.get("egress", [])]:
            assert rule.get("from") or rule.get("to"), name
            assert rule["ports"], name
            for peer in rule.get("to", []):
                block = peer.get("ipBlock", {})
                # the node's metadata service hands out the node's own credentials
                if block.get("cidr") == "0.0.0.0/0":
                    assert "169.254.0.0/16" in block["except"], name
