"""A stand-in for Kubernetes on loopback: the API that Dagster uses, pods as local processes.

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
