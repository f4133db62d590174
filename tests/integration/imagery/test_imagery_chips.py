"""Chips: what is packed, that it is the same every time, and that damage is noticed."""

import datetime as dt
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from geofm_assets.core.errors import ImageryError
from geofm_assets.imagery.chips import ChipHeader, pack_cell, read_chips
from geofm_assets.imagery.materialize import CellRasters, materialize_cell
from geofm_assets.imagery.stored import load_windows, open_dataset, read_mosaics
from tests.imagery_scenes import Scenes, WrittenCell, make_points, make_scenes, write_cell

S2 = "sentinel2_l2a"
S1 = "sentinel1"
PIXELS = [(20, 20), (60, 60), (400, 400)]
Made = tuple[WrittenCell, CellRasters, Path]


def pack(written: WrittenCell, result: CellRasters, out: Path) -> ChipHeader:
    return pack_cell(
        written.dataset, written.cell, written.windows, result.rasters, result.refused, out
    )


def build(root: Path, reverse: bool = False) -> Made:
    scenes = make_scenes(root / "scenes", skip=("S2_2022-03",))
    if reverse:
        scenes.entries.reverse()
        scenes.write_index()
    points = make_points(PIXELS, scenes)
    if reverse:
        points = points.take(pa.array(range(points.num_rows - 1, -1, -1)))
    written = write_cell(root / "dataset", scenes, points)
    result = materialize_cell(written.dataset, written.cell)
    pack(written, result, root / "chips")
    return written, result, root / "chips"


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
    assert len(refused) == 1


def test_shapes_and_dtypes(made: Made) -> None:
    chips = read_chips(made[2])
    assert {n: (a.shape, a.dtype.name) for n, a in chips.arrays.items()} == {
        S2: ((2, 12, 12, 8, 8), "uint16"),
        S1: ((2, 12, 2, 8, 8), "float32"),
    }
    assert chips.present[S2].shape == (2, 12)
    assert chips.timestamps[S2].shape == chips.periods[S2].shape == (2, 12, 2)


def test_arrays_are_mapped_and_cannot_be_written(made: Made) -> None:
    array = read_chips(made[2]).arrays[S2]
    assert isinstance(array, np.memmap)
    assert not array.flags.writeable


def test_pixels_are_those_of_the_dataset(made: Made) -> None:
    dataset, layers = open_dataset(made[0].dataset)
    windows = {w.name: w for w in load_windows(dataset, made[0].cell)}
    chips = read_chips(made[2])
    for row, name in enumerate(chips.window_names):
        for layer in layers:
            stored = read_mosaics(windows[name], layer).values
            assert (chips.arrays[layer.name][row] == stored).all()


def test_a_missing_month_is_nodata_and_not_present(made: Made) -> None:
    chips = read_chips(made[2])
    assert chips.present[S2].tolist() == [[i != 3 for i in range(12)]] * 2
    assert (chips.arrays[S2][:, 3] == 0).all()


def test_timestamps_are_those_of_the_scenes(made: Made) -> None:
    stamps = read_chips(made[2]).timestamps[S1]
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
    pack(written, materialize_cell(written.dataset, written.cell), tmp_path / "chips")
    chips = read_chips(tmp_path / "chips")
    moment = int(dt.datetime(2022, 6, 9, tzinfo=dt.UTC).timestamp() * 1e6)
    assert chips.timestamps[S2][0, 6].tolist() == [moment, moment]
    june = [int(dt.datetime(2022, m, 1, tzinfo=dt.UTC).timestamp() * 1e6) for m in (6, 7)]
    assert chips.periods[S2][0, 6].tolist() == june


def test_the_header_says_what_the_arrays_are(made: Made) -> None:
    header = json.loads((made[2] / "header.json").read_text())
    layer = header["layers"][S1]
    assert (layer["bands"], layer["unit"], layer["nodata"]) == (["vv", "vh"], "gamma0 dB", -32768.0)
    window = header["windows"][0]
    assert window["crs"] == "EPSG:32632"
    left, bottom, right, top = window["bounds"]
    assert (right - left, top - bottom) == (80, 80)
    assert header["simulated"] is True


def test_two_builds_in_any_order_give_the_same_bytes(made: Made, tmp_path: Path) -> None:
    _, _, other = build(tmp_path, reverse=True)

    def content(folder: Path) -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}

    assert content(other) == content(made[2])


def test_packing_again_leaves_the_same_files(made: Made) -> None:
    before = {p.name for p in made[2].iterdir()}
    header = pack(made[0], made[1], made[2])
    assert {p.name for p in made[2].iterdir()} == before
    assert header.content_digest == read_chips(made[2]).header.content_digest


def test_leftovers_of_a_killed_run_are_removed(made: Made) -> None:
    (made[2] / ".sentinel1.0000.tmp").write_bytes(b"half")
    (made[2] / "sentinel1-0000000000000000.npy").write_bytes(b"old")
    pack(made[0], made[1], made[2])
    assert not list(made[2].glob("*0000*"))


def test_chips_stay_readable_while_new_ones_are_being_written(copy: Path) -> None:
    (copy / "sentinel1-1111111111111111.npy").write_bytes(b"new, header not yet replaced")
    assert len(read_chips(copy, verify=True).window_names) == 2


def test_a_flipped_byte_is_noticed_on_request(copy: Path) -> None:
    path = next(p for p in copy.iterdir() if p.name.startswith("sentinel2_l2a-"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    read_chips(copy)
    with pytest.raises(
        ImageryError, match=rf"content is not what the header says at .*{path.name}"
    ):
        read_chips(copy, verify=True)


def test_an_array_cut_short_is_noticed_always(copy: Path) -> None:
    path = next(p for p in copy.iterdir() if p.name.startswith("sentinel2_l2a-"))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ImageryError, match="bytes, the header says"):
        read_chips(copy)


def test_a_missing_array_is_named(copy: Path) -> None:
    path = next(p for p in copy.iterdir() if p.name.startswith("sentinel1.present"))
    path.unlink()
    with pytest.raises(ImageryError, match=rf"is missing at .*{path.name}"):
        read_chips(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h.update(version=99), "version 99, this reads 1"),
        (lambda h: h.update(format="other"), "Not a chips header"),
        (lambda h: h["windows"].reverse(), "header was changed after it was written"),
    ],
)
def test_a_header_of_another_kind_is_refused(copy: Path, change: object, message: str) -> None:
    header = json.loads((copy / "header.json").read_text())
    change(header)  # type: ignore[operator]
    (copy / "header.json").write_text(json.dumps(header))
    with pytest.raises(ImageryError, match=message):
        read_chips(copy)


def test_a_folder_without_chips_says_so(tmp_path: Path) -> None:
    with pytest.raises(ImageryError, match=r"There are no chips at .*Pack the cell's chips again"):
        read_chips(tmp_path)


def test_windows_that_were_not_written_are_named(made: Made, tmp_path: Path) -> None:
    written, result, _ = made
    empty = WrittenCell(written.dataset, "83186afffffffff", written.windows, written.points)
    with pytest.raises(ImageryError, match="2 windows are not in the dataset"):
        pack(empty, result, tmp_path)


def test_rasters_that_changed_after_the_inventory_are_noticed(made: Made, tmp_path: Path) -> None:
    written, result, _ = made
    stale = CellRasters(result.rasters.slice(0, 0), result.bands, result.refused)
    with pytest.raises(ImageryError, match="not those the inventory counted"):
        pack(written, stale, tmp_path)


def test_a_cell_whose_windows_are_all_refused_has_empty_chips(tmp_path: Path) -> None:
    scenes = make_scenes(tmp_path / "scenes")
    written = write_cell(tmp_path / "dataset", scenes, make_points([(400, 400)], scenes))
    pack(written, materialize_cell(written.dataset, written.cell), tmp_path / "chips")
    chips = read_chips(tmp_path / "chips", verify=True)
    assert chips.window_names == ()
    assert chips.arrays[S2].shape[0] == 0
