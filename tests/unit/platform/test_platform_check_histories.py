"""States of checks after histories of all kinds: as Dagster's own storage works them out."""

from collections.abc import Iterator
from itertools import count
from typing import cast

import dagster as dg
import pytest
from dagster._core.definitions.partitions.context import partition_loading_context
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.instance import InstanceType
from dagster._core.launcher.sync_in_memory_run_launcher import SyncInMemoryRunLauncher
from dagster._core.run_coordinator import DefaultRunCoordinator
from dagster._core.storage.event_log import InMemoryEventLogStorage
from dagster._core.storage.noop_compute_log_manager import NoOpComputeLogManager
from dagster._core.storage.root import TemporaryLocalArtifactStorage
from dagster._core.storage.runs import InMemoryRunStorage
from dagster._core.test_utils import create_run_for_test
from hypothesis import given, settings
from hypothesis import strategies as st

from geofm_assets.platform.check_states import StatesAtOnce
from tests.checked_cells import CHECKS, evaluate, plan

ACTIONS = ("make", "pass", "fail", "plan", "result", "succeed", "lose", "cancel")
ACTIONS += ("delete", "add", "wipe", "make_whole")


class InMemory(StatesAtOnce, InMemoryEventLogStorage):
    """SQLite's statements without its files."""


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance(
        instance_type=InstanceType.EPHEMERAL,
        local_artifact_storage=TemporaryLocalArtifactStorage(),
        run_storage=InMemoryRunStorage(),
        event_storage=InMemory(),
        compute_log_manager=NoOpComputeLogManager(),
        run_coordinator=DefaultRunCoordinator(),
        run_launcher=SyncInMemoryRunLauncher(),
    ) as opened:
        yield opened


numbers = count()


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(ACTIONS), st.sampled_from("abc")), min_size=1, max_size=14)
)
def test_states_are_dagsters_after_any_history(instance, history):
    name = f"cells_{next(numbers)}"  # each history is an asset's of its own
    key, cells = dg.AssetKey(name), dg.DynamicPartitionsDefinition(name=name)
    instance.add_dynamic_partitions(name, ["a", "b"])
    going_on: list[tuple[dg.DagsterRun, list[str]]] = []
    for action, cell in history:
        act(instance, key, action, cell, going_on)
    asked = [(dg.AssetCheckKey(key, check), cells) for check in CHECKS]
    storage = cast("InMemory", instance.event_log_storage)
    with partition_loading_context(dynamic_partitions_store=instance):
        ours = storage.get_asset_check_state(asked)
        assert ours == super(StatesAtOnce, storage).get_asset_check_state(asked)


def act(
    instance: dg.DagsterInstance,
    key: dg.AssetKey,
    action: str,
    cell: str,
    going_on: list[tuple[dg.DagsterRun, list[str]]],
) -> None:
    """One thing that happens; runs record results and end in the order they began."""
    match action:
        case "make":
            instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=cell))
        case "make_whole":
            instance.report_runless_asset_event(dg.AssetMaterialization(key))
        case "pass" | "fail":
            run = create_run_for_test(instance, status=dg.DagsterRunStatus.SUCCESS).run_id
            evaluate(instance, key, CHECKS[0], cell, passed=action == "pass", run=run)
        case "plan":
            planned = sorted({cell, "b"})
            going_on.append((plan(instance, key, planned), planned))
        case "delete":
            instance.delete_dynamic_partition(key.path[0], cell)
        case "add":
            instance.add_dynamic_partitions(key.path[0], [cell])
        case "wipe":
            instance.wipe_assets([key])
        case "result" if going_on:
            run, planned = going_on[0]
            evaluate(instance, key, CHECKS[1], planned[0], passed=cell == "a", run=run.run_id)
        case _ if going_on:
            end(instance, going_on.pop(0)[0], action)


def end(instance: dg.DagsterInstance, run: dg.DagsterRun, how: str) -> None:
    """End a run that may not have recorded all it planned."""
    if how == "lose":
        instance.report_run_failed(run)
    elif how == "cancel":
        instance.report_run_canceled(run)
    else:
        done = DagsterEvent(DagsterEventType.RUN_SUCCESS.value, run.job_name)
        instance.report_dagster_event(done, run_id=run.run_id)
