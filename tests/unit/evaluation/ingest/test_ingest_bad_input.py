"""What people get wrong is one error that says what, where and what to do; nothing is changed."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geofm_assets.core.errors import DatasetError, GeofmError, RegistryError
from geofm_assets.core.store import Store
from geofm_assets.evaluation.ingest.ingest import ingest_dataset
from geofm_assets.evaluation.ingest.options import IngestOptions
from geofm_assets.evaluation.registry.registry import REGISTRY_KEY, Registry
from tests.eval_dataset import Made, Recipe, grid, write_dataset
from tests.registry_entries import make_entry

SMALL: dict[str, Any] = {"months": 1, "layers": {"sentinel2_l2a": ("B02", "B03")}}


@dataclass
class Bad:
    """A source with one fault, and what is to be said of it."""

    what: str
    where: str
    fix: str
    windows: Callable[[], list[Made]] = lambda: grid(16)
    recipe: Recipe = field(default_factory=lambda: Recipe(**SMALL))
    said: dict[str, Any] = field(default_factory=dict)


def unlike(**change: Any) -> Callable[[], list[Made]]:
    """Windows of which the fourth is another."""

    def made() -> list[Made]:
        windows = grid(16, labels=change.pop("labels", ("water", "forest")))
        for name, value in change.items():
            setattr(windows[3], name, value)
        return windows

    return made


def empty(made: Made, layer: str, month: int, pixels: np.ndarray) -> np.ndarray:
    return np.zeros_like(pixels) if made.name == "w003" else pixels


CASES = {
    "unknown band": Bad(
        "sentinel2_l2a has no band B42", "config.json, layer sentinel2_l2a", "Its bands are B02",
        recipe=Recipe(months=1, layers={"sentinel2_l2a": ("B02", "B42")}),
    ),
    "unknown modality": Bad(
        "no modality sentinel3", "--modalities", "Its layers give sentinel2_l2a",
        said={"modalities": "sentinel3"},
    ),
    "unknown modality of every layer": Bad(
        "No layer is of a known modality", "config.json, layers label, aerial", "Name raster",
        recipe=Recipe(months=1, layers={"aerial": ("B02",)}),
    ),
    "a split is missing": Bad(
        "no val split", "", "--split-rule spatial_blocks",
        windows=lambda: [w for w in grid(16) if w.split != "val"], said={"split_rule": "kept"},
    ),
    "windows in no split": Bad(
        "1 window is in no split", "window default/w003", "--groups or --tags",
        windows=unlike(split=None), said={"split_rule": "kept"},
    ),
    "a class only in test": Bad(
        "Class 'bog' (1 window) is not in train", "", "--split-rule",
        windows=lambda: [*grid(16), Made("odd", (9, 9), "test", "bog")],
    ),
    "labels that are NaN": Bad(
        "The label is nan (1 window)", "window default/w003", "Correct it",
        windows=unlike(label=float("nan"), labels=(1.0, 2.0)),
    ),
    "a label is missing": Bad(
        "The label is missing (1 window)", "window default/w003", "Label the window",
        windows=unlike(label=None),
    ),
    "mixed sizes": Bad(
        "several sizes: 8 x 8 (15), 6 x 6 (1)", "", "--groups or --tags", windows=unlike(size=6)
    ),
    "zero valid pixels": Bad(
        "A window has no valid pixel (1 window)", "window default/w003", "Materialize its imagery",
        recipe=Recipe(**SMALL, change=empty),
    ),
    "no pixel within the temporal range": Bad(
        "A window has no valid pixel within --temporal-range 2010-01-01/2011-01-01 (16 windows)",
        "window default/w000", "Widen --temporal-range",
        said={"temporal_range": "2010-01-01,2011-01-01"},
    ),
    "a layer that is no modality": Bad(
        "Layer foolayer is of no known modality", "--modalities",
        "name it after its modality in config.json", said={"modalities": "foolayer"},
        recipe=Recipe(months=1, layers={"sentinel2_l2a": ("B02",), "foolayer": ("F1",)}),
    ),
    "an option that is no split": Bad(
        "No window has an option fold", "--split fold", "Options of the windows are split",
        said={"split_property": "fold"},
    ),
    "classes spelt alike": Bad(
        "Metrics of classes 'A B' and 'A-B' would both be named a_b", "classes", "--classes",
        windows=lambda: grid(16, labels=("A B", "A-B")),
    ),
    "a class without a letter": Bad(
        "Class '--' has no letter a-z or digit", "classes", "Use letters",
        windows=lambda: grid(16, labels=("a", "--")),
    ),
    "no label for pixels where windows have one": Bad(
        "classification has one label a window", "--label-nodata 255", "Leave it out",
        said={"label_nodata": 255},
    ),
    "targets that never change": Bad(
        "Every target of the train split is the same", "", "--property-name",
        windows=lambda: grid(16, labels=(2.0,)),
    ),
}  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store that has a dataset already."""
    store = Store(tmp_path / "store")
    Registry(store).put(make_entry(), overwrite=False)
    return store


def refused(store: Store, **said: Any) -> GeofmError:
    """The error an ingest ends in; the registry is as it was before."""
    before = store.read_bytes(REGISTRY_KEY)
    with pytest.raises(GeofmError) as error:
        ingest_dataset(store, IngestOptions(**{"name": "d", **said}))
    assert store.read_bytes(REGISTRY_KEY) == before
    return error.value


@pytest.mark.parametrize("case", CASES)
def test_one_clear_error_and_the_registry_as_it_was(
    store: Store, tmp_path: Path, case: str
) -> None:
    bad = CASES[case]
    source = write_dataset(tmp_path / "source", bad.windows(), bad.recipe)
    error = refused(store, source=str(source), **bad.said)
    assert isinstance(error, DatasetError)
    assert bad.what in error.what
    assert str(source) in error.where
    assert bad.where in error.where
    assert bad.fix in error.fix
    assert error.where.count(str(source)) == 1
    assert not store.exists("evaluation/datasets/d")


def test_a_source_that_vanished_leaves_what_was_made_of_it(store: Store, tmp_path: Path) -> None:
    source = write_dataset(tmp_path / "source", grid(8), Recipe(**SMALL))
    ingest_dataset(store, IngestOptions(name="d", source=str(source)))
    shutil.rmtree(source)
    keys = store.list_keys("evaluation/datasets/d")
    before = {key: store.read_bytes(key) for key in keys}
    for overwrite in (False, True):
        error = refused(store, source=str(source), overwrite=overwrite)
        assert "source is not there" in error.what
        assert error.where == str(source)
        assert "--source" in error.fix
    assert {key: store.read_bytes(key) for key in keys} == before


def test_a_registry_of_a_newer_version_is_left_alone(store: Store, tmp_path: Path) -> None:
    document = {**json.loads(store.read_bytes(REGISTRY_KEY)), "version": 2}
    store.write_json(REGISTRY_KEY, document)
    source = write_dataset(tmp_path / "source", grid(8), Recipe(**SMALL))
    error = refused(store, source=str(source))
    assert isinstance(error, RegistryError)
    assert "newer version" in error.what
    assert REGISTRY_KEY in error.where
    assert "Update geofm_assets" in error.fix
    assert not store.exists("evaluation/datasets/d")


def test_a_second_ingest_of_the_name_says_who_has_the_first(store: Store, tmp_path: Path) -> None:
    source = write_dataset(tmp_path / "source", grid(8), Recipe(**SMALL))
    with Registry(store).claim("d"):
        error = refused(store, source=str(source))
    assert "'d' is being ingested" in error.what
    assert ".claim-d.lock" in error.where
    assert "Wait until it has ended" in error.fix


def test_a_refused_ingest_leaves_what_was_there_before_it(store: Store, tmp_path: Path) -> None:
    recipe = Recipe(**SMALL, change=empty)  # seen only when pixels are read, after the copy
    source = write_dataset(tmp_path / "source", grid(16), recipe)
    store.write_bytes("evaluation/datasets/d/source/begun", b"1")
    refused(store, source=str(source))
    assert store.exists("evaluation/datasets/d/source/config.json")


def test_an_ingest_that_was_stopped_keeps_its_copy(store: Store, tmp_path: Path) -> None:
    source = write_dataset(tmp_path / "source", grid(16), Recipe(**SMALL))

    def stop(done: int, of: int, what: str) -> None:
        if what == "statistics":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest_dataset(store, IngestOptions(name="d", source=str(source)), stop)
    assert store.exists("evaluation/datasets/d/source/config.json")
