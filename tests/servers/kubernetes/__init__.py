"""A stand-in for Kubernetes on loopback: the API that Dagster uses, pods as local processes.

kubectl works on it too: it can apply, create, get, describe, label, taint, cordon, diff, delete
and show logs of the kinds in objects.py. It is no conformant API server. It has no Deployments,
Services or custom resources, no server-side apply, no tables, no exec or port-forward, no
admission but Pod Security `restricted`. Stored NetworkPolicies do nothing, Roles bind only
clients with the kubeconfig of a service account, volumes are not mounted, images are names.

with KubernetesServer(tmp_path, [Node("cpu", 8, 16), Node("gpu", 8, 32, gpus=2)]) as cluster:
    kubernetes.config.load_kube_config(str(cluster.kubeconfig))
    cluster.faults.kill_pod("dagster/op=train", after_output="STEP_START")
    ...
    assert cluster.pods(all=True)[0]["status"]["phase"] == "Failed"
"""

from tests.servers.kubernetes.faults import PodFault, RequestFault
from tests.servers.kubernetes.http_server import Request
from tests.servers.kubernetes.nodes import Node
from tests.servers.kubernetes.server import KubernetesServer

__all__ = ["KubernetesServer", "Node", "PodFault", "Request", "RequestFault"]
