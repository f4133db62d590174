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
from urllib.parse import urlsplit

import rasterio
import requests
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
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
from rslearn.tile_stores import TileStoreWithLayer
from rslearn.utils.geometry import PixelBounds, Projection, STGeometry
from rslearn.utils.raster_array import RasterArray
from rslearn.utils.stac import StacItem
from urllib3.util.retry import Retry

from geofm_assets.core.errors import ImageryError, SourceUnavailableError
from geofm_assets.core.hosts import Allowed, CheckedAdapter, allowed_for, checked_session
from geofm_assets.imagery.dataset import PLANETARY_COMPUTER
from geofm_assets.imagery.periods import periods

__all__ = ["Sentinel1Stac", "Sentinel2Stac"]

_RETRIES = 5
_BACKOFF_S = 0.5
_TIMEOUT_S = 30.0
_RETRY_ON = (429, 500, 502, 503, 504)
_XML_KEPT = 256
_LOOKED_AT = 4096
_XML_ASSET = "product-metadata"
# Planetary Computer keeps assets in several accounts and signs for this domain alone.
_ASSET_HOSTS = {"planetarycomputer.microsoft.com": ("*.blob.core.windows.net",)}
_GDAL_HTTP = {
    "GDAL_HTTP_MAX_RETRY": "5",
    "GDAL_HTTP_RETRY_DELAY": "1",
    "GDAL_HTTP_TIMEOUT": "60",
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
}


class _PatientAdapter(CheckedAdapter):
    """Retries with backoff, and a timeout on every request that states none."""

    def __init__(self, allowed: Allowed) -> None:
        super().__init__(
            allowed,
            max_retries=Retry(
                total=_RETRIES,
                backoff_factor=_BACKOFF_S,
                backoff_jitter=_BACKOFF_S,
                status_forcelist=_RETRY_ON,
                allowed_methods=None,  # a STAC search is a POST that changes nothing
            ),
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
    allowed: Allowed

    def _connect(self, base_url: str, frames: Sequence[int] | None) -> None:
        self.base_url, self.frames = base_url.rstrip("/"), frames
        self.client = PlanetaryComputerStacClient(self.base_url)
        host = urlsplit(self.base_url).hostname or ""
        self.allowed = allowed_for(self.base_url, *_ASSET_HOSTS.get(host, ()))
        self.client.session = checked_session(self.allowed, _PatientAdapter(self.allowed))
        self._looked_at: OrderedDict[str, None] = OrderedDict()

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

    def get_asset_url(self, item: SourceItem, asset_key: str) -> str:
        """The signed URL of an asset, on an allowed host from the first redirect to the last.

        GDAL follows redirects by itself, so they are looked at before it gets the URL, once.

        Raises:
            AddressRefusedError: the catalogue names another host, a file or another scheme.
        """
        href = item.asset_urls[asset_key]
        self.allowed.check(href)
        url = super().get_asset_url(item, asset_key)
        if href not in self._looked_at:
            self.client.session.head(url, allow_redirects=True).close()
            if len(self._looked_at) >= _LOOKED_AT:
                self._looked_at.popitem(last=False)
            self._looked_at[href] = None
        return url

    def ingest(
        self,
        tile_store: TileStoreWithLayer,
        items: list[SourceItem],
        geometries: list[list[STGeometry]],
    ) -> None:
        """Copy items into the tile store, from allowed hosts only.

        Raises:
            AddressRefusedError: an asset lies elsewhere.
        """
        for item in items:
            for key in sorted(item.asset_urls.keys() & {*self.asset_bands, _XML_ASSET}):
                self.get_asset_url(item, key)
        super().ingest(tile_store, items, geometries)

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
            url = self.get_asset_url(item, _XML_ASSET)
            response = self.client.session.get(url, timeout=self.timeout.total_seconds())
            response.raise_for_status()
            self._xml[item.name] = ET.fromstring(response.content)
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
