"""Where the Dagster instance is: SQLite beside the store, or PostgreSQL by the environment."""

import os
from pathlib import Path

import dagster as dg
import psycopg2
import pytest
import sqlalchemy
import yaml
from sqlalchemy.engine import make_url
from typer.testing import CliRunner

from geofm_assets.cli import app
from geofm_assets.core.assets import check_specs, emit_partitions
from geofm_assets.core.errors import ConfigError, GeofmError
from geofm_assets.core.outcome import CheckOutcome, Outcome
from geofm_assets.core.settings import Settings
from geofm_assets.core.store import Store
from geofm_assets.platform.code_location import remote_origin
from geofm_assets.platform.instance import (
    POSTGRES_VARIABLE,
    dagster_home,
    open_instance,
    write_config,
)
from geofm_assets.platform.instance_state import instance_state, migrate

KEY = dg.AssetKey(["t", "cells"])
CELLS = dg.DynamicPartitionsDefinition(name="cells")


def make(cell: str) -> Outcome:
    if cell == "c03":
        raise GeofmError("The scene is broken", where="S2.tif", fix="Replace it")
    return Outcome(f"content-{cell}", "inputs", {"name": cell}, [CheckOutcome("schema", True, "")])


@dg.asset(
    key=KEY,
    partitions_def=CELLS,
    output_required=False,
    check_specs=check_specs(KEY, "schema", partitions_def=CELLS),
)
def cells(context: dg.AssetExecutionContext):
    yield from emit_partitions(context, make, code_version="7")


def run_range(instance: dg.DagsterInstance, keys: list[str]) -> dg.ExecuteInProcessResult:
    instance.add_dynamic_partitions("cells", keys)
    job = dg.Definitions(assets=[cells]).resolve_implicit_global_asset_job_def()
    first, last = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
    tags = {first: keys[0], last: keys[-1]}
    return job.execute_in_process(instance=instance, raise_on_error=False, tags=tags)


@pytest.fixture
def store(tmp_path, monkeypatch) -> Store:
    for name in (POSTGRES_VARIABLE, "DAGSTER_HOME", "DAGSTER_EVENT_BATCH_SIZE", "GEOFM_EXECUTOR"):
        monkeypatch.delenv(name, raising=False)
    return Store(tmp_path / "store")


@pytest.fixture
def database(postgres, monkeypatch, store) -> str:
    """The URL of an empty database, also in the environment."""
    url = postgres.new_database()
    monkeypatch.setenv(POSTGRES_VARIABLE, url)
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "1000")  # else set for all tests after this one
    return url


def execute(url: str, statement: str) -> list[tuple]:
    parsed = make_url(url)
    connection = psycopg2.connect(
        host=parsed.query["host"],
        user=parsed.username,
        password=parsed.password,
        dbname=parsed.database,
    )
    with connection, connection.cursor() as cursor:
        cursor.execute(statement)
        rows = cursor.fetchall() if cursor.description else []
    connection.close()
    return rows


def own_config(home: Path, **config: object) -> Path:
    home.mkdir(parents=True)
    (home / "dagster.yaml").write_text(yaml.safe_dump(config))
    return home


def test_without_a_database_runs_are_kept_beside_the_store(store):
    with open_instance(store):
        state = instance_state(store)
    assert (state["storage"], state["address"]) == ("SQLite", str(store.local_path("dagster_home")))
    assert state["schema_current"]
    assert set(state["schema"]) == {"runs", "events", "schedules"}


def test_with_a_database_all_records_are_there_and_no_file_holds_the_password(
    store, database, postgres
):
    instance = open_instance(store)
    run_range(instance, ["c01", "c02"])
    assert [name for (name,) in execute(database, "SELECT status FROM runs")] == ["SUCCESS"]
    state = instance_state(store)
    assert state["storage"] == "PostgreSQL"
    assert postgres.password not in str(state)
    home = dagster_home(store)
    assert not list(home.rglob("*.db"))
    files = [path for path in home.rglob("*") if path.is_file()]
    assert home / "dagster.yaml" in files
    assert all(postgres.password.encode() not in path.read_bytes() for path in files)


def test_a_range_is_recorded_cell_by_cell_in_order_with_a_connection_or_two_each(store, database):
    instance = open_instance(store)
    opened = []
    sqlalchemy.event.listen(sqlalchemy.pool.Pool, "connect", lambda *_: opened.append(1))
    keys = [f"c{number:02}" for number in range(40)]
    result = run_range(instance, keys)
    # Dagster's storage opens nine for every cell unless it is told to keep one
    assert len(opened) < 3 * len(keys)
    assert not result.success
    records = instance.fetch_materializations(KEY, limit=100, ascending=True).records
    good = [key for key in keys if key != "c03"]
    assert [record.partition_key for record in records] == good
    events = [record.asset_materialization for record in records]
    assert [event.tags["dagster/data_version"] for event in events] == [
        f"content-{key}" for key in good
    ]
    checks = instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(KEY, "schema"), limit=200
    )
    passed = {c.partition for c in checks if c.partition and c.status.value == "SUCCEEDED"}
    assert passed == set(good)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://geofm:hidden-word@db.example.org/geofm",
        "postgres://geofm:hidden-word@db.example.org/geofm",
        "postgresql+psycopg2://geofm:hidden-word@db.example.org",
        "host=db.example.org password=hidden-word",
    ],
)
def test_a_url_that_would_not_reach_postgres_is_refused_without_its_password(
    store, monkeypatch, url
):
    monkeypatch.setenv(POSTGRES_VARIABLE, url)
    with pytest.raises(ConfigError, match=r"postgresql\+psycopg2://, then") as caught:
        open_instance(store)
    assert caught.value.where == POSTGRES_VARIABLE
    assert "hidden-word" not in str(caught.value)


def test_a_database_that_refuses_the_password_is_said_in_one_line(
    store, postgres, database, monkeypatch
):
    wrong = database.replace(postgres.password, "not-the-password")
    monkeypatch.setenv(POSTGRES_VARIABLE, wrong)
    with pytest.raises(ConfigError, match="password authentication failed") as caught:
        open_instance(store)
    assert "not-the-password" not in str(caught.value)


def test_a_history_in_sqlite_is_not_left_behind_unasked(store, postgres, monkeypatch):
    open_instance(store)
    said = (dagster_home(store) / "dagster.yaml").read_text()
    monkeypatch.setenv(POSTGRES_VARIABLE, postgres.url())
    with pytest.raises(ConfigError, match="geofm instance write"):
        open_instance(store)
    before = write_config(store, Settings(store=store.url))
    assert before is not None
    assert before.read_text() == said
    assert instance_state(store)["storage"] == "PostgreSQL"
    assert write_config(store, Settings(store=store.url)) is None


def test_an_instance_in_postgres_is_not_looked_for_in_sqlite(store, database, monkeypatch):
    open_instance(store)
    monkeypatch.delenv(POSTGRES_VARIABLE)
    with pytest.raises(ConfigError, match=f"{POSTGRES_VARIABLE} is not set"):
        open_instance(store)


def test_an_operators_own_dagster_yaml_is_used_as_it_is(store, postgres, tmp_path, monkeypatch):
    url = make_url(postgres.new_database())
    parts = {"username": url.username, "password": {"env": "DAGSTER_PG_PASSWORD"}, "hostname": ""}
    parts |= {"db_name": url.database, "scheme": url.drivername, "params": dict(url.query)}
    home = own_config(tmp_path / "home", storage={"postgres": {"postgres_db": parts}})
    said = (home / "dagster.yaml").read_text()
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setenv("DAGSTER_PG_PASSWORD", postgres.password)
    open_instance(store)
    assert instance_state(store)["storage"] == "PostgreSQL"
    assert (home / "dagster.yaml").read_text() == said


def test_a_dagster_yaml_that_is_no_yaml_is_named(store, tmp_path, monkeypatch):
    home = own_config(tmp_path / "home")
    (home / "dagster.yaml").write_text("storage: [")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with pytest.raises(ConfigError, match="not YAML") as caught:
        open_instance(store)
    assert caught.value.where == str(home / "dagster.yaml")


def test_kubernetes_is_written_into_the_file_with_the_database(store, database, monkeypatch):
    monkeypatch.setenv("GEOFM_EXECUTOR", "kubernetes")
    config = yaml.safe_load((dagster_home(store) / "dagster.yaml").read_text())
    assert config["run_launcher"]["class"] == "K8sRunLauncher"
    for part in ("run_storage", "event_log_storage", "schedule_storage"):
        assert config[part]["config"] == {"postgres_url": {"env": POSTGRES_VARIABLE}}


def test_a_cluster_that_is_not_there_is_said(store, monkeypatch):
    monkeypatch.setenv("GEOFM_PROFILE", "production")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigError, match=r"no cluster is known here.*GEOFM_K8S_KUBECONFIG"):
        open_instance(store)


def test_a_profile_that_launches_runs_in_a_cluster_makes_none_here(store, tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(own_config(tmp_path / "home")))
    command = ["run", "worldcereal_cropland", "--profile", "production", "--store", store.url]
    done = CliRunner().invoke(app, command)
    assert isinstance(done.exception, ConfigError)
    assert "not in Kubernetes" in str(done.exception)


def test_tables_of_an_older_dagster_are_said_to_be_and_are_migrated(store, database):
    instance = open_instance(store)
    run_range(instance, ["c01", "c02"])
    from alembic.script import ScriptDirectory
    from dagster_postgres.utils import pg_alembic_config

    script = ScriptDirectory.from_config(pg_alembic_config(dagster_postgres_file()))
    older = script.get_revision(script.as_revision_number("head")).down_revision
    execute(database, f"UPDATE alembic_version SET version_num = '{older}'")
    assert not instance_state(store)["schema_current"]
    said: list[str] = []
    assert migrate(store, lambda _done, _total, text: said.append(text))
    assert said
    assert instance_state(store)["schema_current"]
    assert not migrate(store, lambda *_: None)
    assert open_instance(store).get_materialized_partitions(KEY) == {"c01", "c02"}


def dagster_postgres_file() -> str:
    from dagster_postgres.event_log import event_log

    return str(event_log.__file__)


def test_the_state_says_what_waits_what_runs_and_what_pools_allow(store):
    instance = open_instance(store)
    instance.event_log_storage.set_concurrency_slots("imagery", 5)
    job = dg.Definitions(assets=[cells]).resolve_implicit_global_asset_job_def()
    for status in (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTED):
        origin = remote_origin(job.name)  # of no account for a run that nobody will launch
        instance.create_run_for_job(job, status=status, remote_job_origin=origin)
    state = instance_state(store)
    assert state["runs"] == {"queued": 1, "starting": 0, "started": 1, "canceling": 0}
    assert state["runs_at_once"] == 2
    assert state["daemon"] == []
    assert {pool["pool"]: pool["limit"] for pool in state["pools"]} == {
        "rdm": 2,
        "imagery": 5,
        "gpu": 1,
    }
    assert all((pool["used"], pool["waiting"]) == (0, 0) for pool in state["pools"])


def test_there_is_nothing_to_show_before_there_is_an_instance(store):
    with pytest.raises(ConfigError, match="no Dagster instance yet"):
        instance_state(store)
    assert not os.path.exists(store.local_path("dagster_home"))  # noqa: PTH110
