"""What the benchmarks of the platform rest on: the UI's own queries, and copies of cells."""

import dagster as dg
import pytest
from dagster_graphql.schema import create_schema
from graphql import parse, validate

from benchmarks.platform_page import KEY, PARTITION_SET, QUERIES
from benchmarks.platform_world import ALONE, environment, load_location
from benchmarks.recorded_cells import copy, record
from benchmarks.ui_queries import NoQueryError, ui_query
from geofm_assets.core.store import Store
from geofm_assets.platform.instance import open_instance
from geofm_assets.platform.records import Records

MADE = ["861e001ffffffff", "861e003ffffffff"]
COPIED = [f"861e{number:03}07fffffff" for number in range(20)]


def test_the_queries_of_the_installed_ui_are_whole():
    schema = create_schema().graphql_schema
    for name in QUERIES:
        assert validate(schema, parse(ui_query(name))) == []
    with pytest.raises(NoQueryError, match="NoSuchQuery"):
        ui_query("NoSuchQuery")


def test_a_copied_cell_is_recorded_as_the_one_it_was_copied_from(tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    with environment(tmp_path / "home", GEOFM_STORE=str(store), **{ALONE: "1"}):
        instance = open_instance(Store(store))
        job = load_location().resolve_implicit_global_asset_job_def()
        record(instance, job, KEY, PARTITION_SET, MADE)
        copy(instance, KEY, PARTITION_SET, COPIED, of=MADE[0])
    assert instance.get_materialized_partitions(KEY) == {*MADE, *COPIED}
    assert instance.get_dynamic_partitions(PARTITION_SET) == [*MADE, *COPIED]
    storage, records = instance.event_log_storage, Records(instance)
    checks = storage.get_asset_check_partition_info([dg.AssetCheckKey(KEY, "schema")])
    status = {check.partition_key: check.latest_execution_status.value for check in checks}
    assert {status[cell] for cell in (*MADE, *COPIED)} == {"SUCCEEDED"}
    for cell in (MADE[1], COPIED[0], COPIED[-1]):
        found = records.latest(KEY, cell)
        assert found is not None
        assert found.content == cell
