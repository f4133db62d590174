"""Small folders of scenes and sampled points on them, for tests of windows and imagery."""

import datetime as dt
import json
import shutil
import tempfile
import uuid
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import h3
import numpy as np
import pyarrow as pa
import rasterio
import rasterio.warp
from affine import Affine
from rasterio.crs import CRS

from geofm_assets.imagery.cell_file import CellFile, open_cell_file
from geofm_assets.imagery.cell_rasters import make_cell_file
from geofm_assets.imagery.config import ImageryConfig
from geofm_assets.imagery.dataset import ensure_dataset
from geofm_assets.imagery.stock import CellRasters
from geofm_assets.sampling.schema import SAMPLED_POINT
from geofm_assets.windows.config import WindowsConfig
from geofm_assets.windows.geometry import windows_for_points
from geofm_assets.windows.write import write_window_group

S2_BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
VEGETATION = (250, 300, 600, 350, 900, 2200, 2700, 2900, 3000, 3100, 1700, 800)
SOIL = (800, 1000, 1400, 1900, 2200, 2400, 2600, 2750, 2850, 2900, 3600, 3000)
VALID_TIME = dt.date(2022, 6, 15)
_MADE = tempfile.TemporaryDirectory(prefix="geofm-scenes-")


@dataclass
class Scenes:
    """A folder of monthly scenes being made.

    One Sentinel-2 and one Sentinel-1 scene a month, 10 m, square, in one UTM zone.
    """

    folder: Path
    epsg: int = 32632
    left: float = 500_000
    top: float = 4_700_000
    side: int = 128
    seed: int = 0
    entries: list[dict[str, Any]] = field(default_factory=list)

    def sentinel2(self, month: dt.date) -> np.ndarray:
        """(12, side, side) in S2_BANDS order."""
        rng = np.random.default_rng([self.seed, month.year, month.month])
        green = np.clip(rng.normal(0.3 + 0.05 * month.month, 0.25, (self.side, self.side)), 0, 1)
        vegetation, soil = (np.array(s, dtype=float)[:, None, None] for s in (VEGETATION, SOIL))
        mixed = green * vegetation + (1 - green) * soil
        return (mixed * rng.normal(1, 0.03, mixed.shape)).clip(1).astype(np.uint16)

    def sentinel1(self, month: dt.date) -> np.ndarray:
        """(2, side, side) dB."""
        rng = np.random.default_rng([self.seed, month.year, month.month, 1])
        vv = rng.normal(-11, 2, (self.side, self.side))
        return np.stack([vv, vv - rng.normal(6, 1, vv.shape)]).astype(np.float32)

    def add(
        self,
        name: str,
        pixels: np.ndarray,
        collection: str,
        start: dt.date,
        end: dt.date,
        *,
        nodata: float | None = -32768.0,
        describe: bool = False,
        bands: tuple[str, ...] | None = None,
        shift: tuple[float, float] = (0, 0),
        **extra: Any,
    ) -> Path:
        """Write one scene and its entry."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / name
        names = bands or (S2_BANDS if collection == "sentinel-2-l2a" else ("vv", "vh"))
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            count=pixels.shape[0],
            height=pixels.shape[1],
            width=pixels.shape[2],
            dtype=pixels.dtype,
            crs=CRS.from_epsg(self.epsg),
            transform=Affine(10, 0, self.left + shift[0], 0, -10, self.top + shift[1]),
            nodata=nodata,
            tiled=True,
            blockxsize=64,
            blockysize=64,
            compress="deflate",
        ) as target:
            target.write(pixels)
            if describe:
                target.descriptions = names
        self.entries.append(
            {
                "file": name,
                "collection": collection,
                "bands": list(names),
                "start": f"{start}T00:00:00Z",
                "end": f"{end}T00:00:00Z",
                **extra,
            }
        )
        return path

    def add_month(self, month: dt.date, *, s2: bool = True, s1: bool = True, **extra: Any) -> None:
        """Write the scenes of a month."""
        end = (month + dt.timedelta(days=32)).replace(day=1)
        label = f"{month:%Y-%m}"
        if s2:
            pixels = self.sentinel2(month)
            self.add(f"S2_{label}.tif", pixels, "sentinel-2-l2a", month, end, nodata=0, **extra)
        if s1:
            self.add(
                f"S1_{label}.tif", self.sentinel1(month), "sentinel-1-rtc", month, end, **extra
            )

    def write_index(self) -> Path:
        """Write items.json."""
        (self.folder / "items.json").write_text(json.dumps(self.entries))
        return self.folder


def months(first: dt.date = dt.date(2021, 11, 1), count: int = 15) -> list[dt.date]:
    """First days of consecutive months."""
    found = [first]
    while len(found) < count:
        found.append((found[-1] + dt.timedelta(days=32)).replace(day=1))
    return found


def make_scenes(folder: Path, skip: tuple[str, ...] = (), **options: Any) -> Scenes:
    """Fifteen months of scenes about VALID_TIME, those named in `skip` ("S2_2022-03") left out."""
    made = _all_months(tuple(sorted(options.items())))
    scenes = Scenes(folder, **options)
    folder.mkdir(parents=True, exist_ok=True)
    for entry in made.entries:
        if Path(entry["file"]).stem not in skip:
            shutil.copyfile(made.folder / entry["file"], folder / entry["file"])
            scenes.entries.append(dict(entry))
    scenes.write_index()
    return scenes


@cache
def _all_months(options: tuple[tuple[str, Any], ...]) -> Scenes:
    """Made once in a process, to be copied."""
    scenes = Scenes(Path(_MADE.name) / str(uuid.uuid4()), **dict(options))
    for month in months():
        scenes.add_month(month)
    return scenes


def make_points(
    pixels: list[tuple[int, int]],
    scenes: Scenes,
    valid_time: dt.date = VALID_TIME,
    split: str = "train",
    classes: tuple[str, ...] = ("Cropland", "Non-Cropland"),
) -> pa.Table:
    """SAMPLED_POINT rows at the middle of (column, row) pixels of the scenes."""
    xs = [scenes.left + 10 * column + 5 for column, _ in pixels]
    ys = [scenes.top - 10 * row - 5 for _, row in pixels]
    lons, lats = rasterio.warp.transform(CRS.from_epsg(scenes.epsg), CRS.from_epsg(4326), xs, ys)
    cell = h3.latlng_to_cell(lats[0], lons[0], 3)
    rows = [
        {
            "sample_id": f"sample_{i}",
            "collection_id": "2022testpoint110",
            "lon": lon,
            "lat": lat,
            "h3_l3_cell": h3.latlng_to_cell(lat, lon, 3),
            "valid_time": valid_time,
            "label_raw": "1101060000",
            "ewoc_code": 1101060000,
            "quality_score_lc": 90,
            "quality_score_ct": 80,
            "irrigation_status": 0,
            "extract": 1,
            "point_rule": "point",
            "simulated": True,
            "source_row": i,
            "h3_cell": cell,
            "class_id": i % len(classes),
            "class_name": classes[i % len(classes)],
            "sample_key": i,
            "split_unit": cell,
            "split": split,
        }
        for i, (lon, lat) in enumerate(zip(lons, lats, strict=True))
    ]
    return pa.Table.from_pylist(rows, schema=SAMPLED_POINT)


@dataclass(frozen=True)
class WrittenCell:
    """A dataset with the windows of one cell written."""

    dataset: Path
    cell: str
    windows: pa.Table
    points: pa.Table


def write_cell(
    root: Path,
    scenes: Scenes,
    points: pa.Table,
    size: int = 8,
    imagery: ImageryConfig | None = None,
) -> WrittenCell:
    """Make the dataset and the windows of the points' cell."""
    config = imagery or ImageryConfig()
    ensure_dataset(root, config, str(scenes.folder), None, layout="classic")
    cell = points["h3_cell"][0].as_py()
    windows = windows_for_points(points, WindowsConfig(size=size))
    write_window_group(root, cell, windows)
    return WrittenCell(root, cell, windows, points)


def make_rasters(
    written: WrittenCell, previous: str | None = None, *, scene_major: bool = True
) -> CellRasters:
    """The cell's packed file, in `chips_of`, and its inventory."""
    return make_cell_file(
        written.dataset,
        written.dataset.with_name("scratch"),
        written.cell,
        written.windows,
        chips_of(written),
        previous,
        scene_major=scene_major,
    )


def chips_of(written: WrittenCell) -> Path:
    """Where `make_rasters` puts the packed file."""
    return written.dataset.with_name(f"{written.dataset.name}-chips")


def packed(written: WrittenCell) -> CellFile:
    """The only packed file."""
    (path,) = chips_of(written).glob("rasters-*.safetensors")
    return open_cell_file(path, verify=True)
