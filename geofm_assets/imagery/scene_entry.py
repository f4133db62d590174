"""The fields of an entry of items.json, each read or refused."""

import datetime as dt
from collections.abc import Mapping
from typing import Any, NamedTuple

from geofm_assets.core.errors import ImageryError
from geofm_assets.imagery.bands import COLLECTIONS

_FIX = "Correct items.json, or take the entry out of it"


class Terms(NamedTuple):
    """Under which terms a scene may be used, as its owner words it; None where that is unsaid."""

    licence: str | None
    attribution: str | None


def terms(entry: Mapping[str, Any], where: str) -> Terms:
    """`licence` and `attribution` of an entry.

    Raises:
        ImageryError: one of them is not text; says where.
    """
    for field in Terms._fields:
        value = entry.get(field)
        if value is not None and (not isinstance(value, str) or not value.strip()):
            raise ImageryError(f"{field} is not text: {value!r}", where=where, fix=_FIX)
    return Terms(entry.get("licence"), entry.get("attribution"))


def band_names(entry: Mapping[str, Any], collection: str, where: str) -> tuple[str, ...]:
    """Names of the file's bands; all the collection's bands must be among them.

    Raises:
        ImageryError: the field is not that; says where.
    """
    bands = entry.get("bands")
    if not isinstance(bands, list) or not all(isinstance(b, str) for b in bands):
        raise ImageryError("bands is not a list of names", where=where, fix=_FIX)
    if len(set(bands)) != len(bands):
        raise ImageryError("A band is named twice", where=where, fix=_FIX)
    missing = [b for b in COLLECTIONS[collection].band_names if b not in bands]
    if missing:
        raise ImageryError(
            f"The scene lacks {', '.join(missing)}",
            where=where,
            fix="Give every band of the collection; one that is not known may be all nodata",
        )
    return tuple(bands)


def moment(entry: Mapping[str, Any], field: str, where: str) -> dt.datetime:
    """A time with its zone, as UTC.

    Raises:
        ImageryError: the field is not that; says where.
    """
    text = entry.get(field)
    fix = "Write a time with its zone, as 2022-06-01T00:00:00Z"
    if not isinstance(text, str):
        raise ImageryError(f"{field} is not a time", where=where, fix=fix)
    try:
        time = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise ImageryError(f"{field} is not a time: {text!r}", where=where, fix=fix) from error
    if time.tzinfo is None:
        raise ImageryError(f"{field} has no time zone: {text!r}", where=where, fix=fix)
    return time.astimezone(dt.UTC)


def cloud_cover(entry: Mapping[str, Any], where: str) -> float | None:
    """Per cent, None if not stated.

    Raises:
        ImageryError: the field is not that; says where.
    """
    value = entry.get("cloud_cover")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
        raise ImageryError(f"cloud_cover is not a per cent: {value!r}", where=where, fix=_FIX)
    return float(value)


def flag(entry: Mapping[str, Any], field: str, where: str) -> bool:
    """True or false, false if not stated.

    Raises:
        ImageryError: the field is not that; says where.
    """
    value = entry.get(field, False)
    if not isinstance(value, bool):
        raise ImageryError(f"{field} is not true or false: {value!r}", where=where, fix=_FIX)
    return value
