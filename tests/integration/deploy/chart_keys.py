"""Keys the official Dagster Helm chart takes, as far as deploy/helm uses the sections they are in.

Written down from the chart's sources (helm/dagster in dagster-io/dagster; newest revisions at hand,
with what 1.13.0 brought): the models of helm/dagster/schema that values.schema.json is generated
from, most of which forbid other keys, and values.yaml for what they leave open.

ANY stands for what is Kubernetes' or Dagster's own, and is validated as such elsewhere.
"""

from typing import Any

ANY = object()


def _any(names: str) -> dict[str, Any]:
    return dict.fromkeys(names.split(), ANY)


_IMAGE = _any("repository tag digest pullPolicy")
_POD = _any(
    "env envConfigMaps envSecrets annotations labels nodeSelector affinity tolerations "
    "podSecurityContext securityContext resources livenessProbe readinessProbe startupProbe "
    "volumes volumeMounts schedulerName"
)
_ACCOUNT = _any("create name annotations")
_THREADS = _any("useThreads numWorkers numSubmitWorkers")
_PURGE = {"purgeAfterDays": ANY}
_WEBSERVER = {
    **_POD,
    "image": _IMAGE,
    "service": _any("type port annotations"),
    **_any(
        "replicaCount nameOverride pathPrefix workspace deploymentLabels enableReadOnly "
        "dbStatementTimeout dbPoolRecycle dbPoolMaxOverflow logLevel logFormat "
        "checkDbReadyInitContainer initContainerResources extraContainers "
        "extraPrependedInitContainers"
    ),
}
_DAEMON = {
    **_POD,
    "image": _IMAGE,
    "runCoordinator": {
        "enabled": ANY,
        "type": ANY,
        "config": {
            "queuedRunCoordinator": _any(
                "maxConcurrentRuns tagConcurrencyLimits dequeueIntervalSeconds "
                "dequeueNumWorkers dequeueUseThreads blockOpConcurrencyLimitedRuns"
            ),
        },
    },
    # an open mapping in the chart's schema; these are the keys its values.yaml shows
    "runMonitoring": _any(
        "enabled startTimeoutSeconds cancelTimeoutSeconds maxRuntimeSeconds "
        "pollIntervalSeconds maxResumeRunAttempts freeSlotsAfterRunEndSeconds"
    ),
    "runRetries": _any("enabled maxRetries retryOnAssetOrOpFailure"),
    "sensors": _THREADS,
    "schedules": _THREADS,
    "backfills": _THREADS,
    **_any(
        "enabled heartbeatTolerance deploymentLabels logFormat checkDbReadyInitContainer "
        "initContainerResources extraContainers extraPrependedInitContainers"
    ),
}
_CODE_LOCATION = {
    **_POD,
    "image": _IMAGE,
    "includeConfigInLaunchedRuns": {"enabled": ANY},
    **_any(
        "name dagsterApiGrpcArgs codeServerArgs deploymentNamespace port replicaCount "
        "initContainers sidecarContainers deploymentStrategy service"
    ),
}
_LAUNCHER = {
    "image": _IMAGE,
    "runK8sConfig": _any(
        "containerConfig podSpecConfig podTemplateSpecMetadata jobSpecConfig jobMetadata"
    ),
    **_any(
        "imagePullPolicy jobNamespace loadInclusterConfig kubeconfigFile envConfigMaps "
        "envSecrets envVars volumeMounts volumes labels failPodOnRunFailure resources "
        "schedulerName securityContext"
    ),
}
KEYS: dict[str, Any] = {
    "global": _any(
        "postgresqlSecretName dagsterHome serviceAccountName celeryConfigSecretName "
        "dagsterInstanceConfigMap postgresqlAuthWifEnabled"
    ),
    "rbacEnabled": ANY,
    "imagePullSecrets": ANY,
    "serviceAccount": _ACCOUNT,
    "telemetry": {"enabled": ANY},
    "postgresql": {
        "image": {**_IMAGE, "registry": ANY},
        "service": {"port": ANY},
        **_any(
            "enabled postgresqlHost postgresqlUsername postgresqlPassword "
            "postgresqlDatabase postgresqlParams postgresqlScheme authProvider"
        ),
    },
    "generatePostgresqlPasswordSecret": ANY,
    "dagsterWebserver": _WEBSERVER,
    "dagsterDaemon": _DAEMON,
    "concurrency": {
        "enabled": ANY,
        "pools": _any("defaultLimit granularity opGranularityRunBuffer"),
        "runs": _any("maxConcurrentRuns tagConcurrencyLimits"),
    },
    "retention": {
        "enabled": ANY,
        "schedule": _PURGE,
        "sensor": _PURGE,
        "autoMaterialize": _PURGE,
    },
    "computeLogManager": {"type": ANY, "config": ANY},
    "additionalInstanceConfig": ANY,
    "migrate": _any("enabled extraContainers initContainers"),
    # the first three are of the parent chart, the others of the chart dagster-user-deployments
    "dagster-user-deployments": {
        **_any("enabled enableSubchart imagePullSecrets rbacEnabled includeInstance"),
        "serviceAccount": _ACCOUNT,
        "deployments": [_CODE_LOCATION],
    },
    "runLauncher": {"type": ANY, "config": {"k8sRunLauncher": _LAUNCHER}},
}


def unknown_keys(values: Any, keys: Any = KEYS, place: str = "") -> list[str]:
    """Places in values that the chart has no key for."""
    if keys is ANY:
        return []
    if isinstance(keys, list):
        items = enumerate(values) if isinstance(values, list) else [("not a list", values)]
        return [p for i, item in items for p in unknown_keys(item, keys[0], f"{place}[{i}]")]
    if not isinstance(values, dict):
        return [f"{place}: not a mapping"]
    found = []
    for name, value in values.items():
        here = f"{place}.{name}".lstrip(".")
        found += [here] if name not in keys else unknown_keys(value, keys[name], here)
    return found
