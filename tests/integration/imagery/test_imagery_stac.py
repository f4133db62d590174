"""Profile planetary_computer against a STAC API on loopback."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
import rasterio
import shapely
from rasterio.crs import CRS
from rslearn.const import WGS84_PROJECTION
from rslearn.data_sources.stac import SourceItem
from rslearn.utils.geometry import STGeometry

from geofm_assets.core.errors import (
    AddressRefusedError,
    GeofmError,
    ImageryError,
    SourceUnavailableError,
)
from geofm_assets.imagery import stac
from geofm_assets.imagery.config import ImageryConfig
from geofm_assets.imagery.contract import check_cell
from geofm_assets.imagery.dataset import ensure_dataset
from geofm_assets.windows.config import WindowsConfig
from geofm_assets.windows.geometry import windows_for_points
from tests.imagery_scenes import (
    S2_BANDS,
    VALID_TIME,
    Scenes,
    WrittenCell,
    make_points,
    make_rasters,
    packed,
)
from tests.servers.stac_server import StacServer, serve

S2 = "sentinel2_l2a"
S1 = "sentinel1"
START = dt.datetime(2022, 6, 15, tzinfo=dt.UTC) - dt.timedelta(days=195)
OFFSET_XML = "<a><BOA_ADD_OFFSET>-1000</BOA_ADD_OFFSET></a>"
SIDE = 64


def write(path: Path, scenes: Scenes, pixels: np.ndarray, nodata: float) -> None:
    profile = {
        "driver": "GTiff", "count": 1, "height": SIDE, "width": SIDE, "dtype": pixels.dtype,
        "crs": CRS.from_epsg(scenes.epsg), "nodata": nodata,
        "transform": rasterio.Affine(10, 0, scenes.left, 0, -10, scenes.top),
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as target:
        target.write(pixels, 1)


def add_item(
    server: StacServer, scenes: Scenes, period: int, name: str, radar: bool, cloud: float = 10
) -> None:
    """One acquisition in the middle of a thirty-day period."""
    moment = START + dt.timedelta(days=30 * period + 15)
    files: dict[str, str] = {}
    if radar:
        values = 10 ** (scenes.sentinel1(moment.date()) / 10)
        for band, pixels in zip(("vv", "vh"), values, strict=True):
            files[band] = f"{name}_{band}.tif"
            write(server.folder / files[band], scenes, pixels.astype(np.float32), -32768)
    else:
        for band, pixels in zip(S2_BANDS, scenes.sentinel2(moment.date()), strict=True):
            files[band] = f"{name}_{band}.tif"
            write(server.folder / files[band], scenes, pixels + np.uint16(1000), 0)
        files["product-metadata"] = f"{name}.xml"
        (server.folder / files["product-metadata"]).write_text(OFFSET_XML)
    server.items.append(
        {
            "id": name,
            "collection": "sentinel-1-rtc" if radar else "sentinel-2-l2a",
            "geometry": shapely.geometry.mapping(shapely.box(8.9, 42.3, 9.2, 42.6)),
            "properties": {
                "datetime": moment.isoformat().replace("+00:00", "Z"),
                "eo:cloud_cover": cloud,
                "sar:instrument_mode": "IW",
                "sar:polarizations": ["VV", "VH"],
            },
            "assets": {key: {"href": f"{{base}}/assets/{file}"} for key, file in files.items()},
        }
    )


@pytest.fixture
def scenes(tmp_path: Path) -> Scenes:
    return Scenes(tmp_path / "unused", side=SIDE)


@pytest.fixture
def server(tmp_path: Path, scenes: Scenes) -> Iterator[StacServer]:
    folder = tmp_path / "assets"
    folder.mkdir()
    made = StacServer(folder, page_size=5)
    for period in range(12):
        if period != 3:
            add_item(made, scenes, period, f"s2_{period:02}", radar=False)
        add_item(made, scenes, period, f"s1_{period:02}", radar=True)
    with serve(made):
        yield made


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stac, "_BACKOFF_S", 0.01)


def make(root: Path, server: StacServer, scenes: Scenes, **settings: object) -> WrittenCell:
    imagery = ImageryConfig.model_validate({"profile": "planetary_computer", **settings})
    ensure_dataset(root, imagery, None, server.base)
    points = make_points([(20, 20)], scenes, VALID_TIME)
    cell = points["h3_cell"][0].as_py()
    return WrittenCell(root, cell, windows_for_points(points, WindowsConfig(size=8)), points)


def stored(written: WrittenCell, layer: str) -> np.ndarray:
    return np.array(packed(written).row(layer, 0))


def test_thirty_day_periods_oldest_first_with_the_gap_in_its_place(
    tmp_path: Path, server: StacServer, scenes: Scenes
) -> None:
    written = make(tmp_path / "dataset", server, scenes)
    result = make_rasters(written)
    rows = result.rasters.filter(pc.equal(result.rasters["layer"], S2)).to_pylist()
    assert [r["items"] for r in rows] == [f"s2_{i:02}" if i != 3 else "" for i in range(12)]
    assert [r["period_start"] for r in rows] == [
        START + dt.timedelta(days=30 * i) for i in range(12)
    ]
    assert any("token" in body for body in server.searches())


def test_reflectance_is_harmonised_and_radar_is_in_decibels(
    tmp_path: Path, server: StacServer, scenes: Scenes
) -> None:
    written = make(tmp_path / "dataset", server, scenes)
    result = make_rasters(written)
    assert check_cell(result.bands).passed, check_cell(result.bands).failures
    day = (START + dt.timedelta(days=15)).date()
    optical = scenes.sentinel2(day)[S2_BANDS.index("B08"), 16:24, 16:24]
    # a window of 8 pixels about a point in pixel (20, 20) of the scene
    assert np.isin(stored(written, S2)[0, 3], optical).mean() > 0.8
    assert (stored(written, S1)[:, 0] < 0).all()


def test_clouded_scenes_are_asked_not_to_come(
    tmp_path: Path, server: StacServer, scenes: Scenes
) -> None:
    for item in server.items:
        if item["id"] == "s2_05":
            item["properties"]["eo:cloud_cover"] = 90
    server.publish()
    written = make(tmp_path / "dataset", server, scenes, max_cloud_cover=50)
    result = make_rasters(written)
    rows = result.rasters.filter(pc.equal(result.rasters["layer"], S2)).to_pylist()
    assert [r["timestep"] for r in rows if not r["present"]] == [3, 5]


def test_of_equally_clouded_scenes_the_first_by_name_is_taken(
    tmp_path: Path, server: StacServer, scenes: Scenes
) -> None:
    add_item(server, scenes, 7, "a_twin", radar=False)
    server.publish()
    written = make(tmp_path / "dataset", server, scenes)
    result = make_rasters(written)
    rows = result.rasters.filter(pc.equal(result.rasters["layer"], S2)).to_pylist()
    assert rows[7]["items"] == "a_twin"


def test_a_server_that_stumbles_is_asked_again(
    tmp_path: Path, server: StacServer, scenes: Scenes
) -> None:
    server.fail_next(503, 429)
    written = make(tmp_path / "dataset", server, scenes)
    assert make_rasters(written).refused.num_rows == 0


def test_a_server_that_is_down_is_named_and_the_next_run_finishes(
    tmp_path: Path, server: StacServer, scenes: Scenes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stac, "_RETRIES", 1)
    server.fail_next(*[500] * 20)
    written = make(tmp_path / "dataset", server, scenes)
    with pytest.raises(SourceUnavailableError, match=rf"did not answer.*{server.base}.*window 83"):
        make_rasters(written)
    server.fail_next()
    assert make_rasters(written).refused.num_rows == 0


def test_an_asset_that_is_gone_names_the_window(
    tmp_path: Path, server: StacServer, scenes: Scenes
) -> None:
    (server.folder / "s1_04_vv.tif").unlink()
    written = make(tmp_path / "dataset", server, scenes)
    with pytest.raises(ImageryError, match=r"s1_04_vv\.tif.*window 83"):
        make_rasters(written)


def test_ingested_assets_give_the_same_pixels(
    tmp_path: Path, server: StacServer, scenes: Scenes
) -> None:
    written = make(tmp_path / "dataset", server, scenes)
    make_rasters(written)
    copied = make(tmp_path / "copied", server, scenes, ingest=True)
    make_rasters(copied)
    for layer in (S2, S1):
        assert (stored(copied, layer) == stored(written, layer)).all()


def test_a_step_asks_a_catalogue_one_thing_at_a_time(
    tmp_path: Path, server: StacServer, scenes: Scenes
) -> None:
    server.slow_down()
    make_rasters(make(tmp_path / "dataset", server, scenes))
    assert server.busiest() == 1


def asset_urls(server: StacServer, **hrefs: str) -> dict[str, str]:
    """What a data source gives GDAL for assets with these hrefs."""
    source = stac.Sentinel2Stac(base_url=server.base)
    where = STGeometry(WGS84_PROJECTION, shapely.box(8.9, 42.3, 9.2, 42.6), None)
    named = {key: href.replace("{base}", server.base) for key, href in hrefs.items()}
    item = SourceItem("s2_00", where, named, {})
    return {key: source.get_asset_url(item, key) for key in hrefs}


@pytest.mark.parametrize(
    "href",
    [
        "file:///etc/passwd",
        "/etc/passwd",
        "/vsizip/etc/passwd",
        "s3://bucket/x.tif",
        "http://169.254.169.254/latest/meta-data",
        "http://localhost:9/x.tif",
        "https://127.0.0.1.evil.example/x.tif",
        "{base}/moved/s2_00_B08.tif",
    ],
)
def test_an_asset_that_lies_elsewhere_is_refused(server: StacServer, href: str) -> None:
    with pytest.raises(AddressRefusedError, match="not on an allowed host"):
        asset_urls(server, B08=href)


def test_an_asset_elsewhere_is_read_where_its_host_is_allowed(
    server: StacServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEOFM_ALLOWED_HOSTS", "localhost")
    href = f"{server.base}/moved/s2_00_B08.tif"
    assert asset_urls(server, B08=href) == {"B08": href}


def test_a_catalogue_that_names_a_file_of_this_machine_ends_in_one_clear_error(
    tmp_path: Path, server: StacServer, scenes: Scenes
) -> None:
    for item in server.items:
        for asset in item["assets"].values():
            asset["href"] = asset["href"].replace("{base}/assets", f"file://{server.folder}")
    server.publish()
    with pytest.raises(GeofmError, match=r"not on an allowed host.*file://"):
        make_rasters(make(tmp_path / "dataset", server, scenes))
