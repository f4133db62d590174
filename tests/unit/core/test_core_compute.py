"""What steps ask of a cluster, from variables of the environment."""

import pytest

from geofm_assets.core.compute import POD_TAG, KubernetesSettings, gpu_tags
from geofm_assets.core.errors import ConfigError
from geofm_assets.core.resources import gpu_step


def load(**variables: str) -> KubernetesSettings:
    return KubernetesSettings.load({f"GEOFM_K8S_{n.upper()}": v for n, v in variables.items()})


def test_a_gpu_pod_asks_for_what_the_environment_says():
    settings = load(
        gpu_cpu="8",
        gpu_memory="60Gi",
        gpu_shm="16Gi",
        gpu_node_selector="pool=a100,zone=b",
        gpu_tolerations="dedicated=ml:NoExecute,nvidia.com/gpu:NoSchedule",
        step_hours="1.5",
        keep_hours="2",
    )
    pod = gpu_tags(2, settings)[POD_TAG]
    assert pod["container_config"]["resources"] == {
        "requests": {"cpu": "8", "memory": "60Gi", "nvidia.com/gpu": "2"},
        "limits": {"memory": "60Gi", "nvidia.com/gpu": "2"},
    }
    spec = pod["pod_spec_config"]
    assert spec["node_selector"] == {"pool": "a100", "zone": "b"}
    assert spec["tolerations"] == [
        {"key": "dedicated", "operator": "Equal", "value": "ml", "effect": "NoExecute"},
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
    ]
    assert spec["volumes"][0]["empty_dir"] == {"medium": "Memory", "size_limit": "16Gi"}
    assert pod["job_spec_config"] == {
        "active_deadline_seconds": 5400,
        "ttl_seconds_after_finished": 7200,
    }


def test_a_pod_without_a_gpu_asks_for_cores_and_memory_only():
    assert load(cpu="500m", memory="3Gi").cpu_pod(1)["container_config"] == {
        "resources": {
            "requests": {"cpu": "500m", "memory": "3Gi"},
            "limits": {"memory": "3Gi"},
        }
    }


def test_lists_are_separated_by_commas_and_empty_variables_are_not_there():
    settings = load(env_secrets="store, registry ,", image="")
    assert settings.env_secrets == ("store", "registry")
    assert settings.image == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gpu_memory", "16 gigabytes"),
        ("gpu_tolerations", "nvidia.com/gpu"),
        ("gpu_node_selector", "gpu"),
        ("step_hours", "-1"),
        ("retries", "many"),
        ("gpus", "1"),
    ],
)
def test_what_is_not_allowed_is_named(name, value):
    with pytest.raises(ConfigError, match=f"GEOFM_K8S_{name.upper()}"):
        load(**{name: value})


def test_a_gpu_step_needs_a_gpu():
    with pytest.raises(ConfigError, match="at least one GPU"):
        gpu_tags(0, load())


def test_lost_pods_of_gpu_steps_are_retried_as_often_as_set(monkeypatch):
    monkeypatch.setenv("GEOFM_K8S_RETRIES", "5")
    step = gpu_step()
    assert (step["pool"], step["retry_policy"].max_retries) == ("gpu", 5)
