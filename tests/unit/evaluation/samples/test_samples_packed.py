"""Packed samples say what was packed, or say that they cannot."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from safetensors import safe_open

from geofm_assets.core.errors import DatasetError
from geofm_assets.core.store import Store
from geofm_assets.evaluation.registry.entry import TaskType
from geofm_assets.evaluation.samples.packed import (
    PackedSamples,
    SourceImages,
    SourceSample,
    part_key,
    samples_key,
    write_parts,
)
from geofm_assets.evaluation.samples.packing import samples_per_part
from geofm_assets.evaluation.samples.part_file import Layout, ModalityLayout
from geofm_assets.evaluation.samples.schema import EVAL_SAMPLE, EvalSampleRow
from geofm_assets.evaluation.samples.types import IGNORE

S2 = ModalityLayout(("B02", "B08"), "uint16", 0.0)
S1 = ModalityLayout(("vv",), "float32", -32768.0)
LABELS: dict[TaskType, list[object]] = {
    "classification": [0, 1, 0],
    "multilabel": [np.array([1, 0], np.uint8), np.array([1, 1], np.uint8), np.zeros(2, np.uint8)],
    "segmentation": [np.full((4, 4), value) for value in (0, 1, IGNORE)],
    "window_regression": [0.25, -3.0, 7.5],
    "per_pixel_regression": [np.full((4, 4), v, np.float32) for v in (0.5, np.nan, 2.0)],
}


def source(row: int, task_type: TaskType = "classification") -> SourceSample:
    """Sample 0 has two Sentinel-2 images, 1 has one, 2 none; all have Sentinel-1."""
    count = 2 - row
    s2 = np.arange(count * 32, dtype=np.uint16).reshape(count, 2, 4, 4) + 100 * row
    times = np.array([[t * 10, t * 10 + 5] for t in range(count)], np.int64).reshape(count, 2)
    s1 = np.full((1, 1, 4, 4), -12.5 - row, np.float32)
    s1[0, 0, 0, 0] = -32768.0
    return SourceSample(
        {"s2": SourceImages(s2, times), "s1": SourceImages(s1, np.array([[1, 2]]))},
        LABELS[task_type][row],
    )


def pack(
    store: Store, task_type: TaskType = "classification", inputs: str = "i1", count: int = 3
) -> PackedSamples:
    classes = ("a", "b") if "regression" not in task_type else ()
    layout = Layout(task_type, classes, 4, {"s2": S2, "s1": S1}, True, inputs)
    ids = [f"g/w{i}" for i in range(count)]
    places = write_parts(
        store, "d", layout, {"s2": 2, "s1": 1}, ids, lambda row: source(row % 3, task_type)
    )
    time = 1_640_995_200_000_000
    rows = [
        {
            "sample_id": name,
            "group": "g",
            "window_name": name[2:],
            "split": ("train", "val", "test")[i % 3],
            "lon": 9.0,
            "lat": 42.0 + i * 0.01,
            "start_time": time,
            "end_time": time,
            "label_text": None,
            "subset_rank": i / count if i % 3 == 0 else None,
            "part": part,
            "row": row,
        }
        for i, (name, (part, row)) in enumerate(zip(ids, places, strict=True))
    ]
    table = pa.Table.from_pylist(rows, schema=EVAL_SAMPLE)
    store.write_table(
        samples_key("d"), table, EvalSampleRow, inputs=inputs, code_version="1", simulated=True
    )
    return PackedSamples(store, "d")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def damage(path: Path, offset: int) -> None:
    """Flip a byte, counted from the end if negative."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 0xFF
    path.write_bytes(data)


def values_offset(path: Path) -> int:
    """Where the pixels of Sentinel-2 begin, from the end of the file."""
    data = path.read_bytes()
    return data.index(np.arange(8, dtype=np.uint16).tobytes()) + 4


def test_a_sample_reads_back(store: Store) -> None:
    sample = pack(store).read(0)
    image = sample.images["s2"]
    assert image.values.shape == (2, 2, 4, 4)
    assert image.values.dtype == np.float32
    assert image.bands == ("B02", "B08")
    assert image.timestamps[1][0].isoformat() == "1970-01-01T00:00:00.000010+00:00"
    assert sample.lat == 42.0


def test_nodata_is_nan(store: Store) -> None:
    images = pack(store).read(0).images
    assert np.isnan(images["s2"].values[0, 0, 0, 0])
    assert np.isnan(images["s1"].values[0, 0, 0, 0])
    assert images["s1"].values[0, 0, 1, 1] == -12.5


def test_fewer_images_are_not_filled_up(store: Store) -> None:
    assert len(pack(store).read(1).images["s2"].values) == 1


def test_a_modality_without_images_is_left_out(store: Store) -> None:
    assert set(pack(store).read(2).images) == {"s1"}


@pytest.mark.parametrize("task_type", list(LABELS))
def test_labels_of_every_task_type_read_back(store: Store, task_type: TaskType) -> None:
    samples = pack(store, task_type)
    expected = np.stack([np.asarray(label) for label in LABELS[task_type]])
    np.testing.assert_array_equal(samples.labels(), expected)
    np.testing.assert_array_equal(samples.labels([2, 0]), expected[[2, 0]])
    np.testing.assert_array_equal(samples.read(1).label, expected[1])


def test_rows_of_a_split_and_of_a_subset(store: Store) -> None:
    samples = pack(store, count=9)
    assert samples.rows("train").tolist() == [0, 3, 6]
    assert samples.rows("train", 50).tolist() == [0, 3]
    assert samples.rows("val", 50).tolist() == []


def test_the_same_samples_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        pack(Store(tmp_path / name))
    key = part_key("d", 0)
    assert (tmp_path / "one" / key).read_bytes() == (tmp_path / "two" / key).read_bytes()


def test_content_does_not_depend_on_what_inputs_are_called(tmp_path: Path) -> None:
    assert (
        pack(Store(tmp_path / "a"), inputs="x").content
        == pack(Store(tmp_path / "b"), inputs="y").content
    )


def test_content_depends_on_labels(tmp_path: Path) -> None:
    one = pack(Store(tmp_path / "a"), "classification").content
    assert one != pack(Store(tmp_path / "b"), "window_regression").content


def test_other_libraries_can_read_a_part(store: Store) -> None:
    pack(store)
    with safe_open(store.local_path(part_key("d", 0)), "numpy") as opened:
        assert opened.get_tensor("s2/values").shape == (3, 2, 2, 4, 4)


def test_damaged_pixels_are_not_read(store: Store) -> None:
    pack(store)
    path = store.local_path(part_key("d", 0))
    damage(path, values_offset(path))
    with pytest.raises(DatasetError, match=r"not what was written at .*s2, sample g/w0"):
        PackedSamples(store, "d").read(0)


def test_damaged_labels_are_not_read(store: Store) -> None:
    pack(store, "window_regression")
    path = store.local_path(part_key("d", 0))
    damage(path, path.read_bytes().index(np.float64(-3.0).tobytes()) + 6)
    with pytest.raises(DatasetError, match="label is not what was written"):
        PackedSamples(store, "d").labels()


def test_a_part_cut_short_is_not_read(store: Store) -> None:
    pack(store)
    path = store.local_path(part_key("d", 0))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DatasetError, match="Not a part that can be read"):
        PackedSamples(store, "d").read(0)


def test_a_missing_part_is_named(store: Store) -> None:
    pack(store)
    store.local_path(part_key("d", 0)).unlink()
    with pytest.raises(DatasetError, match=r"missing at .*part-00000"):
        PackedSamples(store, "d").read(0)


def test_parts_of_another_ingest_are_not_read(store: Store) -> None:
    pack(store, inputs="old")
    table = store.local_path(samples_key("d")).read_bytes()
    pack(store, inputs="new")
    store.local_path(samples_key("d")).write_bytes(table)
    with pytest.raises(DatasetError, match="different ingests"):
        PackedSamples(store, "d").read(0)


def test_a_dataset_never_ingested_says_what_to_run(store: Store) -> None:
    with pytest.raises(DatasetError, match="geofm evals ingest --name nothing"):
        PackedSamples(store, "nothing")


def test_current_parts_are_left_alone(store: Store) -> None:
    pack(store)
    path = store.local_path(part_key("d", 0))
    before = path.stat().st_mtime_ns
    pack(store)
    assert path.stat().st_mtime_ns == before


def test_a_damaged_part_is_packed_again(store: Store) -> None:
    pack(store)
    path = store.local_path(part_key("d", 0))
    good = path.read_bytes()
    damage(path, values_offset(path))
    pack(store)
    assert path.read_bytes() == good


def test_large_samples_make_small_parts() -> None:
    layout = Layout("classification", ("a",), 512, {"s2": S2}, False, "i")
    assert samples_per_part(layout, {"s2": 12}) == 21
    small = Layout("classification", ("a",), 8, {"s2": S2}, False, "i")
    assert samples_per_part(small, {"s2": 12}) == 256


def test_samples_spread_over_several_parts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geofm_assets.evaluation.samples.packing.PART_SAMPLES", 2)
    samples = pack(store, count=5)
    assert samples.parts == 3
    assert [samples.read(i).sample_id for i in range(5)] == [f"g/w{i}" for i in range(5)]
    assert samples.labels().tolist() == [0, 1, 0, 0, 1]
