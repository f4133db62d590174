"""A model gets from chips what rslearn gives it from a dataset in rslearn's own layout."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from rslearn.config import DType
from rslearn.dataset import Dataset
from rslearn.models.olmoearth_pretrain.norm import OlmoEarthNormalize
from rslearn.train.dataset import DataInput, ModelDataset, SplitConfig
from rslearn.train.model_context import RasterImage
from rslearn.train.tasks.classification import ClassificationTask
from upath import UPath

from geofm_assets.imagery.bands import LAYERS
from geofm_assets.imagery.chips import pack_cell, read_chips
from geofm_assets.imagery.materialize import materialize_windows
from geofm_assets.training.data import Example, WindowDataset, open_chips
from geofm_assets.training.experiments import Experiment
from geofm_assets.training.manifest import cell_manifest
from tests.imagery_scenes import chips_of, make_points, make_rasters, make_scenes, write_cell

S2, S1 = "sentinel2_l2a", "sentinel1"
CLASSES = ["Cropland", "Non-Cropland"]
EXPERIMENT = Experiment(
    encoder="olmoearth_v1_2_nano", modality="s1_s2", patch_size=4, window_size=8, timesteps=12
)


@dataclass(frozen=True)
class Samples:
    """Inputs and class of every window, by window name."""

    theirs: dict[str, tuple[dict[str, RasterImage], int]]
    ours: dict[str, Example]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """Four windows on scenes of which March has no Sentinel-2."""
    root = tmp_path_factory.mktemp("same")
    scenes = make_scenes(root / "scenes", skip=("S2_2022-03",))
    points = make_points([(20, 20), (60, 60), (30, 60), (60, 30)], scenes)
    written = write_cell(root / "dataset", scenes, points)
    materialize_windows(written.dataset, written.cell)  # rslearn's default storage, GeoTIFFs
    made = make_rasters(written)
    folder = root / "chips" / f"h3_cell={written.cell}"
    folder.mkdir(parents=True)
    (chips_of(written) / made.file).rename(folder / made.file)
    pack_cell(folder, made.file, [], "inputs")
    manifest = cell_manifest(written.windows, read_chips(folder))
    dataset = WindowDataset(manifest, open_chips(manifest, root / "chips"), EXPERIMENT)
    names = manifest["window_name"].to_pylist()
    return Samples(_rslearns(written.dataset), {name: dataset[i] for i, name in enumerate(names)})


def _rslearns(folder: Path) -> dict[str, tuple[dict[str, RasterImage], int]]:
    bands = {name: list(LAYERS[name].band_names) for name in (S2, S1)}
    inputs = {
        name: DataInput(
            data_type="raster",
            layers=[name],
            bands=bands[name],
            passthrough=True,
            load_all_layers=True,
            load_all_item_groups=True,
            dtype=DType.FLOAT32,
        )
        for name in bands
    }
    inputs["targets"] = DataInput(data_type="vector", layers=["label"], is_target=True)
    dataset = ModelDataset(
        dataset=Dataset(UPath(folder)),
        split_config=SplitConfig(transforms=[OlmoEarthNormalize(bands)]),
        task=ClassificationTask(property_name="category", classes=CLASSES),
        workers=0,
        inputs=inputs,
    )
    found = [dataset[i] for i in range(len(dataset))]
    return {meta.window_name: (images, int(target["class"])) for images, target, meta in found}


def test_windows_and_classes_are_the_same(samples: Samples) -> None:
    theirs = {name: target for name, (_, target) in samples.theirs.items()}
    assert {name: example.target for name, example in samples.ours.items()} == theirs
    assert len(theirs) == 4


@pytest.mark.parametrize("layer", [S1, S2])
def test_pixels_and_times_are_the_same(samples: Samples, layer: str) -> None:
    for name, (images, _) in samples.theirs.items():
        ours, theirs = samples.ours[name].inputs[layer], images[layer]
        assert isinstance(ours, RasterImage)
        assert theirs.timestamps is not None
        there = [i for i, t in enumerate(theirs.timestamps) if layer == S1 or t[0].month != 3]
        assert ours.timestamps == [theirs.timestamps[i] for i in there]
        assert ours.image.dtype == theirs.image.dtype
        # float32 in another order of rounding
        np.testing.assert_allclose(ours.image, theirs.image[:, there], rtol=0, atol=1e-6)


def test_a_month_without_imagery_is_left_out_where_rslearn_gives_zeros(samples: Samples) -> None:
    march = dt.datetime(2022, 3, 1, tzinfo=dt.UTC)
    for name, (images, _) in samples.theirs.items():
        ours, theirs = samples.ours[name].inputs[S2], images[S2]
        assert isinstance(ours, RasterImage)
        assert march in [start for start, _ in theirs.timestamps or []]
        assert march not in [start for start, _ in ours.timestamps or []]
        assert ours.image.shape == (12, 11, 8, 8)
