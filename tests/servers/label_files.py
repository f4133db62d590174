"""Small label files and mirrors for tests."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import shapely

GOOD_CODE = 1101010000
COLLECTION_ROW: dict[str, Any] = {
    "collection_id": "2021tstpoint110",
    "simulated": False,
    "west": None,
    "south": None,
    "east": None,
    "north": None,
}


def geoparquet(
    path: Path,
    geometries: list[Any],
    *,
    drop: tuple[str, ...] = (),
    geo: bool = True,
    crs: dict[str, Any] | None = None,
    **columns: Any,
) -> Path:
    """A WorldCereal-like GeoParquet; columns not given get good values.

    Args:
        path: where to write it.
        geometries: shapely geometries, None, or raw bytes.
        drop: columns to leave out.
        geo: whether to write GeoParquet metadata.
        crs: PROJJSON of the geometry.
        **columns: values by column name.
    """
    count = len(geometries)
    wkb = [g if g is None or isinstance(g, bytes) else shapely.to_wkb(g) for g in geometries]
    values: dict[str, Any] = {
        "sample_id": [f"s{i:04d}" for i in range(count)],
        "ewoc_code": pa.array([GOOD_CODE] * count, pa.int64()),
        "valid_time": ["2021-06-01"] * count,
        "quality_score_lc": pa.array([95] * count, pa.int64()),
        "quality_score_ct": pa.array([94] * count, pa.int64()),
        "irrigation_status": pa.array([0] * count, pa.int64()),
        "extract": pa.array([1] * count, pa.int64()),
        "geometry": pa.array(wkb, pa.binary()),
    } | columns
    table = pa.table({name: value for name, value in values.items() if name not in drop})
    if geo:
        description: dict[str, Any] = {"encoding": "WKB", "geometry_types": []}
        if crs is not None:
            description["crs"] = crs
        metadata = {
            "version": "1.1.0",
            "primary_column": "geometry",
            "columns": {"geometry": description},
        }
        table = table.replace_schema_metadata({"geo": json.dumps(metadata)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def record(collection_id: str, **fields: Any) -> dict[str, Any]:
    """A record of the RDM's listing; fields not given get good values."""
    return {
        "collectionId": collection_id,
        "title": collection_id.upper(),
        "featureCount": 3,
        "type": "Point",
        "accessType": "Public",
        "typeOfObservationMethod": "FieldObservationSurvey",
        "confidenceLandCover": 97,
        "confidenceCropType": 95,
        "extent": {"spatial": {"bbox": [[5.0, 45.0, 15.0, 50.0]]}},
        "creationTime": "2025-01-24T06:53:26.991638",
        "lastModificationTime": None,
    } | fields


def mirror(folder: Path, *collection_ids: str) -> Path:
    """A mirror folder with three points in each collection."""
    for number, collection_id in enumerate(collection_ids):
        points = [shapely.Point(10 + number, 47 + i / 10) for i in range(3)]
        home = folder / collection_id
        ids = [f"{collection_id}-{i}" for i in range(3)]
        geoparquet(home / f"{collection_id}.geoparquet", points, sample_id=ids)
        items = [
            {
                "id": 1,
                "name": "GeoParquetDownloadUrl",
                "type": "link",
                "value": f"{collection_id}/{collection_id}.geoparquet",
            }
        ]
        (home / "metadata_items.json").write_text(json.dumps(items))
    folder.mkdir(parents=True, exist_ok=True)
    listing = {"totalCount": len(collection_ids), "items": [record(c) for c in collection_ids]}
    (folder / "collections.json").write_text(json.dumps(listing))
    return folder


def day(text: str) -> dt.date:
    """A date from ISO text."""
    return dt.date.fromisoformat(text)
