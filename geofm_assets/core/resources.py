"""The store as a Dagster resource."""

import dagster as dg

from geofm_assets.core.store import Store


class StoreResource(dg.ConfigurableResource[Store]):
    """Where every artifact lies; see docs/store.md.

    Attributes:
        url: a local folder or an fsspec URL.
    """

    url: str

    def open(self) -> Store:
        """The store behind the URL."""
        return Store(self.url)
