"""Events in SQLite whose files stay open: the same records, with a fraction of the work."""

import multiprocessing
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.storage.event_log import SqliteEventLogStorage
from sqlalchemy import event
from sqlalchemy.pool import Pool

from geofm_assets.platform.kept_open import KeptOpen

KEY = dg.AssetKey("cells")


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    storage = {"module": "geofm_assets.platform.sqlite_events", "class": "SqliteEvents"}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({"event_log_storage": storage}))
    with dg.DagsterInstance.from_config(str(tmp_path)) as opened:
        yield opened


def record(instance: dg.DagsterInstance, *cells: str) -> None:
    for cell in cells:
        instance.report_runless_asset_event(dg.AssetMaterialization(KEY, partition=cell))


def recorded(folder: Path) -> set[str]:
    """Cells that Dagster's own storage finds there."""
    plain = SqliteEventLogStorage(str(folder / "history" / "runs"))
    return set(plain.get_materialized_partitions(KEY))


@contextmanager
def counted_connections() -> Iterator[list[object]]:
    made: list[object] = []

    def add(connection: object, _record: object) -> None:
        made.append(connection)

    event.listen(Pool, "connect", add)
    yield made
    event.remove(Pool, "connect", add)


def test_dagsters_own_storage_reads_what_was_recorded(instance, tmp_path):
    record(instance, "a", "b")
    assert recorded(tmp_path) == {"a", "b"}


def tables(file: Path) -> tuple[list[tuple[str, ...]], str, str]:
    """What makes a file's tables, at which of Dagster's revisions, and how it is written."""
    with closing(sqlite3.connect(file)) as opened:
        made = opened.execute("SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2").fetchall()
        (revision,) = opened.execute("SELECT version_num FROM alembic_version").fetchone()
        (journal,) = opened.execute("PRAGMA journal_mode").fetchone()
    return made, revision, journal


def test_a_new_file_is_as_dagster_makes_it(instance, tmp_path):
    run = dg.DagsterRun("job", run_id="00000000-0000-0000-0000-000000000001")
    instance.report_engine_event("hello", run)
    storage = SqliteEventLogStorage(str(tmp_path / "dagsters"))
    with storage.run_connection(run.run_id):
        pass
    for name in ("index", run.run_id):
        ours = tables(tmp_path / "history" / "runs" / f"{name}.db")
        assert ours == tables(tmp_path / "dagsters" / f"{name}.db")


def test_a_file_that_another_process_is_making_is_left_to_it(instance, tmp_path, monkeypatch):
    run = dg.DagsterRun("job", run_id="00000000-0000-0000-0000-000000000001")
    script = KeptOpen._script

    def overtaken(self):
        SqliteEventLogStorage(str(tmp_path / "history" / "runs")).get_logs_for_run(run.run_id)
        return script(self)

    monkeypatch.setattr(KeptOpen, "_script", overtaken)
    instance.report_engine_event("hello", run)
    assert [entry.message for entry in instance.all_logs(run.run_id)] == ["hello"]


def test_no_event_opens_a_file_again(instance):
    record(instance, "first")
    with counted_connections() as made:
        record(instance, *"abcdefgh")
    assert made == []


def test_events_of_many_runs_leave_few_files_open(instance, tmp_path):
    for number in range(12):
        instance.report_engine_event(
            "hello", dg.DagsterRun("job", run_id=f"00000000-0000-0000-0000-{number:012}")
        )
    left = list((tmp_path / "history" / "runs").glob("*.db-wal"))
    assert len(left) <= 4
    assert len(list((tmp_path / "history" / "runs").glob("0*.db"))) == 12


def test_a_history_deleted_and_begun_by_another_process_is_gone_on_with(instance, tmp_path):
    run = dg.DagsterRun("job", run_id="00000000-0000-0000-0000-000000000001")
    record(instance, "a")
    instance.report_engine_event("ours, deleted", run)
    code = (
        "import sys, dagster as dg; instance = dg.DagsterInstance.from_config(sys.argv[1]); "
        "instance.event_log_storage.wipe(); "
        "instance.report_engine_event('theirs', dg.DagsterRun('job', run_id=sys.argv[2]))"
    )
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(tmp_path), run.run_id], check=True
    )
    record(instance, "b")
    instance.report_engine_event("ours", run)
    plain = SqliteEventLogStorage(str(tmp_path / "history" / "runs"))
    assert [entry.message for entry in plain.get_logs_for_run(run.run_id)] == ["theirs", "ours"]
    assert recorded(tmp_path) == {"b"}


def test_a_fork_has_connections_of_its_own(instance, tmp_path):
    record(instance, "before")
    child = multiprocessing.get_context("fork").Process(target=record, args=(instance, "child"))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    record(instance, "after")
    assert recorded(tmp_path) == {"before", "child", "after"}


def test_who_watches_a_run_is_told_while_its_file_is_open(instance, tmp_path):
    run = dg.DagsterRun("job", run_id="00000000-0000-0000-0000-000000000001")
    instance.report_engine_event("first", run)
    seen, told = [], threading.Event()

    def see(entry: dg.EventLogEntry, _cursor: str) -> None:
        seen.append(entry.message)
        if "second" in entry.message:
            told.set()

    with dg.DagsterInstance.from_config(str(tmp_path)) as watching:
        watching.watch_event_logs(run.run_id, None, see)
        instance.report_engine_event("second", run)
        assert told.wait(20), seen
        watching.end_watch_event_logs(run.run_id, see)


def test_a_closed_instance_leaves_everything_in_its_files(tmp_path, instance):
    record(instance, "a")
    instance.dispose()
    assert list((tmp_path / "history" / "runs").glob("*-wal")) == []
    assert recorded(tmp_path) == {"a"}
