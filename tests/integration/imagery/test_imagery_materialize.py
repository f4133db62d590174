"""Rasters of a cell from a folder of scenes: scene by scene, and through rslearn."""

import datetime as dt
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
import rasterio
import rasterio.warp
from rasterio.crs import CRS

from geofm_assets.core.errors import ImageryError
from geofm_assets.core.schema import validate
from geofm_assets.imagery.bands import SENTINEL2_L2A
from geofm_assets.imagery.cell_file import open_cell_file
from geofm_assets.imagery.cell_rasters import make_cell_file
from geofm_assets.imagery.config import ImageryConfig
from geofm_assets.imagery.contract import check_cell
from geofm_assets.imagery.schema import BandStats, Raster, RefusedWindow
from geofm_assets.imagery.stock import CellRasters
from geofm_assets.windows.schema import WINDOW
from tests.imagery_scenes import (
    S2_BANDS,
    Scenes,
    WrittenCell,
    chips_of,
    make_points,
    make_rasters,
    make_scenes,
    months,
    packed,
    write_cell,
)

PIXELS = [(20, 20), (60, 60), (100, 40)]
S2 = "sentinel2_l2a"
S1 = "sentinel1"
Build = Callable[..., tuple[WrittenCell, Scenes]]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Make scenes and a cell of windows on them."""

    def made(
        skip: tuple[str, ...] = (),
        pixels: list[tuple[int, int]] = PIXELS,
        size: int = 8,
        imagery: ImageryConfig | None = None,
    ) -> tuple[WrittenCell, Scenes]:
        scenes = make_scenes(tmp_path / "scenes", skip)
        points = make_points(pixels, scenes)
        return write_cell(tmp_path / "dataset", scenes, points, size, imagery), scenes

    return made


@pytest.fixture(params=["scene_major", "rslearn"], autouse=True)
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways must come to the same."""
    monkeypatch.setenv("TEST_RASTER_PATH", request.param)
    return str(request.param)


def run(written: WrittenCell, previous: str | None = None) -> CellRasters:
    way = os.environ["TEST_RASTER_PATH"] == "scene_major"
    return make_rasters(written, previous, scene_major=way)


def rows(result: CellRasters, layer: str, window: int = 0) -> list[dict[str, object]]:
    name = result.rasters["window_name"].unique()[window].as_py()
    chosen = pc.and_(
        pc.equal(result.rasters["layer"], layer), pc.equal(result.rasters["window_name"], name)
    )
    return result.rasters.filter(chosen).to_pylist()


def values(written: WrittenCell, layer: str, window: int = 0) -> np.ndarray:
    return np.array(packed(written).row(layer, window))


def test_every_month_of_both_layers_is_there_oldest_first(build: Build) -> None:
    written, _ = build()
    result = run(written)
    for layer, prefix in ((S2, "S2"), (S1, "S1")):
        assert [r["items"] for r in rows(result, layer)] == [
            f"{prefix}_{m:%Y-%m}" for m in months(dt.date(2021, 12, 1), 12)
        ]


def test_tables_obey_their_schemas(build: Build) -> None:
    written, _ = build()
    result = run(written)
    assert validate(result.rasters, Raster).passed
    assert validate(result.bands, BandStats).passed
    assert validate(result.refused, RefusedWindow).passed


def test_the_cell_keeps_the_band_contract(build: Build) -> None:
    written, _ = build()
    report = check_cell(run(written).bands)
    assert (report.passed, report.absent_bands) == (True, ())


def test_stored_pixels_are_the_scenes_in_model_order(build: Build) -> None:
    written, scenes = build()
    run(written)
    window = written.windows.to_pylist()[0]
    column = int(window["col_min"] - scenes.left / 10)
    row = int(window["row_min"] + scenes.top / 10)
    scene = scenes.sentinel2(dt.date(2021, 12, 1))
    expected = scene[[S2_BANDS.index(b) for b in SENTINEL2_L2A.band_names]]
    assert (values(written, S2)[0] == expected[:, row : row + 8, column : column + 8]).all()


def test_band_statistics_are_those_of_the_stored_pixels(build: Build) -> None:
    written, _ = build(size=1)
    bands = run(written).bands
    stored = np.concatenate([values(written, S2, i) for i in range(len(PIXELS))])
    row = bands.filter(pc.equal(pc.field("band"), "B08")).to_pylist()[0]
    pixels = stored[:, SENTINEL2_L2A.band_names.index("B08")].ravel()
    assert (row["count"], row["minimum"], row["maximum"]) == (36, pixels.min(), pixels.max())


def test_a_missing_month_is_missing_in_its_own_place(build: Build) -> None:
    written, _ = build(skip=("S2_2022-03",))
    result = run(written)
    assert [r["present"] for r in rows(result, S2)] == [i != 3 for i in range(12)]
    assert [r["present"] for r in rows(result, S1)] == [True] * 12
    stored = values(written, S2)
    assert (stored[3] == 0).all()
    assert (stored[4] > 0).all()
    assert rows(result, S2)[3]["nodata_share"] == 1.0


def test_a_month_without_pixels_here_is_not_present(build: Build) -> None:
    written, scenes = build()
    path = scenes.folder / "S1_2022-05.tif"
    with rasterio.open(path, "r+") as target:
        target.write(np.full((2, 128, 128), -32768, dtype=np.float32))
    (row,) = [r for r in rows(run(written), S1) if r["items"] == "S1_2022-05"]
    assert (row["present"], row["nodata_share"]) == (False, 1.0)


def test_a_window_no_scene_covers_is_refused_and_the_others_are_made(build: Build) -> None:
    written, _ = build(pixels=[(20, 20), (400, 400)])
    result = run(written)
    (refused,) = result.refused.to_pylist()
    assert refused["reason"] == "no_imagery"
    assert "none covers it" in refused["detail"]
    kept = result.rasters.filter(pc.not_equal(pc.field("window_name"), refused["window_name"]))
    assert pc.all(kept["present"]).as_py()


def test_a_window_with_one_layer_only_is_kept(build: Build) -> None:
    written, _ = build(skip=tuple(f"S1_{m:%Y-%m}" for m in months()[1:]))
    result = run(written)
    assert result.refused.num_rows == 0
    assert not any(r["present"] for r in rows(result, S1))


def test_refused_windows_are_left_out_of_the_statistics(build: Build) -> None:
    written, _ = build(pixels=[(20, 20), (400, 400)])
    assert pc.max(run(written).bands["nodata_share"]).as_py() == 0.0


def test_a_cell_whose_windows_are_all_refused_has_no_statistics(build: Build) -> None:
    written, _ = build(pixels=[(400, 400)])
    result = run(written)
    assert (result.refused.num_rows, result.bands.num_rows) == (1, 0)


def test_a_cell_without_windows_is_empty(build: Build) -> None:
    written, _ = build()
    empty = WrittenCell(
        written.dataset, "83186afffffffff", written.windows.slice(0, 0), written.points
    )
    result = run(empty)
    assert (result.rasters.num_rows, result.bands.num_rows, result.refused.num_rows) == (0, 0, 0)


def test_a_window_over_the_edge_of_a_scene_has_nodata_beyond(build: Build) -> None:
    written, _ = build(pixels=[(0, 60)])
    stored = values(written, S2) if run(written) else None
    assert stored is not None
    assert (stored[..., :4] == 0).all()
    assert (stored[..., 4:] > 0).all()


def test_scenes_of_another_zone_are_warped_onto_the_window(tmp_path: Path) -> None:
    (x,), (y,) = rasterio.warp.transform(CRS.from_epsg(4326), CRS.from_epsg(32632), [12.01], [42.4])
    scenes = Scenes(tmp_path / "scenes", left=round(x, -1) - 1280, top=round(y, -1) + 1280)
    constant = np.broadcast_to(
        np.arange(1000, 1012, dtype=np.uint16)[:, None, None], (12, 256, 256)
    )
    scenes.add(
        "S2.tif", constant, "sentinel-2-l2a", dt.date(2022, 6, 1), dt.date(2022, 7, 1), nodata=0
    )
    scenes.write_index()
    imagery = ImageryConfig(modalities=("sentinel2_l2a",))
    points = make_points([(128, 128)], scenes)
    written = write_cell(tmp_path / "dataset", scenes, points, 4, imagery)
    assert written.windows["crs"][0].as_py() == "EPSG:32633"
    run(written)
    expected = np.array([1000 + S2_BANDS.index(b) for b in SENTINEL2_L2A.band_names])
    assert (values(written, S2)[6] == expected[:, None, None]).all()


def test_of_two_scenes_of_a_month_the_clearer_is_taken(tmp_path: Path) -> None:
    scenes = Scenes(tmp_path / "scenes")
    june, july = dt.date(2022, 6, 1), dt.date(2022, 7, 1)
    for name, value, cover in (("cloudy", 5000, 80), ("clear", 1000, 5), ("unknown", 3000, None)):
        pixels = np.full((12, 128, 128), value, dtype=np.uint16)
        scenes.add(f"{name}.tif", pixels, "sentinel-2-l2a", june, july, nodata=0, cloud_cover=cover)
    scenes.write_index()
    imagery = ImageryConfig(modalities=("sentinel2_l2a",))
    written = write_cell(tmp_path / "dataset", scenes, make_points([(20, 20)], scenes), 4, imagery)
    assert rows(run(written), S2)[6]["items"] == "clear"


def test_with_more_coverages_gaps_are_filled_from_the_next_scene(tmp_path: Path) -> None:
    scenes = Scenes(tmp_path / "scenes")
    june, july = dt.date(2022, 6, 1), dt.date(2022, 7, 1)
    holed = np.full((12, 128, 128), 1000, dtype=np.uint16)
    holed[:, :, 20:] = 0
    filler = np.full_like(holed, 2000)
    scenes.add("a.tif", holed, "sentinel-2-l2a", june, july, nodata=0, cloud_cover=1)
    scenes.add("b.tif", filler, "sentinel-2-l2a", june, july, nodata=0, cloud_cover=50)
    scenes.write_index()
    imagery = ImageryConfig(modalities=("sentinel2_l2a",), coverages=2)
    written = write_cell(tmp_path / "dataset", scenes, make_points([(20, 20)], scenes), 4, imagery)
    run(written)
    assert set(np.unique(values(written, S2)[6]).tolist()) == {1000, 2000}


def test_another_nodata_value_is_brought_to_the_layers(tmp_path: Path) -> None:
    scenes = Scenes(tmp_path / "scenes")
    pixels = np.full((12, 128, 128), 1000, dtype=np.uint16)
    pixels[:, :, 20:] = 65535
    scenes.add(
        "a.tif", pixels, "sentinel-2-l2a", dt.date(2022, 6, 1), dt.date(2022, 7, 1), nodata=65535
    )
    scenes.write_index()
    imagery = ImageryConfig(modalities=("sentinel2_l2a",))
    written = write_cell(tmp_path / "dataset", scenes, make_points([(20, 20)], scenes), 4, imagery)
    run(written)
    assert set(np.unique(values(written, S2)[6]).tolist()) == {0, 1000}


def test_ingested_scenes_give_the_same_pixels(build: Build, tmp_path: Path) -> None:
    written, scenes = build()
    run(written)
    copied = write_cell(
        tmp_path / "ingested", scenes, written.points, 8, ImageryConfig(ingest=True)
    )
    run(copied)
    for layer in (S2, S1):
        assert (values(copied, layer) == values(written, layer)).all()


def test_a_second_run_gives_the_same_file(build: Build) -> None:
    written, _ = build()
    first = run(written)
    assert run(written, first.file) == first
    assert run(written) == first


def test_a_changed_scene_changes_only_its_layer(build: Build) -> None:
    written, scenes = build()
    first = run(written)
    before = open_cell_file(chips_of(written) / first.file)
    with rasterio.open(scenes.folder / "S1_2022-06.tif", "r+") as target:
        target.write(np.full((2, 128, 128), -9.0, dtype=np.float32))
    after = open_cell_file(chips_of(written) / run(written, first.file).file)
    assert (after.row(S1, 0)[6] == -9).all()
    assert (after.layers[S2].checksums == before.layers[S2].checksums).all()


def test_a_scene_added_later_is_taken_up(build: Build) -> None:
    written, scenes = build(skip=("S2_2022-03",))
    first = run(written)
    scenes.add_month(dt.date(2022, 3, 1), s1=False)
    scenes.write_index()
    assert all(r["present"] for r in rows(run(written, first.file), S2))


def test_a_scene_that_breaks_while_reading_names_scene_and_window(build: Build) -> None:
    written, scenes = build()
    path = scenes.folder / "S2_2022-06.tif"
    data = bytearray(path.read_bytes())
    data[2000:] = bytes(len(data) - 2000)  # the header stays readable
    path.write_bytes(bytes(data))
    with pytest.raises(ImageryError, match=r"S2_2022-06\.tif.*window 83"):
        run(written)


def test_fractions_are_refused_where_whole_numbers_belong(tmp_path: Path) -> None:
    scenes = Scenes(tmp_path / "scenes")
    june = dt.date(2022, 6, 1)
    fractions = (scenes.sentinel2(june) / 10000).astype(np.float32)
    scenes.add("S2.tif", fractions, "sentinel-2-l2a", june, dt.date(2022, 7, 1), nodata=0)
    scenes.write_index()
    imagery = ImageryConfig(modalities=("sentinel2_l2a",))
    written = write_cell(tmp_path / "dataset", scenes, make_points([(20, 20)], scenes), 4, imagery)
    with pytest.raises(ImageryError, match=r"is float32, the layer stores uint16.*S2\.tif"):
        run(written)


def test_without_a_dataset_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(ImageryError, match=r"config\.json is missing"):
        make_cell_file(tmp_path, tmp_path, "83186afffffffff", WINDOW.empty_table(), tmp_path, None)
