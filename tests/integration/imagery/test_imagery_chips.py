"""Chips of a cell: what is in them, that they are the same every time, that damage is noticed."""

import datetime as dt
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from geofm_assets.core.errors import ImageryError
from geofm_assets.imagery.chips import CellChips, chips_note, pack_cell, read_chips
from geofm_assets.imagery.stock import CellRasters
from tests.imagery_scenes import (
    Scenes,
    WrittenCell,
    chips_of,
    make_points,
    make_rasters,
    make_scenes,
    packed,
    write_cell,
)

S2 = "sentinel2_l2a"
S1 = "sentinel1"
PIXELS = [(20, 20), (60, 60), (400, 400)]
Made = tuple[WrittenCell, CellRasters, Path]


def pack(written: WrittenCell, result: CellRasters) -> CellChips:
    refused = result.refused["window_name"].to_pylist()
    return pack_cell(chips_of(written), result.file, refused, "inputs")


def build(root: Path, reverse: bool = False) -> Made:
    scenes = make_scenes(root / "scenes", skip=("S2_2022-03",))
    if reverse:
        scenes.entries.reverse()
        scenes.write_index()
    points = make_points(PIXELS, scenes)
    if reverse:
        points = points.take(pa.array(range(points.num_rows - 1, -1, -1)))
    written = write_cell(root / "dataset", scenes, points)
    result = make_rasters(written)
    pack(written, result)
    return written, result, chips_of(written)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return build(tmp_path_factory.mktemp("chips"))


@pytest.fixture
def copy(made: Made, tmp_path: Path) -> Path:
    shutil.copytree(made[2], tmp_path / "chips")
    return tmp_path / "chips"


def test_refused_windows_are_left_out_and_rows_are_sorted(made: Made) -> None:
    chips = read_chips(made[2], verify=True)
    refused = set(made[1].refused["window_name"].to_pylist())
    names = [n for n in made[0].windows["window_name"].to_pylist() if n not in refused]
    assert list(chips.window_names) == sorted(names)
    assert [chips.file.window_names[row] for row in chips.rows] == sorted(names)
    assert len(refused) == 1


def test_shapes_and_dtypes(made: Made) -> None:
    layers = read_chips(made[2]).file.layers
    assert {n: (m.values.shape, m.values.dtype.name) for n, m in layers.items()} == {
        S2: ((3, 12, 12, 8, 8), "uint16"),
        S1: ((3, 12, 2, 8, 8), "float32"),
    }
    assert layers[S2].present.shape == (3, 12)
    assert layers[S2].timestamps.shape == layers[S2].periods.shape == (3, 12, 2)


def test_arrays_are_mapped_and_cannot_be_written(made: Made) -> None:
    array = read_chips(made[2]).file.layers[S2].values
    assert isinstance(array, np.memmap)
    assert not array.flags.writeable


def test_a_missing_month_is_nodata_and_not_present(made: Made) -> None:
    chips = read_chips(made[2])
    for row in chips.rows:
        assert chips.file.layers[S2].present[row].tolist() == [i != 3 for i in range(12)]
        assert (chips.file.row(S2, row)[3] == 0).all()


def test_timestamps_are_those_of_the_scenes(made: Made) -> None:
    stamps = read_chips(made[2]).file.layers[S1].timestamps
    start, end = (dt.datetime.fromtimestamp(int(t) / 1e6, dt.UTC) for t in stamps[0, 0])
    assert (start, end) == (
        dt.datetime(2021, 12, 1, tzinfo=dt.UTC),
        dt.datetime(2022, 1, 1, tzinfo=dt.UTC),
    )


def test_timestamps_tell_when_a_scene_was_taken_and_periods_what_it_stands_for(
    tmp_path: Path,
) -> None:
    scenes = Scenes(tmp_path / "scenes")
    day = dt.date(2022, 6, 9)
    pixels = scenes.sentinel2(dt.date(2022, 6, 1))
    scenes.add("S2.tif", pixels, "sentinel-2-l2a", day, day, nodata=0)
    scenes.add("S1.tif", scenes.sentinel1(day), "sentinel-1-rtc", day, day)
    scenes.write_index()
    written = write_cell(tmp_path / "dataset", scenes, make_points([(20, 20)], scenes))
    make_rasters(written)
    mosaics = packed(written).layers[S2]
    moment = int(dt.datetime(2022, 6, 9, tzinfo=dt.UTC).timestamp() * 1e6)
    assert mosaics.timestamps[0, 6].tolist() == [moment, moment]
    june = [int(dt.datetime(2022, m, 1, tzinfo=dt.UTC).timestamp() * 1e6) for m in (6, 7)]
    assert mosaics.periods[0, 6].tolist() == june


def test_the_header_says_what_the_arrays_are(made: Made) -> None:
    meta = read_chips(made[2]).file.meta
    layer = meta["layers"][S1]
    assert (layer["bands"], layer["unit"], layer["nodata"]) == (["vv", "vh"], "gamma0 dB", -32768.0)
    window = meta["windows"][0]
    assert window["crs"] == "EPSG:32632"
    left, bottom, right, top = window["bounds"]
    assert (right - left, top - bottom) == (80, 80)
    assert meta["simulated"] is True


def test_two_builds_in_any_order_give_the_same_bytes(made: Made, tmp_path: Path) -> None:
    _, _, other = build(tmp_path, reverse=True)

    def content(folder: Path) -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}

    assert content(other) == content(made[2])


def test_packing_again_leaves_the_same_files(made: Made) -> None:
    before = {p.name: p.read_bytes() for p in made[2].iterdir()}
    pack(made[0], made[1])
    assert {p.name: p.read_bytes() for p in made[2].iterdir()} == before


def test_leftovers_of_a_killed_run_are_removed(made: Made) -> None:
    (made[2] / ".rasters-0000.tmp").write_bytes(b"half")
    (made[2] / "rasters-0000000000000000.safetensors").write_bytes(b"old")
    pack(made[0], made[1])
    assert not list(made[2].glob("*0000*"))


def test_chips_stay_readable_while_new_rasters_are_being_written(copy: Path) -> None:
    (copy / "rasters-1111111111111111.safetensors").write_bytes(b"new, chips not yet packed")
    assert len(read_chips(copy, verify=True).window_names) == 2


def test_a_packed_file_that_was_damaged_is_not_declared_chips(copy: Path) -> None:
    name = chips_note(copy)["file"]
    data = bytearray((copy / name).read_bytes())
    data[-1] ^= 1
    (copy / name).write_bytes(bytes(data))
    with pytest.raises(ImageryError, match=rf"not what was written at .*{name}"):
        pack_cell(copy, name, [], "inputs")


def test_a_missing_packed_file_is_named(copy: Path) -> None:
    name = chips_note(copy)["file"]
    (copy / name).unlink()
    with pytest.raises(ImageryError, match=rf"is missing at .*{name}"):
        read_chips(copy)


def test_a_note_on_other_windows_is_refused(copy: Path) -> None:
    note = json.loads((copy / "chips.json").read_text())
    note["rows"].reverse()
    (copy / "chips.json").write_text(json.dumps(note))
    with pytest.raises(ImageryError, match="names other windows"):
        read_chips(copy)


def test_a_folder_without_chips_says_so(tmp_path: Path) -> None:
    with pytest.raises(ImageryError, match=r"There are no chips at .*Pack the cell's chips again"):
        read_chips(tmp_path)


def test_a_cell_whose_windows_are_all_refused_has_no_chips(tmp_path: Path) -> None:
    scenes = make_scenes(tmp_path / "scenes")
    written = write_cell(tmp_path / "dataset", scenes, make_points([(400, 400)], scenes))
    chips = pack(written, make_rasters(written))
    assert (chips.window_names, chips.rows) == ((), ())
