"""The manifest says where every window's chip lies."""

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from geofm_assets.core.errors import ImageryError
from geofm_assets.core.schema import validate
from geofm_assets.imagery.chips import CellChips, read_chips
from geofm_assets.training.manifest import ModelInputs, cell_manifest, join_manifest
from geofm_assets.training.schema import MANIFEST, Manifest
from geofm_assets.windows.schema import WINDOW
from tests.training_world import CELLS, manifest_row, month_periods, write_cell

S2, S1 = "sentinel2_l2a", "sentinel1"
NAMES = ["w0000", "w0001", "w0002"]


def pixels() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    s2 = rng.integers(1, 9000, (3, 3, 12, 4, 4)).astype(np.uint16)
    s2[2, :2] = 0
    return {S2: s2, S1: rng.normal(-12, 3, (3, 3, 2, 4, 4)).astype(np.float32)}


def chips(root: Path, cell: str = CELLS[0], refused: tuple[str, ...] = ()) -> CellChips:
    periods = month_periods(dt.date(2022, 5, 1), 3)
    write_cell(root / cell, cell, NAMES, pixels(), periods, refused=refused)
    return read_chips(root / cell)


def windows(cell: str = CELLS[0], first: int = 0) -> pa.Table:
    """WINDOW rows of `NAMES`, last first."""
    rows = []
    for i in (2, 1, 0):
        known = manifest_row(i, cell, "", 0, sample_id=f"s{first + i}")
        rows.append({name: known.get(name) for name in WINDOW.names})
    return pa.Table.from_pylist(rows, schema=WINDOW)


def test_rows_carry_their_place_and_months(tmp_path: Path) -> None:
    found = chips(tmp_path)
    table = cell_manifest(windows(), found)
    assert table["window_name"].to_pylist() == NAMES
    assert table["sample_id"].to_pylist() == ["s0", "s1", "s2"]
    assert table["chip_row"].to_pylist() == [0, 1, 2]
    assert set(table["chip_file"].to_pylist()) == {found.file_name}
    assert table["s2_months"].to_pylist() == [3, 3, 1]
    assert table["s1_months"].to_pylist() == [3, 3, 3]


def test_refused_windows_are_left_out_and_rows_stay_those_of_the_file(tmp_path: Path) -> None:
    table = cell_manifest(windows(), chips(tmp_path, refused=("w0000",)))
    assert table["window_name"].to_pylist() == ["w0001", "w0002"]
    assert table["chip_row"].to_pylist() == [1, 2]
    assert table["s2_months"].to_pylist() == [3, 1]


def test_cells_are_joined_in_order_of_names(tmp_path: Path) -> None:
    parts = [cell_manifest(windows(), chips(tmp_path, refused=("w0001",)))]
    parts.insert(0, cell_manifest(windows(), chips(tmp_path, refused=("w0000", "w0002"))))
    joined = join_manifest(parts)
    assert joined["window_name"].to_pylist() == NAMES
    assert joined.schema.equals(MANIFEST)
    assert validate(joined, Manifest).passed


def test_no_cells_make_an_empty_manifest() -> None:
    assert join_manifest([]).equals(MANIFEST.empty_table())


def test_chip_without_a_window_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageryError, match=r"Window 'w0001' .* not among the cell's windows at"):
        cell_manifest(windows().slice(0, 1), chips(tmp_path, refused=("w0000",)))


def test_sensible_pixels_pass(tmp_path: Path) -> None:
    looked = ModelInputs(1)
    looked.look(chips(tmp_path))
    check = looked.check()
    assert check.passed
    assert set(check.metadata) == {S1, S2}


def test_cell_without_chips_is_passed_over(tmp_path: Path) -> None:
    looked = ModelInputs(1)
    looked.look(chips(tmp_path, refused=tuple(NAMES)))
    assert looked.check().metadata == {}


@pytest.mark.parametrize(("cells", "read"), [(1, 3), (4096, 1), (10**6, 1)])
def test_many_cells_are_looked_at_less_closely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cells: int, read: int
) -> None:
    found, rows = chips(tmp_path), []
    real = type(found.file).row

    def noted(self: object, layer: str, row: int) -> np.ndarray:
        rows.append((layer, row))
        return real(found.file, layer, row)

    monkeypatch.setattr(type(found.file), "row", noted)
    ModelInputs(cells).look(found)
    assert len(rows) == 2 * read
