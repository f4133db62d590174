"""Runs launched as processes of this machine: ranges side by side, lost processes, errors."""

import socket
import subprocess
import sys
import threading
import time

import dagster as dg
import pytest

from tests.launching_world import CELLS, open_world

STARTED = dg.DagsterRunStatus.STARTED


@pytest.fixture
def world(tmp_path, monkeypatch):
    return open_world(tmp_path, monkeypatch, "multiprocess")


def test_cells_are_made_in_ranges_and_a_lost_range_goes_on_where_it_ended(world):
    world.order("die-c05")
    world.order("refuse-c09")
    world.order("say-c10")
    failures = world.make("points")
    assert len(failures) == 1
    assert "c09: It was refused" in failures[0]
    good = sorted(set(CELLS) - {"c09"})
    # recorded once each, though the process that had c04 and c05 died
    assert world.records("points") == good
    assert all(len(world.lines("points", cell)) == 1 for cell in good)
    sizes = sorted(len(_range(run)) for run in world.runs())
    assert sizes == [3, 4, 4, 4]  # three ranges of four; of the second, three were left
    made = world.lines("points", "c00")[0]
    assert made["GEOFM_EXECUTOR"] == "multiprocess"
    assert world.reports[-1][:2] == (11, 12)
    assert world.said == ["c10 lacks half of its rows"]


def test_runs_of_a_lost_command_line_are_waited_for(world):
    hold = world.order("hold")
    code = "from tests.launching_world import opened; opened().make('points')"
    lost = subprocess.Popen([sys.executable, "-c", code])
    _wait(lambda: sum(run.status == STARTED for run in world.runs()) == 2)
    lost.kill()
    lost.wait()
    said = []
    with world.workers() as workers:
        threading.Timer(2, hold.unlink).start()
        workers.settle([dg.AssetKey("points")], said.append)
    assert f"2 runs launched by {socket.gethostname()}:{lost.pid} still go on" in said[0]
    assert world.records("points") == CELLS[:8]  # of the third range nobody knows
    assert all(len(world.lines("points", cell)) == 1 for cell in CELLS[:8])


def _wait(condition):
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


def _range(run):
    first = run.tags["dagster/asset_partition_range_start"]
    last = run.tags["dagster/asset_partition_range_end"]
    return CELLS[CELLS.index(first) : CELLS.index(last) + 1]
