"""The comparison of a task's experiments, from a store to tables, a picture and the command."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.compute as pc
import pytest
import yaml
from typer.testing import CliRunner

from geofm_assets.cli import app
from geofm_assets.core.errors import ExperimentError, GeofmError
from geofm_assets.core.stage import MissingUpstreamError, is_current
from geofm_assets.core.store import Store
from geofm_assets.evaluation.comparison_stage import ComparisonStage
from geofm_assets.evaluation.stages import BaselinesStage
from geofm_assets.training.stages import CheckpointStage, ManifestStage
from tests.comparison_store import pretend
from tests.segmentation_store import CLASSIFIES, NAME, SEGMENTS, fire_store, fire_task

ONE, ONE_SEG = (name.replace("-t2", "-t1") for name in (CLASSIFIES, SEGMENTS))
WRONG = {ONE: 0.5, CLASSIFIES: 0.1, ONE_SEG: 0.4, SEGMENTS: 0.1}


@pytest.fixture(scope="module")
def task():
    return fire_task()


@pytest.fixture(scope="module")
def made(task, tmp_path_factory):
    store = fire_store(tmp_path_factory.mktemp("root"), task, windows=160)
    ManifestStage(task).make(store)
    for name, share in WRONG.items():
        pretend(store, task, name, wrong=share)
    BaselinesStage(task).make(store)
    return store, ComparisonStage(task).make(store)


@pytest.fixture
def copied(made, tmp_path):
    shutil.copytree(made[0].local_path("tasks").parent, tmp_path / "store")
    return Store(tmp_path / "store")


def rows(store, task, **options):
    table = ComparisonStage(task).compare(store, **options).rows
    return {row["experiment"]: row for row in table.to_pylist()}


def change_json(store, key, **values):
    store.write_json(key, {**store.read_json(key), **values})


def change_config(store, task, name, **values):
    key = f"{task.folder(name)}/config.yaml"
    config = yaml.safe_load(store.read_bytes(key))
    store.write_bytes(key, yaml.safe_dump({**config, **values}).encode())


def test_every_experiment_and_baseline_has_a_row(made, task):
    store, outcome = made
    table = store.read_table(ComparisonStage(task).key())
    states = dict(zip(table["experiment"].to_pylist(), table["state"].to_pylist(), strict=True))
    assert states == {
        **dict.fromkeys(WRONG, "compared"),
        "baseline_majority": "baseline",
        "baseline_logistic": "baseline",
        "baseline_majority_seg": "baseline",
        "baseline_logistic_seg": "baseline",
        "baseline_dnbr_seg": "baseline",
    }
    assert all(check.passed for check in outcome.checks)
    assert is_current(store, ComparisonStage(task))


def test_a_row_has_axes_training_and_what_its_metric_counts(made, task):
    row = rows(made[0], task)[SEGMENTS]
    assert (row["head"], row["timesteps"], row["window_size"]) == ("segmentation", 2, 8)
    assert (row["level"], row["metric"], row["split"]) == ("pixel", "macro_f1", "test")
    assert (row["epochs"], row["training_seconds"]) == (2, 3.0)
    assert row["encoder_start"] == "random initialisation, seed 0"
    assert row["simulated"]
    scores = made[0].read_table(f"{task.folder(SEGMENTS)}/metrics.parquet").to_pylist()
    score = next(s for s in scores if (s["split"], s["metric"]) == ("test", "macro_f1"))
    assert [row[k] for k in ("value", "low", "high", "n")] == [
        score[k] for k in ("value", "low", "high", "n")
    ]


def test_differences_are_drawn_by_fire_and_kept_apart_by_what_is_counted(made, task):
    table = made[0].read_table(ComparisonStage(task).differences_key())
    times = table.filter(pc.equal(table["axis"], "timesteps")).to_pylist()
    assert [r["level"] for r in times] == ["pixel", "window"]
    assert all(r["drawn"] == "group" and r["low"] > 0 for r in times)
    head = table.filter(pc.equal(table["axis"], "head")).to_pylist()
    assert [(r["level"], r["pairs"]) for r in head] == [("pixel", 2)]
    window_size = table.filter(pc.equal(table["axis"], "window_size")).to_pylist()
    assert "every experiment compared has window_size 8" in window_size[0]["statement"]


def test_the_same_store_gives_the_same_bytes(made, copied, task):
    stage = ComparisonStage(task)
    outcome = stage.make(copied)
    assert outcome.content == made[1].content
    for key in (stage.key(), stage.differences_key(), stage.plot_key()):
        assert copied.read_bytes(key) == made[0].read_bytes(key)
    assert outcome.metadata["plot"].text.startswith("![comparison of set-ups](data:image/png")


def test_experiments_of_another_manifest_are_stale_and_not_compared(copied, task):
    change_config(copied, task, ONE, manifest="0" * 64)
    assert not is_current(copied, ComparisonStage(task))
    found = ComparisonStage(task).compare(copied)
    row = next(r for r in found.rows.to_pylist() if r["experiment"] == ONE)
    assert (row["state"], row["reason"]) == (
        "stale",
        "trained on another split manifest than today's",
    )
    named = {n for r in found.differences.to_pylist() for n in r["experiments_a"]}
    assert ONE not in named
    assert ONE_SEG in named
    ComparisonStage(task).make(copied)
    assert is_current(copied, ComparisonStage(task))


def test_other_stale_experiments_say_why(copied, task):
    notes = CheckpointStage(task)
    change_config(copied, task, ONE, label_rule="other@1")
    change_config(copied, task, CLASSIFIES, inputs="1" * 64)
    change_json(copied, notes.record_key(ONE_SEG), model_id="2" * 64)
    copied.path(notes.record_key(SEGMENTS)).unlink()
    found = rows(copied, task)
    assert {found[name]["state"] for name in WRONG} == {"stale"}
    assert found[ONE]["reason"].startswith("trained with label rule other@1, today's is")
    assert "started again and has not ended" in found[CLASSIFIES]["reason"]
    assert "predictions are older" in found[ONE_SEG]["reason"]
    assert found[SEGMENTS]["reason"] == "it has scores but no checkpoint"
    ComparisonStage(task).make(copied)  # a picture of baselines alone


def test_changed_masks_make_segmentation_stale_only(copied, task):
    copied.write_json(ManifestStage(task).masks_record_key(), {"content": "0" * 64})
    found = rows(copied, task)
    assert found[SEGMENTS]["reason"].startswith("trained on other masks or months")
    assert found[CLASSIFIES]["state"] == "compared"


def test_experiments_trained_otherwise_are_compared_among_themselves(copied, task):
    longer = replace(task, training=task.training.model_copy(update={"epochs": 9}))
    pretend(copied, longer, CLASSIFIES, wrong=0.1)
    found = ComparisonStage(longer).compare(copied)
    states = {r["experiment"]: r["state"] for r in found.rows.to_pylist()}
    assert {states[name] for name in WRONG} == {"compared"}
    times = [r for r in found.differences.to_pylist() if r["axis"] == "timesteps"]
    assert [(r["level"], r["pairs"], r["unlike"]) for r in times] == [
        ("pixel", 1, 0),
        ("window", 0, 1),
    ]


def test_settings_of_the_machine_make_no_other_training(copied, task):
    threads = replace(task, training=task.training.model_copy(update={"threads": 2}))
    pretend(copied, threads, CLASSIFIES, wrong=0.1)
    found = ComparisonStage(task).compare(copied).differences.to_pylist()
    assert [r["pairs"] for r in found if r["axis"] == "timesteps"] == [1, 1]


def test_a_note_from_before_seconds_were_kept_has_none(copied, task):
    key = CheckpointStage(task).record_key(ONE)
    change_json(copied, key, history=[{"epoch": 0}, {"epoch": 1, "seconds": 2.0}])
    row = rows(copied, task)[ONE]
    assert (row["epochs"], row["training_seconds"], row["state"]) == (2, None, "compared")


def test_a_metric_one_head_lacks_is_not_mixed(made, task):
    found = ComparisonStage(task).compare(made[0], metric="iou_burnt")
    states = {r["experiment"]: r for r in found.rows.to_pylist()}
    assert states[CLASSIFIES]["state"] == "lacks_metric"
    assert states[CLASSIFIES]["reason"] == "a classification head has no iou_burnt on test"
    head = next(r for r in found.differences.to_pylist() if r["axis"] == "head")
    assert head["statement"].endswith("every experiment compared has head segmentation")


def test_an_unknown_metric_names_those_there_are(made, task):
    with pytest.raises(ExperimentError, match=r"has the metric on val at f2.*macro_f1"):
        ComparisonStage(task).compare(made[0], metric="f2", split="val")


def test_nothing_scored_is_said(task, tmp_path):
    with pytest.raises(MissingUpstreamError, match=f"Nothing has been scored.*geofm run {NAME}"):
        ComparisonStage(task).compare(Store(tmp_path / "store"))


@pytest.fixture
def command(made, task, tmp_path, monkeypatch):
    """`geofm compare` on the store, with a task file of the same settings."""
    for variable in [v for v in os.environ if v.startswith("GEOFM_")]:
        monkeypatch.delenv(variable)
    imagery = task.imagery
    attributes = {
        "name": NAME,
        "labels": imagery.sampling.labels.model_dump(mode="json", exclude_defaults=True),
        "windows": imagery.windows.model_dump(mode="json", exclude_defaults=True),
        "imagery": imagery.imagery.model_dump(mode="json", exclude_defaults=True),
        "masks": {},
        "training": task.training.model_dump(mode="json", exclude_defaults=True),
        "experiments": task.experiments.model_dump(mode="json", exclude_defaults=True),
    }
    path = tmp_path / "tasks" / NAME / "defs.yaml"
    path.parent.mkdir(parents=True)
    document = {"type": "geofm_assets.tasks.FineTuneTask", "attributes": attributes}
    path.write_text(yaml.safe_dump(document))
    monkeypatch.setenv("GEOFM_TASKS", str(tmp_path / "tasks"))

    def run(*arguments):
        return CliRunner().invoke(app, ["compare", *arguments, "--store", made[0].url])

    return run


def test_the_command_prints_scores_differences_and_that_they_are_simulated(command, made):
    output = command(NAME).output
    assert "timesteps 2 instead of 1" in output.replace("\n", " ")
    for text in (CLASSIFIES[:15], "baseline_dnbr_seg", "SIMULATED", "comparison.png"):
        assert text in output
    assert Path(made[0].local_path(f"tasks/{NAME}/comparison.png")).exists()


def test_the_command_gives_json(command):
    said = json.loads(command(NAME, "--metric", "accuracy", "--split", "val", "--json").output)
    assert (said["metric"], said["split"], said["simulated"]) == ("accuracy", "val", True)
    assert {r["experiment"] for r in said["experiments"]} >= set(WRONG)
    assert {r["axis"] for r in said["differences"]} >= {"timesteps", "head", "encoder"}


def test_the_command_refuses_an_unknown_task_and_metric(command):
    for arguments, message in (
        (["nothing"], "no such task"),
        ([NAME, "--metric", "f2"], "No experiment has the metric"),
    ):
        result = command(*arguments)
        assert isinstance(result.exception, GeofmError), result.output
        assert message in str(result.exception)
