"""The compositor of every raster layer, named by class path in config.json."""

import datetime as dt
from typing import Any

import numpy as np
from rasterio.enums import Resampling
from rslearn.data_sources.data_source import Item
from rslearn.dataset.compositing import Compositor, FirstValidCompositor
from rslearn.dataset.remap import Remapper
from rslearn.tile_stores import TileStoreWithLayer
from rslearn.utils.geometry import PixelBounds, Projection
from rslearn.utils.raster_array import RasterArray, RasterMetadata

from geofm_assets.core.errors import ImageryError


class PeriodMosaic(Compositor):
    """First valid pixel over a period's scenes, which may be none.

    A period without scenes becomes a mosaic of nodata with the period as its timestamp, so that
    an item group's index is its timestep whatever is missing. Otherwise the timestamp runs from
    the start of the earliest to the end of the latest scene.

    Args:
        linear_to_decibels: values read are linear power; store 10 log10 of them. Power that is
            not positive has no logarithm and becomes nodata.
    """

    def __init__(self, linear_to_decibels: bool = False) -> None:
        self.linear_to_decibels = linear_to_decibels
        self._first_valid = FirstValidCompositor()

    def build_composite(
        self,
        group: list[Any],
        nodata_val: int | float | None,
        bands: list[str],
        bounds: PixelBounds,
        band_dtype: Any,
        tile_store: TileStoreWithLayer,
        projection: Projection,
        resampling_method: Resampling,
        remapper: Remapper | None,
        request_time_range: tuple[dt.datetime, dt.datetime] | None = None,
    ) -> RasterArray:
        """One period's mosaic, (C, 1, H, W).

        Raises:
            ImageryError: the layer has no nodata value, or the period is not known.
        """
        if nodata_val is None or request_time_range is None:
            raise ImageryError(
                "A mosaic needs its nodata value and its period",
                where=f"layer {tile_store.layer_name}",
                fix="Make the dataset's config.json with geofm_assets",
            )
        raster = self._first_valid.build_composite(
            group=group,
            nodata_val=nodata_val,
            bands=bands,
            bounds=bounds,
            band_dtype=band_dtype,
            tile_store=tile_store,
            projection=projection,
            resampling_method=resampling_method,
            remapper=remapper,
            request_time_range=request_time_range,
        )
        array = raster.array
        if self.linear_to_decibels:
            array = linear_to_decibels(array, nodata_val)
        return RasterArray(
            array=array,
            timestamps=[acquired(group) or request_time_range],
            metadata=RasterMetadata(nodata_value=nodata_val),
        )


def acquired(items: list[Item]) -> tuple[dt.datetime, dt.datetime] | None:
    """Start of the earliest and end of the latest item, None if there are none."""
    times = [item.geometry.time_range for item in items if item.geometry.time_range is not None]
    if not times:
        return None
    return (min(start for start, _ in times), max(end for _, end in times))


def linear_to_decibels(power: np.ndarray, nodata: float) -> np.ndarray:
    """10 log10 of linear power, nodata kept; power that is not positive becomes nodata."""
    valid = (power != nodata) & (power > 0) & np.isfinite(power)
    decibels = np.full_like(power, nodata)
    np.log10(power, out=decibels, where=valid)
    np.multiply(decibels, 10, out=decibels, where=valid)
    return decibels
