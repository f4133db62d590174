"""The band contract catches what would fake a score, and nothing that is right."""

import datetime as dt
import itertools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from geofm_assets.core.errors import ContractError
from geofm_assets.imagery import scene_sample
from geofm_assets.imagery.bands import SENTINEL1_RTC, SENTINEL2_L2A
from geofm_assets.imagery.contract import (
    ContractReport,
    check_cell,
    check_model_input,
    check_source,
    pixel_failures,
)
from geofm_assets.imagery.normalize import model_input
from geofm_assets.imagery.schema import BAND_STATS
from geofm_assets.imagery.statistics import BandHistogram
from tests.imagery_scenes import S2_BANDS, Scenes

CELL = "831e94fffffffff"
MONTH = dt.date(2022, 6, 1)
MODEL_ORDER = [S2_BANDS.index(name) for name in SENTINEL2_L2A.band_names]
# neighbours in the spectrum, or too alike over land, cannot be told apart by their values
ALIKE = {
    frozenset(p)
    for p in [
        ("B03", "B04"), ("B05", "B03"), ("B05", "B11"), ("B05", "B12"), ("B06", "B11"),
        ("B01", "B02"), ("B01", "B03"), ("B01", "B04"), ("B03", "B12"), ("B04", "B12"),
        ("B07", "B11"), ("B8A", "B11"), ("B09", "B11"), ("B09", "B12"),
    ]
}  # fmt: skip
INFRARED = {"B06", "B07", "B08", "B8A", "B09"}


def single(tmp_path: Path, s2: np.ndarray | None = None, s1: np.ndarray | None = None) -> Path:
    """A folder with one Sentinel-2 and one Sentinel-1 scene."""
    scenes = Scenes(tmp_path)
    end = dt.date(2022, 7, 1)
    optical = scenes.sentinel2(MONTH) if s2 is None else s2
    radar = scenes.sentinel1(MONTH) if s1 is None else s1
    scenes.add("S2.tif", optical, "sentinel-2-l2a", MONTH, end, nodata=0)
    scenes.add("S1.tif", radar, "sentinel-1-rtc", MONTH, end)
    return scenes.write_index()


def stats(layer_values: dict[str, np.ndarray]) -> pa.Table:
    rows = []
    for spec in (SENTINEL1_RTC, SENTINEL2_L2A):
        if spec.name in layer_values:
            histogram = BandHistogram(spec)
            histogram.add(layer_values[spec.name][None])
            rows += histogram.rows(CELL)
    return pa.Table.from_pylist(rows, schema=BAND_STATS)


def optical() -> np.ndarray:
    return Scenes(Path()).sentinel2(MONTH)[MODEL_ORDER]


def radar() -> np.ndarray:
    return Scenes(Path()).sentinel1(MONTH)


def linear(decibels: np.ndarray) -> np.ndarray:
    return (10 ** (decibels / 10)).astype(np.float32)


def swapped(values: np.ndarray, names: tuple[str, ...], one: str, other: str) -> np.ndarray:
    order = list(range(len(names)))
    i, j = names.index(one), names.index(other)
    order[i], order[j] = j, i
    return values[order]


def test_right_scenes_pass(tmp_path: Path) -> None:
    report = check_source(single(tmp_path))
    assert report.passed, report.failures


def test_the_report_says_what_the_contract_is(tmp_path: Path) -> None:
    said = check_source(single(tmp_path)).metadata["sentinel1"]["contract"]
    assert (said["bands"], said["unit"], said["nodata"]) == (["vv", "vh"], "gamma0 dB", -32768.0)


def test_linear_sentinel1_is_caught_in_the_scene(tmp_path: Path) -> None:
    report = check_source(single(tmp_path, s1=linear(Scenes(tmp_path).sentinel1(MONTH))))
    assert any("S1.tif" in f and "linear power instead of dB" in f for f in report.failures)


def test_linear_sentinel1_is_caught_in_the_cell() -> None:
    report = check_cell(stats({"sentinel1": linear(radar())}))
    assert any("linear power instead of dB" in f for f in report.failures)


def test_linear_sentinel1_is_caught_at_the_model() -> None:
    values = model_input(linear(radar())[None], "sentinel1").values
    report = check_model_input(values, "sentinel1")
    assert any("nearly constant" in f for f in report.failures)


def test_reflectance_of_0_to_1_in_floats_is_caught_in_the_scene(tmp_path: Path) -> None:
    fractions = (Scenes(tmp_path).sentinel2(MONTH) / 10000).astype(np.float32)
    report = check_source(single(tmp_path, s2=fractions))
    assert any(
        "dtype float32 instead of uint16: reflectance of 0 to 1?" in f for f in report.failures
    )


def test_reflectance_of_0_to_1_in_whole_numbers_is_caught_in_the_scene(tmp_path: Path) -> None:
    ones = np.ones((12, 128, 128), dtype=np.uint16)
    report = check_source(single(tmp_path, s2=ones))
    assert any("reflectance of 0 to 1 instead" in f for f in report.failures)


def test_reflectance_of_0_to_1_is_caught_in_the_cell() -> None:
    report = check_cell(stats({"sentinel2_l2a": np.ones((12, 40, 40), dtype=np.uint16)}))
    assert any("reflectance of 0 to 1 instead" in f for f in report.failures)


def test_reflectance_of_0_to_1_is_caught_at_the_model() -> None:
    values = model_input((optical() / 10000)[None], "sentinel2_l2a").values
    assert any("nearly constant" in f for f in check_model_input(values, "sentinel2_l2a").failures)


def test_swapped_red_and_near_infrared_are_caught_in_the_scene(tmp_path: Path) -> None:
    wrong = swapped(Scenes(tmp_path).sentinel2(MONTH), S2_BANDS, "B02", "B08")
    report = check_source(single(tmp_path, s2=wrong))
    assert any("S2.tif" in f and "B08" in f and "swapped" in f for f in report.failures)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pair
        for pair in itertools.combinations(SENTINEL2_L2A.band_names, 2)
        if frozenset(pair) not in ALIKE and not set(pair) <= INFRARED
    ],
)
def test_swapped_bands_are_caught_by_their_values(one: str, other: str) -> None:
    wrong = swapped(optical().astype(float), SENTINEL2_L2A.band_names, one, other)
    pixels = {n: wrong[i].ravel() for i, n in enumerate(SENTINEL2_L2A.band_names)}
    assert pixel_failures(pixels, SENTINEL2_L2A)


def test_swapped_red_and_near_infrared_are_caught_in_the_cell() -> None:
    wrong = swapped(optical(), SENTINEL2_L2A.band_names, "B04", "B08")
    assert not check_cell(stats({"sentinel2_l2a": wrong})).passed


def test_swapped_polarisations_are_caught(tmp_path: Path) -> None:
    report = check_source(single(tmp_path, s1=Scenes(tmp_path).sentinel1(MONTH)[::-1]))
    assert any("vh is not weaker than vv" in f for f in report.failures)


def test_band_names_inside_the_file_must_agree(tmp_path: Path) -> None:
    scenes = Scenes(tmp_path)
    scenes.add(
        "S2.tif", scenes.sentinel2(MONTH), "sentinel-2-l2a", MONTH, MONTH, nodata=0, describe=True
    )
    scenes.entries[0]["bands"] = [*S2_BANDS[:2], "B04", "B03", *S2_BANDS[4:]]
    report = check_source(scenes.write_index())
    assert any("its bands are B01, B02, B03" in f for f in report.failures)


def test_scenes_are_looked_into_again_only_when_one_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = single(tmp_path)
    looked: list[str] = []
    sample = scene_sample.sample_pixels
    monkeypatch.setattr(
        scene_sample, "sample_pixels", lambda scene: looked.append(scene.file) or sample(scene)
    )
    first = check_source(folder)
    assert check_source(folder) == first
    assert len(looked) == first.metadata["scenes"]
    (folder / looked[0]).write_bytes((folder / looked[0]).read_bytes() + b"more")
    check_source(folder)
    assert len(looked) == 2 * first.metadata["scenes"]


def test_an_undeclared_nodata_value_is_caught() -> None:
    wrong = radar()
    wrong[:, :4] = -9999
    assert any("undeclared nodata" in f for f in check_cell(stats({"sentinel1": wrong})).failures)


def test_bands_without_any_data_are_absent_and_no_failure(tmp_path: Path) -> None:
    values = Scenes(tmp_path).sentinel2(MONTH)
    for name in ("B01", "B09", "B8A"):
        values[S2_BANDS.index(name)] = 0
    report = check_source(single(tmp_path, s2=values))
    assert (report.passed, set(report.absent_bands)) == (True, {"B01", "B09", "B8A"})


def test_absent_bands_are_stated_of_a_cell_and_at_the_model() -> None:
    values = optical()
    values[SENTINEL2_L2A.band_names.index("B09")] = 0
    assert check_cell(stats({"sentinel2_l2a": values})).absent_bands == ("B09",)
    ready = model_input(values[None], "sentinel2_l2a")
    report = check_model_input(ready.values, "sentinel2_l2a", ready.valid)
    assert (report.passed, report.absent_bands) == (True, ("B09",))


def test_a_source_without_a_single_pixel_fails(tmp_path: Path) -> None:
    report = check_source(single(tmp_path, s2=np.zeros((12, 64, 64), dtype=np.uint16)))
    assert any("no scene has a valid pixel" in f for f in report.failures)


SPECTRA = {
    # reflectance x 10000 in model order, from common spectral libraries, rounded
    "dark forest": (200, 380, 220, 2300, 560, 1750, 2150, 2400, 1000, 420, 180, 2450),
    "desert": (1400, 2200, 3300, 4200, 3600, 3800, 4000, 4250, 5200, 4800, 1100, 4300),
    "dry bare soil": (900, 1300, 1800, 2700, 2100, 2350, 2550, 2800, 3500, 3100, 750, 2900),
    "city": (1100, 1300, 1450, 2000, 1600, 1800, 1900, 2050, 2200, 1900, 1000, 2100),
    "snow": (9000, 8900, 8800, 8500, 8700, 8600, 8550, 8300, 900, 700, 9000, 7800),
    "thick cloud": (6500, 6400, 6450, 6900, 6600, 6750, 6850, 7000, 5200, 4000, 6500, 5500),
    "water": (700, 550, 300, 90, 200, 120, 110, 80, 30, 20, 800, 60),
    "burnt": (500, 600, 700, 1100, 850, 950, 1050, 1150, 2000, 2200, 450, 1200),
}


@pytest.mark.parametrize("cover", SPECTRA)
def test_right_bands_of_any_cover_pass(cover: str) -> None:
    rng = np.random.default_rng(0)
    spectrum = np.array(SPECTRA[cover], dtype=float)[:, None]
    values = spectrum * rng.normal(1, 0.1, 2000) * rng.normal(1, 0.04, (12, 2000))
    pixels = {n: values[i].round() for i, n in enumerate(SENTINEL2_L2A.band_names)}
    assert pixel_failures(pixels, SENTINEL2_L2A) == []


def test_bands_out_of_order_in_a_cell_are_caught() -> None:
    table = stats({"sentinel1": radar()})
    assert not check_cell(table.take(pa.array([1, 0]))).passed


def test_a_cell_without_windows_passes() -> None:
    assert check_cell(BAND_STATS.empty_table()).passed


def test_a_declared_order_other_than_the_models_is_caught() -> None:
    values = model_input(optical()[None], "sentinel2_l2a").values
    report = check_model_input(values, "sentinel2_l2a", bands=S2_BANDS)
    assert any("bands are B01, B02" in f for f in report.failures)


def test_pixels_that_were_never_normalised_are_caught() -> None:
    report = check_model_input(optical()[None].astype(np.float32), "sentinel2_l2a")
    assert any("is not normalised" in f for f in report.failures)


def test_a_failed_report_can_be_raised() -> None:
    with pytest.raises(ContractError, match="one; two at cell x"):
        ContractReport(("one", "two")).require("cell x")
