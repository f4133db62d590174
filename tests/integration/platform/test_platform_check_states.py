"""What the UI says of the checks of cells: as Dagster's own storage says it, in few statements."""

from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from geofm_assets.core.fence import find_run
from geofm_assets.core.settings import load_settings
from geofm_assets.core.store import Store
from geofm_assets.platform.instance import (
    POSTGRES_VARIABLE,
    dagster_home,
    open_instance,
    storage_kind,
    write_config,
)
from tests.checked_cells import (
    KEY,
    PARTITION_SET,
    Ui,
    counted_statements,
    evaluate,
    make_range,
    plain_instance,
    plain_postgres,
    plan,
)

MADE = ["c1", "c2", "no_schema", "no_inside"]


@pytest.fixture
def store(tmp_path, monkeypatch) -> Store:
    for name in (POSTGRES_VARIABLE, "DAGSTER_HOME", "DAGSTER_EVENT_BATCH_SIZE", "GEOFM_EXECUTOR"):
        monkeypatch.delenv(name, raising=False)
    return Store(tmp_path / "store")


@dataclass
class World:
    """An instance as geofm opens it, and the same as Dagster does, which is another process's."""

    ours: dg.DagsterInstance
    theirs: dg.DagsterInstance


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def world(request, store, tmp_path, monkeypatch) -> Iterator[World]:
    if request.param == "PostgreSQL":
        url = request.getfixturevalue("postgres").new_database()
        monkeypatch.setenv(POSTGRES_VARIABLE, url)
        monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "1000")  # else set for all later tests
    with open_instance(store) as ours:
        if request.param == "PostgreSQL":
            theirs = plain_postgres(url, tmp_path)
        else:
            theirs = plain_instance(dagster_home(store), tmp_path)
        with theirs:
            yield World(ours, theirs)


def test_the_ui_shows_what_dagster_itself_would_show(world):
    make_range(world.theirs, MADE)
    ours, theirs = Ui(world.ours), Ui(world.theirs)
    assert ours.node() == theirs.node()
    assert ours.cells("schema") == {"succeeded": ["c1", "c2", "no_inside"], "failed": ["no_schema"]}
    assert ours.cells("inside") == {"succeeded": ["c1", "c2", "no_schema"], "failed": ["no_inside"]}
    world.theirs.report_runless_asset_event(dg.AssetMaterialization(KEY, partition="no_inside"))
    run = create_run_for_test(world.theirs, status=dg.DagsterRunStatus.SUCCESS).run_id
    evaluate(world.theirs, KEY, "schema", "c1", passed=False, run=run)
    world.theirs.delete_dynamic_partition(PARTITION_SET, "c2")
    assert ours.node() == theirs.node()
    assert ours.cells("schema") == {"failed": ["c1", "no_schema"]}
    assert ours.cells("inside") == {"succeeded": ["c1", "no_schema"]}
    planned = plan(world.theirs, KEY, ["c1", "no_inside"])
    assert ours.cells("inside") == {"inProgress": ["c1", "no_inside"], "succeeded": ["no_schema"]}
    world.theirs.report_run_failed(planned)
    assert ours.node() == theirs.node()
    assert ours.cells("inside")["executionFailed"] == ["c1", "no_inside"]
    ours.close()
    theirs.close()


def test_the_ui_takes_as_many_statements_for_many_cells_as_for_few(world):
    ui = Ui(world.ours)
    sent = []
    for made in (["a1", "a2"], [f"b{number}" for number in range(20)]):
        make_range(world.ours, made)
        ui.node()  # what is asked once in a process
        with counted_statements() as statements:
            ui.node()
        sent.append(len(statements))
    ui.close()
    assert sent[1] == sent[0]


def test_whether_tables_are_there_is_looked_up_once(world):
    run = create_run_for_test(world.ours).run_id
    assert find_run(world.ours, run).run_id == run
    made = dg.AssetMaterialization(KEY, partition="c1", tags={"dagster/data_version": "a"})
    world.ours.report_runless_asset_event(made)
    with counted_statements() as statements:
        world.ours.report_runless_asset_event(made)
        find_run(world.ours, run)
    assert statements
    assert [s for s in statements if "pg_catalog" in s or 'info("asset_event_tags")' in s] == []


def test_checks_without_dynamic_partitions_are_left_to_dagster(store):
    key = dg.AssetCheckKey(dg.AssetKey("one"), "schema")
    letters = dg.StaticPartitionsDefinition(["a", "b"])
    with open_instance(store) as instance:
        evaluation = dg.AssetCheckEvaluation(key.asset_key, key.name, passed=False, metadata={})
        instance.report_runless_asset_event(evaluation)
        storage = instance.event_log_storage
        states = storage.get_asset_check_state([(key, None)])
        lettered = storage.get_asset_check_state([(key, letters)])
    shown = {status.value: subset.value for status, subset in states[key].subsets.items()}
    assert shown["FAILED"] is True
    assert all(subset.is_empty for subset in lettered[key].subsets.values())


def test_an_instance_written_before_opens_and_shows_the_same_after_it_is_rewritten(store, tmp_path):
    home = tmp_path / "store" / "dagster_home"
    home.mkdir(parents=True)
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with open_instance(store) as plain:
        assert type(plain.event_log_storage).__name__ == "SqliteEventLogStorage"
        make_range(plain, MADE)
        ui = Ui(plain)
        before = ui.node()
        ui.close()
    files = set(home.rglob("*.db"))
    assert write_config(store, load_settings(store.url)) == home / "dagster.yaml.before"
    assert storage_kind(home / "dagster.yaml") == "SQLite"
    with open_instance(store) as ours:
        assert type(ours.event_log_storage).__name__ == "SqliteEvents"
        ui = Ui(ours)
        assert ui.node() == before
        ui.close()
    assert set(home.rglob("*.db")) == files


def test_a_store_that_is_moved_takes_its_events_along(store, tmp_path):
    with open_instance(store) as instance:
        make_range(instance, MADE)
    (tmp_path / "store").rename(tmp_path / "moved")
    with open_instance(Store(tmp_path / "moved")) as instance:
        assert instance.get_materialized_partitions(KEY) == set(MADE)
    assert not (tmp_path / "store").exists()
