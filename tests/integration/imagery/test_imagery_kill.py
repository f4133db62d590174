"""A materializing process that is really killed is finished by the next run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from geofm_assets.imagery.materialize import materialize_cell
from tests.imagery_scenes import make_points, make_scenes, write_cell

REPOSITORY = Path(__file__).resolve().parents[3]
WORK = """
import sys
import time
from pathlib import Path
from geofm_assets.imagery import materialize

materialize._BATCH = 1
finish = materialize._finish_marks


def slowly(*arguments):
    time.sleep(0.3)
    finish(*arguments)


materialize._finish_marks = slowly
materialize.materialize_cell(Path(sys.argv[1]), sys.argv[2])
"""


@pytest.mark.parametrize("after", [1, 3])
def test_killed_while_writing_windows(tmp_path: Path, after: int) -> None:
    scenes = make_scenes(tmp_path / "scenes")
    points = make_points([(10 * i + 10, 10 * i + 10) for i in range(10)], scenes)
    whole = write_cell(tmp_path / "whole", scenes, points)
    killed = write_cell(tmp_path / "killed", scenes, points)
    process = subprocess.Popen(
        [sys.executable, "-c", WORK, str(killed.dataset), killed.cell],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "RSLEARN_LOGLEVEL": "WARNING"},
    )
    deadline = time.monotonic() + 120
    while len(list(killed.dataset.rglob("data.npy"))) < after and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(list(killed.dataset.rglob("sentinel1/completed"))) < 10
    resumed = materialize_cell(killed.dataset, killed.cell)
    straight = materialize_cell(whole.dataset, whole.cell)
    assert (resumed.rasters, resumed.bands) == (straight.rasters, straight.bands)
