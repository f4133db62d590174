"""What a step needs of a cluster: pools, and the resources of GPU steps, from one set of settings.

All of it is of the deployment, so it comes from the environment and is never kept in the store.
Secrets are named here (`GEOFM_K8S_ENV_SECRETS`), never held. Outside a cluster tags do nothing.
"""

import os
import re
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from geofm_assets.core.errors import ConfigError

GPU_POOL = "gpu"
IMAGERY_POOL = "imagery"
RDM_POOL = "rdm"
POD_TAG = "dagster-k8s/config"
_WAITING_CPU, _WAITING_MEMORY = "250m", "2Gi"  # it loads the code location and polls
PREFIX = "GEOFM_K8S_"
# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
_QUANTITY = re.compile(r"(\d+(\.\d+)?|\.\d+)(m|[kMGTPE]|[KMGTPE]i)?")
_TOLERATION = re.compile(
    r"(?P<key>[^=:]+)(=(?P<value>[^:]*))?:(?P<effect>NoSchedule|PreferNoSchedule|NoExecute)"
)


class KubernetesSettings(BaseModel):
    """How pods are asked for; each field is also the variable `GEOFM_K8S_` and its name.

    Attributes:
        namespace: where Jobs are created.
        image: of the pods; empty for the code location's own.
        service_account: under which pods run.
        kubeconfig: file to reach the cluster with; empty inside of one.
        instance_config_map: that holds dagster.yaml; pods mount it.
        dagster_home: folder of dagster.yaml in pods.
        postgres_secret: Secret whose key postgresql-password becomes DAGSTER_PG_PASSWORD.
        env_secrets: Secrets all of whose keys become variables of pods.
        env_config_maps: the same of ConfigMaps.
        sources_secret: Secret whose key netrc is a file in pods, which NETRC then names.
        cpu: cores of a pod without a GPU.
        memory: requested and at most used by a pod without a GPU.
        gpu_cpu: cores of a pod with GPUs.
        gpu_memory: requested and at most used by a pod with GPUs; holds shared memory too.
        gpu_resource: name under which nodes offer GPUs.
        gpu_node_selector: labels of nodes with GPUs.
        gpu_tolerations: taints of nodes with GPUs, as key[=value]:effect.
        gpu_shm: size of /dev/shm, which data-loader workers share batches through.
        step_hours: after which a step's Job is ended.
        run_hours: after which a run's Job is ended; above step_hours, since it waits for steps.
        start_minutes: how long a pod may wait for a node and its image.
        keep_hours: how long finished Jobs stay, to be looked at.
        retries: how often a GPU step whose pod was lost is started again.
        poll_seconds: between looks at the Jobs of steps.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    namespace: str = "default"
    image: str = ""
    service_account: str = "default"
    kubeconfig: str = ""
    instance_config_map: str = "dagster-instance"
    dagster_home: str = "/opt/dagster/dagster_home"
    postgres_secret: str = ""
    env_secrets: tuple[str, ...] = ()
    env_config_maps: tuple[str, ...] = ()
    sources_secret: str = ""
    cpu: str = "2"
    memory: str = "8Gi"
    gpu_cpu: str = "4"
    gpu_memory: str = "32Gi"
    gpu_resource: str = "nvidia.com/gpu"
    gpu_node_selector: Mapping[str, str] = Field(default={"geofm/accelerator": "gpu"})
    gpu_tolerations: tuple[str, ...] = ("nvidia.com/gpu:NoSchedule",)
    gpu_shm: str = "8Gi"
    step_hours: float = Field(default=24, gt=0)
    run_hours: float = Field(default=96, gt=0)
    start_minutes: float = Field(default=30, gt=0)
    keep_hours: float = Field(default=24, ge=0)
    retries: int = Field(default=2, ge=0)
    poll_seconds: float = Field(default=20, gt=0)

    @field_validator("cpu", "memory", "gpu_cpu", "gpu_memory", "gpu_shm")
    @classmethod
    def _quantity(cls, value: str) -> str:
        if not _QUANTITY.fullmatch(value):
            raise ValueError("not a Kubernetes quantity such as 4, 500m or 16Gi")
        return value

    @field_validator("gpu_tolerations")
    @classmethod
    def _tolerations(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            if not _TOLERATION.fullmatch(text):
                raise ValueError(f"{text!r} is not key[=value]:effect")
        return value

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None) -> Self:
        """The settings of the environment; lists are separated by commas.

        Args:
            environment: variables to read instead of the process's own.

        Raises:
            ConfigError: a variable is unknown or its value is not allowed; names it.
        """
        variables = os.environ if environment is None else environment
        values: dict[str, Any] = {}
        for variable, text in variables.items():
            if not variable.startswith(PREFIX) or not text.strip():
                continue
            name = variable.removeprefix(PREFIX).lower()
            values[name] = _parsed(name, text.strip(), variable)
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            raise ConfigError(
                f"{PREFIX}{str(first['loc'][0]).upper()} is not allowed: {first['msg']}",
                where="the environment",
                fix="docs/deploy.md lists the variables and what they take",
            ) from error

    def job_spec(self, hours: float) -> dict[str, int]:
        """Part of a Job's spec that makes sure it ends and goes away.

        Args:
            hours: it may take, waiting for a node included.
        """
        return {
            "active_deadline_seconds": int(hours * 3600),
            "ttl_seconds_after_finished": int(self.keep_hours * 3600),
        }

    def cpu_pod(self, hours: float) -> dict[str, Any]:
        """A pod without a GPU, as dagster-k8s takes it.

        Args:
            hours: it may take.
        """
        return {
            "container_config": {"resources": _resources(self.cpu, self.memory)},
            "job_spec_config": self.job_spec(hours),
        }

    def waiting_pod(self) -> dict[str, Any]:
        """A pod that only waits for the Jobs of a run's steps, as dagster-k8s takes it."""
        return {"container_config": {"resources": _resources(_WAITING_CPU, _WAITING_MEMORY)}}

    def gpu_pod(self, devices: int = 1) -> dict[str, Any]:
        """A pod with GPUs, as dagster-k8s takes it.

        Args:
            devices: GPUs, at least 1.
        """
        if devices < 1:
            raise ConfigError("A GPU step needs at least one GPU", where=f"devices {devices}")
        resources = _resources(self.gpu_cpu, self.gpu_memory)
        for part in resources.values():
            part[self.gpu_resource] = str(devices)
        return {
            "container_config": {
                "resources": resources,
                "volume_mounts": [{"name": "shared-memory", "mount_path": "/dev/shm"}],
            },
            "pod_spec_config": {
                "node_selector": dict(self.gpu_node_selector),
                "tolerations": [_toleration(text) for text in self.gpu_tolerations],
                "volumes": [
                    {
                        "name": "shared-memory",
                        "empty_dir": {"medium": "Memory", "size_limit": self.gpu_shm},
                    }
                ],
            },
            "job_spec_config": self.job_spec(self.step_hours),
        }


def gpu_tags(devices: int = 1, settings: KubernetesSettings | None = None) -> dict[str, Any]:
    """Op tags of a step that needs GPUs.

    Args:
        devices: GPUs, at least 1.
        settings: those of the environment if not given.

    Raises:
        ConfigError: a setting is not allowed.
    """
    return {POD_TAG: (settings or KubernetesSettings.load()).gpu_pod(devices)}


def _resources(cpu: str, memory: str) -> dict[str, dict[str, str]]:
    # a limit on cores only slows a pod down; memory above its request may kill its neighbours
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}}


def _toleration(text: str) -> dict[str, str]:
    found = _TOLERATION.fullmatch(text)
    if found is None:
        raise ConfigError("Not key[=value]:effect", where=repr(text))
    key, value, effect = found["key"], found["value"], found["effect"]
    if value is None:
        return {"key": key, "operator": "Exists", "effect": effect}
    return {"key": key, "operator": "Equal", "value": value, "effect": effect}


def _parsed(name: str, text: str, variable: str) -> Any:
    """A variable's text as its field takes it."""
    if name == "gpu_node_selector":
        pairs = [part.partition("=") for part in text.split(",")]
        if not all(key and separator for key, separator, _ in pairs):
            raise ConfigError(
                f"{variable} is not key=value,key=value", where=text, fix="Correct it"
            )
        return {key.strip(): value.strip() for key, _, value in pairs}
    if name in ("gpu_tolerations", "env_secrets", "env_config_maps"):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return text
