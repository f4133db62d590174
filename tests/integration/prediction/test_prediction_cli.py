"""`geofm predict`: what is refused before anything is made."""

import pytest
from typer.testing import CliRunner

from geofm_assets.cli import app
from geofm_assets.core.errors import ExperimentError, RequestError
from geofm_assets.core.stage import MissingUpstreamError
from tests.imagery_scenes import make_scenes
from tests.prediction_world import EXPERIMENT, TASK, box, feature, trained_store, write_request


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    request = write_request(tmp_path / "area.geojson", feature(box(9, 42.4, 9.01, 42.41)))
    store = tmp_path / "store"
    trained_store(store, make_scenes(tmp_path / "scenes", skip=()))
    sets = {"windows.size": 8, "imagery.months": 6, "experiments.window_size": [1, 4, 8]}
    settings = {"overrides": {TASK: {**sets, "experiments.timesteps": [1, 6]}}}

    def call(*more, experiment=EXPERIMENT, path=request):
        from geofm_assets.core.store import Store

        Store(store).write_json("settings.json", {**settings, "scenes": str(tmp_path / "scenes")})
        given = ["--request", str(path), "--experiment", experiment, "--store", str(store)]
        return CliRunner().invoke(app, ["predict", TASK, *given, *more])

    return call


def test_a_bad_feature_is_named(run, tmp_path):
    path = write_request(tmp_path / "bad.geojson", feature(box(9, 42, 9.1, 42.1), oe_end_time=None))
    error = run(path=path).exception
    assert isinstance(error, RequestError)
    assert f"{path}, features[0]" in str(error)


def test_an_experiment_that_cannot_be_is_named(run):
    error = run(experiment=EXPERIMENT.replace("ws8", "ws64")).exception
    assert isinstance(error, ExperimentError)
    assert "window_size 64" in str(error)


def test_an_experiment_that_was_never_run_is_named(run):
    error = run(experiment=EXPERIMENT.replace("ws8", "ws4")).exception
    assert isinstance(error, MissingUpstreamError)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--mask-values", "1"), "Pass --mask"),
        (("--mask", "none.tif"), "--mask-values 1,2"),
        (("--mask", "none.tif", "--mask-values", "one"), "not numbers"),
        (("--mask", "none.tif", "--mask-values", "1"), "Not a raster"),
    ],
)
def test_masks_that_cannot_be_used_are_refused(run, flags, message):
    error = run(*flags).exception
    assert isinstance(error, RequestError)
    assert message in str(error)


@pytest.mark.parametrize("command", ["demo", "run", "predict", "ui"])
def test_help_says_which_store_is_taken_if_none_is_given(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    assert "if not given, GEOFM_STORE" in CliRunner().invoke(app, [command, "--help"]).output
