"""Runs launched as processes of this machine: ranges side by side, lost processes, errors."""

import pytest

from tests.launching_world import CELLS, open_world


@pytest.fixture
def world(tmp_path, monkeypatch):
    return open_world(tmp_path, monkeypatch, "multiprocess")


def test_cells_are_made_in_ranges_and_a_lost_range_goes_on_where_it_ended(world):
    world.order("die-c05")
    world.order("refuse-c09")
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


def _range(run):
    first = run.tags["dagster/asset_partition_range_start"]
    last = run.tags["dagster/asset_partition_range_end"]
    return CELLS[CELLS.index(first) : CELLS.index(last) + 1]
