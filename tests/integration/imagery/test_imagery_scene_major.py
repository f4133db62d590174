"""Scene-major reading gives what rslearn's own materialization gives, pixel by pixel."""

import datetime as dt
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import rasterio
import rasterio.warp
from rasterio.crs import CRS

from geofm_assets.imagery.config import ImageryConfig
from geofm_assets.imagery.stock import CellRasters
from tests.imagery_scenes import (
    Scenes,
    WrittenCell,
    chips_of,
    make_points,
    make_rasters,
    packed,
    write_cell,
)

S2 = "sentinel2_l2a"
MONTHS = [dt.date(2022, month, 1) for month in (5, 6, 7)]


def scenes_with_gaps(folder: Path, epsg: int, left: float, top: float, seed: int) -> Scenes:
    """Three months; each has two scenes that overlap, with holes and clouds, one off the grid."""
    scenes = Scenes(folder, epsg, left, top, 128, seed)
    rng = np.random.default_rng(seed)
    for month in MONTHS:
        end = (month + dt.timedelta(days=32)).replace(day=1)
        for name, shift, nodata in (("a", (0, 0), 0), ("b", (640, 3), 65535)):
            pixels = scenes.sentinel2(month)
            pixels[:, rng.random((128, 128)) < 0.2] = nodata
            pixels[3, rng.random((128, 128)) < 0.1] = nodata  # one band only
            scenes.add(
                f"S2_{epsg}_{name}_{month:%Y-%m}.tif",
                pixels,
                "sentinel-2-l2a",
                month,
                end,
                nodata=nodata,
                shift=shift,
                cloud_cover=float(rng.integers(0, 90)),
            )
        radar = scenes.sentinel1(month)
        radar[:, rng.random((128, 128)) < 0.2] = np.nan
        scenes.add(f"S1_{epsg}_{month:%Y-%m}.tif", radar, "sentinel-1-rtc", month, end, nodata=None)
    return scenes


def two_zones(folder: Path) -> tuple[Scenes, pa.Table]:
    """Scenes in zones 32 and 33 about 12 E, and points on both sides of it."""
    entries = []
    for epsg in (32632, 32633):
        (x,), (y,) = rasterio.warp.transform(
            CRS.from_epsg(4326), CRS.from_epsg(epsg), [12.0], [42.4]
        )
        scenes = scenes_with_gaps(folder, epsg, round(x, -1) - 640, round(y, -1) + 640, seed=epsg)
        entries += scenes.entries
    scenes.entries = entries
    scenes.write_index()
    pixels = [(64, 64), (60, 40), (90, 70), (20, 100), (40, 64), (126, 64), (2, 2), (70, 126)]
    return scenes, make_points(pixels, scenes, valid_time=dt.date(2022, 6, 15))


def both(written: WrittenCell) -> list[CellRasters]:
    return [make_rasters(written, scene_major=way) for way in (True, False)]


def resample(dataset: Path, method: str) -> None:
    path = dataset / "config.json"
    config = json.loads(path.read_text())
    for name in (S2, "sentinel1"):
        config["layers"][name]["resampling_method"] = method
    path.write_text(json.dumps(config))


@pytest.mark.parametrize("coverages", [1, 2, 3])
@pytest.mark.parametrize("method", ["nearest", "bilinear", "cubic"])
def test_pixels_are_rslearns(tmp_path: Path, method: str, coverages: int) -> None:
    scenes, points = two_zones(tmp_path / "scenes")
    imagery = ImageryConfig(months=3, coverages=coverages)
    written = write_cell(tmp_path / "dataset", scenes, points, 12, imagery)
    assert len(set(written.windows["crs"].to_pylist())) == 2
    resample(written.dataset, method)
    ours, theirs = both(written)
    # files are named by their content: pixels, timestamps, items and statistics are the same
    assert ours == theirs
    opened = packed(written)
    assert opened.layers[S2].present.any(axis=1).all()
    assert any(len(step) > 1 for window in opened.layers[S2].groups for step in window)


def test_strips_are_read_as_tiles_are(tmp_path: Path) -> None:
    scenes = Scenes(tmp_path / "scenes")
    for month in MONTHS:
        scenes.add_month(month)
    scenes.write_index()
    points = make_points([(20, 20), (64, 64), (63, 100)], scenes)
    imagery = ImageryConfig(months=3)
    written = write_cell(tmp_path / "dataset", scenes, points, 16, imagery)
    make_rasters(written)
    tiles = packed(written).layers
    for entry in scenes.entries:
        path = scenes.folder / entry["file"]
        with rasterio.open(path) as source:
            pixels, profile = source.read(), source.profile
        profile |= {"tiled": False, "blockysize": 3, "interleave": "band"}
        profile.pop("blockxsize")
        path.unlink()
        with rasterio.open(path, "w", **profile) as target:
            target.write(pixels)
    chips_of(written).rename(tmp_path / "tiles")
    make_rasters(written)
    strips = packed(written).layers
    for layer in tiles:
        assert (tiles[layer].checksums == strips[layer].checksums).all()


def test_each_scene_is_opened_once_and_each_block_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = Scenes(tmp_path / "scenes", side=256)
    for month in MONTHS:
        scenes.add_month(month)
    scenes.write_index()
    points = make_points([(x, y) for x in range(20, 240, 30) for y in range(20, 240, 30)], scenes)
    imagery = ImageryConfig(months=3)
    written = write_cell(tmp_path / "dataset", scenes, points, 8, imagery)
    opened: list[str] = []
    read: list[tuple[str, int, int]] = []

    class Spy:
        def __init__(self, path: Path) -> None:
            self.path, self.source = str(path), rasterio.open(path)
            opened.append(self.path)

        def __getattr__(self, name: str) -> object:
            return getattr(self.source, name)

        def read(self, window: object) -> np.ndarray:
            height, width = self.source.block_shapes[0]
            for row in range(
                window.row_off // height, -(-(window.row_off + window.height) // height)
            ):
                for col in range(
                    window.col_off // width, -(-(window.col_off + window.width) // width)
                ):
                    read.append((self.path, row, col))
            return self.source.read(window=window)

    monkeypatch.setattr("geofm_assets.imagery.scene_reader.rasterio", SimpleNamespace(open=Spy))
    make_rasters(written)
    assert len(opened) == len(set(opened)) == 4
    assert len(read) == len(set(read)) > 4
