"""From a source to probe scores: nothing made of the old windows or splits is used again."""

from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from geofm_assets.core.store import Store
from geofm_assets.evaluation.ingest.ingest import ingest_dataset
from geofm_assets.evaluation.ingest.options import IngestOptions
from geofm_assets.evaluation.sweeps.run import run_sweep
from geofm_assets.evaluation.sweeps.settings import SweepSettings
from tests.eval_dataset import Made, Recipe, grid, set_option, write_dataset

SMALL = Recipe(months=1, layers={"sentinel2_l2a": ("B02", "B03")})
SETTINGS = SweepSettings(sweep="defaults", epochs=2, batch_size=16)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "source", grid(32, split=None), SMALL)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def ingest(store: Store, source: Path, **said: Any) -> str:
    """The dataset's id."""
    options = IngestOptions(name="d", source=str(source), overwrite=True, **said)
    return ingest_dataset(store, options).entry.dataset_id


def swept(store: Store) -> tuple[int, set[str], set[int], list[str]]:
    """Encoded samples, dataset ids, sizes of test, and where the embeddings lie."""
    result = run_sweep(store, ["image_statistics"], ["d"], settings=SETTINGS)
    test = result.scores.filter(pc.equal(result.scores["split"], "test"))
    ids = set(result.scores["dataset_id"].to_pylist())
    return result.encoded, ids, set(test["n"].to_pylist()), test["embeddings"].to_pylist()


def scored(store: Store) -> set[str]:
    """Dataset ids that have embeddings or scores."""
    keys = store.list_keys("evaluation/embeddings") + store.list_keys("evaluation/probes")
    return {part for key in keys for part in key.split("/") if part.startswith("d-")}


def test_a_re_split_dataset_is_encoded_and_probed_anew(store: Store, source: Path) -> None:
    first = ingest(store, source)
    assert swept(store)[:2] == (32, {first})
    assert swept(store)[0] == 0
    second = ingest(store, source, seed=1)
    assert second != first
    encoded, ids, _, embeddings = swept(store)
    assert (encoded, ids) == (32, {second})
    assert all(second in key for key in embeddings)
    assert scored(store) == {first, second}


def test_windows_that_came_or_went_are_in_the_scores(store: Store, source: Path) -> None:
    for made in grid(32):
        set_option(source, made.name, "split", made.split)
    first = ingest(store, source)
    assert swept(store)[2] == {8}
    write_dataset(source, [Made("new", (9, 9), "test")], SMALL)
    second = ingest(store, source)
    encoded, ids, sizes, _ = swept(store)
    assert (encoded, ids, sizes) == (33, {second}, {9})
    assert second != first


def test_one_window_in_another_split_is_enough(store: Store, source: Path) -> None:
    for made in grid(32):
        set_option(source, made.name, "split", made.split)
    ingest(store, source)
    swept(store)
    set_option(source, "w000", "split", "test")
    second = ingest(store, source)
    encoded, ids, sizes, _ = swept(store)
    assert (encoded, ids, sizes) == (32, {second}, {9})


def test_the_split_of_before_finds_its_scores_again(store: Store, source: Path) -> None:
    first = ingest(store, source)
    swept(store)
    ingest(store, source, seed=1)
    swept(store)
    assert ingest(store, source) == first
    assert swept(store)[:2] == (0, {first})
