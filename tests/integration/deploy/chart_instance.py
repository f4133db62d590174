"""What the chart's templates make of deploy/helm's values, as far as pods of runs depend on it.

There is no helm here. The mapping is written down from the chart's templates (configmap-instance
and helpers/instance), and what comes out is handed to Dagster itself.
"""

import re
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[3]
DEPLOY = REPOSITORY / "deploy"
RELEASE, NAMESPACE = "dagster", "geofm"


def load_values(*names: str) -> dict[str, Any]:
    """Values of deploy/helm merged as Helm does: mappings are merged, lists replaced."""
    merged: dict[str, Any] = {}
    for name in names or ("values.yaml",):
        merged = _merged(merged, yaml.safe_load((DEPLOY / "helm" / name).read_text()))
    return merged


def documents(name: str) -> list[dict[str, Any]]:
    """The manifests in a file of deploy/kubernetes."""
    return list(yaml.safe_load_all((DEPLOY / "kubernetes" / name).read_text()))


def settings() -> dict[str, str]:
    """Variables of the ConfigMap geofm-settings."""
    return {name: str(v) for name, v in documents("settings.yaml")[0]["data"].items()}


def instance_config(values: dict[str, Any], kubeconfig: Path) -> dict[str, Any]:
    """dagster.yaml, but for `kubeconfig`, which stands for a service account's token."""
    postgres = values["postgresql"]
    database = {
        "postgres_db": {
            "username": postgres["postgresqlUsername"],
            "password": {"env": "DAGSTER_PG_PASSWORD"},
            "hostname": postgres["postgresqlHost"],
            "db_name": postgres["postgresqlDatabase"],
            "port": postgres["service"]["port"],
            "params": postgres["postgresqlParams"],
            "scheme": postgres["postgresqlScheme"],
        }
    }
    storages = {
        "run_storage": ("dagster_postgres.run_storage", "PostgresRunStorage"),
        "event_log_storage": ("dagster_postgres.event_log", "PostgresEventLogStorage"),
        "schedule_storage": ("dagster_postgres.schedule_storage", "PostgresScheduleStorage"),
    }
    daemon, queue = values["dagsterDaemon"], _queue(values)
    return {
        **{k: {"module": m, "class": c, "config": database} for k, (m, c) in storages.items()},
        "run_launcher": {
            "module": "dagster_k8s",
            "class": "K8sRunLauncher",
            "config": _launcher(values, kubeconfig),
        },
        "run_coordinator": {
            "module": "dagster.core.run_coordinator",
            "class": "QueuedRunCoordinator",
            "config": queue,
        },
        "concurrency": {part: _snake(values["concurrency"][part]) for part in ("pools", "runs")},
        "run_monitoring": _snake(daemon["runMonitoring"]),
        "run_retries": _snake(daemon["runRetries"]),
        "retention": {
            part: _snake(value) for part, value in values["retention"].items() if part != "enabled"
        },
        "telemetry": values["telemetry"],
        **values["additionalInstanceConfig"],
    }


def _launcher(values: dict[str, Any], kubeconfig: Path) -> dict[str, Any]:
    launcher = values["runLauncher"]["config"]["k8sRunLauncher"]
    config = {
        "load_incluster_config": False,
        "kubeconfig_file": str(kubeconfig),
        "job_namespace": NAMESPACE,
        "image_pull_policy": launcher["imagePullPolicy"],
        "service_account_name": values["serviceAccount"]["name"],
        "dagster_home": values["global"]["dagsterHome"],
        "instance_config_map": f"{RELEASE}-instance",
        "postgres_password_secret": values["global"]["postgresqlSecretName"],
        "env_config_maps": [item["name"] for item in launcher["envConfigMaps"]],
        "env_secrets": [item["name"] for item in launcher["envSecrets"]],
        "security_context": launcher["securityContext"],
        # only its own keys change their spelling; what is in them is passed on
        "run_k8s_config": {_snake_name(k): v for k, v in launcher["runK8sConfig"].items()},
    }
    optional = {k: launcher[k] for k in ("volumes", "volumeMounts") if launcher.get(k)}
    return config | {_snake_name(name): value for name, value in optional.items()}


def _queue(values: dict[str, Any]) -> dict[str, Any]:
    given = values["dagsterDaemon"]["runCoordinator"]["config"]["queuedRunCoordinator"]
    return {_snake_name(name): value for name, value in given.items() if value}


def _snake(value: Any) -> Any:
    if isinstance(value, dict):
        return {_snake_name(name): _snake(item) for name, item in value.items()}
    return value


def _snake_name(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower().replace("k8_s", "k8s")


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        both = isinstance(value, dict) and isinstance(below.get(name), dict)
        merged[name] = _merged(below[name], value) if both else value
    return merged
