"""Where weights come from, as a Dagster resource."""

import dagster as dg

from geofm_assets.models.hub import ModelHub


class ModelHubResource(dg.ConfigurableResource[ModelHub]):
    """A model hub over HTTP.

    Attributes:
        base_url: the hub's base URL.
        timeout_s: seconds to wait for an answer.
        retries: attempts after the first.
    """

    base_url: str = "https://huggingface.co"
    timeout_s: float = 60.0
    retries: int = 5

    def open(self) -> ModelHub:
        """A client of the hub."""
        return ModelHub(self.base_url, timeout_s=self.timeout_s, retries=self.retries)
