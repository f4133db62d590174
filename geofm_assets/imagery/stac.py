"""Planetary Computer's collections from any STAC API, as rslearn data sources.

rslearn's own classes fix the address of the API and skip periods without imagery. These take the
address as an argument, give the session timeouts and retries, and return one item group a period.
Matching, signing, harmonisation and reading are rslearn's.
"""

import xml.etree.ElementTree as ET
from collections import OrderedDict
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import rasterio
import requests
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from requests.adapters import HTTPAdapter
from rslearn.config import QueryConfig
from rslearn.data_sources.data_source import DataSourceContext, Item
from rslearn.data_sources.planetary_computer import (
    PlanetaryComputer,
    PlanetaryComputerStacClient,
    Sentinel1,
    Sentinel2,
)
from rslearn.data_sources.stac import SourceItem
from rslearn.data_sources.utils import MatchedItemGroup
from rslearn.utils.geometry import PixelBounds, Projection, STGeometry
from rslearn.utils.raster_array import RasterArray
from rslearn.utils.stac import StacItem
from urllib3.util.retry import Retry

from geofm_assets.core.errors import ImageryError, SourceUnavailableError
from geofm_assets.imagery.dataset import PLANETARY_COMPUTER
from geofm_assets.imagery.periods import periods

__all__ = ["Sentinel1Stac", "Sentinel2Stac"]

_RETRIES = 5
_BACKOFF_S = 0.5
_TIMEOUT_S = 30.0
_RETRY_ON = (429, 500, 502, 503, 504)
_XML_KEPT = 256
_GDAL_HTTP = {
    "GDAL_HTTP_MAX_RETRY": "5",
    "GDAL_HTTP_RETRY_DELAY": "1",
    "GDAL_HTTP_TIMEOUT": "60",
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
}


class _PatientAdapter(HTTPAdapter):
    """Retries with backoff, and a timeout on every request that states none."""

    def __init__(self) -> None:
        super().__init__(
            max_retries=Retry(
                total=_RETRIES,
                backoff_factor=_BACKOFF_S,
                backoff_jitter=_BACKOFF_S,
                status_forcelist=_RETRY_ON,
                allowed_methods=None,  # a STAC search is a POST that changes nothing
            )
        )

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> Any:
        """Send with a timeout."""
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = _TIMEOUT_S
        return super().send(request, *args, **kwargs)


class _PeriodsMixin(PlanetaryComputer):
    """One item group a period, oldest first; the API's address as an argument."""

    base_url: str
    frames: Sequence[int] | None

    def _connect(self, base_url: str, frames: Sequence[int] | None) -> None:
        self.base_url, self.frames = base_url.rstrip("/"), frames
        self.client = PlanetaryComputerStacClient(self.base_url)
        self.client.session.mount("http://", _PatientAdapter())
        self.client.session.mount("https://", _PatientAdapter())

    def _get_sort_key(self, stac_item: StacItem) -> Any:
        """By the property, then by id, so that ties do not hang on the server's order."""
        value = stac_item.properties.get(self.sort_by) if self.sort_by else None
        return (value is None, value or 0, stac_item.id)

    def get_items(
        self, geometries: list[STGeometry], query_config: QueryConfig
    ) -> list[list[MatchedItemGroup[SourceItem]]]:
        """Item groups of each geometry, one a period; none at all where there is no scene.

        Raises:
            SourceUnavailableError: the API did not answer within its retries.
        """
        try:
            matched = super().get_items(geometries, query_config)
        except requests.RequestException as error:
            raise SourceUnavailableError(
                f"The STAC API did not answer: {error}",
                where=self.base_url,
                fix="Try again later; windows already prepared are kept",
            ) from error
        return [
            _one_a_period(groups, geometry, query_config, self.frames)
            for groups, geometry in zip(matched, geometries, strict=True)
        ]

    def read_raster(
        self,
        layer_name: str,
        item: Item,
        bands: list[str],
        projection: Projection,
        bounds: PixelBounds,
        resampling: Resampling = Resampling.nearest,
    ) -> RasterArray:
        """Pixels of one asset on a window's grid.

        Raises:
            ImageryError: the asset cannot be read; names scene and asset.
        """
        try:
            with rasterio.Env(**_GDAL_HTTP):
                return super().read_raster(layer_name, item, bands, projection, bounds, resampling)
        except (RasterioError, requests.RequestException) as error:
            urls = item.asset_urls if isinstance(item, SourceItem) else {}
            key = self._get_asset_key_by_bands(bands)
            raise ImageryError(
                f"The asset cannot be read: {error}",
                where=f"scene {item.name}, {urls.get(key, key)}",
                fix="Run again later; finished windows are kept",
            ) from error


class Sentinel2Stac(_PeriodsMixin, Sentinel2):
    """Sentinel-2 L2A.

    Args:
        base_url: address of the STAC API.
        harmonize: take off the offset of processing baseline 04.00 and later.
        query: STAC query.
        sort_by: item property to take scenes of a period by, lowest first.
        timeout_s: seconds to wait for an asset.
        frames: the only periods wanted, see `periods`; None for all.
        context: given by rslearn.
    """

    def __init__(
        self,
        base_url: str = PLANETARY_COMPUTER,
        harmonize: bool = True,
        query: dict[str, Any] | None = None,
        sort_by: str | None = "eo:cloud_cover",
        timeout_s: float = _TIMEOUT_S,
        frames: Sequence[int] | None = None,
        context: DataSourceContext = DataSourceContext(),
    ) -> None:
        super().__init__(
            harmonize=harmonize,
            query=query,
            sort_by=sort_by,
            timeout=timedelta(seconds=timeout_s),
            context=context,
        )
        self._connect(base_url, frames)
        self._xml: OrderedDict[str, ET.Element] = OrderedDict()

    def _get_product_xml(self, item: SourceItem) -> ET.Element:
        # rslearn asks for it at every read of every band
        if item.name not in self._xml:
            if len(self._xml) >= _XML_KEPT:
                self._xml.popitem(last=False)
            self._xml[item.name] = super()._get_product_xml(item)
        return self._xml[item.name]


class Sentinel1Stac(_PeriodsMixin, Sentinel1):
    """Sentinel-1 RTC, linear power (the layer's compositor makes dB of it).

    Args:
        base_url: address of the STAC API.
        query: STAC query.
        timeout_s: seconds to wait for an asset.
        frames: the only periods wanted, see `periods`; None for all.
        context: given by rslearn.
    """

    def __init__(
        self,
        base_url: str = PLANETARY_COMPUTER,
        query: dict[str, Any] | None = None,
        timeout_s: float = _TIMEOUT_S,
        frames: Sequence[int] | None = None,
        context: DataSourceContext = DataSourceContext(),
    ) -> None:
        super().__init__(query=query, timeout=timedelta(seconds=timeout_s), context=context)
        self._connect(base_url, frames)
        self.sort_by = "datetime"


def _one_a_period(
    groups: list[MatchedItemGroup[SourceItem]],
    geometry: STGeometry,
    query: QueryConfig,
    frames: Sequence[int] | None,
) -> list[MatchedItemGroup[SourceItem]]:
    if not groups or query.period_duration is None:
        return groups
    if geometry.time_range is None:
        raise ImageryError("The window has no time range", where=str(geometry))
    found = {group.request_time_range: group for group in groups}
    laid = periods("fixed", geometry.time_range, query.max_matches)
    filled = {period: found.pop(period, MatchedItemGroup([], period)) for period in laid}
    if found:
        raise ImageryError(
            f"A mosaic lies outside the periods asked for: {next(iter(found))}",
            where=str(geometry),
        )
    chosen = periods("fixed", geometry.time_range, query.max_matches, frames)
    if query.per_period_mosaic_reverse_time_order:
        chosen.reverse()
    kept = [filled[period] for period in chosen]
    return kept if any(group.items for group in kept) else []
