"""`geofm evals` as a person types it, as far as the registry answers."""

import json
import os

import pytest
from typer.testing import CliRunner

from geofm_assets.cli_evals import app
from geofm_assets.core.errors import GeofmError
from geofm_assets.core.store import Store
from geofm_assets.evaluation.registry.registry import Registry
from tests.registry_entries import make_entry


@pytest.fixture
def store(tmp_path, monkeypatch) -> Store:
    """A store with a real and a simulated dataset registered, only the first with files."""
    for variable in [v for v in os.environ if v.startswith("GEOFM_")]:
        monkeypatch.delenv(variable)
    store = Store(tmp_path / "store")
    Registry(store).put(make_entry(), overwrite=False)
    Registry(store).put(
        make_entry(
            "lfmc", task_type="window_regression", classes=(), metric="rmse", simulated=True
        ),
        overwrite=False,
    )
    store.write_bytes("evaluation/datasets/togo/samples.parquet", b"1")
    return store


@pytest.fixture
def placed(tmp_path, monkeypatch):
    """Puts datasets where they are looked for."""
    root = tmp_path / "placed"

    def place(name: str, options: str = ""):
        (root / name).mkdir(parents=True)
        (root / name / "config.json").write_text('{"layers": {}}')
        (root / name / "evaluation.yaml").write_text(options)
        monkeypatch.setenv("GEOFM_EVAL_DATASETS", str(root))
        return root / name

    return place


def evals(store: Store, *arguments: str, **more):
    return CliRunner().invoke(app, [*arguments, "--store", store.url], **more)


def refusal(store: Store, *arguments: str) -> str:
    """The error a command ends in; `main` prints it on one line."""
    result = evals(store, *arguments)
    assert isinstance(result.exception, GeofmError), (result.output, result.exception)
    return str(result.exception)


def test_list_shows_what_is_registered_and_what_is_simulated(store):
    output = evals(store, "list").output
    assert "togo" in output
    assert "40/8/1,200" in output
    assert "accuracy" in output
    assert "SIMULATED" in output
    assert "rmse, lower is better" in output


def test_list_shows_registered_datasets_that_lost_their_files(store):
    rows = json.loads(evals(store, "list", "--json").stdout)
    assert {row["name"]: row["state"] for row in rows} == {
        "togo": "registered",
        "lfmc": "files missing",
    }


def test_list_shows_datasets_that_were_placed_but_not_ingested(store, placed):
    folder = placed("burn_scars", "task_type: segmentation\n")
    row = json.loads(evals(store, "list", "--json").stdout)[0]
    assert (row["name"], row["state"]) == ("burn_scars", "not ingested")
    assert (row["task_type"], row["source"]) == ("segmentation", str(folder))
    assert "geofm evals ingest --name burn_scars" in evals(store, "list").output


def test_a_placed_dataset_that_is_registered_is_listed_once(store, placed):
    placed("togo")
    rows = json.loads(evals(store, "list", "--json").stdout)
    assert [row["name"] for row in rows] == ["lfmc", "togo"]


def test_list_goes_on_past_a_placed_dataset_that_cannot_be_used(store, placed):
    placed("broken", "colour: red\n")
    result = evals(store, "list", "--json")
    assert result.exit_code == 0
    assert len(json.loads(result.stdout)) == 2
    assert "colour: no such option" in result.stderr


def test_an_empty_store_says_how_to_begin(tmp_path, monkeypatch):
    monkeypatch.delenv("GEOFM_EVAL_DATASETS", raising=False)
    output = evals(Store(tmp_path / "empty"), "list").output
    assert "geofm evals ingest --name NAME --source DIR" in output


def test_info_shows_every_field_people_ask_for(store):
    output = evals(store, "info", "togo").output
    for shown in (
        "Togo crops",
        "CC-BY-4.0",
        "0 other, 1 crop",
        "accuracy, higher is better",
        "8 x 8 pixels",
        "spatial blocks of 2560 m, seed 3",
        "5 %: 2, 20 %: 8",
        "train 40, val 8, test 1,200",
        "sentinel2_l2a: 2 bands, 12 timesteps, nodata 0",
        "none in train",
    ):
        assert shown in output


def test_info_as_json_is_the_entry_with_its_id(store):
    record = json.loads(evals(store, "info", "togo", "--json").stdout)
    assert record["dataset_id"] == "togo-0123456789abcdef"
    assert record["split"]["subsets"] == {"20": 8, "5": 2}
    assert record["lower_is_better"] is False


def test_info_of_an_unknown_name_says_which_there_are(store):
    assert "Did you mean togo? Registered are togo, lfmc" in refusal(store, "info", "tgo")


def test_remove_asks_for_a_yes_where_nobody_can_be_asked(store):
    assert "--yes" in refusal(store, "remove", "togo")
    assert Registry(store).names() == ["lfmc", "togo"]


def test_remove_takes_it_out(store):
    result = evals(store, "remove", "togo", "--yes")
    assert result.exit_code == 0
    assert Registry(store).names() == ["lfmc"]
    assert not store.exists("evaluation/datasets/togo")


def test_ingest_without_a_source_names_the_flag_and_what_was_placed(store, placed):
    placed("burn_scars")
    error = refusal(store, "ingest", "--name", "other")
    assert error.startswith("--source must be given at --name other")
    assert "burn_scars" in error


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--name", "Togo!"),
        ("--task-type", "guess"),
        ("--temporal-range", "2020-01-01"),
        ("--temporal-range", "2020-01-01/2019-01-01"),
        ("--split-rule", "by_mood"),
        ("--block-m", "0"),
        ("--subsets", "5,x"),
        ("--max-samples", "0"),
        ("--classes", "a,a"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_flag_before_anything_is_read(store, flag, value):
    given = {"--name": "other", flag: value}
    arguments = [part for item in given.items() for part in item]
    error = refusal(store, "ingest", "--source", "/nowhere", *arguments)
    assert error.startswith(f"{flag}: ")


def test_ingest_names_the_file_of_the_dataset_that_is_broken_and_no_other(store, placed):
    placed("mess", "{")
    togo = placed("togo", "colour: red")
    assert f"{togo}/evaluation.yaml" in refusal(store, "ingest", "--name", "togo")


def test_run_names_a_dataset_that_only_waits_to_be_ingested(store, placed):
    placed("burn_scars")
    error = refusal(store, "run", "--model", "raw_pixels", "--tasks", "burn_scars", "--dry-run")
    assert "'burn_scars' is not ingested yet" in error
    assert "geofm evals ingest --name burn_scars" in error


def test_run_refuses_an_unknown_dataset_model_and_setting_by_name(store):
    run = ("run", "--dry-run", "--tasks", "togo")
    assert "Did you mean togo" in refusal(store, *run, "--model", "raw_pixels", "--tasks", "toga")
    assert "raw_pixel" in refusal(store, *run, "--model", "raw_pixel")
    assert "--subset: " in refusal(store, *run, "--model", "raw_pixels", "--subset", "0")


def test_a_dry_run_prints_the_plan_and_writes_nothing(store):
    before = {key: store.read_bytes(key) for key in store.list_keys("evaluation")}
    arguments = ("run", "--model", "raw_pixels", "--tasks", "togo,lfmc", "--dry-run")
    output = evals(store, *arguments).output
    assert "Nothing was started" in output
    plan = json.loads(evals(store, *arguments, "--json").stdout)
    assert [cell["dataset"] for cell in plan["partitions"]] == ["togo", "lfmc"]
    assert {key: store.read_bytes(key) for key in store.list_keys("evaluation")} == before
    assert not store.exists("dagster_home")


def test_help_says_where_defaults_come_from():
    output = CliRunner().invoke(app, ["ingest", "--help"]).output
    assert "GEOFM_EVAL_DATASETS" in output
    assert "GEOFM_STORE" in output


def test_models_lists_names_to_write_and_what_each_needs():
    known = json.loads(CliRunner().invoke(app, ["models", "--json"]).stdout)
    names = [model["name"] for model in known]
    assert {"presto", "raw_pixels", "image_statistics", "olmoearth_v1_2_nano"} <= set(names)
    output = CliRunner().invoke(app, ["models"]).output
    assert "NAME@path:FOLDER" in output
