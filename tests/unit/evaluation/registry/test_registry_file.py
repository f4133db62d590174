"""The registry: what is put is got, names are unique, and a bad file is never written over."""

import json

import pytest

from geofm_assets.core.errors import RegistryError
from geofm_assets.core.store import Store
from geofm_assets.evaluation.registry.entry import REGISTRY_VERSION, RegistryFile
from geofm_assets.evaluation.registry.registry import REGISTRY_KEY, Registry
from tests.registry_entries import STATISTICS, make_entry


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def registry(store) -> Registry:
    return Registry(store)


def test_a_store_without_a_registry_has_no_datasets(registry):
    assert registry.read() == RegistryFile()
    assert registry.names() == []


def test_what_was_put_is_got_back(registry):
    registry.put(make_entry(), overwrite=False)
    assert registry.get("togo") == make_entry()


def test_the_file_is_the_same_whatever_order_datasets_came_in(tmp_path):
    stores = [Store(tmp_path / "a"), Store(tmp_path / "b")]
    for store, names in zip(stores, (["lfmc", "togo"], ["togo", "lfmc"]), strict=True):
        for name in names:
            Registry(store).put(make_entry(name), overwrite=False)
    assert stores[0].read_bytes(REGISTRY_KEY) == stores[1].read_bytes(REGISTRY_KEY)


def test_registering_the_same_again_changes_nothing(store, registry):
    registry.put(make_entry(), overwrite=False)
    before = store.read_bytes(REGISTRY_KEY)
    registry.put(make_entry(), overwrite=False)
    assert store.read_bytes(REGISTRY_KEY) == before


def test_another_dataset_of_the_same_name_is_refused(registry):
    registry.put(make_entry(), overwrite=False)
    with pytest.raises(RegistryError, match=r"togo.*/sources/togo.*--overwrite"):
        registry.put(make_entry(content="f" * 64), overwrite=False)
    assert registry.get("togo") == make_entry()


def test_overwriting_replaces_an_entry_and_leaves_the_others(registry):
    registry.put(make_entry("lfmc"), overwrite=False)
    registry.put(make_entry(), overwrite=False)
    registry.put(make_entry(content="f" * 64), overwrite=True)
    assert registry.get("togo").content == "f" * 64
    assert registry.get("lfmc") == make_entry("lfmc")


def test_an_unknown_name_is_answered_with_those_there_are_the_nearest_first(registry):
    for name in ("a_first", "togo", "lfmc"):
        registry.put(make_entry(name), overwrite=False)
    with pytest.raises(RegistryError, match=r"Did you mean togo\? Registered are togo, a_first"):
        registry.get("tgo")


def test_an_unknown_name_in_an_empty_registry_says_how_to_ingest(registry):
    with pytest.raises(RegistryError, match="geofm evals ingest"):
        registry.get("togo")


def test_a_number_json_has_no_word_for_is_refused_by_field(registry):
    statistics = STATISTICS.model_copy(update={"mean": float("nan")})
    entry = make_entry()
    layer = entry.modalities["sentinel2_l2a"]
    layer = layer.model_copy(update={"statistics": {"B02": statistics}})
    broken = entry.model_copy(update={"modalities": {"sentinel2_l2a": layer}})
    with pytest.raises(RegistryError, match=r"modalities.sentinel2_l2a.statistics.B02.mean is nan"):
        registry.put(broken, overwrite=False)
    assert registry.names() == []


DAMAGED = {
    "not json": b'{"version": 1, "datas',
    "not text": b"\xff\xfe\x00",
    "no version": b"{}",
    "a list": b"[]",
    "an unknown field": b'{"version": 1, "datasets": {}, "more": 1}',
    "an older version": b'{"version": 0, "datasets": {}}',
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_registry_is_named_and_left_as_it_is(store, registry, content):
    store.write_bytes(REGISTRY_KEY, content)
    with pytest.raises(RegistryError, match=r"damaged.*evaluation/registry.json.*Move it away"):
        registry.put(make_entry(), overwrite=True)
    assert store.read_bytes(REGISTRY_KEY) == content


def test_a_registry_that_is_no_file_is_one_clear_error(store, registry):
    store.local_path(REGISTRY_KEY).mkdir(parents=True)
    with pytest.raises(RegistryError, match=r"cannot be read: .*directory.*registry.json"):
        registry.read()


def test_a_field_that_cannot_be_is_named(store, registry):
    document = RegistryFile(datasets={"togo": make_entry()}).model_dump(mode="json")
    document["datasets"]["togo"]["window_size"] = 0
    store.write_json(REGISTRY_KEY, document)
    with pytest.raises(RegistryError, match=r"datasets\.togo\.window_size"):
        registry.read()


def test_an_entry_under_a_name_that_is_not_its_own_is_damage(store, registry):
    document = RegistryFile(datasets={"other": make_entry()}).model_dump(mode="json")
    store.write_json(REGISTRY_KEY, document)
    with pytest.raises(RegistryError, match=r"'other' names itself 'togo'"):
        registry.read()


def test_a_registry_of_a_newer_version_is_not_touched(store, registry):
    content = json.dumps({"version": REGISTRY_VERSION + 1, "planets": []}).encode()
    store.write_bytes(REGISTRY_KEY, content)
    for change in (
        registry.read,
        lambda: registry.put(make_entry(), overwrite=True),
        lambda: registry.remove("togo"),
    ):
        with pytest.raises(RegistryError, match=r"newer version.*Update geofm_assets"):
            change()
    assert store.read_bytes(REGISTRY_KEY) == content


def test_removing_deletes_the_files_and_keeps_the_embeddings(store, registry):
    registry.put(make_entry(), overwrite=False)
    registry.put(make_entry("togo_north"), overwrite=False)
    kept = (
        "evaluation/embeddings/m/togo-0/a.bin",
        "evaluation/datasets/togo_north/samples.parquet",
    )
    for key in (*kept, "evaluation/datasets/togo/source/windows/a", "evaluation/datasets/togo/x"):
        store.write_bytes(key, b"1")
    assert registry.remove("togo") == make_entry()
    assert registry.names() == ["togo_north"]
    assert not store.exists("evaluation/datasets/togo")
    assert all(store.exists(key) for key in kept)


def test_a_removal_that_was_killed_after_the_files_is_finished_by_removing_again(store, registry):
    registry.put(make_entry(), overwrite=False)
    assert not store.exists("evaluation/datasets/togo")
    registry.remove("togo")
    assert registry.names() == []


def test_files_that_cannot_be_deleted_keep_the_entry(store, registry, tmp_path):
    registry.put(make_entry(), overwrite=False)
    (tmp_path / "elsewhere").mkdir()
    folder = tmp_path / "evaluation" / "datasets"
    folder.mkdir()
    (folder / "togo").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RegistryError, match=r"cannot be deleted.*datasets/togo"):
        registry.remove("togo")
    assert registry.names() == ["togo"]


def test_removing_what_is_not_there_says_so(registry):
    with pytest.raises(RegistryError, match="No dataset named 'togo'"):
        registry.remove("togo")


def test_a_dataset_with_files_and_no_entry_is_a_leftover_that_can_be_removed(store, registry):
    assert registry.leftovers() == []
    registry.put(make_entry(), overwrite=False)
    for name in ("togo", "begun", "No-Name"):
        store.write_bytes(f"evaluation/datasets/{name}/source/config.json", b"{}")
    assert registry.leftovers() == ["begun"]
    assert registry.remove("begun") is None
    assert registry.leftovers() == []
    assert registry.names() == ["togo"]
    assert store.exists("evaluation/datasets/togo/source/config.json")
