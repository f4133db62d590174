"""A map as a STAC item: what it is of, what made it, from what data, under which terms."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pystac
import rasterio
import shapely
from pystac.extensions.classification import SCHEMA_URI_PATTERN as CLASSIFICATION
from pystac.extensions.classification import Classification
from pystac.extensions.file import FileExtension
from pystac.extensions.projection import ProjectionExtension
from shapely.geometry.base import BaseGeometry

from geofm_assets.core.hashing import sha256_file
from geofm_assets.prediction.legend import NODATA, Legend, map_legend
from geofm_assets.prediction.request import Area, parse_request

GEOPACKAGE = "application/geopackage+sqlite3"
_SHA256 = "1220"  # multihash: code of sha2-256 and its length in bytes
_RASTER = "https://stac-extensions.github.io/raster/v2.0.0/schema.json"
_CLASSIFICATION_VERSION = "2.0.0"


@dataclass(frozen=True)
class MapFile:
    """A file of a map.

    Attributes:
        key: of the asset.
        path: where it lies, beside or below the item.
        media_type: IANA media type.
        roles: of the asset.
        title: for people.
    """

    key: str
    path: Path
    media_type: str
    roles: tuple[str, ...]
    title: str


def request_areas(record: Mapping[str, Any]) -> tuple[Area, ...]:
    """Areas of a map from its request.json."""
    as_read = json.loads(json.dumps(record["request"]))  # shapely gives tuples where JSON has lists
    return parse_request(as_read, record["request_id"]).areas


def build_item(record: Mapping[str, Any], files: Sequence[MapFile], folder: Path) -> dict[str, Any]:
    """A STAC item, JSON-encodable; the same map gives the same item.

    Properties that no extension has carry the prefix `geofm:`.

    Args:
        record: request.json of the map.
        files: what the map consists of.
        folder: where the item will lie; files are named relative to it.
    """
    areas = request_areas(record)
    geometry = shapely.union_all([area.geometry for area in areas])
    simulated = bool(record["simulated"])
    mark = "SIMULATED DATA. " if simulated else ""
    legend = map_legend(record)
    item = pystac.Item(
        id=record["request_id"],
        geometry=shapely.geometry.mapping(geometry),
        bbox=_bbox(geometry),
        datetime=None,
        start_datetime=min(area.start for area in areas),
        end_datetime=max(area.end for area in areas),
        properties={
            "title": f"{mark}{record['task']}, {record['request_id']}",
            "description": f"{mark}Classes {', '.join(legend.classes)} by {record['label_rule']}, "
            f"mapped by {record['experiment']}.",
            "license": "other",
            "geofm:simulated": simulated,
            "geofm:task": record["task"],
            "geofm:experiment": record["experiment"],
            "geofm:head": record["head"],
            "geofm:model_id": record["model_id"],
            "geofm:encoder_start": record["encoder_start"],
            "geofm:label_rule": record["label_rule"],
            "geofm:label_collections": record["terms"]["labels"],
            "geofm:imagery": {
                "profile": record["imagery"]["profile"],
                "modalities": record["modalities"],
                "frames_needed": record["frames_needed"],
                "sources": record["terms"]["imagery"],
            },
            "geofm:notes": record["terms"]["notes"],
            "geofm:valid_times": [day["valid_time"] for day in record["days"]],
        },
    )
    item.stac_extensions += [_RASTER, CLASSIFICATION.format(version=_CLASSIFICATION_VERSION)]
    for source in record["terms"]["imagery"]:
        if "://" in source["source"]:
            link = pystac.Link("derived_from", source["source"], pystac.MediaType.JSON)
            link.title = source["collection"]
            item.add_link(link)
    for file in files:
        asset = pystac.Asset(
            href=f"./{file.path.relative_to(folder).as_posix()}",
            title=file.title,
            media_type=file.media_type,
            roles=list(file.roles),
        )
        item.add_asset(file.key, asset)
        FileExtension.ext(asset, add_if_missing=True).apply(
            checksum=_SHA256 + sha256_file(file.path), size=file.path.stat().st_size
        )
        if file.media_type == pystac.MediaType.COG:
            _describe_raster(asset, file.path, legend)
    item.stac_extensions = sorted(set(item.stac_extensions))
    said: dict[str, Any] = item.to_dict(include_self_link=False, transform_hrefs=False)
    return said


def _describe_raster(asset: pystac.Asset, path: Path, legend: Legend) -> None:
    with rasterio.open(path) as dataset:
        epsg = dataset.crs.to_epsg()
        ProjectionExtension.ext(asset, add_if_missing=True).apply(
            code=f"EPSG:{epsg}",
            bbox=list(dataset.bounds),
            shape=[dataset.height, dataset.width],
            transform=list(dataset.transform)[:6],
        )
        resolution = dataset.transform.a
    classes = [
        Classification.create(
            value=value,
            name=_slug(name),
            title=name,
            description=name,
            color_hint="".join(f"{part:02X}" for part in colour),
        ).to_dict()
        for value, (name, colour) in enumerate(zip(legend.classes, legend.colours, strict=True))
    ]
    nothing = Classification.create(
        value=NODATA, name="nodata", description="no data", nodata=True
    ).to_dict()
    common = {"data_type": "uint8", "nodata": NODATA, "raster:spatial_resolution": resolution}
    asset.extra_fields["bands"] = [
        {"name": "class", **common, "classification:classes": [*classes, nothing]},
        {
            "name": "confidence",
            "description": "probability of the class",
            **common,
            "raster:scale": 1 / 255,
            "raster:offset": 0,
        },
    ]


def _slug(name: str) -> str:
    """A class name of the characters the extension allows."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in name)


def _bbox(geometry: BaseGeometry) -> list[float]:
    """West, south, east, north; west is greater than east where it crosses the antimeridian."""
    west, south, east, north = geometry.bounds
    if west == -180 and east == 180:
        parts = [part.bounds for part in shapely.get_parts(geometry)]
        eastern = [b for b in parts if b[0] >= 0]
        western = [b for b in parts if b[2] <= 0]
        if len(eastern) + len(western) == len(parts):
            return [min(b[0] for b in eastern), south, max(b[2] for b in western), north]
    return [west, south, east, north]
