"""A request for a map: areas, and for when. A GeoJSON file becomes a checked value.

Each feature carries `oe_start_time` and `oe_end_time` (ISO 8601 with a timezone), the time range
its window has in training: the map is for the day `windows.days_before` after the start.
"""

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry

from geofm_assets.core.errors import RequestError
from geofm_assets.core.hashing import json_digest
from geofm_assets.prediction.geojson import polygons, require_wgs84

START, END = "oe_start_time", "oe_end_time"
_DIGEST_LENGTH = 12


@dataclass(frozen=True)
class Area:
    """One feature of a request.

    Attributes:
        name: how errors and records call it.
        geometry: valid polygons in degrees, EPSG:4326, cut at the antimeridian.
        start: beginning of its time range, UTC.
        end: end of its time range, UTC, after `start`.
        properties: the feature's other properties, JSON-encodable.
    """

    name: str
    geometry: BaseGeometry
    start: dt.datetime
    end: dt.datetime
    properties: Mapping[str, Any]


@dataclass(frozen=True)
class Request:
    """A checked request.

    Attributes:
        areas: one or more, in the file's order; areas of different times do not overlap.
    """

    areas: tuple[Area, ...]

    @property
    def digest(self) -> str:
        """Digest of places and times, whatever the order and what they were read from."""
        said = [
            [shapely.to_wkb(shapely.normalize(a.geometry)).hex(), *(t.isoformat() for t in times)]
            for a in self.areas
            for times in [(a.start, a.end)]
        ]
        return json_digest(sorted(said))

    def groups(self, days_before: int) -> dict[dt.date, BaseGeometry]:
        """What to map for which day: areas by their valid_time, oldest first.

        Args:
            days_before: `windows.days_before` of the task.
        """
        days: dict[dt.date, list[BaseGeometry]] = {}
        for area in self.areas:
            day = (area.start + dt.timedelta(days=days_before)).date()
            days.setdefault(day, []).append(area.geometry)
        return {day: shapely.union_all(days[day]) for day in sorted(days)}

    def as_geojson(self) -> dict[str, Any]:
        """The request as plain JSON: a FeatureCollection that reads back as the same request."""
        features = [
            {
                "type": "Feature",
                "id": area.name,
                "geometry": json.loads(json.dumps(shapely.geometry.mapping(area.geometry))),
                "properties": {
                    **area.properties,
                    START: area.start.isoformat(),
                    END: area.end.isoformat(),
                },
            }
            for area in self.areas
        ]
        return {"type": "FeatureCollection", "features": features}


def request_id(request: Request, *chosen: object) -> str:
    """A name for a map of the request: safe as a path and a partition key.

    It begins with the first day of the request, such as `2022-06-01-0123456789ab`. What the file
    was called is not in it: the same request under another name is the same map.

    Args:
        request: what is mapped.
        chosen: everything else that makes it another map: experiment, mask and its values, imagery.
    """
    first = min(area.start for area in request.areas).date().isoformat()
    return f"{first}-{json_digest([request.digest, *chosen])[:_DIGEST_LENGTH]}"


def read_request(path: Path) -> Request:
    """A request from a GeoJSON file.

    Raises:
        RequestError: the file cannot be used or is of too large an area; names it and the feature.
    """
    from geofm_assets.prediction.partition import require_divisible

    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RequestError("There is no such file", where=f"--request {path}") from error
    except (ValueError, OSError) as error:
        raise RequestError(f"Not JSON: {error}", where=f"--request {path}") from error
    request = parse_request(document, f"--request {path}")
    for together in request.groups(0).values():  # as a map's days group them, all as much later
        require_divisible(together, f"--request {path}")
    return request


def parse_request(document: Any, where: str) -> Request:
    """A request from a parsed FeatureCollection.

    Args:
        document: the parsed JSON.
        where: what it was read from, for errors.

    Raises:
        RequestError: it cannot be used; names the feature.
    """
    if not isinstance(document, Mapping) or document.get("type") != "FeatureCollection":
        raise RequestError("Not a FeatureCollection", where=where, fix="Wrap the features in one")
    require_wgs84(document, where)
    features = document.get("features")
    if not isinstance(features, list) or not features:
        raise RequestError("The request has no features", where=where, fix="Add a polygon")
    areas = tuple(_area(feature, number, where) for number, feature in enumerate(features))
    _require_apart(areas, where)
    return Request(areas)


def _area(feature: Any, number: int, where: str) -> Area:
    if not isinstance(feature, Mapping) or feature.get("type") != "Feature":
        raise RequestError("Not a Feature", where=f"{where}, features[{number}]")
    name = str(feature["id"]) if feature.get("id") is not None else f"features[{number}]"
    place = f"{where}, features[{number}]"
    place += f" (id {name!r})" if feature.get("id") is not None else ""
    require_wgs84(feature, place)
    geometry = polygons(feature.get("geometry"), place)
    properties = feature.get("properties")
    if not isinstance(properties, Mapping):
        properties = {}
    start, end = _moment(properties, START, place), _moment(properties, END, place)
    if end <= start:
        raise RequestError(
            f"{END} ({end.isoformat()}) is not after {START} ({start.isoformat()})",
            where=place,
            fix="Swap or correct them",
        )
    others = {key: value for key, value in properties.items() if key not in (START, END)}
    return Area(name, geometry, start, end, others)


def _moment(properties: Mapping[str, Any], key: str, where: str) -> dt.datetime:
    text = properties.get(key)
    fix = f"Write {key} as 2022-06-01T00:00:00Z"
    if text is None:
        raise RequestError(f"The feature has no {key}", where=where, fix=fix)
    try:
        moment = dt.datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise RequestError(f"{key} is not an ISO 8601 time: {text!r}", where=where, fix=fix) from (
            error
        )
    if moment.tzinfo is None:
        raise RequestError(f"{key} has no timezone: {text!r}", where=where, fix=fix)
    return moment.astimezone(dt.UTC)


def _require_apart(areas: tuple[Area, ...], where: str) -> None:
    """One place can be mapped for one time only."""
    tree = shapely.STRtree([area.geometry for area in areas])
    for number, area in enumerate(areas):
        for other in sorted(tree.query(area.geometry, predicate="intersects").tolist()):
            against = areas[other]
            same = (against.start, against.end) == (area.start, area.end)
            if other <= number or same:
                continue
            if shapely.intersection(area.geometry, against.geometry).area > 0:
                raise RequestError(
                    f"Features {area.name!r} and {against.name!r} overlap and have different times",
                    where=where,
                    fix="Ask for them in two requests: a place of a map has one time",
                )
