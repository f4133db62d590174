"""Which windows are drawn, and what is said of an option that holds no split."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from geofm_assets.core.store import Store
from geofm_assets.evaluation.ingest.choose import Chosen, choose_windows
from geofm_assets.evaluation.ingest.options import IngestOptions
from geofm_assets.evaluation.ingest.source import (
    open_source,
    sample_id,
    source_path,
    source_windows,
)
from geofm_assets.evaluation.ingest.stages import EvaluationDatasetStage
from geofm_assets.evaluation.ingest.validate import validate_source
from geofm_assets.evaluation.registry.registry import Registry
from tests.eval_dataset import Made, Recipe, grid, set_option, write_dataset

SMALL = Recipe(months=1, layers={"sentinel2_l2a": ("B02", "B03")})


def chosen(source: Path, **said: Any) -> Chosen:
    options = IngestOptions(name="d", source=str(source), **said)
    dataset = open_source(source_path(source))
    return choose_windows(dataset, source_windows(dataset, options), options)


def drawn(source: Path, windows: list[Made], **said: Any) -> Counter[tuple[str | None, Any]]:
    """Splits and labels of the windows that were drawn."""
    kept = {sample_id(window) for window in chosen(source, **said).windows}
    return Counter((w.split, w.label) for w in windows if f"{w.group}/{w.name}" in kept)


def of_field(found: Chosen, field: str) -> str:
    (value,) = [fact.value for fact in found.facts if fact.field == field]
    return value


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 windows of train, 4 of val and 4 of test; tests only read it."""
    return write_dataset(tmp_path_factory.mktemp("source"), grid(16), SMALL)


def test_few_samples_are_of_every_split_and_it_is_said(source: Path) -> None:
    report = validate_source(
        source, IngestOptions(name="d", source=str(source), max_samples=5, label_layer="label")
    )
    assert report.counts == {"train": 3, "val": 1, "test": 1}
    said = {fact.field: (fact.value, fact.source) for fact in report.facts}
    assert said["drawn"] == (
        "5 of 16 windows: train 3 of 8, val 1 of 4, test 1 of 4",
        "--max-samples, seed 0, per split and class",
    )
    assert said["split"] == ("kept: train 3, val 1, test 1", "the source has all three")
    assert said["splits of the source"][0] == "train 8, val 4, test 4"


def test_a_classification_keeps_the_shares_of_its_classes(source: Path) -> None:
    found = drawn(source, grid(16), max_samples=8)
    assert found == {
        (split, label): 2 if split == "train" else 1
        for split in ("train", "val", "test")
        for label in ("water", "forest")
    }


def test_fewer_samples_than_splits_are_refused(source: Path) -> None:
    (error,) = chosen(source, max_samples=2).errors
    assert "2 samples cannot be of every split" in error.what
    assert error.where == "--max-samples 2"
    assert "Say at least 3" in error.fix


def test_splits_that_are_made_anew_need_no_window_each(source: Path) -> None:
    found = chosen(source, max_samples=2, split_rule="spatial_blocks")
    assert (len(found.windows), found.errors) == (2, ())
    assert of_field(found, "drawn") == "2 of 16 windows"


def test_classes_that_were_not_drawn_are_a_warning(tmp_path: Path) -> None:
    windows = grid(24, labels=("a", "b", "c"))
    found = chosen(write_dataset(tmp_path, windows, SMALL), max_samples=4)
    (warning,) = found.warnings
    assert "No window was drawn of class " in warning.what
    assert warning.where == "--max-samples 4"


def test_regressions_are_drawn_per_split_only(tmp_path: Path) -> None:
    found = chosen(write_dataset(tmp_path, grid(16, labels=(1.5, 2, 3)), SMALL), max_samples=5)
    (fact,) = [fact for fact in found.facts if fact.field == "drawn"]
    assert fact.source == "--max-samples, seed 0, per split"


def test_an_option_no_window_has_is_refused_and_the_others_are_named(source: Path) -> None:
    (error,) = chosen(source, split_property="fold").errors
    assert (error.what, error.where) == ("No window has an option fold", "--split fold")
    assert "Options of the windows are split" in error.fix


def test_an_option_that_says_no_split_is_refused(tmp_path: Path) -> None:
    source = write_dataset(tmp_path, grid(8), SMALL)
    for made in grid(8):
        set_option(source, made.name, "class_name", made.label)
    (error,) = chosen(source, split_property="class_name").errors
    assert error.what.endswith("class_name is a split, they are forest, water")
    assert error.where == "--split class_name"
    assert "train, training, val" in error.fix


def test_an_option_that_says_the_split_of_some_is_used(tmp_path: Path) -> None:
    source = write_dataset(tmp_path, grid(8, split=None), SMALL)
    set_option(source, "w000", "fold", "Training")
    found = chosen(source, split_property="fold")
    assert of_field(found, "splits of the source") == "train 1, none 7"
    assert found.errors == ()


def test_the_usual_option_may_be_missing_as_long_as_nobody_names_it(tmp_path: Path) -> None:
    source = write_dataset(tmp_path / "source", grid(40, split=None), SMALL)
    assert chosen(source).errors == ()
    assert chosen(source, split_property="split").errors
    store, stage = Store(tmp_path / "store"), EvaluationDatasetStage({})
    stage.make(store, "d", {"source": str(source)})
    assert stage.make(store, "d", {}).skipped  # what nobody said is not remembered as said
    assert Registry(store).names() == ["d"]
