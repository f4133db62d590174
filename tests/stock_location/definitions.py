"""The small code location with dagster-k8s's own executor: a Job for every step of every run."""

import warnings

import dagster as dg

warnings.filterwarnings("ignore", category=dg.BetaWarning)

from dagster_k8s import k8s_job_executor  # noqa: E402

from geofm_assets.core.compute import KubernetesSettings  # noqa: E402
from geofm_assets.core.resources import StoreResource  # noqa: E402
from tests.small_location.definitions import checkpoint, points, scores, settings  # noqa: E402

kubernetes = KubernetesSettings.load()
defs = dg.Definitions(
    assets=[points, checkpoint, scores],
    resources={"store": StoreResource(url=settings.store)},
    executor=k8s_job_executor.configured(
        {
            "job_image": kubernetes.image,
            "load_incluster_config": False,
            "kubeconfig_file": kubernetes.kubeconfig,
            "max_concurrent": 2,
        }
    ),
)
