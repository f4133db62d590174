"""Generate monthly Sentinel-2 and Sentinel-1 scenes and labelled points in them, all SIMULATED.

`python -m benchmarks.generate_scenes FOLDER --cells 42 --windows 48` makes a mirror (one
collection of points) and a folder of scenes with items.json. Every cell has one site of a few
kilometres, imaged by two scenes a month that overlap in the middle; some windows lie across their
edges. Pixels are plausible enough for the band contract, and no more.
"""

import argparse
import datetime as dt
import itertools
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h3
import numpy as np
import pyarrow as pa
import pyproj
import rasterio
from affine import Affine

from benchmarks.disk import require_space
from benchmarks.mirror import SCHEMA, write_collection, write_listing
from benchmarks.wkb import draw_shapes

PIXEL_M = 10.0
WINDOW_PX = 32
_MARGIN_PX = WINDOW_PX // 2 + 2
MONTHS = tuple(dt.date(2020 + (11 + m) // 12, (11 + m) % 12 + 1, 1) for m in range(13))
"""First days of the months with scenes and of the one after: a year from December 2020."""
_FIRST_DAY, _DAYS = dt.date(2021, 6, 6), 18
"""Twelve months asked for around these days are exactly those of MONTHS."""
S2_BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
S1_BANDS = ("vv", "vh")
_VEGETATION = (250, 300, 600, 350, 900, 2200, 2700, 2900, 3000, 3100, 1700, 800)
_SOIL = (800, 1000, 1400, 1900, 2200, 2400, 2600, 2750, 2850, 2900, 3600, 3000)
_S1_NODATA = -32768.0
_FIELD_PX = 12
_CODES = (1101060000, 2000000000, 4100000000, 1106000021)
_BYTES_A_PIXEL = 26  # of all bands of both sensors, compressed


@dataclass(frozen=True)
class Site:
    """Where a cell is imaged.

    Attributes:
        number: its place among the sites; part of its seed.
        cell: the H3 cell of resolution 3 it lies in.
        epsg: UTM zone of its scenes.
        left: easting of the western edge, metres, a whole number of pixels.
        top: northing of the northern edge.
        width: pixels from west to east.
        height: pixels from north to south.
    """

    number: int
    cell: str
    epsg: int
    left: float
    top: float
    width: int
    height: int

    @property
    def parts(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """First and last column of the two scenes, which share a tenth of the site."""
        return (0, self.width * 11 // 20), (self.width * 9 // 20, self.width)


@dataclass(frozen=True)
class SceneWorld:
    """A generated folder.

    Attributes:
        mirror: RDM mirror with one collection.
        scenes: folder with items.json.
    """

    mirror: Path
    scenes: Path


def generate(
    folder: Path, cells: int, windows: int, *, side: int = 0, clouds: bool = True, seed: int = 0
) -> SceneWorld:
    """Write scenes and points, unless they are there.

    Args:
        folder: gets `mirror` and `scenes`.
        cells: H3 cells, one site each, in five UTM zones.
        windows: points a cell, on a grid so that no two windows are one.
        side: pixels of a site from north to south; 0 for as many as the points need. Half as many
            again from west to east.
        clouds: whether parts of the Sentinel-2 scenes have no data.
        seed: another one gives other pixels and places.

    Raises:
        DiskSpaceError: there is not enough room.
    """
    world = SceneWorld(folder / "mirror", folder / "scenes")
    if (world.scenes / "items.json").exists():
        return world
    height = max(side, _least_side(windows))
    sites = make_sites(cells, height, seed)
    pixels = sum(s.width * s.height for s in sites) * 12 // 10 * (len(MONTHS) - 1)
    require_space(folder, pixels * _BYTES_A_PIXEL, "the scenes")
    world.scenes.mkdir(parents=True, exist_ok=True)
    write_points(world.mirror, sites, windows, seed)
    months = list(itertools.pairwise(MONTHS))
    jobs = list(itertools.product(sites, months))
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda job: _write_month(world.scenes, job[0], job[1], clouds, seed), jobs)
        entries = [entry for month in found for entry in month]
    part = world.scenes / ".items.json.part"
    part.write_text(json.dumps(entries, indent=1) + "\n", "utf-8")
    part.replace(world.scenes / "items.json")
    return world


def make_sites(cells: int, height: int, seed: int) -> list[Site]:
    """Sites in the middle of cells of western Europe, well inside their UTM zone."""
    sites: list[Site] = []
    width = height * 3 // 2
    candidates = _cells(seed)
    for cell in candidates:
        if len(sites) == cells:
            break
        lat, lon = h3.cell_to_latlng(cell)
        zone = int((lon + 180) // 6) + 1
        if not 1.0 < (lon + 180) % 6 < 5.0:  # the site must not leave its zone
            continue
        epsg = 32600 + zone
        x, y = pyproj.Transformer.from_crs(4326, epsg, always_xy=True).transform(lon, lat)
        left = round(x / PIXEL_M - width / 2) * PIXEL_M
        top = round(y / PIXEL_M + height / 2) * PIXEL_M
        sites.append(Site(len(sites), cell, epsg, left, top, width, height))
    if len(sites) < cells:
        raise ValueError(f"{cells} cells: there are {len(sites)}")
    return sites


def write_points(mirror: Path, sites: list[Site], windows: int, seed: int) -> None:
    """A mirror of one collection with so many points a site."""
    title = "2021_SIM_SITES_POINT_110"
    tables = [_points(site, windows, title, seed) for site in sites]
    box = (-12.0, 36.0, 24.0, 60.0)
    whole = pa.concat_tables(tables)
    write_listing(mirror, [write_collection(mirror, title, [whole], box=box, polygons=False)])


def _cells(seed: int) -> list[str]:
    """Cells between 38 and 58 north, from Portugal to Poland, in a random order."""
    corners = [(38.0, -8.5), (38.0, 20.0), (57.0, 20.0), (57.0, -8.5)]
    cells = sorted(h3.polygon_to_cells(h3.LatLngPoly(corners), 3))
    order = np.random.default_rng([seed, 11]).permutation(len(cells))
    return [cells[i] for i in order.tolist()]


def _least_side(windows: int) -> int:
    """Pixels from north to south that leave each point eight pixels of its own, in sixteens."""
    across = int(np.ceil(np.sqrt(windows / 1.5)))
    return -(-max(128, 8 * across + 2 * _MARGIN_PX) // 16) * 16


def _points(site: Site, windows: int, title: str, seed: int) -> pa.Table:
    rng = np.random.default_rng([seed, 12, site.number])
    columns = np.arange(_MARGIN_PX, site.width - _MARGIN_PX, 4)
    rows = np.arange(_MARGIN_PX, site.height - _MARGIN_PX, 4)
    chosen = np.sort(rng.choice(len(columns) * len(rows), windows, replace=False))
    x = site.left + PIXEL_M * (columns[chosen % len(columns)] + 0.5)
    y = site.top - PIXEL_M * (rows[chosen // len(columns)] + 0.5)
    to_degrees = pyproj.Transformer.from_crs(site.epsg, 4326, always_xy=True)
    lon, lat = to_degrees.transform(x, y)
    codes = [_CODES[i] for i in (np.arange(windows) % len(_CODES)).tolist()]
    days = [
        (_FIRST_DAY + dt.timedelta(days=int(d))).isoformat()
        for d in rng.integers(0, _DAYS, windows)
    ]
    zeros, scores = np.zeros(windows, dtype=np.int64), np.full(windows, 95)
    values: dict[str, Any] = {
        "sample_id": [f"{title}_{site.number:05d}_{i:05d}" for i in range(windows)],
        "ewoc_code": codes,
        "sampling_ewoc_code": ["simulated"] * windows,
        "valid_time": days,
        "irrigation_status": zeros,
        "quality_score_lc": scores,
        "quality_score_ct": scores,
        "extract": zeros,
        "h3_l3_cell": [site.cell] * windows,
        "ref_id": [title] * windows,
        "geometry": draw_shapes(np.asarray(lon), np.asarray(lat), 0.0, rng),
    }
    return pa.table([pa.array(values[name]) for name in SCHEMA.names], schema=SCHEMA)


def _write_month(
    folder: Path, site: Site, month: tuple[dt.date, dt.date], clouds: bool, seed: int
) -> list[dict[str, Any]]:
    """The scenes of a site and month; their entries of items.json."""
    start, end = month
    entries = []
    for part, (first, last) in enumerate(site.parts):
        for sensor, pixels, cover in _sensors(site, part, start, last - first, clouds, seed):
            optic = sensor == "S2"
            name = f"{sensor}_{start:%Y-%m}_site{site.number:04d}_{'ab'[part]}.tif"
            bands = S2_BANDS if optic else S1_BANDS
            _write(folder / name, pixels, bands, site, first)
            entry: dict[str, Any] = {
                "file": name,
                "collection": "sentinel-2-l2a" if optic else "sentinel-1-rtc",
                "bands": list(bands),
                "start": f"{start.isoformat()}T00:00:00Z",
                "end": f"{end.isoformat()}T00:00:00Z",
                "simulated": True,
            }
            entries.append({**entry, "cloud_cover": cover} if optic else entry)
    return entries


def _sensors(
    site: Site, part: int, start: dt.date, width: int, clouds: bool, seed: int
) -> Iterator[tuple[str, np.ndarray, float]]:
    rng = np.random.default_rng([seed, 13, site.number, part, start.year, start.month])
    shape = (site.height, width)
    fields = rng.random((site.height // _FIELD_PX + 1, width // _FIELD_PX + 1), dtype=np.float32)
    wide = fields.repeat(_FIELD_PX, 0).repeat(_FIELD_PX, 1)[: shape[0], : shape[1]]
    green = np.clip(wide * (0.4 + 0.6 * np.sin(np.pi * start.month / 12)), 0, 1)
    vegetation, soil = (np.array(s, np.float32)[:, None, None] for s in (_VEGETATION, _SOIL))
    mixed = green * vegetation + (1 - green) * soil
    mixed *= 1 + 0.03 * rng.standard_normal(mixed.shape, dtype=np.float32)
    optical = (np.rint(mixed / 20) * 20).clip(20).astype(np.uint16)
    cover = 0.0
    if clouds and rng.random() < 0.5:
        depth = int(rng.integers(1, site.height // 4))
        optical[:, :depth, : width // 2] = 0
        cover = round(100.0 * depth * (width // 2) / (site.height * width), 1)
    yield "S2", optical, cover
    vv = -9 - 5 * green + 1.5 * rng.standard_normal(shape, dtype=np.float32)
    vh = vv - 6 + 0.8 * rng.standard_normal(shape, dtype=np.float32)
    yield "S1", (np.rint(np.stack([vv, vh]) * 4) / 4).astype(np.float32), 0.0


def _write(path: Path, pixels: np.ndarray, bands: tuple[str, ...], site: Site, first: int) -> None:
    optic = pixels.dtype == np.uint16
    profile = {
        "driver": "GTiff",
        "width": pixels.shape[2],
        "height": pixels.shape[1],
        "count": pixels.shape[0],
        "dtype": pixels.dtype.name,
        "crs": f"EPSG:{site.epsg}",
        "transform": Affine(PIXEL_M, 0, site.left + PIXEL_M * first, 0, -PIXEL_M, site.top),
        "nodata": 0 if optic else _S1_NODATA,
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
        "interleave": "band",
        "compress": "deflate",
        "zlevel": 1,
        "predictor": 2 if optic else 3,
    }
    part = path.with_name(f".{path.name}.part")
    with rasterio.open(part, "w", **profile) as scene:
        scene.write(pixels)
        scene.descriptions = bands
        scene.update_tags(SIMULATED="YES")
    part.replace(path)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cells", type=int, default=4)
    parser.add_argument("--windows", type=int, default=48, help="points a cell")
    parser.add_argument("--side", type=int, default=0, help="pixels of a site; 0: as needed")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    generate(given.folder, given.cells, given.windows, side=given.side, seed=given.seed)
    print(f"{given.folder}: SIMULATED scenes, seed {given.seed}", file=sys.stderr)


if __name__ == "__main__":
    main()
