"""`geofm train` beside a finished run."""

import pytest
from typer.testing import CliRunner

from geofm_assets.cli import app
from geofm_assets.core.errors import ConfigError
from tests.e2e.conftest import EXPERIMENT, TASK

pytestmark = pytest.mark.slow


def train(finished, *more):
    arguments = ["train", TASK, EXPERIMENT, *more, "--store", str(finished.store)]
    return CliRunner().invoke(app, arguments)


def test_checkpoint_of_the_run_is_current_on_any_number_of_devices(finished):
    done = train(finished, "--devices", "2")
    assert done.exit_code == 0, done.output
    assert "current already" in done.output


def test_several_machines_need_a_launcher(finished):
    error = train(finished, "--force", "--nodes", "2").exception
    assert isinstance(error, ConfigError)
    assert "docs/training.md" in str(error)


def test_note_on_the_checkpoint_says_what_it_was_trained_on(finished):
    note = finished.opened().read_json(f"tasks/{TASK}/experiments/{EXPERIMENT}/checkpoint.json")
    assert note["hardware"].keys() >= {"accelerator", "devices", "nodes", "precision"}
    assert note["hardware"]["samples_per_s"] > 0
    if note["hardware"]["accelerator"] == "cpu":
        assert "gpu_utilization" not in note["hardware"]
