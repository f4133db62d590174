"""A held database is not copied out of its log at every close, and is whole afterwards."""

import sqlite3
from contextlib import closing

import pytest

from geofm_assets.core.held_open import held_open


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "events.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE events (name TEXT)")
    return path


def write(path, name):
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO events VALUES (?)", [name])


def names(path):
    with closing(sqlite3.connect(path)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM events")]


def test_the_log_stays_while_held_and_is_gone_afterwards(database):
    log = database.with_name("events.db-wal")
    with held_open([database]):
        write(database, "one")
        assert log.stat().st_size > 0
        write(database, "two")
        assert names(database) == ["one", "two"]
    assert not log.exists()
    assert names(database) == ["one", "two"]


def test_without_it_every_close_empties_the_log(database):
    write(database, "one")
    assert not database.with_name("events.db-wal").exists()
    assert names(database) == ["one"]
