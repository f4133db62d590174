"""A sweep from a registered dataset to the leaderboard: encoded once, tested once."""

import pyarrow.compute as pc
import pytest

from benchmarks.generate_samples import NAME, generate
from geofm_assets.core.errors import ConfigError, DatasetError, RegistryError, WeightsError
from geofm_assets.core.store import Store
from geofm_assets.evaluation.registry.registry import Registry
from geofm_assets.evaluation.samples.packed import PackedSamples, part_key
from geofm_assets.evaluation.sweeps.leaderboard import PAGE_KEY, TABLE_KEY, score_key
from geofm_assets.evaluation.sweeps.run import SweepError, run_sweep
from geofm_assets.evaluation.sweeps.settings import RATES, SweepSettings
from geofm_assets.evaluation.sweeps.split_rows import split_rows
from geofm_assets.evaluation.sweeps.stages import EmbeddingsStage
from tests.sweep_world import MemorySamples, ToyModel, make_entry, store_dataset

NANO = "olmoearth_v1_2_nano"
FEW = {"epochs": 10, "batch_size": 16}


def dataset(store, task_type="classification", count=60, name="toy", **options):
    return store_dataset(
        store, MemorySamples(task_type, count, **options), make_entry(task_type, count, name)
    )


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def sweep(store, model=None, tasks=("toy",), **options):
    model = model or ToyModel(name=NANO)
    settings = SweepSettings(**{**FEW, **options.pop("settings", {})})
    return run_sweep(
        store, [model.info.name], list(tasks), settings=settings, build=lambda _: model, **options
    )


def test_a_full_sweep_encodes_each_sample_once_a_normalisation(store):
    dataset(store)
    model = ToyModel(name=NANO)
    result = sweep(store, model)
    assert result.encoded == model.embedded == 2 * 60
    scores = result.scores
    val = scores.filter(pc.equal(scores["split"], "val"))
    kinds = val.select(["probe", "normalization", "pooling", "rate"]).to_pylist()
    assert len(kinds) == 2 * 2 + 2 * 2 * len(RATES)
    assert len({tuple(k.values()) for k in kinds}) == len(kinds)


def test_the_same_sweep_again_encodes_and_probes_nothing(store):
    dataset(store)
    first = sweep(store)
    model = ToyModel(name=NANO)
    again = sweep(store, model)
    assert (again.encoded, model.embedded) == (0, 0)
    assert [cell.skipped for cell in again.cells] == [True]
    assert again.scores == first.scores


def test_a_narrower_sweep_needs_no_new_encoding_and_keeps_the_wider_ones_rows(store):
    dataset(store)
    sweep(store)
    narrow = sweep(store, settings={"sweep": "defaults"})
    assert narrow.encoded == 0
    assert set(narrow.scores["sweep"].to_pylist()) == {"defaults"}
    key = score_key(ToyModel().info.model_id, Registry(store).get("toy").dataset_id)
    assert set(store.read_table(key)["sweep"].to_pylist()) == {"full", "defaults"}
    assert store.read_table(TABLE_KEY)["sweep"].unique().to_pylist() == ["full"]


def by_probe(table, probe, split):
    mask = pc.and_(pc.equal(table["probe"], probe), pc.equal(table["split"], split))
    return table.filter(pc.and_(mask, table["main"])).to_pylist()


@pytest.mark.parametrize("probe", ["knn", "linear"])
@pytest.mark.parametrize(
    ("task_type", "better"), [("classification", max), ("window_regression", min)]
)
def test_the_chosen_setting_is_the_best_on_val_in_the_metrics_direction(
    store, task_type, better, probe
):
    dataset(store, task_type, noise=3.0)
    scores = sweep(store).scores
    val = by_probe(scores, probe, "val")
    (chosen,) = [row for row in val if row["chosen"]]
    assert chosen["value"] == better(row["value"] for row in val)
    (test,) = by_probe(scores, probe, "test")
    names = ("normalization", "pooling", "rate", "best_epoch")
    assert [test[n] for n in names] == [chosen[n] for n in names]
    assert test["low"] <= test["value"] <= test["high"]


@pytest.mark.parametrize("task_type", ["multilabel", "segmentation", "per_pixel_regression"])
def test_every_task_type_is_swept(store, task_type):
    entry = dataset(store, task_type)
    table = sweep(store, settings={"sweep": "lr-only"}).test
    probes = set(table["probe"].to_pylist())
    assert probes == ({"linear"} if entry.dense else {"linear", "knn"})
    assert set(table["metric"].to_pylist()) == {entry.metric}
    assert set(table["n"].to_pylist()) == {12}


def test_a_probe_learns_what_the_pixels_say(store):
    dataset(store, noise=0.05)
    test = {row["probe"]: row["value"] for row in sweep(store).test.to_pylist()}
    assert test["knn"] > 0.9


def test_a_store_of_the_same_content_gives_the_same_bytes(tmp_path):
    stores = [Store(tmp_path / name) for name in "ab"]
    for store in stores:
        dataset(store)
        sweep(store)
    keys = [k for k in stores[0].list_keys("evaluation") if not k.endswith(".cost.json")]
    assert any(k.endswith(".safetensors") for k in keys)
    for key in keys:
        assert stores[0].read_bytes(key) == stores[1].read_bytes(key), key


def test_a_subset_of_train_learns_from_fewer_samples(store):
    dataset(store, count=120)
    whole = sweep(store, settings={"sweep": "defaults"})
    part = sweep(store, settings={"sweep": "defaults", "subset": 20})
    assert part.encoded == 0
    assert part.scores["subset"].unique().to_pylist() == [20.0]
    assert part.test.to_pylist()[0]["n"] == whole.test.to_pylist()[0]["n"]


def test_a_subset_without_samples_is_one_clear_error():
    table = MemorySamples(count=20).table
    index = table.schema.get_field_index("subset_rank")
    ranks = [None if r is None else 0.9 for r in table["subset_rank"].to_pylist()]
    with pytest.raises(DatasetError, match=r"subset of 5 % of train has no samples"):
        split_rows(table.set_column(index, "subset_rank", [ranks]), make_entry(), 5)


def test_int8_is_probed_without_encoding_again(store):
    dataset(store)
    sweep(store, settings={"sweep": "defaults"})
    small = sweep(store, settings={"sweep": "defaults", "precision": "int8"})
    assert small.encoded == 0
    assert small.scores["precision"].unique().to_pylist() == ["int8"]
    assert all(k.endswith("-int8.safetensors") for k in small.scores["embeddings"].to_pylist())
    assert 0.9 < min(small.scores["cosine_min"].to_pylist()) < 1
    assert sweep(store, settings={"sweep": "defaults"}).scores["cosine_mean"].null_count > 0


def test_what_int8_costs_is_metadata_of_the_embeddings(store):
    entry = dataset(store)
    stage = EmbeddingsStage(SweepSettings(sweep="defaults", precision="int8"))
    outcome = stage.make(store, ToyModel(), PackedSamples(store, "toy"), entry)
    (lost,) = outcome.metadata["int8_cosine"].value.values()
    assert set(lost) == {"mean", "max"}
    assert 0.9 < lost["mean"]["min"] <= lost["mean"]["mean"] <= 1


def test_rows_say_with_what_they_were_made_and_other_seeds_and_patches_are_kept(store):
    entry = dataset(store)
    few = {"sweep": "defaults"}
    for more in ({}, {"seed": 7}, {"patch_size": 8}, {"epochs": 3}, {}):
        found = sweep(store, settings={**few, **more}).scores
        made = SweepSettings(**{**FEW, **few, **more})
        for name in ("seed", "epochs", "batch_size", "eval_every", "resamples"):
            assert found[name].unique().to_pylist() == [getattr(made, name)]
    table = store.read_table(score_key(ToyModel().info.model_id, entry.dataset_id))
    kinds = table.select(["seed", "patch_size", "epochs", "default_patch"]).to_pylist()
    assert {tuple(kind.values()) for kind in kinds} == {
        (0, 4, 10, True), (7, 4, 10, True), (0, 8, 10, False), (0, 4, 3, True)
    }  # fmt: skip


def test_a_dataset_that_changed_is_encoded_and_probed_anew(store):
    dataset(store)
    sweep(store)
    dataset(store, noise=0.5)
    model = ToyModel(name=NANO)
    assert sweep(store, model).encoded == 120
    text = store.read_bytes(PAGE_KEY).decode()
    assert "1 earlier result not shown" in text


def test_samples_that_are_not_those_registered_are_refused(store):
    entry = dataset(store)
    Registry(store).put(entry.model_copy(update={"content": "b" * 64}), overwrite=True)
    with pytest.raises(DatasetError, match=r"not those that were registered.*--overwrite"):
        sweep(store)


def test_a_damaged_part_is_one_clear_error(store):
    dataset(store)
    store.write_bytes(part_key("toy", 0), store.read_bytes(part_key("toy", 0))[:-100])
    with pytest.raises(DatasetError, match="part-00000"):
        sweep(store)


def test_a_model_that_fails_does_not_stop_the_others(store):
    dataset(store)
    dataset(store, "segmentation", name="fields")

    def build(name):
        if name == NANO:
            return ToyModel(name=NANO)
        raise WeightsError(f"No weights of {name}", fix="Give a folder")

    names = ["presto", "galileo_nano", NANO]
    with pytest.raises(SweepError, match=r"presto.*No weights.*galileo_nano.*What worked is done"):
        run_sweep(store, names, ["toy", "fields"], "defaults", build=build)
    assert set(store.read_table(TABLE_KEY)["dataset"].to_pylist()) == {"toy", "fields"}
    with pytest.raises(SweepError, match=r"presto: No weights of presto.*1 of 2"):
        run_sweep(store, ["presto", NANO], ["toy"], "defaults", build=build)
    with pytest.raises(WeightsError, match="No weights of presto"):
        run_sweep(store, ["presto"], ["toy"], "defaults", build=build)


@pytest.mark.parametrize(
    ("models", "tasks", "error"),
    [(["nano"], ["toy"], ConfigError), ([NANO], ["nothing"], RegistryError)],
)
def test_names_are_checked_before_anything_is_built(store, models, tasks, error):
    dataset(store)

    def build(name):
        raise AssertionError(name)

    with pytest.raises(error):
        run_sweep(store, models, tasks, build=build)


def test_a_dataset_without_a_split_is_one_clear_error(store):
    samples = MemorySamples(count=20)
    splits = ["train" if s == "val" else s for s in samples.table["split"].to_pylist()]
    index = samples.table.schema.get_field_index("split")
    samples.table = samples.table.set_column(index, "split", [splits])
    store_dataset(store, samples, make_entry(count=20))
    with pytest.raises(DatasetError, match=r"No samples.*split val"):
        sweep(store)


def test_real_models_are_swept_by_name(store):
    generate(store, 35, 0)
    models = ["raw_pixels", "image_statistics"]
    settings = SweepSettings(sweep="defaults", epochs=5, batch_size=8)
    result = run_sweep(store, models, [NAME], settings=settings)
    assert set(result.test["model"].to_pylist()) == set(models)
    assert set(result.test["start"].to_pylist()) == {"no weights"}
