"""The listing of reference collections: records to a table, the filter, what changed."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.core.errors import LabelFileError
from geofm_assets.labels.config import MinConfidence
from geofm_assets.labels.schema import COLLECTION

UNSTATED = "unstated"
"""Stands where a record leaves a descriptive text out."""
_CURSOR_COLUMNS = (
    "modified_at",
    "feature_count",
    "confidence_land_cover",
    "confidence_crop_type",
)


def normalise_id(text: str) -> str:
    """A collection id as a key: ASCII letters and digits only, lower case.

    The reference data module writes the same collection as `2017_AF_One-Acre-Fund-MEL_POINT_110`,
    `2017_af_oneacrefundmel_point_110` and `2017afoneacrefundmelpoint110`.

    Raises:
        LabelFileError: nothing is left.
    """
    key = re.sub(r"[^a-z0-9]", "", text.lower())
    if not key:
        raise LabelFileError(
            f"Collection id {text!r} has neither letters nor digits", fix="Correct the listing"
        )
    return key


def collections_table(records: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Records of the listing as COLLECTION, sorted by collection_id.

    A record listed twice (the listing moved between two pages) counts once, as last modified.

    Raises:
        LabelFileError: a record lacks `collectionId` or `featureCount`, or two collections have ids
            that differ in punctuation or case only.
    """
    rows: dict[str, dict[str, Any]] = {}
    for record in records:
        row = _row(record)
        other = rows.get(row["collection_id"])
        if other is not None and other["rdm_id"] != row["rdm_id"]:
            raise LabelFileError(
                f"Collections {other['rdm_id']!r} and {row['rdm_id']!r} have the same key",
                where=row["collection_id"],
                fix="Rename one of them in the listing",
            )
        if other is None or _recency(row) > _recency(other):
            rows[row["collection_id"]] = row
    return pa.Table.from_pylist([rows[key] for key in sorted(rows)], schema=COLLECTION)


def _recency(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["modified_at"], json.dumps(row, sort_keys=True, default=str)


def _row(record: Mapping[str, Any]) -> dict[str, Any]:
    rdm_id = record.get("collectionId")
    if not rdm_id:
        raise LabelFileError(
            "A record of the listing has no collectionId", where=json.dumps(record)[:200]
        )
    west, south, east, north = _box(record)
    return {
        "collection_id": normalise_id(str(rdm_id)),
        "rdm_id": str(rdm_id),
        "title": str(record.get("title") or rdm_id),
        "feature_count": _count(record),
        "type": str(record.get("type") or UNSTATED),
        "access_type": str(record.get("accessType") or UNSTATED),
        "observation_method": str(record.get("typeOfObservationMethod") or UNSTATED),
        "confidence_land_cover": _number(record, "confidenceLandCover"),
        "confidence_crop_type": _number(record, "confidenceCropType"),
        # The time of the last change is null until there was one.
        "modified_at": str(
            record.get("lastModificationTime") or record.get("creationTime") or UNSTATED
        ),
        "west": west,
        "south": south,
        "east": east,
        "north": north,
        "simulated": _simulated(record),
    }


def _number(record: Mapping[str, Any], field: str) -> float | None:
    value = record.get(field)
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise LabelFileError(
            f"{field} {value!r} is not a number", where=f"collection {record['collectionId']}"
        ) from error
    return None if math.isnan(number) else number


def _count(record: Mapping[str, Any]) -> int:
    number = _number(record, "featureCount")
    if number is None or number < 0 or number != int(number):
        raise LabelFileError(
            f"featureCount {record.get('featureCount')!r} is not a count",
            where=f"collection {record['collectionId']}",
        )
    return int(number)


def _box(record: Mapping[str, Any]) -> tuple[float | None, ...]:
    """West, south, east, north of the first bounding box; all None where there is none."""
    try:
        box = [float(value) for value in record["extent"]["spatial"]["bbox"][0]]
    except (KeyError, IndexError, TypeError, ValueError):
        return (None,) * 4
    if len(box) == 6:  # with heights
        box = [box[0], box[1], box[3], box[4]]
    on_globe = len(box) == 4 and all(map(math.isfinite, box))
    on_globe = on_globe and max(abs(box[0]), abs(box[2])) <= 180
    on_globe = on_globe and -90 <= box[1] <= box[3] <= 90
    return tuple(box) if on_globe else (None,) * 4


def _simulated(record: Mapping[str, Any]) -> bool:
    """Whether the record says, at its top or in additionalData, that it is simulated."""
    more = record.get("additionalData")
    if isinstance(more, str):
        try:
            more = json.loads(more)
        except ValueError:
            more = None  # free text, which the module allows, says nothing about simulation
    nested = more.get("simulated") if isinstance(more, Mapping) else None
    return record.get("simulated") is True or nested is True


def accepted(table: pa.Table, minimum: MinConfidence) -> pa.Table:
    """Collections with both confidences at or above the thresholds; a missing one drops out."""
    land_cover = pc.greater_equal(table["confidence_land_cover"], float(minimum.land_cover))
    crop_type = pc.greater_equal(table["confidence_crop_type"], float(minimum.crop_type))
    return table.filter(pc.fill_null(pc.and_(land_cover, crop_type), False))


@dataclass(frozen=True)
class CollectionChanges:
    """Differences between two listings; ids sorted.

    Attributes:
        new: listed now, not before.
        changed: listed in both, with another time, count or confidence.
        vanished: listed before, not now.
    """

    new: tuple[str, ...]
    changed: tuple[str, ...]
    vanished: tuple[str, ...]

    def __bool__(self) -> bool:
        """Whether anything differs."""
        return bool(self.new or self.changed or self.vanished)


def cursor(table: pa.Table) -> dict[str, list[Any]]:
    """What a sensor remembers of a listing, JSON-encodable.

    By collection id: [modified_at, feature_count, confidence_land_cover, confidence_crop_type].
    """
    rows = table.select(["collection_id", *_CURSOR_COLUMNS]).to_pylist()
    return {row["collection_id"]: [row[name] for name in _CURSOR_COLUMNS] for row in rows}


def changes(old: Mapping[str, list[Any]], new: Mapping[str, list[Any]]) -> CollectionChanges:
    """What happened between two cursors."""
    return CollectionChanges(
        new=tuple(sorted(new.keys() - old.keys())),
        changed=tuple(sorted(k for k in new.keys() & old.keys() if list(new[k]) != list(old[k]))),
        vanished=tuple(sorted(old.keys() - new.keys())),
    )
