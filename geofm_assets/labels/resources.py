"""The reference data module (RDM) as a Dagster resource."""

import dagster as dg

from geofm_assets.core.errors import ConfigError
from geofm_assets.labels.worldcereal.rdm import RdmSource, open_rdm


class RdmClient(dg.ConfigurableResource[RdmSource]):
    """Where reference collections come from: the RDM over HTTP, or a mirror folder.

    Attributes:
        location: base URL of the RDM, or a folder in the shape of a mirror; empty if unset.
        timeout_s: seconds to wait for an answer.
        retries: attempts after the first on 429, 5xx and dropped connections.
        page_size: collections asked for at a time.
    """

    location: str = ""
    timeout_s: float = 30.0
    retries: int = 5
    page_size: int = 100

    def open(self) -> RdmSource:
        """The source behind the location.

        Raises:
            ConfigError: no location is set.
        """
        if not self.location:
            raise ConfigError(
                "No source of reference collections is set",
                where="GEOFM_RDM",
                fix="Pass --mirror DIR or set GEOFM_RDM to a folder or the RDM's base URL",
            )
        if self.location.startswith(("http://", "https://")):
            return open_rdm(
                self.location,
                timeout_s=self.timeout_s,
                retries=self.retries,
                page_size=self.page_size,
            )
        return open_rdm(self.location)
