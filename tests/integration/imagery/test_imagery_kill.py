"""A materializing process that is really killed is finished by the next run."""

import time
from pathlib import Path

import pytest
from pyarrow.parquet import write_table as write_parquet

from geofm_assets.imagery.materialize import materialize_windows
from geofm_assets.imagery.stored import load_windows, open_dataset, read_mosaics
from tests.imagery_scenes import (
    WrittenCell,
    chips_of,
    make_points,
    make_rasters,
    make_scenes,
    write_cell,
)
from tests.servers.forks import ForkedPython

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
materialize.materialize_windows(Path(sys.argv[1]), sys.argv[2])
"""
PACK = """
import sys
import time
from pathlib import Path
import pyarrow.parquet as pq
from geofm_assets.imagery import cell_file, cell_rasters

root = Path(sys.argv[1])
save = cell_file.save_file


def half(tensors, path, metadata):
    save(tensors, path, metadata=metadata)
    (root / "reached").touch()
    time.sleep(60)


cell_file.save_file = half
cell_rasters.make_cell_file(
    root / "killed", root / "scratch", sys.argv[2], pq.read_table(root / "windows.parquet"),
    root / "killed-chips", None,
)
"""


@pytest.mark.parametrize("after", [1, 3])
def test_killed_while_writing_windows(tmp_path: Path, after: int) -> None:
    scenes = make_scenes(tmp_path / "scenes")
    points = make_points([(10 * i + 10, 10 * i + 10) for i in range(10)], scenes)
    whole = write_cell(tmp_path / "whole", scenes, points)
    killed = write_cell(tmp_path / "killed", scenes, points)
    with ForkedPython(WORK, str(killed.dataset), killed.cell) as process:  # and kills it
        deadline = time.monotonic() + 120
        while len(list(killed.dataset.rglob("data.npy"))) < after and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.002)
    assert len(list(killed.dataset.rglob("sentinel1/completed"))) < 10
    materialize_windows(killed.dataset, killed.cell)
    materialize_windows(whole.dataset, whole.cell)
    assert pixels(killed) == pixels(whole)


def pixels(written: WrittenCell) -> dict[str, bytes]:
    dataset, layers = open_dataset(written.dataset)
    return {
        f"{window.name}/{layer.name}": read_mosaics(window, layer).values.tobytes()
        for window in load_windows(dataset, written.cell)
        for layer in layers
    }


def test_killed_in_mid_cell_and_run_again(tmp_path: Path) -> None:
    scenes = make_scenes(tmp_path / "scenes")
    points = make_points([(10 * i + 10, 10 * i + 10) for i in range(10)], scenes)
    killed = write_cell(tmp_path / "killed", scenes, points)
    write_parquet(killed.windows, tmp_path / "windows.parquet")
    with ForkedPython(PACK, str(tmp_path), killed.cell) as process:  # and kills it
        deadline = time.monotonic() + 120
        while not (tmp_path / "reached").exists() and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.002)
    assert not list(chips_of(killed).glob("*.safetensors"))
    resumed = make_rasters(killed)
    whole = write_cell(tmp_path / "whole", scenes, points)
    assert resumed == make_rasters(whole)


FILL = """
import resource
import sys
from pathlib import Path
import pyarrow.parquet as pq
from geofm_assets.core.errors import ImageryError
from geofm_assets.imagery.cell_rasters import make_cell_file

root = Path(sys.argv[1])
windows = pq.read_table(root / "windows.parquet")
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    make_cell_file(
        root / "full", root / "scratch", sys.argv[2], windows, root / "full-chips", None
    )
except ImageryError as error:
    print(error)
"""


def test_a_disk_that_fills_while_packing_leaves_nothing_half_written(tmp_path: Path) -> None:
    scenes = make_scenes(tmp_path / "scenes")
    points = make_points([(10 * i + 10, 10 * i + 10) for i in range(10)], scenes)
    full = write_cell(tmp_path / "full", scenes, points)
    write_parquet(full.windows, tmp_path / "windows.parquet")
    done = ForkedPython(FILL, str(tmp_path), full.cell)
    said = done.end()
    assert done.returncode == 0, said
    assert "cannot be written" in said
    assert "File too large" in said
    assert "full-chips/rasters-" in said
    assert list(chips_of(full).iterdir()) == []
    assert make_rasters(full).refused.num_rows == 0
