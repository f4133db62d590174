"""Reference collections of the sample world, as an RDM mirror holds them."""

import datetime as dt
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import h3
import numpy as np
import pandas as pd
import shapely

from geofm_assets.core.errors import ConfigError
from geofm_assets.labels.worldcereal.collections import normalise_id
from geofm_assets.sample_world.files import write_atomically
from geofm_assets.sample_world.samples import Sample, outline, samples
from geofm_assets.sample_world.terrain import EPSG, to_degrees

__all__ = [
    "Sample",
    "change_collection",
    "listed",
    "samples",
    "withdraw_collection",
    "write_collection",
    "write_labels_csv",
]

LISTING = "collections.json"
_CREATED = dt.datetime(2025, 3, 1, tzinfo=dt.UTC)
_SUBSET_EVERY = 10  # rows a provider selects for its moderated subset: one in so many


def write_collection(
    mirror: Path,
    title: str,
    rows: Sequence[Sample],
    *,
    confidence: int,
    polygons: bool,
    method: str = "FieldObservationSurvey",
) -> str:
    """Add a simulated collection to a mirror, or replace the one of that name.

    As at the RDM there are two files, the full one and a subset of its rows, and the metadata
    names both.

    Args:
        mirror: folder of the mirror; made if absent.
        title: in the RDM's grammar, `year_region_identifier_(POINT|POLY)_(100|110|111)`.
        rows: its samples.
        confidence: of land cover and crop type, 0..100; also the mean of its quality scores.
        polygons: whether its geometries are outlines of fields instead of points.
        method: `typeOfObservationMethod`.

    Returns:
        Its id in the listing.
    """
    collection_id = normalise_id(title)
    folder = mirror / collection_id
    folder.mkdir(parents=True, exist_ok=True)
    frame = _frame(title, rows, confidence, polygons)
    full, subset = f"{title}.geoparquet", f"sample_{collection_id}.geoparquet"
    _write_frame(folder / full, frame)
    _write_frame(folder / subset, frame[frame["extract"] > 0])
    _write_json(folder / "metadata_items.json", _metadata(collection_id, full, subset, frame))
    records = [r for r in listed(mirror) if r["collectionId"] != collection_id]
    records.append(_record(collection_id, title, frame, confidence, polygons, method))
    _write_listing(mirror, records)
    return collection_id


def listed(mirror: Path) -> list[dict[str, Any]]:
    """Records of a mirror's listing; none if it has no listing yet."""
    path = mirror / LISTING
    return list(json.loads(path.read_text("utf-8"))["items"]) if path.exists() else []


def change_collection(
    mirror: Path, collection_id: str, *, drop_rows: int = 0, **fields: Any
) -> None:
    """Change a collection as its provider would: its record, its rows, and when it last changed.

    Args:
        mirror: folder of the mirror.
        collection_id: as listed.
        drop_rows: rows to take from the end of its file.
        fields: keys of its record and their new values, e.g. `confidenceCropType=50`.

    Raises:
        ConfigError: the mirror does not list it, or `drop_rows` leaves nothing.
    """
    records = listed(mirror)
    record = _find(records, collection_id, mirror)
    if drop_rows:
        items = json.loads((mirror / collection_id / "metadata_items.json").read_text("utf-8"))
        value = next(i["value"] for i in items if i["name"] == "GeoParquetDownloadUrl")
        frame = gpd.read_parquet(mirror / value)
        if drop_rows >= len(frame):
            raise ConfigError(f"It has {len(frame)} rows only", where=collection_id)
        _write_frame(mirror / value, frame.iloc[: len(frame) - drop_rows])
        record["featureCount"] = len(frame) - drop_rows
    before = dt.datetime.fromisoformat(record["lastModificationTime"] or record["creationTime"])
    record["lastModificationTime"] = _time(before + dt.timedelta(days=1))
    record.update(fields)
    _write_listing(mirror, records)


def withdraw_collection(mirror: Path, collection_id: str) -> None:
    """Take a collection out of the listing; its files stay, as they do at the RDM.

    Raises:
        ConfigError: the mirror does not list it.
    """
    records = listed(mirror)
    _find(records, collection_id, mirror)
    _write_listing(mirror, [r for r in records if r["collectionId"] != collection_id])


def write_labels_csv(
    path: Path, rows: Sequence[Sample], *, bad_rows: bool = True
) -> dict[str, int]:
    """Write labels as a person's CSV: own column names, three words for what is there.

    Columns: longitude, latitude (degrees), crop, date, simulated.

    Args:
        path: the file.
        rows: what to label.
        bad_rows: add four rows that cannot be used: a day that is none, a latitude of 95, no label,
            no longitude.

    Returns:
        How many of the rows that cannot be used are to be quarantined for which reason.
    """
    lon, lat = _degrees(rows)
    frame = pd.DataFrame(
        {
            "longitude": [repr(x) for x in lon.tolist()],
            "latitude": [repr(y) for y in lat.tolist()],
            "crop": ["crop" if s.land.cropland else "no crop" for s in rows],
            "date": [s.valid_time.isoformat() for s in rows],
            "simulated": "true",
        }
    )
    expected: dict[str, int] = {}
    if bad_rows:
        bad = pd.concat([frame.iloc[:1]] * 4, ignore_index=True)
        bad.loc[0, "date"] = "31/06/2022"
        bad.loc[1, "latitude"] = "95.0"
        bad.loc[2, "crop"] = ""
        bad.loc[3, "longitude"] = ""
        frame = pd.concat([frame, bad], ignore_index=True)
        expected = {"bad_coordinates": 2, "bad_date": 1, "missing_label": 1}
    text = frame.to_csv(index=False, lineterminator="\n")
    write_atomically(path, lambda part: part.write_text(text, "utf-8"))
    return expected


def _degrees(rows: Sequence[Sample]) -> tuple[np.ndarray, np.ndarray]:
    places = np.array([s.easting_northing for s in rows], dtype=float).reshape(-1, 2)
    return to_degrees(places[:, 0], places[:, 1])


def _frame(title: str, rows: Sequence[Sample], confidence: int, polygons: bool) -> gpd.GeoDataFrame:
    lon, lat = _degrees(rows)
    rng = np.random.default_rng([len(rows), *title.encode()])
    if polygons:
        metres = [outline(sample, number) for number, sample in enumerate(rows)]
        geometry = gpd.GeoSeries(metres, crs=EPSG).to_crs(4326).to_numpy()
        geometry = shapely.set_precision(geometry, 1e-7)
    else:
        geometry = shapely.points(lon, lat)
    scores = np.clip(confidence + rng.integers(-2, 3, (2, len(rows))), 0, 100)
    columns = {
        "sample_id": [f"{title}_{number:06d}" for number in range(len(rows))],
        "ewoc_code": np.array([s.ewoc_code for s in rows], dtype=np.int64),
        "valid_time": [s.valid_time.isoformat() for s in rows],
        "irrigation_status": np.zeros(len(rows), dtype=np.int64),
        "extract": (np.arange(len(rows)) % _SUBSET_EVERY == 0).astype(np.int64),
        "quality_score_lc": scores[0],
        "quality_score_ct": scores[1],
        "h3_l3_cell": [h3.latlng_to_cell(y, x, 3) for x, y in zip(lon, lat, strict=True)],
        "sampling_ewoc_code": [s.land.sampling_label for s in rows],
    }
    return gpd.GeoDataFrame(columns, geometry=geometry, crs=4326)


def _metadata(
    collection_id: str, full: str, subset: str, frame: gpd.GeoDataFrame
) -> list[dict[str, Any]]:
    counts = frame["ewoc_code"].value_counts().sort_index()
    stats = {"EwocStats": [{"Code": int(c), "Count": int(n)} for c, n in counts.items()]}
    values = {
        "SampleDownloadUrl": ("link", f"{collection_id}/{subset}"),
        "GeoParquetDownloadUrl": ("link", f"{collection_id}/{full}"),
        "codeStats": ("text", json.dumps(stats)),
        "Simulated": ("text", "SIMULATED by geofm_assets.sample_world; nothing was measured"),
    }
    return [
        {"id": number, "name": name, "type": kind, "value": value}
        for number, (name, (kind, value)) in enumerate(values.items(), start=1)
    ]


def _record(
    collection_id: str,
    title: str,
    frame: gpd.GeoDataFrame,
    confidence: int,
    polygons: bool,
    method: str,
) -> dict[str, Any]:
    crs84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
    days = [f"{day}T00:00:00Z" for day in (frame["valid_time"].min(), frame["valid_time"].max())]
    return {
        "collectionId": collection_id,
        "title": f"SIMULATED {title}",
        "featureCount": len(frame),
        "type": "Polygon" if polygons else "Point",
        "accessType": "Public",
        "typeOfObservationMethod": method,
        "confidenceLandCover": confidence,
        "confidenceCropType": confidence,
        "confidenceIrrigationType": 0,
        "ewocCodes": sorted({int(code) for code in frame["ewoc_code"]}),
        "irrTypes": [0],
        "extent": {
            "spatial": {"bbox": [[float(v) for v in frame.total_bounds]], "crs": crs84},
            "temporal": {"interval": [days]},
        },
        "additionalData": {"simulated": True},
        "creationTime": _time(_CREATED),
        "lastModificationTime": None,
    }


def _find(records: list[dict[str, Any]], collection_id: str, mirror: Path) -> dict[str, Any]:
    for record in records:
        if record["collectionId"] == collection_id:
            return record
    known = ", ".join(str(r["collectionId"]) for r in records) or "none"
    raise ConfigError(
        f"The mirror does not list {collection_id}", where=str(mirror), fix=f"It lists {known}"
    )


def _write_frame(path: Path, frame: gpd.GeoDataFrame) -> None:
    write_atomically(path, lambda part: frame.to_parquet(part, index=False, compression="snappy"))


def _write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=1) + "\n"
    write_atomically(path, lambda part: part.write_text(text, "utf-8"))


def _write_listing(mirror: Path, records: list[dict[str, Any]]) -> None:
    records = sorted(records, key=lambda r: str(r["collectionId"]))
    _write_json(mirror / LISTING, {"totalCount": len(records), "items": records})


def _time(moment: dt.datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
