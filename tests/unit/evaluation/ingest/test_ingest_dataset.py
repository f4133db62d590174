"""An rslearn dataset becomes a registered evaluation, and stays what its source is."""

import datetime as dt
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geofm_assets.core.errors import DatasetError
from geofm_assets.core.store import Store
from geofm_assets.evaluation.ingest.ingest import IngestResult, ingest_dataset
from geofm_assets.evaluation.ingest.options import IngestOptions
from geofm_assets.evaluation.registry.registry import Registry
from geofm_assets.evaluation.samples.packed import PackedSamples
from geofm_assets.evaluation.samples.types import IGNORE
from tests.eval_dataset import EPOCH, MONTH, Made, Recipe, grid, write_dataset

SMALL = Recipe(months=1, layers={"sentinel2_l2a": ("B02", "B03")})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def ingest(store: Store, source: Path, **said: Any) -> IngestResult:
    return ingest_dataset(store, IngestOptions(name="d", source=str(source), **said))


def row_of(samples: PackedSamples, window: str) -> int:
    return samples.table["window_name"].to_pylist().index(window)


def splits(store: Store) -> dict[str, str]:
    table = PackedSamples(store, "d").table
    names, held = table["window_name"].to_pylist(), table["split"].to_pylist()
    return dict(zip(names, held, strict=True))


def test_the_registry_says_what_was_ingested(store: Store, tmp_path: Path) -> None:
    source = write_dataset(tmp_path / "source", grid(16))
    ingest(store, source, display_name="D", licence="CC-BY-4.0", citation="us")
    entry = Registry(store).get("d")
    assert (entry.task_type, entry.classes) == ("classification", ("forest", "water"))
    assert (entry.display_name, entry.licence, entry.citation) == ("D", "CC-BY-4.0", "us")
    assert entry.split.counts == {"train": 8, "val": 4, "test": 4}
    assert entry.split.rule == "kept"
    assert entry.split.subsets == {"1": 2, "5": 2, "20": 2}
    assert entry.window_size == 8
    assert entry.modalities["sentinel2_l2a"].timesteps == 2
    assert entry.metric == "accuracy"
    assert not entry.simulated


def test_samples_are_the_windows(store: Store, tmp_path: Path) -> None:
    ingest(store, write_dataset(tmp_path / "source", grid(16)))
    samples = PackedSamples(store, "d")
    sample = samples.read(row_of(samples, "w003"))
    assert sample.sample_id == "default/w003"
    assert samples.classes[sample.label] == "forest"
    image = sample.images["sentinel2_l2a"]
    assert image.values.shape == (2, 4, 8, 8)
    assert 2500 < np.nanmean(image.values[:, 3]) < 3500
    assert 4 < sample.lon < 16
    assert 44 < sample.lat < 46


def test_dates_are_those_of_the_scenes(store: Store, tmp_path: Path) -> None:
    ingest(store, write_dataset(tmp_path / "source", grid(8)))
    times = PackedSamples(store, "d").read(0).images["sentinel1"].timestamps
    third = EPOCH + dt.timedelta(days=3)
    assert times == ((third, third), (third + MONTH, third + MONTH))


def test_bands_are_stored_in_model_order(store: Store, tmp_path: Path) -> None:
    recipe = Recipe(layers={"sentinel2": ("B08", "B02")})
    ingest(store, write_dataset(tmp_path / "source", grid(8), recipe))
    image = PackedSamples(store, "d").read(0).images["sentinel2_l2a"]
    assert image.bands == ("B02", "B08")
    assert np.nanmean(image.values[:, 1]) == pytest.approx(700, abs=60)


def test_layers_of_one_modality_are_one_series(store: Store, tmp_path: Path) -> None:
    recipe = Recipe(layers={"post_sentinel2": ("B02",), "pre_sentinel2": ("B02",)})
    ingest(store, write_dataset(tmp_path / "source", grid(8), recipe))
    image = PackedSamples(store, "d").read(0).images["sentinel2_l2a"]
    assert len(image.values) == 4
    assert list(image.timestamps) == sorted(image.timestamps)


def test_linear_sentinel1_becomes_decibels(store: Store, tmp_path: Path) -> None:
    def linear(made: Made, layer: str, month: int, pixels: np.ndarray) -> np.ndarray:
        return 10 ** (pixels / 10) if layer == "sentinel1" else pixels

    source = write_dataset(tmp_path / "source", grid(8), Recipe(change=linear))
    ingest(store, source, sentinel1_unit="linear")
    said = Registry(store).get("d").modalities["sentinel1"].statistics["vv"]
    assert said.mean == pytest.approx(-11, abs=0.2)


def test_a_missing_month_is_not_made_up(store: Store, tmp_path: Path) -> None:
    def skip(made: Made, layer: str, month: int, pixels: np.ndarray) -> np.ndarray | None:
        return None if made.name == "w001" and layer == "sentinel1" and month == 0 else pixels

    ingest(store, write_dataset(tmp_path / "source", grid(8), Recipe(change=skip)))
    samples = PackedSamples(store, "d")
    image = samples.read(row_of(samples, "w001")).images["sentinel1"]
    assert len(image.values) == 1
    assert image.timestamps[0][0] == EPOCH + MONTH + dt.timedelta(days=3)


def test_images_outside_the_temporal_range_are_left_out(store: Store, tmp_path: Path) -> None:
    source = write_dataset(tmp_path / "source", grid(8), Recipe(months=3))
    ingest(store, source, temporal_range=("2022-01-20", "2022-02-20"))
    assert Registry(store).get("d").modalities["sentinel1"].timesteps == 1


def test_a_segmentation(store: Store, tmp_path: Path) -> None:
    def pixels(made: Made) -> np.ndarray:
        label = np.zeros((8, 8))
        label[:4] = 1
        label[0, 0] = 9
        return label

    recipe = Recipe(label_type="uint8", label_pixels=pixels, class_names=["no", "yes"])
    ingest(store, write_dataset(tmp_path / "source", grid(8), recipe), label_nodata=9)
    label = PackedSamples(store, "d").labels([0])[0]
    assert (label[0, 0], label[0, 1], label[7, 7]) == (IGNORE, 1, 0)
    assert Registry(store).get("d").metric == "miou"


def test_a_regression_of_windows(store: Store, tmp_path: Path) -> None:
    source = write_dataset(tmp_path / "source", grid(16, labels=(1.0, 3.0)))
    entry = ingest(store, source, target_unit="t/ha").entry
    assert entry.target is not None
    assert (entry.target.mean, entry.target.std, entry.target.unit) == (2, 1, "t/ha")
    assert entry.lower_is_better
    assert set(PackedSamples(store, "d").labels().tolist()) == {1.0, 3.0}


def test_a_regression_of_pixels_with_unknown_ones(store: Store, tmp_path: Path) -> None:
    def pixels(made: Made) -> np.ndarray:
        label = np.linspace(0, 1, 64).reshape(8, 8)
        label[0] = np.nan
        return label

    recipe = Recipe(label_type="float32", label_pixels=pixels)
    entry = ingest(store, write_dataset(tmp_path / "source", grid(8), recipe)).entry
    assert entry.target is not None
    assert entry.target.mean == pytest.approx(np.linspace(0, 1, 64)[8:].mean())
    assert np.isnan(PackedSamples(store, "d").read(0).label[0]).all()


def test_a_target_that_never_changes_is_refused(store: Store, tmp_path: Path) -> None:
    source = write_dataset(tmp_path / "source", grid(8, labels=(2.0,)))
    with pytest.raises(DatasetError, match="Every target of the train split is the same"):
        ingest(store, source)
    assert Registry(store).names() == []


def test_several_labels_a_window(store: Store, tmp_path: Path) -> None:
    ingest(store, write_dataset(tmp_path / "source", grid(8, labels=(["a", "b"], ["b"]))))
    samples = PackedSamples(store, "d")
    assert samples.labels([row_of(samples, "w000")]).tolist() == [[1, 1]]
    assert samples.labels([row_of(samples, "w001")]).tolist() == [[0, 1]]


def test_without_splits_blocks_are_drawn(store: Store, tmp_path: Path) -> None:
    entry = ingest(store, write_dataset(tmp_path / "source", grid(40, split=None), SMALL)).entry
    assert (entry.split.rule, entry.split.block_m) == ("spatial_blocks", 2560.0)
    assert entry.split.counts == {"train": 28, "val": 6, "test": 6}


def test_max_samples_draws_the_same_ones_each_time(store: Store, tmp_path: Path) -> None:
    source = write_dataset(tmp_path / "source", grid(40, split=None), SMALL)
    entry = ingest(store, source, max_samples=20).entry
    assert sum(entry.split.counts.values()) == 20
    again = ingest_dataset(store, IngestOptions(name="e", source=str(source), max_samples=20)).entry
    assert again.content == entry.content


def test_the_same_source_gives_the_same_content_anywhere(tmp_path: Path) -> None:
    source = write_dataset(tmp_path / "source", grid(16))
    shutil.copytree(source, tmp_path / "elsewhere")
    one = ingest(Store(tmp_path / "a"), source).entry
    two = ingest(Store(tmp_path / "b"), tmp_path / "elsewhere").entry
    assert one.content == two.content


def test_simulated_scenes_make_a_simulated_dataset(store: Store, tmp_path: Path) -> None:
    source = write_dataset(tmp_path / "source", grid(8), Recipe(simulated=True))
    assert ingest(store, source).entry.simulated
