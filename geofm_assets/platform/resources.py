"""Resources of a deployment, from its settings."""

from typing import Any

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
