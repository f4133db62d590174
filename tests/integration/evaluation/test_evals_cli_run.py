"""`geofm evals run` as a person types it: what was scored is printed, whatever failed besides."""

import json
import os

import pytest
from typer.testing import CliRunner

from geofm_assets.cli_evals import app
from geofm_assets.core.errors import RegistryError, WeightsError
from geofm_assets.core.store import Store
from geofm_assets.evaluation.registry.registry import Registry
from geofm_assets.evaluation.sweeps.run import SweepError
from tests.sweep_world import MemorySamples, make_entry, store_dataset, write_manifest

RUN = ("run", "--model", "image_statistics", "--sweep", "defaults")


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A dataset that can be swept, one whose files were lost, and a task."""
    for variable in [v for v in os.environ if v.startswith("GEOFM_")]:
        monkeypatch.delenv(variable)
    opened = Store(tmp_path / "store")
    store_dataset(opened, MemorySamples(count=20), make_entry(count=20))
    Registry(opened).put(make_entry(count=20, name="lost"), overwrite=False)
    return opened


def evals(store, *arguments):
    return CliRunner().invoke(app, [*arguments, "--store", store.url])


def test_one_pair_that_fails_hides_no_result(store):
    result = evals(store, *RUN, "--tasks", "lost,toy")
    assert isinstance(result.exception, SweepError)
    assert "image_statistics on lost: " in str(result.exception)
    assert "1 of 2 model and dataset pairs" in str(result.exception)
    assert "image_statistics" in result.stdout
    assert "accuracy" in result.stdout
    assert f"Leaderboard: {store.url}/evaluation/leaderboard.html" in result.stdout
    result = evals(store, *RUN, "--tasks", "lost,toy", "--json")
    assert isinstance(result.exception, SweepError)
    assert {row["dataset"] for row in json.loads(result.stdout)} == {"toy"}


def test_what_cannot_run_is_refused_before_anything_runs(store):
    for dry in ((), ("--dry-run",)):
        result = evals(store, *RUN, "--model", "presto@path:/nowhere", "--tasks", "toy", *dry)
        assert isinstance(result.exception, WeightsError)
        assert result.stdout == ""
    assert not store.exists("evaluation/embeddings")


def test_a_task_is_listed_and_its_dataset_is_made_by_its_name_alone(store):
    write_manifest(store, [("train", 0.0, 0.0), ("test", 1.0, 0.0)])
    row = json.loads(evals(store, "list", "--json").stdout)[0]
    assert (row["name"], row["state"]) == ("crops", "task, not ingested yet")
    assert (row["counts"], row["simulated"]) == ({"train": 1, "val": 0, "test": 1}, True)
    output = evals(store, "list").output
    assert "geofm evals run --tasks crops" in output
    error = evals(store, *RUN, "--tasks", "crops", "--dry-run").exception
    assert isinstance(error, RegistryError)
    assert "a dry run makes none" in str(error)
    for command in (("ingest", "--name", "crops"), (*RUN, "--tasks", "crops")):
        assert "No task file describes 'crops'" in str(evals(store, *command).exception)


def test_options_of_a_tasks_dataset_are_the_tasks_own(store):
    write_manifest(store, [("train", 0.0, 0.0)])
    error = evals(store, "ingest", "--name", "crops", "--seed", "3").exception
    assert "--seed cannot be said of a task's own dataset" in str(error)
