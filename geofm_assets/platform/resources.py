"""Resources and executor of a deployment, from its settings."""

from typing import Any

import dagster as dg

from geofm_assets.core.resources import StoreResource
from geofm_assets.core.settings import Settings
from geofm_assets.imagery.resources import ImagerySource
from geofm_assets.labels.resources import RdmClient
from geofm_assets.models.resources import ModelHubResource


def build_resources(settings: Settings) -> dict[str, Any]:
    """The resources every asset of the platform draws on, by name."""
    return {
        "store": StoreResource(url=settings.store),
        "rdm": RdmClient(location=settings.rdm),
        "imagery": ImagerySource(scenes=settings.scenes, stac_url=settings.stac_url),
        "hub": ModelHubResource(base_url=settings.hub_url),
    }


def build_executor(settings: Settings) -> dg.ExecutorDefinition:
    """Where the steps of a run execute.

    `dagster_k8s` costs seconds to import, so it is imported in a cluster only.
    """
    if settings.executor == "kubernetes":
        from dagster_k8s import k8s_job_executor

        return k8s_job_executor
    if settings.executor == "multiprocess":
        return dg.multiprocess_executor
    return dg.in_process_executor
