"""Packed files are opened when needed, checked once in a process, and read alike by any worker."""

import multiprocessing
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.utils.data import DataLoader
from upath import UPath

from geofm_assets.core.errors import ExperimentError, ImageryError
from geofm_assets.imagery import packed_header
from geofm_assets.training import chip_rows
from geofm_assets.training.chip_rows import ChipRows
from geofm_assets.training.config import TrainingConfig
from geofm_assets.training.data import WindowDataset, collate
from geofm_assets.training.experiments import Experiment
from geofm_assets.training.loading import EpochSampler, loaders
from geofm_assets.training.schema import MANIFEST
from tests.packed_files import flip_bit
from tests.servers.range_server import serve
from tests.training_world import CELLS, make_world, manifest_row

S2, S1 = "sentinel2_l2a", "sentinel1"
EXPERIMENT = Experiment(
    encoder="olmoearth_v1_2_nano", modality="s1_s2", patch_size=2, window_size=2, timesteps=2
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def manifest(root: Path) -> pa.Table:
    """Twelve windows, six in each of two cells."""
    return make_world(root, windows=12)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Files that were opened, in order."""
    files: list[str] = []
    real = chip_rows.open_packed

    def noted(path):
        files.append(path.parent.name)
        return real(path)

    monkeypatch.setattr(chip_rows, "open_packed", noted)
    return files


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Checksums that were compared."""
    checksums: list[int] = []
    real = packed_header.row_checksum

    def noted(values):
        checksums.append(real(values))
        return checksums[-1]

    monkeypatch.setattr(packed_header, "row_checksum", noted)
    return checksums


def samples(dataset: WindowDataset, workers: int, context: str | None = None) -> dict:
    """Images of two epochs by (epoch, row, layer), as a loader gives them."""
    found = {}
    sampler = EpochSampler(range(len(dataset)), seed=3)
    loader = DataLoader(
        dataset,
        batch_sampler=torch.utils.data.BatchSampler(sampler, 5, drop_last=False),
        num_workers=workers,
        collate_fn=collate,
        multiprocessing_context=context,
        persistent_workers=workers > 0,
    )
    for epoch in range(2):
        sampler.set_epoch(epoch)
        for batch in loader:
            for row, inputs in zip(batch.indices.tolist(), batch.inputs, strict=True):
                for layer, image in inputs.items():
                    found[epoch, row, layer] = (image.image.numpy().copy(), image.timestamps)
    return found


def equal(one: dict, other: dict) -> bool:
    return list(one) == list(other) and all(
        np.array_equal(one[key][0], other[key][0]) and one[key][1] == other[key][1] for key in one
    )


def test_construction_opens_nothing(manifest, root, opened):
    dataset = WindowDataset(manifest, ChipRows(manifest, root), EXPERIMENT)
    assert opened == []
    dataset[0]
    assert len(opened) == 1


def test_each_file_is_opened_once(manifest, root, opened):
    chips = ChipRows(manifest, root)
    for index in [0, 11, 1, 10, 0]:
        chips.pixels(index, S2)
    assert sorted(opened) == sorted(f"h3_cell={cell}" for cell in CELLS)


def test_files_kept_open_are_bounded(manifest, root, opened):
    chips = ChipRows(manifest, root, max_open=1)
    kept = chips.pixels(0, S2)
    before = kept.copy()
    for index in [11, 0, 11]:
        chips.pixels(index, S2)
    assert len(opened) == 4
    assert np.array_equal(kept, before)  # what was handed out outlives its file's eviction


def test_pixels_are_verified_once(manifest, root, verified):
    dataset = WindowDataset(manifest, ChipRows(manifest, root), EXPERIMENT)
    for _ in range(3):
        dataset[0]
    assert len(verified) == 2  # one a layer


def test_pickle_holds_no_pixels(manifest, root):
    dataset = WindowDataset(manifest, ChipRows(manifest, root), EXPERIMENT)
    fresh = len(pickle.dumps(dataset))
    for index in range(len(dataset)):
        dataset[index]
    assert len(pickle.dumps(dataset)) == fresh


def test_pickle_of_many_windows_is_small():
    names = [f"831e94fffffffff_42.12345678901234_9.12345678901234_2022-06-{i}" for i in range(5000)]
    rows = [manifest_row(i, CELLS[0], "f", i, window_name=name) for i, name in enumerate(names)]
    manifest = pa.Table.from_pylist(rows, schema=MANIFEST)
    dataset = WindowDataset(manifest, ChipRows(manifest, Path("chips")), EXPERIMENT)
    assert len(pickle.dumps(dataset)) < 100 * len(dataset)


@pytest.mark.parametrize(("workers", "context"), [(1, "fork"), (2, "fork")], ids=str)
def test_workers_give_the_same_samples(manifest, root, workers, context):
    dataset = WindowDataset(manifest, ChipRows(manifest, root), EXPERIMENT, augment=True)
    dataset[0]  # open a file before the workers start
    assert equal(samples(dataset, workers, context), samples(dataset, 0))


def test_a_forked_process_verifies_for_itself(manifest, root, verified):
    chips = ChipRows(manifest, root)
    chips.pixels(0, S2)
    context = multiprocessing.get_context("fork")
    ends = context.Pipe()

    def child():
        before = len(verified)
        chips.pixels(0, S2)
        ends[1].send(len(verified) - before)

    process = context.Process(target=child)
    process.start()
    assert ends[0].recv() == 1
    process.join()


@pytest.fixture
def places(manifest, root: Path) -> Iterator[dict[str, UPath]]:
    """The same chips in memory and over HTTP."""
    memory = UPath("memory://store/chips")
    for path in root.rglob("*.safetensors"):
        target = memory / path.parent.name / path.name
        target.write_bytes(path.read_bytes())
    with serve(root) as server:
        yield {"memory": memory, "http": UPath(server.url)}


@pytest.mark.parametrize("place", ["memory", "http"])
def test_a_bucket_gives_the_same_samples(manifest, root, places, place):
    there = WindowDataset(manifest, ChipRows(manifest, places[place]), EXPERIMENT, augment=True)
    here = WindowDataset(manifest, ChipRows(manifest, root), EXPERIMENT, augment=True)
    assert equal(samples(there, 0), samples(here, 0))


@pytest.mark.parametrize(("workers", "context"), [(2, "fork"), (1, "spawn")], ids=str)
def test_workers_read_from_a_bucket(manifest, root, places, workers, context):
    there = WindowDataset(manifest, ChipRows(manifest, places["http"]), EXPERIMENT, augment=True)
    there[0]  # a connection open before the workers start
    here = WindowDataset(manifest, ChipRows(manifest, root), EXPERIMENT, augment=True)
    assert equal(samples(there, workers, context), samples(here, 0))


def test_cells_are_mixed(manifest, root):
    dataset = WindowDataset(manifest, ChipRows(manifest, root), EXPERIMENT)
    learn, _ = loaders(dataset, range(12), [0], TrainingConfig(batch_size=6))
    first = next(iter(learn)).indices.tolist()
    assert len({manifest["h3_cell"][row].as_py() for row in first}) == 2


def replaced(manifest: pa.Table, column: str, values: list) -> pa.Table:
    index = manifest.schema.get_field_index(column)
    return manifest.set_column(
        index, MANIFEST.field(column), pa.array(values, MANIFEST.types[index])
    )


def test_row_of_another_window_is_refused(manifest, root):
    turned = replaced(manifest, "chip_row", [1, 0, *manifest["chip_row"].to_pylist()[2:]])
    with pytest.raises(
        ExperimentError,
        match=r"Row 1 of the packed file holds window 'w0001' at h3_cell=.*window w0000.*older",
    ):
        ChipRows(turned, root).pixels(0, S2)


def test_row_beyond_the_file_is_refused(manifest, root):
    beyond = replaced(manifest, "chip_row", [99] * 12)
    with pytest.raises(ExperimentError, match="Row 99 of the packed file holds nothing"):
        ChipRows(beyond, root).pixels(3, S2)


def test_manifest_older_than_the_file_is_refused(manifest, root):
    older = replaced(manifest, "chip_file", ["rasters-0000000000000000.safetensors"] * 12)
    with pytest.raises(
        ExperimentError, match=r"not there at .*rasters-0{16}.*Make the split manifest again"
    ):
        ChipRows(older, root).pixels(0, S2)


def test_file_of_another_version_is_no_older_manifest(manifest, root):
    path = next((root / f"h3_cell={CELLS[0]}").glob("*.safetensors"))
    path.write_bytes(b"short")
    index = manifest["h3_cell"].to_pylist().index(CELLS[0])
    with pytest.raises(ImageryError, match=f"it has 5 bytes at .*{path.name}"):
        ChipRows(manifest, root).pixels(index, S2)


def test_flipped_bit_is_found_by_the_dataset(manifest, root):
    path = next((root / f"h3_cell={CELLS[0]}").glob("*.safetensors"))
    flip_bit(path, f"{S1}/values")
    dataset = WindowDataset(manifest, ChipRows(manifest, root), EXPERIMENT)
    index = manifest["h3_cell"].to_pylist().index(CELLS[0])
    with pytest.raises(ImageryError, match=f"{path.name}, {S1}, row 0, window w0000"):
        dataset[index]
