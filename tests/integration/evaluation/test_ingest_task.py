"""A task's own windows as an evaluation dataset: read from its cells, nothing copied."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from geofm_assets.core.errors import DatasetError
from geofm_assets.core.store import Store
from geofm_assets.evaluation.ingest.ingest import IngestResult, ingest_dataset
from geofm_assets.evaluation.ingest.options import IngestOptions
from geofm_assets.evaluation.ingest.validate import validate_source
from geofm_assets.evaluation.registry.registry import Registry
from geofm_assets.evaluation.samples import packing
from geofm_assets.evaluation.samples.packed import PackedSamples
from geofm_assets.imagery.config import ImageryConfig
from geofm_assets.imagery.dataset import ensure_dataset
from geofm_assets.imagery.export import export_dataset
from tests.imagery_scenes import chips_of, make_points, make_rasters, make_scenes, write_cell
from tests.packed_files import flip_bit

PIXELS = [(8 + 12 * (i % 5), 10 + 12 * (i // 5)) for i in range(19)] + [(126, 100)]
SPLITS = ["train"] * 12 + ["val"] * 4 + ["test"] * 4
AWAY = (900, 900)  # pixels off the scenes: a window there has no imagery
S2 = "sentinel2_l2a"


def make_task(root: Path, pixels: list[tuple[int, int]] = PIXELS) -> Path:
    """A task's dataset as a store has it: one window cut by the scenes' edge, a month missing."""
    scenes = make_scenes(root / "scenes", skip=("S2_2022-03", "S1_2022-05"))
    files = write_cell(root / "files" / "dataset", scenes, make_points(pixels, scenes))
    made, folder = make_rasters(files), f"h3_cell={files.cell}"
    for name in ("windows", "rasters", "chips"):
        (root / "task" / name / folder).mkdir(parents=True)
    at = files.windows.schema.get_field_index("split")
    splits = pa.array((SPLITS + ["train"] * len(pixels))[: len(pixels)])
    windows = files.windows.set_column(at, files.windows.schema.field(at), splits)
    pq.write_table(windows, root / "task" / "windows" / folder / "windows.parquet")
    pq.write_table(made.rasters, root / "task" / "rasters" / folder / "rasters.parquet")
    (chips_of(files) / made.file).rename(root / "task" / "chips" / folder / made.file)
    dataset = root / "task" / "dataset"
    ensure_dataset(dataset, ImageryConfig(), str(scenes.folder), None)
    return dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_task(tmp_path_factory.mktemp("world"))


def ingest(store: Path, source: Path, **said: object) -> IngestResult:
    values = {"name": "wc", "source": str(source), "split_rule": "kept", **said}
    return ingest_dataset(Store(store), IngestOptions.model_validate(values))


def files_of(store: Path, pattern: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.glob(pattern)}


@pytest.mark.parametrize(
    "said",
    [{}, {"modalities": ["sentinel1"], "temporal_range": ["2022-01-01", "2022-08-15"]}],
    ids=["all", "chosen"],
)
def test_it_is_what_an_export_gives_ingested(
    dataset: Path, tmp_path: Path, said: dict[str, object]
) -> None:
    export_dataset(dataset, tmp_path / "plain", layout="files")
    old = ingest(tmp_path / "old", tmp_path / "plain", simulated=True, **said)
    new = ingest(tmp_path / "new", dataset, **said)
    assert new.entry.model_copy(update={"source": old.entry.source}) == old.entry
    assert new.entry.content == old.entry.content
    assert new.report == old.report
    before, after = (PackedSamples(Store(tmp_path / which), "wc") for which in ("old", "new"))
    assert after.table.equals(before.table)
    for row in range(len(after)):
        expected, found = before.read(row), after.read(row)
        assert found.label == expected.label
        assert found.images.keys() == expected.images.keys()
        for name, image in found.images.items():
            assert image.timestamps == expected.images[name].timestamps
            np.testing.assert_array_equal(image.values, expected.images[name].values)
    sheets = "evaluation/datasets/wc/sheets/*.png"
    assert files_of(tmp_path / "new", sheets) == files_of(tmp_path / "old", sheets)


def test_pixels_are_the_packed_files(dataset: Path, tmp_path: Path) -> None:
    entry = ingest(tmp_path, dataset).entry
    assert entry.split.counts == {"train": 12, "val": 4, "test": 4}
    assert entry.classes == ("Cropland", "Non-Cropland")
    assert entry.simulated
    assert entry.modalities[S2].timesteps == 11


def test_no_rslearn_file_is_written_and_old_ones_go(dataset: Path, tmp_path: Path) -> None:
    left = tmp_path / "evaluation/datasets/wc/source/windows/cell/name/metadata.json"
    left.parent.mkdir(parents=True)
    left.write_text("{}")
    ingest(tmp_path, dataset)
    assert not list(tmp_path.rglob("metadata.json"))
    assert not list(tmp_path.rglob("config.json"))


def test_nothing_new_makes_nothing(dataset: Path, tmp_path: Path) -> None:
    first = ingest(tmp_path, dataset)
    again = ingest(tmp_path, dataset)
    assert again.skipped
    assert again.entry == first.entry


def test_a_killed_ingest_goes_on(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "PART_SAMPLES", 6)
    parts = tmp_path / "evaluation/datasets/wc/parts"
    written: list[str] = []
    write = Store.write_bytes

    def killed(self: Store, key: str, data: bytes) -> None:
        if "/parts/" in key:
            if len(written) == 2:
                raise KeyboardInterrupt
            written.append(key)
        write(self, key, data)

    monkeypatch.setattr(Store, "write_bytes", killed)
    with pytest.raises(KeyboardInterrupt):
        ingest(tmp_path, dataset)
    assert Registry(Store(tmp_path)).names() == []
    kept = {path.name: path.stat().st_ino for path in parts.iterdir()}
    monkeypatch.setattr(Store, "write_bytes", write)
    ingest(tmp_path, dataset)
    found = {path.name: path.stat().st_ino for path in parts.iterdir()}
    assert len(found) == 4
    assert kept == {name: found[name] for name in kept}


def test_a_window_without_imagery_is_left_out_and_said(tmp_path: Path) -> None:
    source = make_task(tmp_path / "world", [*PIXELS, AWAY])
    result = ingest(tmp_path / "store", source)
    assert sum(result.entry.split.counts.values()) == len(PIXELS)
    assert any("no imagery in any month" in finding.what for finding in result.report.warnings)


def test_a_cell_without_rasters_is_an_error(tmp_path: Path) -> None:
    source = make_task(tmp_path)
    (table,) = (source.parent / "rasters").rglob("rasters.parquet")
    table.unlink()
    with pytest.raises(DatasetError, match=r"no rasters yet \(20 windows\)"):
        ingest(tmp_path / "store", source)
    assert Registry(Store(tmp_path / "store")).names() == []


def test_damaged_pixels_are_a_finding(tmp_path: Path) -> None:
    source = make_task(tmp_path)
    (packed,) = (source.parent / "chips").rglob("*.safetensors")
    flip_bit(packed, f"{S2}/values")
    report = validate_source(source, IngestOptions(name="wc", source=str(source)))
    (error,) = report.errors
    assert "The packed pixels of sentinel2_l2a are damaged (1 window)" in error.what


def test_a_new_split_is_another_content(tmp_path: Path) -> None:
    source = make_task(tmp_path)
    first = ingest(tmp_path / "store", source).entry
    (path,) = (source.parent / "windows").rglob("windows.parquet")
    windows = pq.read_table(path)
    at = windows.schema.get_field_index("split")
    pq.write_table(windows.set_column(at, windows.schema.field(at), pa.array(SPLITS[::-1])), path)
    second = ingest(tmp_path / "store", source, overwrite=True).entry
    assert second.split.counts == {"train": 12, "val": 4, "test": 4}
    assert second.content != first.content
