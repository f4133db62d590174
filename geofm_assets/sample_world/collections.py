"""Reference collections over the sample world, in the shape of an RDM mirror."""

import datetime as dt
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import h3
import numpy as np
import pandas as pd
import shapely
from pyproj import Transformer

from geofm_assets.core.errors import ConfigError
from geofm_assets.sample_world.terrain import CRS, DISTRICT_PIXELS, PIXEL_M, District

VALID_TIME = dt.date(2022, 6, 1)
# Rows and columns of the sample points in a district: 360 m apart, so 32-pixel windows never meet.
_GRID = (20, 56, 92)
_CREATED = "2025-03-01T00:00:00Z"


@dataclass(frozen=True)
class Sample:
    """A labelled place: a pixel of a district."""

    district: District
    row: int
    column: int
    ewoc_code: int
    crop: str

    @property
    def easting_northing(self) -> tuple[float, float]:
        """Centre of the pixel, in metres of `CRS`."""
        return (
            self.district.easting + (self.column + 0.5) * PIXEL_M,
            self.district.northing - (self.row + 0.5) * PIXEL_M,
        )


def samples(
    places: Iterable[District], per_district: int, seed: int, offset: int = 0
) -> list[Sample]:
    """Labelled pixels, the same every time.

    Args:
        places: districts to sample.
        per_district: at most nine in each.
        seed: of their order and jitter.
        offset: pixels to move the grid by; another offset gives other places.
    """
    found = []
    for place in places:
        rng = np.random.default_rng([seed, 4, place.index, offset + DISTRICT_PIXELS])
        spots = [(row, column) for row in _GRID for column in _GRID]
        for number in rng.permutation(len(spots))[:per_district]:
            row, column = (int(v) + offset + int(rng.integers(-1, 2)) for v in spots[number])
            cover = place.cover_at(row, column)
            found.append(Sample(place, row, column, cover.ewoc_code, cover.crop))
    return found


def write_collection(
    mirror: Path, title: str, rows: Sequence[Sample], *, confidence: int, polygons: bool
) -> str:
    """Add a simulated collection to a mirror, or replace it; returns its id.

    Args:
        mirror: folder of the mirror; made if absent.
        title: in the RDM's grammar, e.g. `2022_SIM_SURVEY_POINT_110`.
        rows: its samples.
        confidence: land cover and crop type confidence, 0..100.
        polygons: whether its geometries are small field polygons (some concave), else points.
    """
    collection = "".join(c for c in title.lower() if c.isalnum())
    folder = mirror / collection
    folder.mkdir(parents=True, exist_ok=True)
    frame = _frame(title, rows, confidence, polygons)
    frame.to_parquet(folder / f"{title}.geoparquet", index=False, compression="snappy")
    value = f"{collection}/{title}.geoparquet"
    link = {"id": 1, "name": "GeoParquetDownloadUrl", "type": "link", "value": value}
    (folder / "metadata_items.json").write_text(json.dumps([link], indent=1) + "\n")
    records = [r for r in _records(mirror) if r["collectionId"] != collection]
    records.append(_record(collection, title, frame, confidence, polygons))
    _write_records(mirror, records)
    return collection


def change_collection(mirror: Path, collection_id: str, **fields: Any) -> None:
    """Change fields of a collection's listing (`confidenceLandCover=50`), as the RDM does."""
    records = _records(mirror)
    found = [r for r in records if r["collectionId"] == collection_id]
    if not found:
        raise ConfigError("The mirror has no such collection", where=collection_id)
    found[0].update(fields)
    _write_records(mirror, records)


def withdraw_collection(mirror: Path, collection_id: str) -> None:
    """Take a collection out of the listing; its files stay, as they do at the RDM."""
    _write_records(mirror, [r for r in _records(mirror) if r["collectionId"] != collection_id])


def write_labels_csv(path: Path, rows: Sequence[Sample]) -> None:
    """Write labels as a person's CSV: own column names, and four rows that cannot be used."""
    lon, lat = _lon_lat(rows)
    frame = pd.DataFrame(
        {
            "longitude": lon,
            "latitude": lat,
            "crop": ["no crop" if s.crop == "no crop" else "crop" for s in rows],
            "date": VALID_TIME.isoformat(),
        }
    )
    bad = frame.iloc[:4].copy().reset_index(drop=True)
    bad["longitude"] += 0.01
    bad.loc[0, "date"] = "31 June"
    bad.loc[1, "latitude"] = 95.0
    bad.loc[2, "crop"] = ""
    bad.loc[3, "longitude"] = float("nan")
    pd.concat([frame, bad]).to_csv(path, index=False)


def _lon_lat(rows: Sequence[Sample]) -> tuple[np.ndarray, np.ndarray]:
    places = np.array([s.easting_northing for s in rows], dtype=float).reshape(-1, 2)
    return Transformer.from_crs(CRS, 4326, always_xy=True).transform(places[:, 0], places[:, 1])


def _frame(title: str, rows: Sequence[Sample], confidence: int, polygons: bool) -> gpd.GeoDataFrame:
    lon, lat = _lon_lat(rows)
    geometry = gpd.GeoSeries(
        [
            _field(s, i) if polygons else shapely.Point(*s.easting_northing)
            for i, s in enumerate(rows)
        ],
        crs=CRS,
    ).to_crs(4326)
    columns = {
        "sample_id": [f"{title}_{i:06d}" for i in range(len(rows))],
        "ewoc_code": pd.array([s.ewoc_code for s in rows], dtype="int64"),
        "sampling_ewoc_code": [s.crop for s in rows],
        "valid_time": VALID_TIME.isoformat(),
        "irrigation_status": 0,
        "extract": 1,
        "quality_score_lc": confidence,
        "quality_score_ct": confidence,
        "h3_l3_cell": [h3.latlng_to_cell(y, x, 3) for x, y in zip(lon, lat, strict=True)],
    }
    return gpd.GeoDataFrame(columns, geometry=geometry.to_numpy(), crs=4326)


def _field(sample: Sample, number: int) -> shapely.Geometry:
    """A field of about 20 m around a sample; every fifth one is U-shaped."""
    x, y = sample.easting_northing
    box = shapely.box(x - 9, y - 9, x + 9, y + 9)
    if number % 5:
        return box
    notch = shapely.box(x - 3, y - 4, x + 3, y + 9)
    return shapely.difference(box, notch)


def _records(mirror: Path) -> list[dict[str, Any]]:
    path = mirror / "collections.json"
    return list(json.loads(path.read_text())["items"]) if path.exists() else []


def _write_records(mirror: Path, records: list[dict[str, Any]]) -> None:
    records = sorted(records, key=lambda r: str(r["collectionId"]))
    page = {"totalCount": len(records), "items": records}
    temporary = mirror / ".collections.json.tmp"
    temporary.write_text(json.dumps(page, indent=1) + "\n")
    temporary.replace(mirror / "collections.json")


def _record(
    collection: str, title: str, frame: gpd.GeoDataFrame, confidence: int, polygons: bool
) -> dict[str, Any]:
    west, south, east, north = (float(v) for v in frame.total_bounds)
    day = f"{VALID_TIME.isoformat()}T00:00:00Z"
    return {
        "collectionId": collection,
        "title": f"SIMULATED {title}",
        "featureCount": len(frame),
        "type": "Polygon" if polygons else "Point",
        "accessType": "Public",
        "typeOfObservationMethod": "FieldObservationSurvey",
        "confidenceLandCover": confidence,
        "confidenceCropType": confidence,
        "confidenceIrrigationType": 0,
        "extent": {
            "spatial": {
                "bbox": [[west, south, east, north]],
                "crs": "http://www.opengis.net/def/crs/OGC/1.3/CRS84",
            },
            "temporal": {"interval": [[day, day]]},
        },
        "additionalData": {"simulated": True},
        "creationTime": _CREATED,
        "lastModificationTime": None,
    }
