"""The file of embeddings: packed, readable by others, verified, small where asked."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from geofm_assets.core.errors import DatasetError, StoreError
from geofm_assets.core.store import Store
from geofm_assets.evaluation.embeddings import int8
from geofm_assets.evaluation.embeddings.store import (
    EncodingKey,
    list_encodings,
    open_embeddings,
    quantized,
    write_embeddings,
)

ENCODING = EncodingKey("0" * 64, "toy-" + "a" * 16, "pretrained", 4)
KEY = ENCODING.key()


def vectors(count=50, width=16, dtype=np.float32):
    return np.random.default_rng(0).normal(size=(count, width)).astype(dtype)


def write(store, mean=None, dense=False, step=20):
    mean = vectors() if mean is None else mean
    arrays = {"mean": mean, "max": mean + 1}
    if dense:
        arrays = {f"{name}_map": array for name, array in arrays.items()}
    meta = {
        "sample_ids": [f"s{i}" for i in range(len(mean))],
        "dense": dense,
        "model": {"name": "toy"},
        "normalization": "pretrained",
        "patch_size": 4,
    }
    tensors = {name: (array.dtype, array.shape) for name, array in arrays.items()}
    chunks = (
        {name: array[start : start + step] for name, array in arrays.items()}
        for start in range(0, len(mean), step)
    )
    write_embeddings(store, KEY, meta, tensors, chunks)


def test_what_was_written_is_read_back(tmp_path):
    store = Store(tmp_path)
    write(store)
    found = open_embeddings(store, KEY)
    assert len(found) == 50
    assert np.array_equal(found.read("mean"), vectors())
    assert np.array_equal(found.read("max", np.array([3, 1])), (vectors() + 1)[[3, 1]])


def test_any_reader_of_safetensors_can_read_it(tmp_path):
    store = Store(tmp_path)
    write(store, vectors(dtype=np.float16))
    plain = load_file(store.local_path(KEY))
    assert np.array_equal(plain["mean"], vectors(dtype=np.float16))


def test_maps_are_named_so_for_other_readers(tmp_path):
    store = Store(tmp_path)
    maps = vectors(6 * 4, 16).reshape(6, 2, 2, 16)
    write(store, maps, dense=True)
    assert sorted(load_file(store.local_path(KEY))) == ["max_map", "mean_map"]
    assert np.array_equal(open_embeddings(store, KEY).read("mean"), maps)


def test_the_bytes_do_not_depend_on_how_it_was_cut_into_chunks(tmp_path):
    first, second = Store(tmp_path / "a"), Store(tmp_path / "b")
    write(first, step=7)
    write(second, step=50)
    assert first.read_bytes(KEY) == second.read_bytes(KEY)


@pytest.mark.parametrize("at", [-1, 200])
def test_a_changed_byte_is_noticed(tmp_path, at):
    store = Store(tmp_path)
    write(store)
    data = bytearray(store.read_bytes(KEY))
    data[at] ^= 1
    store.write_bytes(KEY, bytes(data))
    with pytest.raises(DatasetError, match="Not a file of embeddings") as caught:
        open_embeddings(store, KEY)
    assert KEY in str(caught.value)


@pytest.mark.parametrize("kept", [0, 4, 40, 3000])
def test_a_file_cut_short_is_refused(tmp_path, kept):
    store = Store(tmp_path)
    write(store)
    store.write_bytes(KEY, store.read_bytes(KEY)[:kept])
    with pytest.raises(DatasetError, match="Not a file of embeddings"):
        open_embeddings(store, KEY)


def test_a_file_of_a_newer_version_says_so(tmp_path):
    store = Store(tmp_path)
    write(store)
    data = store.read_bytes(KEY)
    store.write_bytes(KEY, data.replace(b'\\"version\\": 1', b'\\"version\\": 9'))
    with pytest.raises(DatasetError, match="version 9, this code reads 1"):
        open_embeddings(store, KEY)


def test_no_file_is_one_clear_error(tmp_path):
    with pytest.raises(DatasetError, match=r"no such embeddings.*Run the sweep"):
        open_embeddings(Store(tmp_path), KEY)


def test_nothing_is_left_behind_if_writing_fails(tmp_path):
    store = Store(tmp_path)

    def chunks():
        yield {"mean": vectors()[:10], "max": vectors()[:10]}
        raise DatasetError("broken off")

    tensors = {name: (np.dtype(np.float32), (50, 16)) for name in ("mean", "max")}
    with pytest.raises(DatasetError, match="broken off"):
        write_embeddings(store, KEY, {"sample_ids": []}, tensors, chunks())
    assert not any(p.is_file() for p in tmp_path.rglob("*"))


def test_a_bucket_holds_the_same_bytes_and_lists_them_by_their_headers(bucket_store, s3, tmp_path):
    write(bucket_store)
    write(Store(tmp_path / "local"))
    assert bucket_store.read_bytes(KEY) == Store(tmp_path / "local").read_bytes(KEY)
    assert np.array_equal(open_embeddings(bucket_store, KEY).read("mean"), vectors())
    bucket_store.write_bytes(KEY.replace("-ps4", "-ps8"), b"")  # nobody's
    assert [key for key, _ in list_encodings(bucket_store)] == [ENCODING]


def test_what_a_bucket_refuses_is_said_to_be_the_bucket(bucket_store, s3):
    s3.fault = lambda method, path, _: 403 if method == "PUT" else None
    with pytest.raises(StoreError, match=r"bucket refuses.*safetensors"):
        write(bucket_store)
    s3.fault = None
    assert not bucket_store.exists(KEY)


def test_int8_takes_a_quarter_and_says_what_it_costs(tmp_path):
    store = Store(tmp_path)
    write(store, vectors(200, 64) * 7)
    found = quantized(store, open_embeddings(store, KEY))
    assert found.arrays["mean"].dtype == np.int8
    exact = int8.cosines(vectors(200, 64), found.read("mean"))
    said = found.meta["cosine"]["mean"]
    assert said["min"] == pytest.approx(exact.min(), abs=1e-6)
    assert said["mean"] == pytest.approx(exact.mean(), abs=1e-6)
    assert said["min"] > 0.999
    assert store.path(found.key).stat().st_size < store.path(KEY).stat().st_size / 3


def test_int8_is_made_again_only_if_what_it_is_made_of_changed(tmp_path):
    store = Store(tmp_path)
    write(store)
    first = quantized(store, open_embeddings(store, KEY)).content
    before = store.path(KEY.replace(".safetensors", "-int8.safetensors")).stat().st_mtime_ns
    quantized(store, open_embeddings(store, KEY))
    after = store.path(KEY.replace(".safetensors", "-int8.safetensors")).stat().st_mtime_ns
    assert before == after
    write(store, vectors() * 2 + 1)
    assert quantized(store, open_embeddings(store, KEY)).content != first


def test_large_values_do_not_saturate():
    large = np.array([[30.0, -40.0, 0.5]])
    assert int8.cosines(large, int8.dequantize(int8.quantize(large)))[0] > 0.999


def test_a_vector_of_zeros_stays_zero():
    assert not int8.dequantize(int8.quantize(np.zeros((2, 4)))).any()


def test_the_encodings_of_a_store_can_be_listed(tmp_path):
    store = Store(tmp_path)
    write(store)
    quantized(store, open_embeddings(store, KEY))
    ((found, meta),) = list_encodings(store)
    assert found == ENCODING
    assert json.dumps(meta["model"]) == '{"name": "toy"}'


def test_a_damaged_file_is_left_out_of_the_list(tmp_path):
    store = Store(tmp_path)
    write(store)
    store.write_bytes(KEY, store.read_bytes(KEY)[:20])
    assert list(list_encodings(store)) == []
