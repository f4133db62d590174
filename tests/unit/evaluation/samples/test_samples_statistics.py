"""Statistics of bands are those of numpy over the valid pixels of train."""

from pathlib import Path

import numpy as np
import pytest

from geofm_assets.core.errors import DatasetError
from geofm_assets.core.store import Store
from geofm_assets.evaluation.ingest.ingest import ingest_dataset
from geofm_assets.evaluation.ingest.options import IngestOptions
from geofm_assets.evaluation.samples.packed import PackedSamples
from geofm_assets.evaluation.samples.statistics import modality_entries
from tests.eval_dataset import Made, Recipe, grid, write_dataset


def with_gaps(made: Made, layer: str, month: int, pixels: np.ndarray) -> np.ndarray:
    """Some pixels without data; val and test are brighter, which train must not see."""
    pixels = pixels.copy()
    pixels[:, 0, : 1 + month] = -32768 if layer == "sentinel1" else 0
    if made.split != "train":
        pixels[:, 4:] += pixels.dtype.type(3)
    return pixels


def ingested(tmp_path: Path, recipe: Recipe | None = None) -> tuple[Store, PackedSamples]:
    source = write_dataset(tmp_path / "source", grid(16), recipe or Recipe(change=with_gaps))
    store = Store(tmp_path / "store")
    ingest_dataset(store, IngestOptions(name="gaps", source=str(source)))
    return store, PackedSamples(store, "gaps")


def train_pixels(samples: PackedSamples, modality: str, band: int) -> np.ndarray:
    rows = samples.rows("train").tolist()
    held = [samples.read(r).images[modality].values[:, band].ravel() for r in rows]
    joined = np.concatenate(held).astype(np.float64)
    return joined[np.isfinite(joined)]


@pytest.mark.parametrize(("modality", "band"), [("sentinel2_l2a", "B04"), ("sentinel1", "vh")])
def test_statistics_are_exact(tmp_path: Path, modality: str, band: str) -> None:
    _, samples = ingested(tmp_path)
    entry = modality_entries(samples)[modality]
    values = train_pixels(samples, modality, entry.bands.index(band))
    said = entry.statistics[band]
    assert said.count == len(values)
    assert said.mean == pytest.approx(values.mean(), rel=1e-12)
    assert said.std == pytest.approx(values.std(), rel=1e-12)
    assert (said.min, said.max) == (values.min(), values.max())
    percentiles = np.percentile(values, [2, 50, 98])
    np.testing.assert_allclose([said.p02, said.p50, said.p98], percentiles, rtol=1e-12)


def test_statistics_leave_out_nodata_and_the_other_splits(tmp_path: Path) -> None:
    _, samples = ingested(tmp_path)
    said = modality_entries(samples)["sentinel2_l2a"].statistics["B02"]
    assert said.count == 8 * (64 - 1 + 64 - 2)
    assert said.min > 0


def test_a_band_without_a_pixel_in_train_is_filled(tmp_path: Path) -> None:
    def without_b08(made: Made, layer: str, month: int, pixels: np.ndarray) -> np.ndarray:
        if layer == "sentinel2_l2a":
            pixels[3] = 0
        return pixels

    _, samples = ingested(tmp_path, Recipe(change=without_b08))
    entry = modality_entries(samples)["sentinel2_l2a"]
    assert entry.filled_bands == ("B08",)
    assert "B08" not in entry.statistics


def test_constant_bands_have_no_spread(tmp_path: Path) -> None:
    def flat(made: Made, layer: str, month: int, pixels: np.ndarray) -> np.ndarray:
        return np.full_like(pixels, 500) if layer == "sentinel2_l2a" else pixels

    _, samples = ingested(tmp_path, Recipe(change=flat))
    said = modality_entries(samples)["sentinel2_l2a"].statistics["B02"]
    assert (said.mean, said.std, said.p02, said.p50, said.p98) == (500, 0, 500, 500, 500)


def test_train_without_a_pixel_is_an_error(tmp_path: Path) -> None:
    def only_others(made: Made, layer: str, month: int, pixels: np.ndarray) -> np.ndarray:
        return np.zeros_like(pixels) if made.split == "train" else pixels

    recipe = Recipe(layers={"sentinel2_l2a": ("B02", "B03")}, change=only_others)
    with pytest.raises(DatasetError, match="no valid pixel"):
        ingested(tmp_path, recipe)
