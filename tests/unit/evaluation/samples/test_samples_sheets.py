"""Contact sheets show samples of every class and split, on a bounded number of pictures."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from geofm_assets.core.store import Store
from geofm_assets.evaluation.ingest.ingest import IngestResult, ingest_dataset
from geofm_assets.evaluation.ingest.options import IngestOptions
from geofm_assets.evaluation.samples import contact_sheet
from geofm_assets.evaluation.samples.contact_sheet import OWN_SHEETS, PAGE_ROWS, write_sheets
from geofm_assets.evaluation.samples.packed import PackedSamples
from geofm_assets.evaluation.samples.statistics import modality_entries
from tests.eval_dataset import Recipe, grid, write_dataset

SHEETS = "evaluation/datasets/d/sheets"
SMALL = Recipe(months=1, layers={"sentinel2_l2a": ("B02", "B03", "B04")})


def ingested(tmp_path: Path, **said: Any) -> tuple[Store, PackedSamples, IngestResult]:
    source = write_dataset(tmp_path / "source", grid(16), SMALL)
    store = Store(tmp_path / "store")
    result = ingest_dataset(store, IngestOptions(name="d", source=str(source), **said))
    return store, PackedSamples(store, "d"), result


def names(store: Store) -> list[str]:
    return [key.rpartition("/")[2] for key in store.list_keys(SHEETS)]


def many(count: int) -> list[str]:
    """Class names, with those of the samples far apart among them."""
    return ["forest", *(f"class {i}" for i in range(count - 2)), "water"]


def test_there_is_a_sheet_for_every_class_and_split(tmp_path: Path) -> None:
    store, _, _ = ingested(tmp_path)
    found = {p.name for p in store.local_path("evaluation/datasets/d/sheets").iterdir()}
    assert found == {f"{s}-{c}.png" for s in ("train", "val", "test") for c in ("forest", "water")}


def test_a_sheet_shows_the_samples_in_true_colour(tmp_path: Path) -> None:
    store, _, _ = ingested(tmp_path)
    picture = Image.open(store.local_path("evaluation/datasets/d/sheets/train-water.png"))
    pixels = np.asarray(picture)
    assert picture.mode == "RGB"
    assert len(np.unique(pixels[20:116, 4:100].reshape(-1, 3), axis=0)) > 20


def test_sheets_have_the_same_bytes_each_time(tmp_path: Path) -> None:
    store, samples, _ = ingested(tmp_path)
    keys = store.list_keys("evaluation/datasets/d/sheets")
    before = {key: store.read_bytes(key) for key in keys}
    assert write_sheets(store, samples, modality_entries(samples), 0).keys == keys
    assert {key: store.read_bytes(key) for key in keys} == before


def test_many_classes_share_pages(tmp_path: Path) -> None:
    store, _, result = ingested(tmp_path, classes=many(OWN_SHEETS + 1))
    assert names(store) == ["test-page_01.png", "train-page_01.png", "val-page_01.png"]
    page = Image.open(store.local_path(f"{SHEETS}/train-page_01.png"))
    both = 2  # of the classes only these have samples, and a row
    assert page.height == 18 + both * (18 + 96 + 4) + 4
    assert not [f for f in result.inferred if f.field == "contact sheets"]


def test_pages_have_the_same_bytes_each_time(tmp_path: Path) -> None:
    store, samples, _ = ingested(tmp_path, classes=many(OWN_SHEETS + 1))
    before = {name: store.read_bytes(f"{SHEETS}/{name}") for name in names(store)}
    write_sheets(store, samples, modality_entries(samples), 0)
    assert {name: store.read_bytes(f"{SHEETS}/{name}") for name in names(store)} == before


def test_a_page_holds_so_many_classes_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = [f"c{i:02d}" for i in range(PAGE_ROWS + 2)]
    windows = [w for split in ("train", "val", "test") for w in _windows(labels, split)]
    source = write_dataset(tmp_path / "source", windows, SMALL)
    monkeypatch.setattr(contact_sheet, "OWN_SHEETS", 4)
    store = Store(tmp_path / "store")
    ingest_dataset(store, IngestOptions(name="d", source=str(source)))
    assert names(store) == [
        f"{split}-page_{page}.png" for split in ("test", "train", "val") for page in ("01", "02")
    ]


def test_more_classes_than_pages_hold_are_those_with_most_samples_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contact_sheet, "OWN_SHEETS", 2)
    monkeypatch.setattr(contact_sheet, "_PAGED", 2)
    store, samples, result = ingested(tmp_path, classes=many(30))
    (fact,) = [f for f in result.inferred if f.field == "contact sheets"]
    assert fact.value == "2 of 30 classes"
    height = Image.open(store.local_path(f"{SHEETS}/train-page_01.png")).height
    assert height == 18 + 2 * (18 + 96 + 4) + 4  # forest and water, though water comes last
    assert samples.classes[-1] == "water"


def warned(store: Store) -> set[str]:
    """Sheets with the colour of the word in their title."""
    ink = np.array(contact_sheet._WARN)
    return {
        name
        for name in names(store)
        if (np.asarray(Image.open(store.local_path(f"{SHEETS}/{name}")))[:18] == ink).all(2).any()
    }


@pytest.mark.parametrize("classes", [2, OWN_SHEETS + 1])
def test_pictures_of_simulated_data_say_so(tmp_path: Path, classes: int) -> None:
    store, _, _ = ingested(tmp_path / "real", classes=many(classes))
    assert warned(store) == set()
    store, _, _ = ingested(tmp_path / "simulated", classes=many(classes), simulated=True)
    assert warned(store) == set(names(store))


def _windows(labels: list[str], split: str) -> list[Any]:
    row = ("train", "val", "test").index(split)
    made = grid(len(labels), labels, split=split)
    return [
        dataclasses.replace(w, name=f"{split}{w.name}", place=(i, row)) for i, w in enumerate(made)
    ]
