"""Per-partition outcomes of a run over a range: each partition's own record, none lost."""

import dagster as dg
import pytest
from dagster._core.definitions.partitions.context import partition_loading_context

from geofm_assets.core.assets import check_specs, emit, emit_partitions
from geofm_assets.core.errors import GeofmError
from geofm_assets.core.outcome import CheckOutcome, Outcome

KEY = dg.AssetKey(["t", "cells"])
CELLS = dg.DynamicPartitionsDefinition(name="cells")
RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


def make(cell: str) -> Outcome:
    if cell == "c_error":
        raise GeofmError("The scene is broken", where="S2.tif", fix="Replace it")
    if cell == "c_crash":
        raise ZeroDivisionError("oops")
    passed = cell not in ("c_contract", "c_warned")
    text = "linear values" if not passed else "fine"
    check = CheckOutcome("contract", passed, text, blocking=cell != "c_warned")
    return Outcome(f"content-{cell}", "inputs", {"name": cell}, [check])


@dg.asset(
    key=KEY,
    partitions_def=CELLS,
    output_required=False,
    check_specs=check_specs(KEY, "contract", partitions_def=CELLS),
)
def cells(context: dg.AssetExecutionContext):
    yield from emit_partitions(context, make, code_version="7")


@pytest.fixture
def instance(tmp_path):
    with dg.DagsterInstance.local_temp(str(tmp_path)) as opened:
        yield opened


def run(instance, keys, first=None, last=None):
    instance.add_dynamic_partitions("cells", keys)
    job = dg.Definitions(assets=[cells]).resolve_implicit_global_asset_job_def()
    tags = dict(zip(RANGE, (first or keys[0], last or keys[-1]), strict=True))
    single = {"partition_key": keys[0]} if len(keys) == 1 else {"tags": tags}
    return job.execute_in_process(instance=instance, raise_on_error=False, **single)


def checks_by_partition(instance):
    key = dg.AssetCheckKey(KEY, "contract")
    records = instance.event_log_storage.get_asset_check_execution_history(key, limit=50)
    return {
        r.partition: r.status.value for r in records if r.partition and r.status.value != "PLANNED"
    }


def test_good_cells_are_recorded_and_each_bad_one_is_named(instance):
    result = run(instance, ["c1", "c_contract", "c_crash", "c_error", "c2"])
    assert not result.success
    assert instance.get_materialized_partitions(KEY) == {"c1", "c2"}
    failure = result.filter_events(lambda e: e.is_step_failure)[0].step_failure_data
    message = failure.user_failure_data.description
    assert message.startswith("3 of 5 partitions failed")
    assert "c_error: The scene is broken at S2.tif. Replace it" in message
    assert "c_crash: ZeroDivisionError: oops" in message
    assert "linear values" in message


def test_a_failed_check_is_recorded_for_its_own_cell(instance):
    run(instance, ["c1", "c_contract"])
    assert checks_by_partition(instance) == {"c1": "SUCCEEDED", "c_contract": "FAILED"}


def counted(instance):
    """Cells by what the UI says of their check."""
    check = dg.AssetCheckKey(KEY, "contract")
    with partition_loading_context(dynamic_partitions_store=instance):
        state = instance.event_log_storage.get_asset_check_state([(check, CELLS)])[check]
        return {
            status.value: set(subset.subset_value.get_partition_keys())
            for status, subset in state.subsets.items()
            if not subset.is_empty
        }


def test_the_ui_counts_the_check_of_every_cell_of_a_range(instance):
    run(instance, ["c1", "c2", "c_contract", "c_warned"])
    expected = {"SUCCEEDED": {"c1", "c2"}, "FAILED": {"c_contract", "c_warned"}}
    assert counted(instance) == expected
    run(instance, ["c1"])
    assert counted(instance) == expected


def test_a_cell_that_is_warned_of_stops_neither_itself_nor_the_range(instance):
    assert run(instance, ["c1", "c_warned"]).success
    assert instance.get_materialized_partitions(KEY) == {"c1", "c_warned"}
    assert checks_by_partition(instance) == {"c1": "SUCCEEDED", "c_warned": "FAILED"}


def test_what_stopped_a_cell_by_itself_is_the_cause_of_its_failure(instance):
    instance.add_dynamic_partitions("cells", ["c_error"])
    job = dg.Definitions(assets=[cells]).resolve_implicit_global_asset_job_def()
    with pytest.raises(dg.Failure) as caught:
        job.execute_in_process(instance=instance, partition_key="c_error")
    assert isinstance(caught.value.__cause__, GeofmError)
    assert caught.value.__cause__.where == "S2.tif"


def test_each_cell_keeps_its_own_metadata_and_versions(instance):
    result = run(instance, ["c1", "c2", "c3"])
    assert result.success
    for cell in ("c1", "c2", "c3"):
        record = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=KEY, asset_partitions=[cell]), limit=5
        ).records
        assert len(record) == 1
        event = record[0].asset_materialization
        assert event.metadata["name"].value == cell
        assert event.tags["dagster/data_version"] == f"content-{cell}"
        assert event.tags["dagster/code_version"] == "7"


def test_one_cell_by_itself_is_recorded_once_with_its_check(instance):
    assert run(instance, ["c1"]).success
    assert instance.get_materialized_partitions(KEY) == {"c1"}
    assert checks_by_partition(instance) == {"c1": "SUCCEEDED"}


def test_a_blocking_check_of_an_unpartitioned_asset_stops_it_and_is_recorded(instance):
    key = dg.AssetKey("table")

    @dg.asset(key=key, check_specs=check_specs(key, "leakage"))
    def table(context: dg.AssetExecutionContext):
        bad = Outcome("c", "i", {}, [CheckOutcome("leakage", False, "3 m apart")])
        yield from emit(context, lambda: bad)

    job = dg.Definitions(assets=[table]).resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(instance=instance, raise_on_error=False)
    assert not result.success
    assert instance.get_latest_materialization_event(key) is None
    records = instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(key, "leakage"), limit=5
    )
    assert "FAILED" in {r.status.value for r in records}


DOWNSTREAM = dg.AssetKey(["t", "downstream"])


@dg.asset(
    key=DOWNSTREAM,
    deps=[KEY],
    partitions_def=CELLS,
    output_required=False,
    check_specs=check_specs(DOWNSTREAM, "contract", partitions_def=CELLS),
)
def downstream(context: dg.AssetExecutionContext):
    yield from emit_partitions(context, make, code_version="1")


def run_both(instance, keys):
    instance.add_dynamic_partitions("cells", keys)
    job = dg.Definitions(assets=[cells, downstream]).resolve_implicit_global_asset_job_def()
    tags = dict(zip(RANGE, (keys[0], keys[-1]), strict=True))
    return job.execute_in_process(instance=instance, raise_on_error=False, tags=tags)


def test_a_range_through_two_stages_in_one_run_reaches_the_second(instance):
    assert run_both(instance, ["c1", "c2"]).success
    for key in (KEY, DOWNSTREAM):
        assert instance.get_materialized_partitions(key) == {"c1", "c2"}
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=KEY, asset_partitions=["c2"]), limit=5
    ).records
    assert [r.asset_materialization.metadata["name"].value for r in records] == ["c2"]


def test_a_bad_cell_stops_a_range_through_two_stages_and_says_so(instance):
    result = run_both(instance, ["c1", "c_error"])
    assert not result.success
    failure = result.filter_events(lambda e: e.is_step_failure)[0].step_failure_data
    assert "none is recorded" in failure.user_failure_data.description
    assert instance.get_materialized_partitions(DOWNSTREAM) == set()
