"""What the Kubernetes stand-in only stores, and what it refuses by it, by the real client."""

import base64

import kubernetes
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.client.rest import ApiException

from tests.kubernetes_jobs import clients_of, finish, log_of, pods_of, reasons, shell_job, start
from tests.servers.kubernetes import KubernetesServer, Node
from tests.servers.kubernetes.patching import merged
from tests.servers.kubernetes.protobuf import decode

SAFE = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    nodes = [Node("cpu", 64, 64), Node("other", 4, 4)]
    with KubernetesServer(tmp_path_factory.mktemp("cluster"), nodes) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def core(cluster):
    return clients_of(cluster).core


def plain(kind, name, **content):
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **content}


def refused(call, *arguments, **options):
    with pytest.raises(ApiException) as caught:
        call(*arguments, **options)
    return caught.value


def test_a_pod_reads_the_stored_secret_as_it_is_when_it_starts(cluster, core):
    core.create_namespaced_config_map("default", plain("ConfigMap", "settings", data={"A": "1"}))
    core.create_namespaced_secret("default", plain("Secret", "key", stringData={"B": "old"}))
    core.patch_namespaced_secret("key", "default", {"stringData": {"B": "new"}})
    sources = [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "key"}}]
    start(cluster, "reads", "echo $A $B", container={"envFrom": sources})
    assert finish(cluster, "reads") == "Complete"
    pod = pods_of(cluster, "reads")[0]["metadata"]["name"]
    assert log_of(clients_of(cluster), pod) == "1 new\n"


def test_a_patch_changes_only_what_it_names(core):
    made = core.create_namespaced_config_map(
        "default", plain("ConfigMap", "patched", data={"a": "1", "b": "2"})
    )
    same = core.patch_namespaced_config_map("patched", "default", {"data": {"a": "1"}})
    assert same.metadata.resource_version == made.metadata.resource_version
    changed = core.patch_namespaced_config_map("patched", "default", {"data": {"a": None}})
    assert changed.data == {"b": "2"}
    assert changed.metadata.uid == made.metadata.uid


def test_a_patch_of_an_older_version_is_a_conflict(core):
    core.create_namespaced_config_map("default", plain("ConfigMap", "raced", data={"a": "1"}))
    patch = {"metadata": {"resourceVersion": "1"}, "data": {"a": "2"}}
    assert refused(core.patch_namespaced_config_map, "raced", "default", patch).status == 409


@given(st.recursive(st.none() | st.integers(), lambda v: st.dictionaries(st.text("abc"), v)))
def test_a_patch_applied_twice_is_as_once(value):
    once = merged({"a": {"b": 1}, "c": 2}, {"a": value})
    assert merged(once, {"a": value}) == once


def test_a_node_is_labelled_and_tainted(cluster, core):
    core.patch_node("other", {"metadata": {"labels": {"pool": "gpu"}}})
    taint = {"key": "gpu", "value": "present", "effect": "NoSchedule"}
    core.patch_node("other", {"spec": {"taints": [taint]}})
    pod = {"nodeSelector": {"pool": "gpu"}}
    start(cluster, "intolerant", "true", pod=pod)
    tolerations = [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]
    start(cluster, "tolerant", "true", pod={**pod, "tolerations": tolerations})
    assert finish(cluster, "tolerant") == "Complete"
    cluster.wait(lambda: bool(pods_of(cluster, "intolerant")))
    (waiting,) = pods_of(cluster, "intolerant")
    cluster.wait(lambda: "FailedScheduling" in reasons(cluster, waiting["metadata"]["name"]))


def test_a_dry_run_stores_nothing(core):
    made = plain("ConfigMap", "dry", data={"a": "1"})
    assert core.create_namespaced_config_map("default", made, dry_run="All").data == {"a": "1"}
    assert refused(core.read_namespaced_config_map, "dry", "default").status == 404
    core.create_namespaced_config_map("default", made)
    again = refused(core.create_namespaced_config_map, "default", made, dry_run="All")
    assert again.status == 409
    core.patch_namespaced_config_map("dry", "default", {"data": {"a": "2"}}, dry_run="All")
    assert core.read_namespaced_config_map("dry", "default").data == {"a": "1"}
    core.delete_namespaced_config_map("dry", "default")
    assert refused(core.read_namespaced_config_map, "dry", "default").status == 404


def test_what_schemas_cannot_say_is_refused(cluster, core):
    wrong = plain("Secret", "wrong", data={"a": "not base64"})
    assert refused(core.create_namespaced_secret, "default", wrong).status == 422
    network = kubernetes.client.NetworkingV1Api(core.api_client)
    block = {"cidr": "10.0.0.0/8", "except": ["192.168.0.0/16"]}
    spec = {"podSelector": {}, "egress": [{"to": [{"ipBlock": block}]}]}
    policy = {**plain("NetworkPolicy", "wrong", spec=spec), "apiVersion": "networking.k8s.io/v1"}
    error = refused(network.create_namespaced_network_policy, "default", policy)
    assert "strict subset" in error.body


@pytest.fixture(scope="module")
def restricted(core):
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    made = plain("Namespace", "strict")
    made["metadata"]["labels"] = labels
    return core.create_namespace(made).metadata.name


def pod_of(security, **spec):
    container = {"name": "main", "image": "i", "command": ["true"], "securityContext": security}
    return plain("Pod", "p", spec={"restartPolicy": "Never", "containers": [container], **spec})


def test_a_restricted_namespace_takes_a_pod_that_gives_up_all_rights(core, restricted):
    core.create_namespaced_pod(restricted, pod_of(SAFE), dry_run="All")


@pytest.mark.parametrize(
    ("pod", "violation"),
    [
        ({}, "allowPrivilegeEscalation != false"),
        ({**SAFE, "runAsNonRoot": None}, "runAsNonRoot != true"),
        ({**SAFE, "runAsUser": 0}, "runAsUser=0"),
        ({**SAFE, "capabilities": {"drop": ["ALL"], "add": ["SYS_ADMIN"]}}, "capabilities"),
        ({**SAFE, "seccompProfile": None}, "seccompProfile"),
        ({**SAFE, "privileged": True}, "privileged"),
    ],
)
def test_a_restricted_namespace_refuses(core, restricted, pod, violation):
    given = {key: value for key, value in pod.items() if value is not None}
    error = refused(core.create_namespaced_pod, restricted, pod_of(given))
    assert error.status == 403
    assert 'violates PodSecurity \\"restricted:latest\\"' in error.body
    assert violation in error.body


def test_a_restricted_namespace_refuses_folders_of_the_node(core, restricted):
    volumes = [{"name": "v", "hostPath": {"path": "/"}}]
    error = refused(core.create_namespaced_pod, restricted, pod_of(SAFE, volumes=volumes))
    assert "restricted volume types" in error.body


def test_a_job_says_why_its_pod_was_refused(cluster, restricted):
    clients_of(cluster).batch.create_namespaced_job(restricted, shell_job("insecure", "true"))
    cluster.wait(lambda: "FailedCreate" in reasons(cluster, "insecure"))
    assert "violates PodSecurity" in cluster.events("insecure")[0]["message"]


def test_a_service_account_may_do_what_a_role_says(cluster, core):
    rights = kubernetes.client.RbacAuthorizationV1Api(core.api_client)
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}
    version = {"apiVersion": "rbac.authorization.k8s.io/v1"}
    rights.create_namespaced_role("default", {**plain("Role", "look", rules=[rule]), **version})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "look"}
    subject = {"kind": "ServiceAccount", "name": "looker", "namespace": "default"}
    binding = plain("RoleBinding", "look", roleRef=reference, subjects=[subject])
    rights.create_namespaced_role_binding("default", {**binding, **version})
    core.create_namespaced_service_account("default", plain("ServiceAccount", "looker"))
    api = kubernetes.config.new_client_from_config(str(cluster.kubeconfig_of("looker")))
    api.configuration.proxy = None
    looker = kubernetes.client.CoreV1Api(api)
    looker.list_namespaced_pod("default")
    error = refused(looker.list_namespaced_secret, "default")
    assert error.status == 403
    assert "system:serviceaccount:default:looker" in error.body
    assert refused(looker.list_namespaced_pod, "kube-system").status == 403


def test_pods_of_a_deleted_node_are_given_up(tmp_path):
    with KubernetesServer(tmp_path, [Node("gone", 4, 4), Node("stays", 4, 3)]) as cluster:
        start(cluster, "moves", "sleep 60", spec={"backoffLimit": 1})
        cluster.wait(lambda: bool(pods_of(cluster, "moves")))
        cluster.wait(lambda: "nodeName" in pods_of(cluster, "moves")[0]["spec"])
        node = pods_of(cluster, "moves")[0]["spec"]["nodeName"]
        cluster.faults.lose_node(node, noticed_after_s=0)
        clients_of(cluster).core.delete_node(node)
        cluster.wait(lambda: len(pods_of(cluster, "moves")) == 2)
        assert [pod["metadata"]["name"] for pod in cluster.pods()] == [
            pod["metadata"]["name"]
            for pod in pods_of(cluster, "moves")
            if pod["spec"].get("nodeName") != node
        ]


def test_a_secret_in_protobuf_is_read():
    def field(number, content):
        return bytes([number << 3 | 2, len(content)]) + content

    entry = field(1, b"password") + field(2, b"\x00\xff")
    secret = field(1, field(1, b"key")) + field(2, entry) + field(3, b"Opaque")
    body = b"k8s\x00" + field(1, field(1, b"v1") + field(2, b"Secret")) + field(2, secret)
    assert decode(body) == {
        **plain("Secret", "key", type="Opaque"),
        "data": {"password": base64.b64encode(b"\x00\xff").decode()},
    }
