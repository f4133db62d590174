"""When a task's own dataset has to be made again before it is swept."""

import dagster as dg
import pytest
from dagster._core.definitions.data_version import get_input_data_version_tag

from geofm_assets.core.errors import RegistryError
from geofm_assets.core.progress import silent
from geofm_assets.core.settings import load_settings
from geofm_assets.core.store import Store
from geofm_assets.evaluation.ingest.pack import CODE_VERSION
from geofm_assets.evaluation.registry.registry import Registry
from geofm_assets.platform.instance import open_instance
from geofm_assets.platform.task_datasets import TaskDatasets
from geofm_assets.windows.stages import dataset_key
from tests.sweep_world import make_entry, write_manifest

PLACES = [("train", 0.0, 0.0), ("test", 1.0, 0.0)]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def register(store, **said):
    source = str(store.local_path(dataset_key("crops")))
    Registry(store).put(make_entry(name="crops", **{"source": source, **said}), overwrite=True)


def opened(store):
    settings = load_settings(store.url, {})
    return TaskDatasets(settings, store, open_instance(store), silent)


def record(store, manifest, content="a" * 64, code=CODE_VERSION):
    """What the run that made the dataset leaves in the instance."""
    read = get_input_data_version_tag(dg.AssetKey(["crops", "split_manifest"]))
    tags = {"dagster/data_version": content, "dagster/code_version": code, read: manifest}
    key = dg.AssetKey(["crops", "evaluation_dataset"])
    open_instance(store).report_runless_asset_event(dg.AssetMaterialization(key, tags=tags))


def test_what_is_no_task_is_never_due(store):
    assert not opened(store).is_due("crops")


def test_a_task_is_due_until_its_dataset_was_made_of_todays_manifest(store):
    first = write_manifest(store, PLACES)
    assert opened(store).is_due("crops")
    register(store)
    assert opened(store).is_due("crops")
    record(store, first)
    assert not opened(store).is_due("crops")
    write_manifest(store, PLACES[:1])
    assert opened(store).is_due("crops")


@pytest.mark.parametrize("other", [{"content": "b" * 64}, {"code": "0"}])
def test_a_dataset_the_record_does_not_speak_of_is_due(store, other):
    record(store, write_manifest(store, PLACES), **other)
    register(store)
    assert opened(store).is_due("crops")


def test_a_dataset_of_another_source_is_left_alone(store):
    write_manifest(store, PLACES)
    register(store, source="/elsewhere")
    assert not opened(store).is_due("crops")
    with pytest.raises(RegistryError, match="not the task's at made from /elsewhere"):
        opened(store).ingest("crops")
