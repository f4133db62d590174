"""Where launched runs start: the sections of dagster.yaml that say so.

A run's settings reach its process through the environment of its pod. Only names of Secrets are
written here, never what is in them.
"""

import os
from typing import Any

from geofm_assets.core.compute import PREFIX, KubernetesSettings
from geofm_assets.core.errors import ConfigError
from geofm_assets.core.redact import has_secret
from geofm_assets.core.settings import Settings

# variables of this process that its runs need too, and that hold no secret
PASSED_ON = (
    "GEOFM_ALLOWED_HOSTS",
    "GEOFM_EVAL_DATASETS",
    "GEOFM_LEASE_SECONDS",
    "GEOFM_SCRATCH",
    "GEOFM_SQL_MODELS",
    "GEOFM_TASKS",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_REGION",
    "DAGSTER_EVENT_BATCH_SIZE",
    "NETRC",  # a path; pods that find the file have it from their image
)
RESUMES = 3
_SOURCES = "/etc/geofm/sources"  # as in deploy/helm/values.yaml


def run_launcher_config(
    settings: Settings, kubernetes: KubernetesSettings | None = None
) -> dict[str, Any]:
    """Sections of dagster.yaml for the settings' executor, to be merged with the others.

    Args:
        settings: of the deployment.
        kubernetes: of its pods; those of the environment if not given.

    Returns:
        `run_launcher` and `run_monitoring` for kubernetes; nothing where runs are local processes,
        which is Dagster's default.

    Raises:
        ConfigError: a setting is not allowed, or holds a secret.
    """
    if settings.executor != "kubernetes":
        return {}
    kubernetes = kubernetes or KubernetesSettings.load()
    config: dict[str, Any] = {
        "job_namespace": kubernetes.namespace,
        "service_account_name": kubernetes.service_account,
        "instance_config_map": kubernetes.instance_config_map,
        "dagster_home": kubernetes.dagster_home,
        "load_incluster_config": not kubernetes.kubeconfig,
        "env_vars": run_environment(settings, kubernetes),
        "run_k8s_config": kubernetes.cpu_pod(kubernetes.run_hours),
    }
    optional = {
        "job_image": kubernetes.image,
        "kubeconfig_file": kubernetes.kubeconfig,
        "postgres_password_secret": kubernetes.postgres_secret,
        "env_secrets": list(kubernetes.env_secrets),
        "env_config_maps": list(kubernetes.env_config_maps),
        **_sources(kubernetes),
    }
    return {
        "run_launcher": {
            "module": "dagster_k8s",
            "class": "K8sRunLauncher",
            "config": config | {name: value for name, value in optional.items() if value},
        },
        "run_monitoring": {
            "enabled": True,
            "start_timeout_seconds": int(kubernetes.start_minutes * 60),
            "max_resume_run_attempts": RESUMES,
            "poll_interval_seconds": 30,
            "free_slots_after_run_end_seconds": 60,
        },
    }


def _sources(kubernetes: KubernetesSettings) -> dict[str, Any]:
    """The file with passwords of sources in every pod, if a Secret has it."""
    if not kubernetes.sources_secret:
        return {}
    volume = {"name": "sources", "secret": {"secret_name": kubernetes.sources_secret}}
    mount = {"name": "sources", "mount_path": _SOURCES, "read_only": True}
    return {"volumes": [volume], "volume_mounts": [mount]}


def run_environment(settings: Settings, kubernetes: KubernetesSettings) -> list[str]:
    """`NAME=value` for the process of a run: what it must know to find the store's settings.

    Raises:
        ConfigError: a value holds a secret, which would show in every pod's description.
    """
    of_pods = {n: v for n, v in os.environ.items() if n.startswith(PREFIX) and v}
    passed = {name: os.environ[name] for name in PASSED_ON if os.environ.get(name)}
    own = {"GEOFM_STORE": settings.store, "GEOFM_EXECUTOR": settings.executor}
    if kubernetes.sources_secret:
        own["NETRC"] = f"{_SOURCES}/netrc"
    values = {**of_pods, **passed, **own}
    for name, value in values.items():
        if has_secret(value):
            raise ConfigError(
                f"{name} holds a secret, and runs are told it in plain text",
                where=name,
                fix=f"Put credentials into a Secret that {PREFIX}ENV_SECRETS names",
            )
    return [f"{name}={value}" for name, value in sorted(values.items())]
