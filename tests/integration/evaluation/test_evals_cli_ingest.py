"""`geofm evals` on a real rslearn dataset: from a folder to a registered evaluation and back."""

import json
import os
import shutil
from pathlib import Path
from typing import get_type_hints

import pytest
from typer.testing import CliRunner

from geofm_assets.cli_evals import app
from geofm_assets.cli_ingest_options import IngestFlags
from geofm_assets.core.errors import DatasetError, GeofmError
from geofm_assets.core.store import Store
from geofm_assets.evaluation.ingest.options import IngestOptions
from geofm_assets.evaluation.registry.registry import Registry
from tests.eval_dataset import Recipe, grid, write_dataset


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A dataset as somebody would place it, with options of its own."""

    def brighten(window, layer, month, pixels):
        return pixels + 500 if window.label == "forest" and layer == "sentinel2_l2a" else pixels

    folder = tmp_path_factory.mktemp("placed") / "togo"
    write_dataset(folder, grid(32), Recipe(months=1, change=brighten, simulated=True))
    (folder / "evaluation.yaml").write_text("display_name: Togo crops\nlicence: CC-BY-4.0\n")
    return folder


@pytest.fixture
def source(made, tmp_path) -> Path:
    return shutil.copytree(made, tmp_path / "placed" / "togo")


@pytest.fixture
def store(tmp_path, monkeypatch) -> Store:
    for variable in [v for v in os.environ if v.startswith("GEOFM_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("GEOFM_STORE", str(tmp_path / "store"))
    return Store(tmp_path / "store")


def evals(*arguments: str):
    """Run a command as `main` would."""
    return CliRunner().invoke(app, arguments, catch_exceptions=True)


def parsed(*arguments: str):
    result = evals(*arguments, "--json")
    assert result.exception is None, result.exception
    return json.loads(result.stdout)


def ingest(source: Path, *more: str):
    return parsed("ingest", "--name", "togo", "--source", str(source), *more)


def test_validate_prints_what_was_inferred_and_writes_nothing(source, store):
    result = evals("validate", "--source", str(source))
    assert result.exit_code == 0
    assert "sentinel2_l2a" in result.output
    assert "32 windows, 0 errors, 0 warnings" in result.output
    assert not store.exists("evaluation")


def test_validate_ends_with_one_if_there_are_errors(source, store):
    shutil.rmtree(source / "windows" / "default" / "w003" / "layers" / "label")
    result = evals("validate", "--source", str(source), "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert not report["passed"]
    assert any("label is missing" in finding["what"] for finding in report["findings"])


def test_an_ingested_dataset_is_registered_listed_and_described(source, store):
    output = evals("ingest", "--name", "togo", "--source", str(source)).output
    assert "values found, sorted" in output  # where the classes came from
    assert "SIMULATED data" in output
    assert "Contact sheets:" in output
    assert [row["state"] for row in parsed("list")] == ["registered"]
    record = parsed("info", "togo")
    assert record["classes"] == ["forest", "water"]
    assert record["split"]["counts"] == {"train": 16, "val": 8, "test": 8}


def test_ingesting_again_says_that_nothing_changed(source, store):
    first = ingest(source)
    again = ingest(source)
    assert not first["unchanged"]
    assert again["unchanged"]
    assert again["dataset"] == first["dataset"]


def test_a_placed_dataset_needs_no_source_and_a_flag_wins_over_its_file(source, store, monkeypatch):
    monkeypatch.setenv("GEOFM_EVAL_DATASETS", str(source.parent))
    assert [row["state"] for row in parsed("list")] == ["not ingested"]
    found = parsed("ingest", "--name", "togo", "--licence", "CC0-1.0")["dataset"]
    assert (found["display_name"], found["licence"]) == ("Togo crops", "CC0-1.0")
    assert [row["state"] for row in parsed("list")] == ["registered"]


def test_every_option_reaches_the_dataset(source, store):
    found = ingest(
        source, "--modalities", "sentinel2_l2a", "--classes", "water,forest", "--split-rule",
        "spatial_blocks", "--block-m", "3000", "--seed", "4", "--subsets", "10,50",
        "--temporal-range", "2022-01-01/2022-01-20", "--citation", "Somebody 2022",
    )["dataset"]  # fmt: skip
    assert list(found["modalities"]) == ["sentinel2_l2a"]
    assert found["modalities"]["sentinel2_l2a"]["timesteps"] == 1
    assert found["classes"] == ["water", "forest"]
    split = found["split"]
    assert (split["rule"], split["block_m"], split["seed"]) == ("spatial_blocks", 3000.0, 4)
    assert set(split["subsets"]) == {"10", "50"}
    assert found["citation"] == "Somebody 2022"


def test_an_ingest_that_is_not_to_be_registered_is_not(source, store):
    assert ingest(source, "--no-register")["registered"] is False
    assert Registry(store).names() == []


def test_a_dataset_that_is_not_registered_is_listed_as_such_and_can_be_removed(source, store):
    ingest(source, "--no-register")
    store.write_bytes("evaluation/datasets/begun/source/config.json", b"{}")
    rows = {row["name"]: row for row in parsed("list")}
    assert rows["begun"]["state"] == "not registered, unfinished"
    assert rows["togo"]["state"] == "not registered"
    assert (rows["togo"]["simulated"], rows["togo"]["source"]) == (True, str(source))
    assert "geofm evals remove" in evals("list").output
    assert parsed("remove", "togo", "--yes") == {"name": "togo", "state": "not registered"}
    assert evals("remove", "begun", "--yes").exit_code == 0
    assert parsed("list") == []
    assert store.list_keys("evaluation/datasets") == []


def test_warnings_are_listed_and_described(tmp_path, store):
    recipe = Recipe(months=1, layers={"sentinel2_l2a": ("B02",)})
    made = write_dataset(tmp_path / "one", grid(8, labels=("water",)), recipe)
    output = evals("ingest", "--name", "one", "--source", str(made)).output
    assert "Train has one class only" in " ".join(output.split())
    (row,) = parsed("list")
    (warning,) = row["warnings"]
    assert warning.startswith("warning: Train has one class only, 'water'")
    assert parsed("info", "one")["warnings"] == [warning]
    assert warning in evals("info", "one").output
    assert "1 warning" in " ".join(evals("list").output.split())


def test_a_bad_source_leaves_the_registry_as_it_was(source, store):
    ingest(source)
    before = store.read_bytes("evaluation/registry.json")
    for arguments in (
        ("--name", "gone", "--source", "/no/such/folder"),
        ("--name", "other", "--source", str(source), "--modalities", "sentinel3"),
        ("--name", "other", "--source", str(source), "--property-name", "colour"),
    ):
        result = evals("ingest", *arguments)
        assert isinstance(result.exception, DatasetError), result.exception
    assert store.read_bytes("evaluation/registry.json") == before


def test_a_second_ingest_of_a_name_is_refused_while_the_first_runs(source, store):
    with Registry(store).claim("togo"):
        result = evals("ingest", "--name", "togo", "--source", str(source))
    assert isinstance(result.exception, GeofmError)
    assert "being ingested" in str(result.exception)


def test_a_registry_of_a_newer_version_stops_an_ingest_and_stays(source, store):
    store.write_bytes("evaluation/registry.json", b'{"version": 2}')
    result = evals("ingest", "--name", "togo", "--source", str(source))
    assert "newer version" in str(result.exception)
    assert store.read_bytes("evaluation/registry.json") == b'{"version": 2}'


def test_a_removed_dataset_can_be_ingested_again(source, store):
    first = ingest(source)
    assert evals("remove", "togo", "--yes").exit_code == 0
    assert not store.exists("evaluation/datasets/togo")
    assert ingest(source)["dataset"] == first["dataset"]


def test_a_sweep_prints_scores_with_intervals_and_where_the_leaderboard_is(source, store):
    ingest(source)
    output = evals("run", "--model", "image_statistics", "--tasks", "togo").output
    assert "95 % interval" in output
    assert "SIMULATED" in output
    assert "leaderboard.html" in output
    assert store.exists("evaluation/leaderboard.html")
    scores = parsed("run", "--model", "image_statistics", "--tasks", "togo")
    assert {(s["probe"], s["split"], s["metric"]) for s in scores} == {
        ("knn", "test", "accuracy"),
        ("linear", "test", "accuracy"),
    }
    assert all(s["low"] <= s["value"] <= s["high"] for s in scores)


def test_every_option_of_an_ingest_has_a_flag():
    assert {*get_type_hints(IngestFlags), "name", "source"} == set(IngestOptions.model_fields)
