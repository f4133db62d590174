"""Where imagery comes from, as a Dagster resource."""

import dagster as dg


class ImagerySource(dg.ConfigurableResource[None]):
    """Locations of imagery.

    Attributes:
        scenes: a folder of scenes with items.json, for profile `local_scenes`.
        stac_url: base URL of a STAC API, for profile `planetary_computer`.
    """

    scenes: str = ""
    stac_url: str = "https://planetarycomputer.microsoft.com/api/stac/v1"
