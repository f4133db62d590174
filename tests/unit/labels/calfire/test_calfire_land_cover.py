"""Land cover under far samples: where points are tried, and which class they lie on."""

from pathlib import Path

import h3.api.numpy_int as h3_int
import numpy as np
import pytest
import rasterio
import rasterio.warp
from rasterio.transform import from_origin

from geofm_assets.core.errors import LabelFileError
from geofm_assets.labels.calfire.land_cover import cover_at, tries_on_cover
from geofm_assets.labels.calfire.samples_config import FarConfig

LON, LAT = -120.5, 39.0
CELLS = np.array([h3_int.latlng_to_cell(LAT, LON, 3)], np.uint64)
TRIES = 64


def raster(path: Path, values: np.ndarray, crs: str | None = "EPSG:32610", metres: float = 100.0):
    """A raster around the place, nodata 0."""
    (x,), (y,) = rasterio.warp.transform(4326, crs or "EPSG:32610", [LON], [LAT])
    rows, columns = values.shape
    transform = from_origin(x - columns * metres / 2, y + rows * metres / 2, metres, metres)
    with rasterio.open(
        path, "w", driver="GTiff", width=columns, height=rows, count=1, dtype="uint8",
        nodata=0, crs=crs, transform=transform,
    ) as opened:  # fmt: skip
        opened.write(values.astype(np.uint8), 1)
    return FarConfig(land_cover=str(path))


def patch(side: int = 200, known: int = 20) -> np.ndarray:
    """Nodata but for a square of class 1 beside one of class 2, in the middle."""
    values = np.zeros((side, side), np.uint8)
    first = (side - known) // 2
    values[first : first + known, first : first + known // 2] = 1
    values[first : first + known, first + known // 2 : first + known] = 2
    return values


@pytest.mark.parametrize("crs", ["EPSG:32610", "EPSG:3310", "EPSG:5070"])
def test_all_tries_lie_on_the_little_a_raster_knows(tmp_path: Path, crs: str) -> None:
    far = raster(tmp_path / "cover.tif", patch(), crs)
    names, lon, lat = tries_on_cover(CELLS, TRIES, 2020, 0, far)
    classes, known = cover_at(far, lon, lat)
    assert len(names) == len(set(names)) == TRIES
    assert known.all()
    assert set(classes.tolist()) == {1, 2}


def test_a_skipped_class_gets_no_try(tmp_path: Path) -> None:
    far = raster(tmp_path / "cover.tif", patch()).model_copy(update={"skip_classes": [2]})
    _, lon, lat = tries_on_cover(CELLS, TRIES, 2020, 0, far)
    assert set(cover_at(far, lon, lat)[0].tolist()) == {1}


def test_a_finer_raster_is_thinned_and_still_hit(tmp_path: Path) -> None:
    far = raster(tmp_path / "cover.tif", patch(3000, 400), metres=10.0)
    _, lon, lat = tries_on_cover(CELLS, TRIES, 2020, 0, far)
    assert cover_at(far, lon, lat)[1].mean() > 0.95


def test_tries_follow_the_seed_and_nothing_else(tmp_path: Path) -> None:
    far = raster(tmp_path / "cover.tif", patch())
    first, again = (tries_on_cover(CELLS, TRIES, 2020, 0, far) for _ in range(2))
    other = tries_on_cover(CELLS, TRIES, 2020, 1, far)
    assert first[0] == again[0] == other[0]
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[1], other[1])


@pytest.mark.parametrize("place", [(46.0, 9.0), (-35.0, 150.0), (78.0, -60.0)])
def test_a_cell_the_raster_does_not_reach_gives_no_try(
    tmp_path: Path, place: tuple[float, float]
) -> None:
    far = raster(tmp_path / "cover.tif", patch())
    cells = np.append(CELLS, np.uint64(h3_int.latlng_to_cell(*place, 3)))
    names, lon, _ = tries_on_cover(cells, TRIES, 2020, 0, far)
    assert len(names) == len(lon) == TRIES
    assert tries_on_cover(cells[1:], TRIES, 2020, 0, far)[0] == []


def test_nodata_and_what_lies_outside_are_no_class(tmp_path: Path) -> None:
    far = raster(tmp_path / "cover.tif", patch())
    lon, lat = np.array([LON, LON + 0.08, 9.0]), np.array([LAT, LAT, 46.0])
    assert cover_at(far, lon, lat)[1].tolist() == [True, False, False]
    assert cover_at(far, lon[:0], lat[:0])[1].tolist() == []


def test_a_raster_without_a_crs_is_refused(tmp_path: Path) -> None:
    far = raster(tmp_path / "cover.tif", patch(), crs=None)
    with pytest.raises(LabelFileError, match="no CRS"):
        tries_on_cover(CELLS, TRIES, 2020, 0, far)
