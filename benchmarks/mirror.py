"""Write a mirror of the reference data module: listing, metadata and GeoParquet, all SIMULATED."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from geofm_assets.labels.worldcereal.collections import normalise_id

ROW_GROUP = 1 << 19
SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("ewoc_code", pa.int64()),
        ("sampling_ewoc_code", pa.string()),
        ("valid_time", pa.string()),
        ("irrigation_status", pa.int64()),
        ("quality_score_lc", pa.int64()),
        ("quality_score_ct", pa.int64()),
        ("extract", pa.int64()),
        ("h3_l3_cell", pa.string()),
        ("ref_id", pa.string()),
        ("geometry", pa.binary()),
    ]
)
_SAID = "SIMULATED for benchmarks of geofm_assets; nothing was measured"
_GEO = {
    "version": "1.1.0",
    "primary_column": "geometry",
    "columns": {"geometry": {"encoding": "WKB", "geometry_types": []}},
}


def write_collection(
    mirror: Path, title: str, groups: Iterable[pa.Table], *, box: Sequence[float], polygons: bool
) -> dict[str, Any]:
    """Stream a collection's file to disk and write its metadata.

    Args:
        mirror: folder of the mirror.
        title: the collection's name, in the RDM's grammar.
        groups: tables of SCHEMA, each a row group.
        box: west, south, east, north of its places, degrees.
        polygons: whether its type is Polygon.

    Returns:
        Its record for the listing.
    """
    collection_id = normalise_id(title)
    folder = mirror / collection_id
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{title}.geoparquet"
    part = folder / f".{name}.part"
    schema = SCHEMA.with_metadata({"geo": json.dumps(_GEO), "simulated": "true"})
    rows = 0
    with pq.ParquetWriter(part, schema, compression="snappy") as writer:
        for table in groups:
            # one chunk a column: how rows were generated must not show in the pages
            whole = table.combine_chunks().replace_schema_metadata(schema.metadata)
            writer.write_table(whole, row_group_size=ROW_GROUP)
            rows += table.num_rows
    part.replace(folder / name)
    items = {
        "GeoParquetDownloadUrl": ("link", f"{collection_id}/{name}"),
        "Simulated": ("text", _SAID),
    }
    metadata = [
        {"id": number, "name": key, "type": kind, "value": value}
        for number, (key, (kind, value)) in enumerate(items.items(), start=1)
    ]
    _write_json(folder / "metadata_items.json", metadata)
    return _record(collection_id, title, rows, box, polygons)


def write_listing(mirror: Path, records: Sequence[dict[str, Any]]) -> None:
    """Write collections.json; last, so that a mirror with a listing is a whole one."""
    ordered = sorted(records, key=lambda record: str(record["collectionId"]))
    _write_json(mirror / "collections.json", {"totalCount": len(ordered), "items": ordered})


def add_to_listing(mirror: Path, record: dict[str, Any]) -> None:
    """List one more collection, or another state of it."""
    listed = json.loads((mirror / "collections.json").read_text("utf-8"))["items"]
    others = [r for r in listed if r["collectionId"] != record["collectionId"]]
    write_listing(mirror, [*others, record])


def _record(
    collection_id: str, title: str, rows: int, box: Sequence[float], polygons: bool
) -> dict[str, Any]:
    crs84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
    return {
        "collectionId": collection_id,
        "title": f"SIMULATED {title}",
        "featureCount": rows,
        "type": "Polygon" if polygons else "Point",
        "accessType": "Public",
        "typeOfObservationMethod": "FormalDeclaration" if polygons else "FieldObservationSurvey",
        "confidenceLandCover": 96,
        "confidenceCropType": 95,
        "confidenceIrrigationType": 0,
        "ewocCodes": [],
        "irrTypes": [0],
        "extent": {"spatial": {"bbox": [[float(side) for side in box]], "crs": crs84}},
        "additionalData": {"simulated": True},
        "creationTime": "2025-03-01T00:00:00Z",
        "lastModificationTime": None,
    }


def _write_json(path: Path, value: Any) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(value, indent=1) + "\n", "utf-8")
    part.replace(path)
