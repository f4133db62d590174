"""`geofm ui` listens on this machine alone unless told otherwise, and says so if it is."""

import os

import pytest
from typer.testing import CliRunner

from geofm_assets import cli


class Started(Exception):
    """Instead of the UI, which would take this process over."""


@pytest.fixture
def start(tmp_path, monkeypatch):
    commands = []

    def execv(path, command):
        commands.append(command)
        raise Started

    monkeypatch.setattr(os, "execv", execv)
    monkeypatch.setenv("DAGSTER_HOME", "")  # set by the command, put back afterwards
    monkeypatch.setenv("GEOFM_STORE", "")

    def run(*arguments):
        done = CliRunner().invoke(cli.app, ["ui", "--store", str(tmp_path / "store"), *arguments])
        assert isinstance(done.exception, Started), done.output
        command = commands.pop()
        return command[command.index("-h") + 1], done.output

    return run


def test_it_is_for_this_machine_unless_told_otherwise(start):
    host, said = start()
    assert host == "127.0.0.1"
    assert "Warning" not in said
    host, said = start("--host", "0.0.0.0")
    assert host == "0.0.0.0"
    assert "Warning: the UI has no login. Whoever reaches 0.0.0.0:3000 can start runs" in said
