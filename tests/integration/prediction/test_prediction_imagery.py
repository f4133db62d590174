"""Imagery of a map: pixel for pixel what a training chip at the same place holds."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

from geofm_assets.imagery.chips import pack_cell
from geofm_assets.imagery.config import ImageryConfig
from geofm_assets.prediction.crops import CropGrid
from geofm_assets.prediction.imagery import MapImagery
from geofm_assets.prediction.infer import predict_tile
from geofm_assets.prediction.model import CheckpointModel
from geofm_assets.training.data import chosen_months
from geofm_assets.training.experiments import Experiment
from geofm_assets.training.predict import predict
from geofm_assets.training.running import reproducible
from geofm_assets.training.schema import MANIFEST
from geofm_assets.windows.config import WindowsConfig
from geofm_assets.windows.write import projection
from tests.imagery_scenes import (
    VALID_TIME,
    make_points,
    make_rasters,
    make_scenes,
    packed,
    write_cell,
)
from tests.prediction_world import write_model
from tests.training_world import manifest_row

SIZE = 8
BOTH = Experiment.parse("olmoearth_v1_2_nano-s1_s2-ps4-ws8-t12")
CROPPED = Experiment.parse("olmoearth_v1_2_nano-s1_s2-ps4-ws8-t5")
# chips on the grid of crops (multiples of 8 px), at the scenes' corners, at an edge and in their
# middle, and one off that grid
PLACES = [(4, 3), (20, 35), (124, 3), (124, 123), (60, 123), (51, 57)]


def cut_up(scenes):
    """Take nodata holes and a second, shifted scene into a month, so that mosaics matter."""
    month = dt.date(2022, 6, 1)
    pixels = scenes.sentinel2(month)
    pixels[:, 20:60, 30:70] = 0
    end = dt.date(2022, 7, 1)
    kind = {"nodata": 0, "cloud_cover": 1.0}
    scenes.add("S2_holes.tif", pixels, "sentinel-2-l2a", month, end, **kind)
    more = scenes.sentinel2(dt.date(2021, 1, 1))
    kind["cloud_cover"] = 2.0
    scenes.add("S2_east.tif", more, "sentinel-2-l2a", month, end, shift=(480, 35), **kind)
    scenes.write_index()


@pytest.fixture(scope="module", params=["plain", "mosaics", "mosaics of two"])
def cell(tmp_path_factory, request):
    root = tmp_path_factory.mktemp("imagery")
    scenes = make_scenes(root / "scenes", skip=("S2_2022-03", "S1_2022-08"))
    if request.param != "plain":
        cut_up(scenes)
    config = ImageryConfig(coverages=2 if "two" in request.param else 1)
    written = write_cell(root / "dataset", scenes, make_points(PLACES, scenes), SIZE, config)
    make_rasters(written)
    return written


def windows_of(cell):
    for row in cell.windows.to_pylist():
        bounds = tuple(row[k] for k in ("col_min", "row_min", "col_max", "row_max"))
        yield row["window_name"], projection(row["crs"], row["resolution"]), bounds


@pytest.mark.parametrize("experiment", [BOTH, CROPPED], ids=lambda e: e.name)
def test_pixels_and_times_are_those_of_the_training_chip(cell, experiment):
    imagery = MapImagery(cell.dataset, experiment, WindowsConfig(size=SIZE))
    file = packed(cell)
    for name, grid, bounds in windows_of(cell):
        # read as a part of something larger, as a map does
        left, top, right, bottom = bounds[0] - 24, bounds[1] - 13, bounds[2] + 40, bounds[3] + 9
        read = imagery.read(grid, (left, top, right, bottom), VALID_TIME)
        row = file.window_names.index(name)
        for layer in experiment.layers:
            chip = file.layers[layer]
            steps = chosen_months(chip.periods[row], VALID_TIME, experiment.timesteps)
            there = chip.present[row, steps]
            pixels = read[layer].values[..., 13 : 13 + SIZE, 24 : 24 + SIZE]
            np.testing.assert_array_equal(pixels, file.row(layer, row)[steps])
            leaf = imagery.read(grid, bounds, VALID_TIME)[layer].stamps
            if len(leaf) == 1:
                found = leaf[0].times[there]
                np.testing.assert_array_equal(found, chip.timestamps[row, steps][there])


def test_frames_are_those_of_the_training_chip_the_latest_first_to_be_read(tmp_path):
    scenes = make_scenes(tmp_path / "scenes")
    config = ImageryConfig(frames=(-1, 1))
    points = make_points([(20, 35)], scenes)
    cell = write_cell(tmp_path / "dataset", scenes, points, SIZE, config)
    make_rasters(cell)
    ((_, grid, bounds),) = windows_of(cell)
    for timesteps in (1, 2):
        experiment = Experiment.parse(f"olmoearth_v1_2_nano-s1_s2-ps4-ws8-t{timesteps}")
        imagery = MapImagery(cell.dataset, experiment, WindowsConfig(size=SIZE), (-1, 1))
        read = imagery.read(grid, bounds, VALID_TIME)
        assert read["sentinel2_l2a"].scenes == ("S2_2022-05", "S2_2022-07")[2 - timesteps :]
        for layer in experiment.layers:
            chip = packed(cell).row(layer, 0)
            np.testing.assert_array_equal(read[layer].values, chip[-timesteps:])


def test_a_crop_gets_the_probabilities_of_the_training_window_at_its_place(cell, tmp_path):
    write_model(tmp_path / "checkpoint.ckpt", CROPPED.name)
    folder = cell.dataset.with_name("chips") / f"h3_cell={cell.cell}"
    file = packed(cell)
    if not folder.exists():
        folder.parent.mkdir()
        folder.symlink_to(file.path.parent)
        pack_cell(folder, file.path.name, (), "inputs")
    named = {"window_name": "", "valid_time": VALID_TIME}
    rows = [
        manifest_row(i, cell.cell, file.path.name, i, **{**named, "window_name": name})
        for i, name in enumerate(file.window_names)
    ]
    manifest = pa.Table.from_pylist(rows, schema=MANIFEST)
    wanted = predict(tmp_path / "checkpoint.ckpt", manifest, folder.parent)
    answers = dict(
        zip(wanted["window_name"].to_pylist(), wanted["probabilities"].to_pylist(), strict=True)
    )
    model = CheckpointModel(tmp_path / "checkpoint.ckpt", "cpu")
    imagery = MapImagery(cell.dataset, CROPPED, WindowsConfig(size=SIZE))
    on_grid = [w for w in windows_of(cell) if w[2][0] % SIZE == w[2][1] % SIZE == 0]
    assert len(on_grid) == len(PLACES) - 1
    for name, grid, bounds in on_grid:
        with reproducible(1):
            day = {VALID_TIME: np.ones((SIZE, SIZE), dtype=bool)}
            made = predict_tile(model, imagery, CropGrid(SIZE), grid, bounds, day)
        best = int(np.argmax(answers[name]))
        seen = made.classes != 255
        assert seen.any()
        assert (made.classes[seen] == best).all()
        assert (np.abs(made.confidence[seen] - 255 * answers[name][best]) <= 1).all()
    assert len({round(p[0], 3) for p in answers.values()}) > 1


def test_a_scene_of_another_projection_is_brought_to_the_zone(tmp_path):
    """The same ground from a neighbouring zone: nearly the same pixels, none invented."""
    scenes = make_scenes(tmp_path / "scenes", left=730_000, epsg=32631)
    points = make_points([(64, 64)], scenes)
    cell = write_cell(tmp_path / "dataset", scenes, points, SIZE)
    made = make_rasters(cell)
    assert made.file is not None
    ((_, grid, bounds),) = windows_of(cell)
    read = MapImagery(cell.dataset, BOTH, WindowsConfig(size=SIZE)).read(grid, bounds, VALID_TIME)
    for layer in BOTH.layers:
        np.testing.assert_array_equal(read[layer].values, packed(cell).row(layer, 0))


def test_a_place_without_scenes_gives_no_layers(cell):
    (_, grid, bounds), *_ = windows_of(cell)
    far = tuple(b + 100_000 for b in bounds)
    assert (
        MapImagery(cell.dataset, BOTH, WindowsConfig(size=SIZE)).read(grid, far, VALID_TIME) == {}
    )


def test_a_year_without_scenes_gives_no_layers(cell):
    (_, grid, bounds), *_ = windows_of(cell)
    imagery = MapImagery(cell.dataset, BOTH, WindowsConfig(size=SIZE))
    assert imagery.read(grid, bounds, dt.date(2015, 6, 1)) == {}
