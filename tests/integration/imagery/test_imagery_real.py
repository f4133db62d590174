"""Real WorldCereal samples and scenes of Corsica, from points to chips."""

import datetime as dt
from pathlib import Path

import geopandas
import h3
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from geofm_assets.imagery.chips import pack_cell
from geofm_assets.imagery.config import ImageryConfig
from geofm_assets.imagery.contract import check_cell, check_model_input, check_source
from geofm_assets.imagery.dataset import ensure_dataset
from geofm_assets.imagery.normalize import model_input
from geofm_assets.imagery.stock import CellRasters
from geofm_assets.sampling.schema import SAMPLED_POINT
from geofm_assets.windows.config import WindowsConfig
from geofm_assets.windows.geometry import windows_for_points
from tests.imagery_scenes import WrittenCell, chips_of, make_rasters

pytestmark = pytest.mark.real

ABSENT = {"B01", "B09", "B8A"}
COUNT = 25


def points(mirror: Path) -> pa.Table:
    """The first samples of the larger of the two cells."""
    (path,) = mirror.glob("collections/*/*.geoparquet")
    frame = geopandas.read_parquet(path).sort_values("sample_id")
    rows = []
    for i, row in enumerate(frame.itertuples()):
        cell = h3.latlng_to_cell(row.geometry.y, row.geometry.x, 3)
        code = int(row.ewoc_code)
        rows.append(
            {
                "sample_id": row.sample_id, "collection_id": "2022fralpispoly110",
                "lon": row.geometry.x, "lat": row.geometry.y, "h3_l3_cell": cell,
                "valid_time": dt.date.fromisoformat(str(row.valid_time)[:10]),
                "label_raw": f"{code:010d}", "ewoc_code": code,
                "quality_score_lc": int(row.quality_score_lc),
                "quality_score_ct": int(row.quality_score_ct), "irrigation_status": 0,
                "extract": 1, "point_rule": "point", "simulated": False, "source_row": i,
                "h3_cell": cell, "class_id": 0, "class_name": "Cropland", "sample_key": i,
                "split_unit": cell, "split": "train",
            }
        )  # fmt: skip
    table = pa.Table.from_pylist(rows, schema=SAMPLED_POINT)
    return table.filter(pc.equal(table["h3_cell"], "831eb0fffffffff")).slice(0, COUNT)


@pytest.fixture(scope="module")
def mirror(real_dir: Path) -> Path:
    return real_dir / "worldcereal_corsica_2022"


@pytest.fixture(scope="module")
def made(mirror: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[WrittenCell, CellRasters]:
    root = tmp_path_factory.mktemp("real")
    ensure_dataset(root, ImageryConfig(), str(mirror / "scenes"), None)
    sampled = points(mirror)
    cell = sampled["h3_cell"][0].as_py()
    windows = windows_for_points(sampled, WindowsConfig(size=1))
    written = WrittenCell(root, cell, windows, sampled)
    return written, make_rasters(written)


def test_the_source_keeps_the_contract_and_its_absent_bands_are_stated(mirror: Path) -> None:
    report = check_source(mirror / "scenes")
    assert report.passed, report.failures
    assert set(report.absent_bands) == ABSENT


def test_all_twelve_months_are_there_each_its_own_scene(
    made: tuple[WrittenCell, CellRasters],
) -> None:
    rasters = made[1].rasters
    optical = rasters.filter(pc.equal(rasters["layer"], "sentinel2_l2a"))
    assert pc.all(optical["present"]).as_py()
    name = optical["window_name"][0].as_py()
    assert optical.filter(pc.equal(optical["window_name"], name))["items"].to_pylist() == [
        "S2_2021-12", "S2_2022-01", "S2_2022-02", "S2_2022-03", "S2_2022-04", "S2_2022-05",
        "S2_2022-06", "S2_2022-07", "S2_2022-08", "S2_2022-09", "S2_2022-10", "S2_2022-11",
    ]  # fmt: skip


def test_the_cell_and_the_model_input_keep_the_contract(
    made: tuple[WrittenCell, CellRasters],
) -> None:
    written, result = made
    report = check_cell(result.bands)
    assert report.passed, report.failures
    assert set(report.absent_bands) == ABSENT
    refused = result.refused["window_name"].to_pylist()
    chips = pack_cell(chips_of(written), result.file, refused, "inputs")
    for layer, mosaics in chips.file.layers.items():
        ready = model_input(np.asarray(mosaics.values), layer)
        at_model = check_model_input(ready.values, layer, ready.valid)
        assert at_model.passed, at_model.failures
    assert not chips.simulated
