"""A partition made in a range is synced with what it was made from, until that changes."""

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContext

from geofm_assets.core.assets import emit, emit_partitions
from geofm_assets.core.outcome import Outcome

YEARS = dg.DynamicPartitionsDefinition(name="years")
NAMES = ["2019", "2020", "2021"]
RANGE = {
    "dagster/asset_partition_range_start": NAMES[0],
    "dagster/asset_partition_range_end": NAMES[-1],
}
content = {"listing": "a"}


@dg.asset
def listing(context: dg.AssetExecutionContext):
    yield from emit(context, lambda: Outcome(content["listing"], "i"))


@dg.asset(deps=[listing], partitions_def=YEARS, output_required=False, code_version="2")
def fires(context: dg.AssetExecutionContext):
    yield from emit_partitions(context, lambda y: Outcome(f"f{y}", "i"), code_version="2")


@dg.asset(deps=[fires], partitions_def=YEARS, output_required=False, code_version="1")
def points(context: dg.AssetExecutionContext):
    yield from emit_partitions(context, lambda y: Outcome(f"p{y}", "i"), code_version="1")


class Loading(LoadingContext):
    """What the resolver reads an instance through."""

    def __init__(self, instance):
        self._instance, self._loaders = instance, {}

    @property
    def instance(self):
        return self._instance

    @property
    def loaders(self):
        return self._loaders


@pytest.fixture
def instance(tmp_path):
    with dg.DagsterInstance.local_temp(str(tmp_path)) as opened:
        opened.add_dynamic_partitions("years", NAMES)
        yield opened


DEFINITIONS = dg.Definitions(assets=[listing, fires, points])


def run(instance, asset, **how):
    job = DEFINITIONS.resolve_implicit_global_asset_job_def()
    done = job.execute_in_process(instance=instance, asset_selection=[asset.key], **how)
    assert done.success


def stale(instance):
    """Partitions that the UI calls unsynced."""
    graph = DEFINITIONS.get_repository_def().asset_graph
    resolver = CachingStaleStatusResolver(instance, graph, Loading(instance))
    return [
        (asset.key.path[-1], name)
        for asset in (fires, points)
        for name in NAMES
        if resolver.get_status(asset.key, name) != StaleStatus.FRESH
    ]


def test_a_range_is_synced_until_what_it_was_made_from_changes(instance, monkeypatch):
    run(instance, listing)
    run(instance, fires, tags=RANGE)
    run(instance, points, tags=RANGE)
    assert stale(instance) == []

    run(instance, listing)  # read again, and the same
    assert stale(instance) == []

    monkeypatch.setitem(content, "listing", "b")
    run(instance, listing)
    assert stale(instance) == [("fires", name) for name in NAMES]
    run(instance, fires, partition_key="2020")
    assert ("fires", "2020") not in stale(instance)
