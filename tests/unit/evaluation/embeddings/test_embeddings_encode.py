"""Encoding: each sample once, whatever happens on the way."""

import numpy as np
import pytest

from geofm_assets.core.errors import DatasetError, ModelInputError
from geofm_assets.core.store import Store
from geofm_assets.evaluation.embeddings.encode import encode
from geofm_assets.evaluation.embeddings.store import PREFIX, EncodingKey, open_embeddings
from geofm_assets.evaluation.embeddings.suitability import choose_patch_size
from tests.sweep_world import MemorySamples, ToyModel, make_entry


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def run(store, model=None, samples=None, entry=None, **options):
    samples = samples or MemorySamples()
    entry = entry or make_entry(samples.task_type, len(samples))
    given = {"normalization": "pretrained", "patch_size": 4, "batch_size": 7, **options}
    return encode(model or ToyModel(), samples, entry, store, **given)


def test_each_sample_is_read_and_encoded_once_for_both_poolings(store):
    samples, model = MemorySamples(), ToyModel()
    made = run(store, model, samples)
    assert made.encoded == model.embedded == 60
    assert set(samples.reads.values()) == {1}
    assert made.embeddings.sample_ids == samples.table["sample_id"].to_pylist()
    assert made.embeddings.read("mean").shape == made.embeddings.read("max").shape == (60, 8)


def test_what_is_in_the_store_is_not_encoded_again(store):
    run(store)
    model = ToyModel()
    again = run(store, model)
    assert (again.encoded, model.embedded) == (0, 0)


def test_another_normalisation_or_patch_size_is_another_encoding(store):
    first = run(store).embeddings
    assert run(store, normalization="dataset").encoded == 60
    assert run(store, patch_size=8).encoded == 60
    assert not np.array_equal(
        first.read("mean"), run(store, normalization="dataset").embeddings.read("mean")
    )


def test_new_content_of_the_dataset_is_encoded_anew(store):
    run(store)
    assert run(store, entry=make_entry(content="b" * 64)).encoded == 60


def test_a_run_that_was_killed_goes_on_where_it_was(store, monkeypatch):
    monkeypatch.setattr("geofm_assets.evaluation.embeddings.encode._SHARD_BYTES", 1)
    with pytest.raises(KeyboardInterrupt):
        run(store, ToyModel(fails_at=4))
    assert store.list_keys(PREFIX, ".safetensors") == []
    model = ToyModel()
    assert run(store, model).encoded == model.embedded == 60 - 4 * 7
    whole = Store(store.url + "_whole")
    run(whole)
    key = EncodingKey(ToyModel().info.model_id, make_entry().dataset_id, "pretrained", 4)
    assert store.read_bytes(key.key()) == whole.read_bytes(key.key())
    assert not any(p.name.endswith(".tmp") for p in store.local_path(PREFIX).rglob("*"))


def test_a_shard_cut_short_is_encoded_again(store, monkeypatch):
    monkeypatch.setattr("geofm_assets.evaluation.embeddings.encode._SHARD_BYTES", 1)
    with pytest.raises(KeyboardInterrupt):
        run(store, ToyModel(fails_at=4))
    shards = sorted(store.local_path(PREFIX).rglob("rows-*"))
    shards[2].write_bytes(shards[2].read_bytes()[:50])
    assert run(store).encoded == 60 - 2 * 7


def test_the_result_does_not_depend_on_the_batch_size(store):
    small = run(store).embeddings.read("mean")
    large = run(store, batch_size=60, force=True).embeddings.read("mean")
    assert np.array_equal(small, large)


def test_force_encodes_again(store):
    run(store)
    assert run(store, force=True).encoded == 60


def test_dense_tasks_keep_a_vector_for_each_place(store):
    made = run(store, samples=MemorySamples("segmentation"), patch_size=4)
    assert made.embeddings.read("mean").shape == (60, 2, 2, 8)
    assert made.embeddings.meta["dense"]


def test_half_precision_is_used_where_it_loses_nothing(store):
    made = run(store).embeddings
    assert made.arrays["mean"].dtype == np.float16
    assert made.meta["float16"] == {"mean": True, "max": True}


def test_large_values_are_kept_in_single_precision(store):
    model = ToyModel()
    model.matrix *= 1e6
    made = run(store, model).embeddings
    assert made.arrays["mean"].dtype == np.float32
    assert np.isfinite(made.read("mean")).all()


def test_a_sample_without_one_sensor_is_encoded_from_the_other(store):
    made = run(store, samples=MemorySamples(gaps=(3,))).embeddings
    assert made.meta["without_data"] == []
    assert made.read("mean")[3].any()


def test_a_sample_the_model_sees_nothing_of_is_named(store):
    class RadarOnly(ToyModel):
        def embed(self, samples, *rest):
            tokens = super().embed(samples, *rest)
            tokens.valid[..., :2] = False
            return tokens

    made = run(store, RadarOnly(), MemorySamples(gaps=(3,))).embeddings
    assert made.meta["without_data"] == ["s00003"]
    assert not made.read("mean")[3].any()


def test_an_embedding_that_is_not_a_number_is_an_error_that_names_the_sample(store):
    class Broken(ToyModel):
        def embed(self, samples, *rest):
            tokens = super().embed(samples, *rest)
            for i, sample in enumerate(samples):
                if sample.sample_id == "s00011":
                    tokens.values[i] = float("nan")
            return tokens

    with pytest.raises(ModelInputError, match=r"not a number.*s00011"):
        run(store, Broken())


def test_tokens_of_another_shape_than_promised_are_refused(store):
    class Wide(ToyModel):
        def embed(self, samples, normalization, modalities, patch_size):
            return super().embed(samples, normalization, modalities, 8)

    with pytest.raises(ModelInputError, match="2 x 2 places"):
        run(store, Wide(), MemorySamples("segmentation"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"patch_size": 3}, "Patch size 3.*Choose one of 4, 8"),
        ({"normalization": "other"}, "no other normalisation.*pretrained, dataset"),
    ],
)
def test_what_a_model_cannot_do_is_refused_with_what_it_can(store, options, words):
    with pytest.raises(ModelInputError, match=words):
        run(store, **options)


def test_the_first_patch_size_that_divides_the_window_is_the_default():
    assert choose_patch_size(ToyModel(patch_sizes=(3, 8, 4)).info, make_entry()) == 8
    with pytest.raises(ModelInputError, match="windows of 8 pixels"):
        choose_patch_size(ToyModel(patch_sizes=(3, 16)).info, make_entry())


def test_a_damaged_file_is_not_used(store):
    key = run(store).embeddings.key
    store.write_bytes(key, store.read_bytes(key)[:-8])
    with pytest.raises(DatasetError, match="Remove the file"):
        run(store)


def test_the_header_says_whose_embeddings_they_are(store):
    meta = open_embeddings(store, run(store).embeddings.key).meta
    assert meta["model"]["start"] == "random initialisation, seed 0"
    assert meta["dataset_content"] == "a" * 64
    assert (meta["normalization"], meta["patch_size"], meta["simulated"]) == ("pretrained", 4, True)
