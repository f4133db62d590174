"""Imagery of a map from a STAC API on loopback: what training windows there get through rslearn."""

import numpy as np
import pytest

from geofm_assets.core.errors import ConfigError, SourceUnavailableError
from geofm_assets.imagery import stac
from geofm_assets.imagery.config import ImageryConfig
from geofm_assets.imagery.dataset import ensure_dataset
from geofm_assets.prediction.imagery import MapImagery
from geofm_assets.training.data import chosen_months
from geofm_assets.training.experiments import Experiment
from geofm_assets.windows.config import WindowsConfig
from geofm_assets.windows.write import projection
from tests.imagery_scenes import VALID_TIME, Scenes, make_rasters, packed
from tests.integration.imagery.test_imagery_stac import SIDE, add_item, make
from tests.servers.stac_server import StacServer, serve

THREE = Experiment.parse("olmoearth_v1_2_nano-s1_s2-ps4-ws8-t3")
WINDOWS = WindowsConfig(size=8)


@pytest.fixture
def scenes(tmp_path):
    return Scenes(tmp_path / "unused", side=SIDE)


@pytest.fixture
def server(tmp_path, scenes, monkeypatch):
    monkeypatch.setattr(stac, "_BACKOFF_S", 0.01)
    (tmp_path / "assets").mkdir()
    made = StacServer(tmp_path / "assets", page_size=5)
    for period in range(4, 9):
        add_item(made, scenes, period, f"s2_{period:02}", radar=False)
        if period != 6:
            add_item(made, scenes, period, f"s1_{period:02}", radar=True)
    with serve(made):
        yield made


def test_pixels_and_times_are_those_of_the_training_window(tmp_path, server, scenes):
    written = make(tmp_path / "dataset", server, scenes)
    make_rasters(written)
    file = packed(written)
    (row,) = written.windows.to_pylist()
    bounds = tuple(row[k] for k in ("col_min", "row_min", "col_max", "row_max"))
    around = (bounds[0] - 3, bounds[1] - 5, bounds[2] + 7, bounds[3] + 2)
    imagery = MapImagery(written.dataset, THREE, WINDOWS)
    read = imagery.read(projection(row["crs"], 10.0), around, VALID_TIME)
    for layer in THREE.layers:
        chip = file.layers[layer]
        steps = chosen_months(chip.periods[0], VALID_TIME, 3)
        there = chip.present[0, steps]
        pixels = read[layer].values[..., 5:13, 3:11]
        np.testing.assert_array_equal(pixels, file.row(layer, 0)[steps])
        (stamps,) = read[layer].stamps
        np.testing.assert_array_equal(stamps.times[there], chip.timestamps[0, steps][there])
        np.testing.assert_array_equal(stamps.shown, there)


def test_a_place_the_catalogue_does_not_know_gives_no_layers(tmp_path, server, scenes):
    written = make(tmp_path / "dataset", server, scenes)
    imagery = MapImagery(written.dataset, THREE, WINDOWS)
    far = projection("EPSG:32633", 10.0)
    assert imagery.read(far, (50_000, -470_000, 50_008, -469_992), VALID_TIME) == {}


def test_a_catalogue_that_does_not_answer_is_named(tmp_path, server, scenes):
    written = make(tmp_path / "dataset", server, scenes)
    server.fail_next(*[503] * 20)
    imagery = MapImagery(written.dataset, THREE, WINDOWS)
    with pytest.raises(SourceUnavailableError, match="did not answer"):
        imagery.read(
            projection("EPSG:32632", 10.0), (50_000, -470_000, 50_008, -469_992), VALID_TIME
        )


def test_scenes_that_are_to_be_ingested_are_refused(tmp_path, server):
    config = ImageryConfig(profile="planetary_computer", ingest=True)
    ensure_dataset(tmp_path / "dataset", config, None, server.base)
    with pytest.raises(ConfigError, match="where they lie"):
        MapImagery(tmp_path / "dataset", THREE, WINDOWS)
