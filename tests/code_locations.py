"""Code locations of tests: what a store, whose runs they are launched in, finds of them."""

import importlib.util
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from tests.servers.kubernetes import KubernetesServer, Node

REPOSITORY = Path(__file__).resolve().parents[1]
IMAGE = "registry.example/geofm-assets:1.0"


def paths_of(location: Path) -> str:
    """PYTHONPATH of a process that loads the code location in a folder."""
    return os.pathsep.join([str(location), str(REPOSITORY)])


def enter(
    root: Path, monkeypatch: pytest.MonkeyPatch, location: Path, executor: str, **variables: str
) -> None:
    """Be in a code location with an empty store, and with no variable of another."""
    for name in [n for n in os.environ if n.startswith(("GEOFM_", "DAGSTER_HOME"))]:
        monkeypatch.delenv(name)
    store, home = root / "store", root / "dagster_home"
    store.mkdir()
    shown = {"GEOFM_STORE": str(store), "GEOFM_EXECUTOR": executor, "DAGSTER_HOME": str(home)}
    for name, value in {**shown, "PYTHONPATH": paths_of(location), **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(location)  # servers of code look there first


def load(location: Path) -> ModuleType:
    """Its definitions, made anew from the environment."""
    spec = importlib.util.spec_from_file_location(location.name, location / "definitions.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def cluster_for(
    root: Path, nodes: Sequence[Node], location: Path, forks: bool = True
) -> Iterator[tuple[KubernetesServer, dict[str, str]]]:
    """A stand-in for a cluster with the image of a code location.

    Args:
        root: folder of the stand-in.
        nodes: of the cluster.
        location: folder of the code location.
        forks: whether pods are forks of a process that has done their imports.

    Yields:
        It, and the variables of who launches runs there for an instance in `root/dagster_home`.
    """
    (root / "cluster").mkdir()
    image = {
        "PYTHONPATH": paths_of(location),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "DAGSTER_STEP_DELEGATING_EXECUTOR_SLEEP_SECONDS": "0.1",
    }
    with KubernetesServer(root / "cluster", nodes, environment=image, forks=forks) as cluster:
        cluster.add_config_map("dagster-instance", {"dagster.yaml": ""})
        yield (
            cluster,
            {
                "GEOFM_K8S_KUBECONFIG": str(cluster.kubeconfig),
                "GEOFM_K8S_IMAGE": IMAGE,
                "GEOFM_K8S_DAGSTER_HOME": str(root / "dagster_home"),
                "GEOFM_K8S_POLL_SECONDS": "1",
            },
        )
