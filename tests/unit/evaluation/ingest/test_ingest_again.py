"""A dataset ingested again: what stays, what is made anew, what is refused."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from geofm_assets.core.errors import DatasetError, RegistryError
from geofm_assets.core.store import Store
from geofm_assets.evaluation.ingest.ingest import IngestResult, ingest_dataset
from geofm_assets.evaluation.ingest.options import IngestOptions
from geofm_assets.evaluation.ingest.stages import EvaluationDatasetStage
from geofm_assets.evaluation.registry.registry import Registry
from geofm_assets.evaluation.samples.packed import PackedSamples
from tests.eval_dataset import Made, Recipe, grid, set_option, write_dataset

REPOSITORY = Path(__file__).resolve().parents[4]
SMALL = Recipe(months=1, layers={"sentinel2_l2a": ("B02", "B03")})


def written(folder: Path, windows: Sequence[Made]) -> Path:
    return write_dataset(folder, windows, SMALL)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def ingest(store: Store, source: Path, **said: Any) -> IngestResult:
    return ingest_dataset(store, IngestOptions(name="d", source=str(source), **said))


def files(store: Store) -> dict[str, bytes]:
    """Everything of the dataset, and the registry."""
    keys = store.list_keys("evaluation/datasets/d")
    return {key: store.read_bytes(key) for key in [*keys, "evaluation/registry.json"]}


def kept(result: IngestResult) -> dict[str, str]:
    return {f.field: f.value for f in result.inferred if f.source == "kept from the last ingest"}


def row_of(samples: PackedSamples, window: str) -> int:
    return samples.table["window_name"].to_pylist().index(window)


def splits(store: Store) -> dict[str, str]:
    table = PackedSamples(store, "d").table
    names, held = table["window_name"].to_pylist(), table["split"].to_pylist()
    return dict(zip(names, held, strict=True))


def test_nothing_new_makes_nothing(store: Store, tmp_path: Path) -> None:
    source = written(tmp_path / "source", grid(16))
    first = ingest(store, source)
    part = store.local_path("evaluation/datasets/d/parts/part-00000.safetensors")
    before = part.stat().st_mtime_ns
    second = ingest(store, source)
    assert second.skipped
    assert second.entry == first.entry
    assert part.stat().st_mtime_ns == before


def test_only_what_is_said_of_it_can_change_without_making_it_anew(
    store: Store, tmp_path: Path
) -> None:
    source = written(tmp_path / "source", grid(16))
    ingest(store, source)
    assert ingest(store, source, licence="CC0-1.0").skipped
    assert Registry(store).get("d").licence == "CC0-1.0"


def test_a_changed_source_is_only_taken_if_said(store: Store, tmp_path: Path) -> None:
    source = written(tmp_path / "source", grid(16))
    first = ingest(store, source).entry
    written(source, [Made("new", (7, 7))])
    before = files(store)
    with pytest.raises(RegistryError, match=r"The source of 'd'.*changed.*--overwrite"):
        ingest(store, source)
    assert files(store) == before
    assert Registry(store).get("d") == first


def test_other_options_are_refused_by_name_and_nothing_is_written(
    store: Store, tmp_path: Path
) -> None:
    source = written(tmp_path / "source", grid(16))
    ingest(store, source)
    before = files(store)
    with pytest.raises(RegistryError, match=r"seed 0, now 3 at .*--overwrite") as refused:
        ingest(store, source, seed=3, max_samples=None)
    assert "max samples" not in str(refused.value)
    assert files(store) == before


def test_what_was_said_of_the_data_is_kept(store: Store, tmp_path: Path) -> None:
    source = written(tmp_path / "source", grid(16))
    said = {"display_name": "D", "licence": "CC0-1.0", "citation": "us", "subsets": (10,)}
    ingest(store, source, simulated=True, **said)
    again = ingest(store, source)
    assert again.skipped
    entry = Registry(store).get("d")
    assert (entry.display_name, entry.licence, entry.citation) == ("D", "CC0-1.0", "us")
    assert entry.simulated
    assert list(entry.split.subsets) == ["10"]
    assert kept(again) == {
        "display name": "D",
        "licence": "CC0-1.0",
        "citation": "us",
        "subsets": "10",
        "simulated": "True",
    }


def test_it_is_kept_too_where_samples_are_made_anew(store: Store, tmp_path: Path) -> None:
    source = written(tmp_path / "source", grid(16, labels=(1.0, 2.0)))
    ingest(store, source, licence="CC0-1.0", target_unit="t/ha")
    written(source, [Made("new", (7, 7), label=3.0)])
    again = ingest(store, source, overwrite=True, licence="MIT")
    assert not again.skipped
    assert kept(again) == {"target unit": "t/ha"}
    assert again.entry.licence == "MIT"
    assert again.entry.target is not None
    assert again.entry.target.unit == "t/ha"
    third = ingest(store, source)
    assert kept(third) == {"licence": "MIT", "target unit": "t/ha"}


def test_what_was_said_of_one_source_is_not_said_of_another(store: Store, tmp_path: Path) -> None:
    ingest(store, written(tmp_path / "one", grid(16)), licence="CC0-1.0")
    other = ingest(store, written(tmp_path / "two", grid(8)), overwrite=True)
    assert other.entry.licence == "unknown"
    (fact,) = [f for f in other.inferred if f.field == "licence"]
    assert (fact.value, fact.source) == ("not CC0-1.0", f"dropped: it was said of {tmp_path}/one")


def test_the_note_holds_the_source_whatever_folder_it_was_typed_in(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = written(tmp_path / "source", grid(8))
    monkeypatch.chdir(tmp_path)
    ingest(store, Path("source"), licence="CC0-1.0")
    monkeypatch.chdir("/")
    assert kept(ingest(store, source)) == {"licence": "CC0-1.0"}
    assert EvaluationDatasetStage({}).options(store, "d", {}).source == str(source)


def test_damaged_samples_are_mended_without_overwrite(store: Store, tmp_path: Path) -> None:
    source = written(tmp_path / "source", grid(16))
    entry = ingest(store, source).entry
    before = files(store)
    store.local_path("evaluation/datasets/d/parts/part-00000.safetensors").write_bytes(b"")
    store.local_path("evaluation/datasets/d/sheets/train-water.png").unlink()
    assert not ingest(store, source).skipped
    assert Registry(store).get("d") == entry
    assert files(store) == before


def test_lost_files_of_a_registered_dataset_say_what_to_do(store: Store, tmp_path: Path) -> None:
    source = written(tmp_path / "source", grid(16))
    entry = ingest(store, source).entry
    shutil.rmtree(store.local_path("evaluation/datasets/d"))
    with pytest.raises(RegistryError, match=r"files of 'd' are not in the store.*--overwrite"):
        ingest(store, source)
    assert ingest(store, source, overwrite=True).entry == entry


def test_the_samples_of_a_registered_dataset_are_not_replaced_behind_its_back(
    store: Store, tmp_path: Path
) -> None:
    source = written(tmp_path / "source", grid(16))
    ingest(store, source)
    before = files(store)
    with pytest.raises(RegistryError, match="--no-register"):
        ingest(store, source, seed=1, overwrite=True, register=False)
    assert files(store) == before


def test_a_damaged_note_is_one_clear_error(store: Store, tmp_path: Path) -> None:
    source = written(tmp_path / "source", grid(8))
    ingest(store, source)
    store.write_bytes("evaluation/datasets/d/ingest.json", b"{")
    with pytest.raises(DatasetError, match=r"note on the last ingest is damaged at .*ingest.json"):
        ingest(store, source)


def test_a_bad_source_leaves_copy_and_samples_as_they_were(store: Store, tmp_path: Path) -> None:
    source = written(tmp_path / "source", grid(16))
    ingest(store, source)
    before = files(store)
    (source / "windows/default/w000/layers/label/data.geojson").unlink()
    with pytest.raises(DatasetError, match="label"):
        ingest(store, source, overwrite=True)
    assert files(store) == before


def test_new_windows_make_new_samples(store: Store, tmp_path: Path) -> None:
    source = written(tmp_path / "source", grid(16))
    first = ingest(store, source).entry
    written(source, [Made("new", (7, 7))])
    entry = ingest(store, source, overwrite=True).entry
    assert entry.content != first.content
    assert entry.split.counts["train"] == 9
    assert len(PackedSamples(store, "d")) == 17


def test_windows_that_went_are_gone(store: Store, tmp_path: Path) -> None:
    source = written(tmp_path / "source", grid(16))
    ingest(store, source)
    shutil.rmtree(source / "windows/default/w000")
    ingest(store, source, overwrite=True)
    assert "w000" not in splits(store)


def test_another_split_of_the_source_is_taken(store: Store, tmp_path: Path) -> None:
    source = written(tmp_path / "source", grid(16))
    first = ingest(store, source).entry
    assert splits(store)["w000"] == "train"
    set_option(source, "w000", "split", "test")
    entry = ingest(store, source, overwrite=True).entry
    assert splits(store)["w000"] == "test"
    assert entry.content != first.content


def test_rslearns_stale_index_is_not_believed(store: Store, tmp_path: Path) -> None:
    source = written(tmp_path / "source", grid(16))
    stale = source / ".rslearn_dataset_index"
    stale.mkdir()
    (stale / "abc.json").write_text('{"windows": []}')
    assert sum(ingest(store, source).entry.split.counts.values()) == 16


def test_another_label_is_taken(store: Store, tmp_path: Path) -> None:
    source = written(tmp_path / "source", grid(16))
    first = ingest(store, source).entry
    label = source / "windows/default/w000/layers/label/data.geojson"
    label.write_text(label.read_text().replace("water", "forest"))
    assert ingest(store, source, overwrite=True).entry.content != first.content
    samples = PackedSamples(store, "d")
    assert samples.table["label_text"][row_of(samples, "w000")].as_py() == "forest"


def test_another_seed_makes_another_split(store: Store, tmp_path: Path) -> None:
    source = written(tmp_path / "source", grid(40, split=None))
    first, before = ingest(store, source).entry, splits(store)
    second = ingest(store, source, seed=1, overwrite=True).entry
    assert splits(store) != before
    assert second.content != first.content


def test_old_parts_and_sheets_are_removed(store: Store, tmp_path: Path) -> None:
    source = written(tmp_path / "source", grid(16, labels=("water", "forest", "bog")))
    ingest(store, source)
    for made in grid(16, labels=("water", "forest", "bog")):
        if made.label == "bog":
            shutil.rmtree(source / "windows/default" / made.name)
    result = ingest(store, source, overwrite=True)
    assert set(result.sheets) == set(store.list_keys("evaluation/datasets/d/sheets"))
    assert not any("bog" in key for key in result.sheets)


def test_a_bad_source_leaves_the_registry_as_it_was(store: Store, tmp_path: Path) -> None:
    good = written(tmp_path / "good", grid(16))
    entry = ingest(store, good).entry
    windows = grid(16)
    windows[0].label = None
    bad = written(tmp_path / "bad", windows)
    with pytest.raises(DatasetError, match="label is missing"):
        ingest(store, bad, overwrite=True)
    assert Registry(store).get("d") == entry


def test_a_name_that_is_taken_needs_overwrite(store: Store, tmp_path: Path) -> None:
    ingest(store, written(tmp_path / "one", grid(16)))
    with pytest.raises(RegistryError, match="--overwrite"):
        ingest(store, written(tmp_path / "two", grid(8)))


def test_two_ingests_of_one_name_at_once(store: Store, tmp_path: Path) -> None:
    source = written(tmp_path / "source", grid(16))
    refused: list[str] = []

    def second(done: int, total: int, note: str) -> None:
        if not refused:

            def other() -> None:
                with pytest.raises(RegistryError) as error:
                    ingest(Store(store.url), source)
                refused.append(str(error.value))

            thread = threading.Thread(target=other)
            thread.start()
            thread.join()

    ingest_dataset(store, IngestOptions(name="d", source=str(source)), second)
    assert "'d' is being ingested" in refused[0]
    assert Registry(store).names() == ["d"]


def test_an_ingest_that_was_killed_goes_on(store: Store, tmp_path: Path) -> None:
    source = written(tmp_path / "source", grid(16))
    code = f"""
import os, signal
from geofm_assets.core.store import Store
from geofm_assets.evaluation.ingest.ingest import ingest_dataset
from geofm_assets.evaluation.ingest.options import IngestOptions
def report(done, total, note):
    if note == "statistics":
        os.kill(os.getpid(), signal.SIGKILL)
options = IngestOptions(name="d", source={str(source)!r})
ingest_dataset(Store({store.url!r}), options, report)
"""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert Registry(store).names() == []
    part = store.local_path("evaluation/datasets/d/parts/part-00000.safetensors")
    before = part.stat().st_mtime_ns
    entry = ingest(store, source).entry
    assert part.stat().st_mtime_ns == before
    assert Registry(store).get("d") == entry


def test_no_register_leaves_the_registry_alone(store: Store, tmp_path: Path) -> None:
    ingest(store, written(tmp_path / "source", grid(8)), register=False)
    assert Registry(store).names() == []
    assert len(PackedSamples(store, "d")) == 8
