"""Images of a window, however its layers store them."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rasterio.crs import CRS
from rslearn.dataset import Dataset, Window
from rslearn.utils import Projection
from rslearn.utils.raster_array import RasterArray
from upath import UPath

from geofm_assets.evaluation.ingest.images import read_images
from geofm_assets.evaluation.ingest.modalities import infer_modalities
from geofm_assets.evaluation.ingest.options import IngestOptions
from geofm_assets.evaluation.ingest.source import footprint
from geofm_assets.evaluation.samples.packing import SourceImages
from tests.eval_dataset import EPOCH, MONTH, UTM

BOUNDS = (40_000, -500_000, 40_008, -499_992)


def open_dataset(folder: Path, layer: str, band_sets: list[dict[str, Any]]) -> Dataset:
    layers = {layer: {"type": "raster", "band_sets": band_sets}}
    (folder / "config.json").write_text(json.dumps({"layers": layers}))
    return Dataset(UPath(folder))


def add_window(dataset: Dataset, projection: Projection = UTM) -> Window:
    window = Window(
        storage=dataset.storage,
        group="g",
        name="w",
        projection=projection,
        bounds=BOUNDS,
        time_range=(EPOCH, EPOCH + MONTH),
        data_factory=dataset.window_data_storage_factory,
    )
    window.save()
    return window


def write(
    window: Window, dataset: Dataset, layer: str, arrays: list[np.ndarray], times: list[Any]
) -> None:
    """One item group, an array (C, T, h, w) for each band set."""
    with window.data.open_layer_writer(layer) as writer:
        for band_set, array in zip(dataset.layers[layer].band_sets, arrays, strict=True):
            projection, bounds = band_set.get_final_projection_and_bounds(
                window.projection, window.bounds
            )
            writer.write_raster(
                band_set.bands,
                band_set.instantiate_raster_format(),
                projection,
                bounds,
                RasterArray(array=array, timestamps=times),
            )
    window.mark_layer_completed(layer)


def read(window: Window, dataset: Dataset, **said: Any) -> SourceImages:
    options = IngestOptions(name="d", source="x", **said)
    plans, _ = infer_modalities(dataset.layers, options)
    (plan,) = plans.values()
    return read_images(window, dataset.layers, plan, options)


def days(count: int) -> list[tuple[dt.datetime, dt.datetime]]:
    return [
        (EPOCH + dt.timedelta(days=5 * i), EPOCH + dt.timedelta(days=5 * i)) for i in range(count)
    ]


def test_a_stack_in_one_file_is_a_series(tmp_path: Path) -> None:
    dataset = open_dataset(tmp_path, "sentinel2", [{"dtype": "uint16", "bands": ["B02", "B03"]}])
    window = add_window(dataset)
    stack = np.arange(1, 2 * 3 * 64 + 1, dtype=np.uint16).reshape(2, 3, 8, 8)
    write(window, dataset, "sentinel2", [stack], days(3))
    images = read(window, dataset)
    np.testing.assert_array_equal(images.values, stack.transpose(1, 0, 2, 3))
    assert (images.timestamps[1] - images.timestamps[0]).tolist() == [5 * 86_400_000_000] * 2


def test_a_newest_first_stack_is_turned_round(tmp_path: Path) -> None:
    dataset = open_dataset(tmp_path, "sentinel2", [{"dtype": "uint16", "bands": ["B02"]}])
    window = add_window(dataset)
    stack = np.stack([np.full((1, 8, 8), v, np.uint16) for v in (30, 20, 10)], axis=1)
    write(window, dataset, "sentinel2", [stack], days(3)[::-1])
    assert read(window, dataset).values[:, 0, 0, 0].tolist() == [10, 20, 30]


def test_coarser_band_sets_are_repeated_to_the_windows_grid(tmp_path: Path) -> None:
    sets = [
        {"dtype": "uint16", "bands": ["B08"]},
        {"dtype": "uint16", "bands": ["B11"], "zoom_offset": -1},
    ]
    dataset = open_dataset(tmp_path, "sentinel2", sets)
    window = add_window(dataset)
    fine = np.arange(1, 65, dtype=np.uint16).reshape(1, 1, 8, 8)
    coarse = np.arange(100, 116, dtype=np.uint16).reshape(1, 1, 4, 4)
    write(window, dataset, "sentinel2", [fine, coarse], days(1))
    values = read(window, dataset).values
    np.testing.assert_array_equal(values[0, 0], fine[0, 0])
    np.testing.assert_array_equal(values[0, 1], np.kron(coarse[0, 0], np.ones((2, 2))))


def test_declared_nodata_wins_over_the_modalitys(tmp_path: Path) -> None:
    band_set = {"dtype": "int16", "bands": ["B02"], "nodata_value": -9999}
    dataset = open_dataset(tmp_path, "sentinel2", [band_set])
    window = add_window(dataset)
    stack = np.full((1, 1, 8, 8), 0, np.int16)
    stack[..., 0] = -9999
    write(window, dataset, "sentinel2", [stack], days(1))
    plans, _ = infer_modalities(dataset.layers, IngestOptions(name="d", source="x"))
    layout = plans["sentinel2_l2a"].layout
    assert (layout.dtype, layout.nodata) == ("int16", -9999)
    images = read(window, dataset)
    assert layout.is_nodata(images.values).sum() == 8


def test_not_a_number_is_no_data(tmp_path: Path) -> None:
    dataset = open_dataset(tmp_path, "sentinel1", [{"dtype": "float32", "bands": ["vv"]}])
    window = add_window(dataset)
    stack = np.full((1, 2, 8, 8), -10, np.float32)
    stack[:, 0] = np.nan
    write(window, dataset, "sentinel1", [stack], days(2))
    images = read(window, dataset)
    assert len(images.values) == 1
    second = days(2)[1][0]
    assert images.timestamps[0][0] == int(second.timestamp()) * 1_000_000


@pytest.mark.parametrize("epsg", [32601, 32660])
def test_a_footprint_across_the_antimeridian_is_small(tmp_path: Path, epsg: int) -> None:
    dataset = open_dataset(tmp_path, "sentinel1", [{"dtype": "float32", "bands": ["vv"]}])
    window = add_window(dataset, Projection(CRS.from_epsg(epsg), 10, -10))
    edge = 16_602 if epsg == 32601 else 83_398  # 180 degrees at the equator, in pixels of 10 m
    window.bounds = (edge - 50, -10_000, edge + 50, -9_900)
    (west, south, east, north), _, lat = footprint(window)
    assert 500 < east - west < 2000
    assert 500 < north - south < 2000
    assert abs(lat) < 1
