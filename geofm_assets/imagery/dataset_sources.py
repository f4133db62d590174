"""Where a layer's imagery comes from, as rslearn's configuration says it."""

from pathlib import Path
from typing import Any

from geofm_assets.core.errors import ConfigError
from geofm_assets.imagery.bands import SENTINEL2, LayerSpec
from geofm_assets.imagery.config import ImageryConfig
from geofm_assets.imagery.periods import (
    DAYS_A_PERIOD,
    PeriodRule,
    frames_offset,
    request_duration,
    request_offset,
    span,
)

PLANETARY_COMPUTER = "https://planetarycomputer.microsoft.com/api/stac/v1"
DAYS_BEFORE = 15  # of a window before valid_time, unless the task says otherwise
_PACKAGE = "geofm_assets.imagery"


def local_source(
    layer: LayerSpec, imagery: ImageryConfig, scenes: str | None, days_before: int
) -> dict[str, Any]:
    """A folder of scenes.

    Raises:
        ConfigError: no folder is given.
    """
    if not scenes:
        raise ConfigError(
            "Profile local_scenes needs a folder of scenes",
            fix="Pass --scenes DIR (a folder with items.json)",
        )
    cloud = imagery.max_cloud_cover if layer.name == SENTINEL2 else None
    return _source(
        f"{_PACKAGE}.scenes.LocalScenes",
        {
            "folder": str(Path(scenes).expanduser().resolve()),
            "collection": layer.collection,
            "period_rule": "calendar_month",
            "max_cloud_cover": cloud,
        },
        imagery,
        "calendar_month",
        days_before,
    )


def stac_source(
    layer: LayerSpec, imagery: ImageryConfig, base_url: str, days_before: int
) -> dict[str, Any]:
    """A STAC API of Planetary Computer's kind."""
    if layer.name == SENTINEL2:
        arguments: dict[str, Any] = {
            "base_url": base_url,
            "harmonize": True,
            "sort_by": "eo:cloud_cover",
            "query": None
            if imagery.max_cloud_cover is None
            else {"eo:cloud_cover": {"lte": imagery.max_cloud_cover}},
        }
        name = "Sentinel2Stac"
    else:
        arguments = {
            "base_url": base_url,
            "query": {
                "sar:instrument_mode": {"eq": "IW"},
                "sar:polarizations": {"eq": ["VV", "VH"]},
            },
        }
        name = "Sentinel1Stac"
    return _source(f"{_PACKAGE}.stac.{name}", arguments, imagery, "fixed", days_before)


def _source(
    class_path: str,
    arguments: dict[str, Any],
    imagery: ImageryConfig,
    period_rule: PeriodRule,
    days_before: int,
) -> dict[str, Any]:
    months, offset = imagery.months, request_offset(imagery.months)
    if imagery.frames is not None:
        months, offset = span(imagery.frames), frames_offset(imagery.frames, days_before)
        arguments = {**arguments, "frames": list(imagery.frames)}
    query: dict[str, Any] = {
        "space_mode": "MOSAIC",
        "max_matches": months,
        "mosaic_compositing_overlaps": imagery.coverages,
        # rslearn's default is newest first
        "per_period_mosaic_reverse_time_order": False,
    }
    if period_rule == "fixed":
        query["period_duration"] = f"{DAYS_A_PERIOD}d"
    return {
        "class_path": class_path,
        "init_args": arguments,
        "query_config": query,
        "time_offset": f"{offset.days}d",
        "duration": f"{request_duration(months).days}d",
        "ingest": imagery.ingest,
    }
