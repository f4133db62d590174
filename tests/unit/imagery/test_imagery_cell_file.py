"""A packed file holds what was written, and says so when it does not."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from geofm_assets.core.errors import ImageryError
from geofm_assets.imagery.cell_file import open_cell_file, write_cell_file
from tests.packed_files import (
    NAMES,
    S1,
    S2,
    flip_bit,
    header_of,
    pixels,
    replace_header,
    rewrite,
    write,
)

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path)


def test_pixels_come_back(path: Path) -> None:
    opened = open_cell_file(path, verify=True)
    for layer, array in pixels().items():
        for row in range(3):
            np.testing.assert_array_equal(opened.row(layer, row), array[row])


def test_same_content_gives_the_same_name_and_bytes(path: Path, tmp_path: Path) -> None:
    again = write(tmp_path / "again")
    assert (again.name, again.read_bytes()) == (path.name, path.read_bytes())


def test_plain_safetensors_reads_it(path: Path) -> None:
    np.testing.assert_array_equal(load_file(path)[f"{S1}/values"], pixels()[S1])


def test_cell_without_windows(tmp_path: Path) -> None:
    name = write_cell_file(tmp_path, "831e94fffffffff", [], {}, simulated=False)
    assert open_cell_file(tmp_path / name, verify=True).window_names == ()


@pytest.mark.parametrize("keep", [0, 5, 200, -1])
def test_file_cut_short_is_refused(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ImageryError, match=r"Not a packed file that can be used.*rasters-.*again"):
        open_cell_file(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageryError, match=r"The packed file is missing at .*rasters-0"):
        open_cell_file(tmp_path / "rasters-0.safetensors")


def test_flipped_bit_of_a_pixel_is_named_when_its_window_is_read(path: Path) -> None:
    flip_bit(path, f"{S2}/values", at=2 * 3 * 12 * 16 + 7)
    opened = open_cell_file(path)
    assert opened.row(S2, 0).shape == (3, 12, 4, 4)
    with pytest.raises(ImageryError, match=f"not what was written at .*{S2}, window w1"):
        opened.row(S2, 1)


def test_flipped_bit_of_a_pixel_is_found_when_all_are_verified(path: Path) -> None:
    flip_bit(path, f"{S1}/values", at=99)
    with pytest.raises(ImageryError, match=f"{S1}/values is not what was written"):
        open_cell_file(path, verify=True)


@pytest.mark.parametrize("part", ["present", "timestamps", "periods", "checksums"])
def test_flipped_bit_of_a_small_array_is_found_on_opening(path: Path, part: str) -> None:
    flip_bit(path, f"{S2}/{part}")
    with pytest.raises(ImageryError, match=f"{S2}/{part} is not what was written"):
        open_cell_file(path)


def test_no_flipped_bit_of_the_header_goes_unnoticed(path: Path) -> None:
    good, (_, start) = path.read_bytes(), header_of(path)
    truth = pixels()
    for at in range(0, start):
        data = bytearray(good)
        data[at] ^= 1
        path.write_bytes(data)
        try:
            opened = open_cell_file(path)
            rows = {layer: opened.row(layer, 2) for layer in truth}
        except ImageryError:
            continue
        for layer, values in rows.items():  # white space between header and tensors
            np.testing.assert_array_equal(values, truth[layer][2])


@pytest.mark.parametrize("version", [1, 3])
def test_another_version_is_refused(path: Path, version: int) -> None:
    rewrite(path, lambda meta: meta.update(version=version))
    with pytest.raises(ImageryError, match=f"of version {version}, this code reads 2"):
        open_cell_file(path)


def test_other_safetensors_are_refused(path: Path) -> None:
    header, start = header_of(path)
    del header["__metadata__"]
    replace_header(path, header, start)
    with pytest.raises(ImageryError, match="does not describe chips"):
        open_cell_file(path)


def test_changed_header_is_refused(path: Path) -> None:
    rewrite(path, lambda meta: meta.update(simulated=False), digest=False)
    with pytest.raises(ImageryError, match="its header was changed"):
        open_cell_file(path)


def test_bands_in_another_order_are_refused(path: Path) -> None:
    rewrite(path, lambda meta: meta["layers"][S1]["bands"].reverse())
    with pytest.raises(ImageryError, match="sentinel1 has bands vh, vv"):
        open_cell_file(path)


def test_windows_the_tensors_do_not_hold_are_refused(path: Path) -> None:
    rewrite(path, lambda meta: meta["windows"].append({"window_name": "w3"}))
    with pytest.raises(ImageryError, match="its header and its tensors disagree"):
        open_cell_file(path)


def test_lost_tensor_is_refused(path: Path) -> None:
    header, start = header_of(path)
    del header[f"{S1}/checksums"]
    replace_header(path, header, start)
    with pytest.raises(ImageryError, match=r"disagree .*sentinel1/checksums"):
        open_cell_file(path)


def test_arrays_cannot_be_written(path: Path) -> None:
    with pytest.raises(ValueError, match="read-only"):
        open_cell_file(path).row(S1, 0)[:] = 0


def test_disk_that_fills_leaves_nothing_behind(tmp_path: Path) -> None:
    """A limit on the size of files stands in for a full disk: both fail a write half way."""
    code = (
        "import signal, sys\n"
        "from pathlib import Path\n"
        "from geofm_assets.core.errors import ImageryError\n"
        "from tests.packed_files import write\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "try:\n"
        "    write(Path(sys.argv[1]))\n"
        "except ImageryError as error:\n"
        "    sys.exit(str(error))\n"
    )
    folder = tmp_path / "cell"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "The packed file cannot be written" in done.stderr
    assert f"{folder}/rasters-" in done.stderr
    assert list(folder.iterdir()) == []


def test_header_says_what_the_arrays_are(path: Path) -> None:
    meta = open_cell_file(path).meta
    assert [window["window_name"] for window in meta["windows"]] == list(NAMES)
    assert meta["layers"][S1]["unit"] == "gamma0 dB"
    assert json.dumps(meta["layers"][S2]["nodata"]) == "0"
